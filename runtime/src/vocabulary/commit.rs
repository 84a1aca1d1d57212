//! What the log holds: commits, each one decision with all its events, all or nothing.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    AggregateKey, CommandName, EventType, IdempotencyKey, Millis, ModuleDigest, Position, RequestHash,
    Version,
};

/// An event that a module wants to record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewEvent {
    /// Wire name.
    pub event_type: EventType,
    /// Schema version of the payload, from 1.
    pub schema: u32,
    /// The event's data; at most [`Limits::payload_bytes`](super::Limits::payload_bytes).
    pub payload: Bytes,
}

/// The command that was decided, kept so that the decision can be made again by a newer module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandRecord {
    /// Wire name.
    pub name: CommandName,
    /// The body as it came; none when the type opts out of keeping commands.
    pub payload: Option<Bytes>,
}

/// Everything the decision could depend on beside state and command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextRecord {
    /// Fixed at the decision; never earlier than the aggregate's previous event. Also the events' `recorded-at`.
    pub now: Millis,
    /// The guest's only source of randomness. None when it is what `decide.rs` derives from aggregate and command id.
    pub seed: Option<[u64; 2]>,
    /// Who asked, as authenticated by the host.
    pub actor: Option<String>,
    /// Identifies the command.
    pub command_id: String,
    /// Shared by everything that one request of the outside world led to.
    pub correlation_id: String,
    /// What caused this command.
    pub causation_id: Option<String>,
    /// W3C trace context, as received.
    pub traceparent: Option<String>,
}

/// Binds an idempotency key to the request it was first used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyRecord {
    /// The key; its scope is the aggregate.
    pub key: IdempotencyKey,
    /// Hash of command name, body and actor.
    pub request: RequestHash,
}

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The module accepted, perhaps without events.
    Accepted {
        /// An answer for the caller beside the events.
        reply: Option<Bytes>,
        /// Fuel that the decision took: a report, never a verdict about replay.
        fuel: u64,
    },
    /// The domain's no; the commit has no events. Recorded only for commands with an idempotency key.
    Rejected {
        /// Stable, for programs.
        code: String,
        /// For people.
        message: String,
        /// JSON object with the values that matter.
        details: Option<Bytes>,
        /// Fuel that the decision took.
        fuel: u64,
    },
}

/// One decision as it is written to the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commit {
    /// Whose decision.
    pub key: AggregateKey,
    /// Version of the first event: the version decided on plus one, also when there are no events.
    pub first_version: Version,
    /// The command that was decided.
    pub command: CommandRecord,
    /// Its context.
    pub context: ContextRecord,
    /// The idempotency key, when the command had one.
    pub idempotency: Option<IdempotencyRecord>,
    /// Acceptance or rejection.
    pub outcome: Outcome,
    /// The module that decided.
    pub module: ModuleDigest,
    /// What happened, in order.
    pub events: Vec<NewEvent>,
}

impl Commit {
    /// The aggregate's version once this commit is applied.
    #[must_use]
    pub fn last_version(&self) -> Version {
        Version(self.first_version.0 - 1).plus(self.events.len())
    }
}

/// A commit that is durable, with the place it was given inside the transaction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// What was decided.
    pub commit: Commit,
    /// Position of the first event; without events, the position that the next event of the log will take.
    pub first_position: Position,
}

impl Committed {
    /// Position after this commit: of its last event, or of the last event before it when it has none.
    #[must_use]
    pub fn last_position(&self) -> Position {
        Position(self.first_position.0 + self.commit.events.len() as u64 - 1)
    }

    /// The events as readers see them, of a commit that nobody else needs: its names are shared, and nothing is copied.
    pub(crate) fn into_recorded_events(self) -> impl Iterator<Item = RecordedEvent> {
        let Commit {
            key,
            first_version,
            command,
            context,
            module,
            events,
            ..
        } = self.commit;
        let recorded_at = context.now;
        let origin = Arc::new(Origin {
            command: command.name,
            command_id: context.command_id,
            correlation_id: context.correlation_id,
            causation_id: context.causation_id,
            actor: context.actor,
            traceparent: context.traceparent,
            module,
        });
        events
            .into_iter()
            .enumerate()
            .map(move |(index, event)| RecordedEvent {
                key: key.clone(),
                version: first_version.plus(index),
                position: Position(self.first_position.0 + index as u64),
                event_type: event.event_type,
                schema: event.schema,
                recorded_at,
                payload: event.payload,
                origin: Arc::clone(&origin),
            })
    }

    /// The events as readers see them.
    pub fn recorded_events(&self) -> impl Iterator<Item = RecordedEvent> {
        self.clone().into_recorded_events()
    }
}

/// Where an event comes from: shared by all events of one commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Wire name of the command that led to it.
    pub command: CommandName,
    /// Which command.
    pub command_id: String,
    /// Shared by everything that one request led to.
    pub correlation_id: String,
    /// What caused the command.
    pub causation_id: Option<String>,
    /// Who asked.
    pub actor: Option<String>,
    /// W3C trace context, as received.
    pub traceparent: Option<String>,
    /// The module that decided.
    pub module: ModuleDigest,
}

/// An event as it stands in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    /// Whose event.
    pub key: AggregateKey,
    /// Its number within the aggregate, dense, from 1.
    pub version: Version,
    /// Its place in the whole log.
    pub position: Position,
    /// Wire name.
    pub event_type: EventType,
    /// Schema version of the payload.
    pub schema: u32,
    /// `context.now` of the decision.
    pub recorded_at: Millis,
    /// The event's data.
    pub payload: Bytes,
    /// Where it comes from.
    pub origin: Arc<Origin>,
}
