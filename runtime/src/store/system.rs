//! What the server itself decides, as events of its own aggregates (`annals-…`), so that its history explains itself and
//! survives like any other.

use std::sync::{Arc, mpsc};

use bytes::Bytes;

use super::{AppendError, EventStore, Proposal};
use crate::vocabulary::{
    AggregateKey, CommandName, CommandRecord, Commit, Committed, ContextRecord, EventType, LaneEpoch, Millis,
    ModuleDigest, NewEvent, Outcome,
};

/// One decision of the server with its one event.
#[derive(Debug, Clone)]
pub struct SystemEvent {
    /// Of which of the server's own aggregates.
    pub key: AggregateKey,
    /// What was asked.
    pub command: CommandName,
    /// What happened.
    pub event_type: EventType,
    /// With what.
    pub payload: Bytes,
    /// The module it is about; zeros for none.
    pub module: ModuleDigest,
    /// The time of the decision.
    pub now: Millis,
    /// Which decision: drawn anew for each.
    pub command_id: String,
    /// Raised for each decision: one that failed must not stand in the way of the next.
    pub attempt: LaneEpoch,
}

/// Writes it and waits until it is durable. The caller sees to it that there is one at a time for each aggregate.
///
/// # Errors
/// [`AppendError`]; `Unknown` also when the aggregate's head cannot be read.
pub fn record(store: &dyn EventStore, event: SystemEvent) -> Result<Arc<Committed>, AppendError> {
    let unreadable = |reason: String| AppendError::Unknown { reason };
    let head = store
        .head(&event.key)
        .map_err(|error| unreadable(error.to_string()))?;
    let commit = Commit {
        key: event.key,
        first_version: head.version.plus(1),
        command: CommandRecord {
            name: event.command,
            payload: Some(event.payload.clone()),
        },
        context: ContextRecord {
            now: event.now.max(head.recorded_at),
            seed: Some([0, 0]),
            actor: None,
            correlation_id: event.command_id.clone(),
            command_id: event.command_id,
            causation_id: None,
            traceparent: None,
        },
        idempotency: None,
        outcome: Outcome::Accepted { reply: None, fuel: 0 },
        module: event.module,
        events: vec![NewEvent {
            event_type: event.event_type,
            schema: 1,
            payload: event.payload,
        }],
    };
    let proposal = Proposal {
        lane_epoch: event.attempt,
        expected: head.version,
        commit,
    };
    let (done, settled) = mpsc::sync_channel(1);
    store.append(proposal, Box::new(move |result| drop(done.send(result))));
    settled
        .recv()
        .map_err(|_| unreadable("the store ended without an answer".into()))?
}
