//! Consumers as events: the system aggregate `annals-consumer/{name}` has one event for each change, with everything that
//! is in force after it, so that the last one says it all and the others say how it came about.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::definition::Definition;
use crate::{
    store::{
        AppendError, Direction, EventStore, PageLimit, ReadError,
        system::{self, SystemEvent},
    },
    vocabulary::{
        AggregateId, AggregateKey, ConsumerName, Cursor, InvalidName, LaneEpoch, Millis, ModuleDigest,
        Position, Version,
    },
};

/// The reserved type whose aggregates are the consumers.
pub const CONSUMER_TYPE: &str = "annals-consumer";

/// What happened to a consumer: the event's name, and the command's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Created,
    Changed,
    Paused,
    Resumed,
    Reset,
    Skipped,
    Deleted,
}

impl Change {
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Created => ("create", "created"),
            Self::Changed => ("change", "changed"),
            Self::Paused => ("pause", "paused"),
            Self::Resumed => ("resume", "resumed"),
            Self::Reset => ("reset", "reset"),
            Self::Skipped => ("skip", "skipped"),
            Self::Deleted => ("delete", "deleted"),
        }
    }
}

/// Events that a skip left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Skipped {
    pub(super) aggregate: AggregateKey,
    pub(super) from: Version,
    pub(super) through: Option<Version>,
    pub(super) reason: String,
}

/// What is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described {
    pub(super) definition: Definition,
    pub(super) paused: bool,
    /// Why, when it was not asked for.
    pub(super) paused_because: Option<String>,
    /// The version of the event that began the present generation.
    pub(super) generation: u64,
    /// Where it begins.
    pub(super) start: Position,
    /// How often another filter was put in force in this generation.
    pub(super) filter_changes: u64,
}

/// The payload of each event.
#[derive(Debug, Serialize, Deserialize)]
struct Payload {
    definition: Definition,
    paused: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paused_because: Option<String>,
    generation: u64,
    /// A cursor.
    start: String,
    #[serde(default)]
    filter_changes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    skipped: Option<Skipped>,
}

/// What the last event says, with when the first and the last were recorded.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) described: Described,
    pub(super) deleted: bool,
    pub(super) version: Version,
    pub(super) changed_at: Millis,
}

fn key_of(name: &ConsumerName) -> Result<AggregateKey, InvalidName> {
    Ok(AggregateKey::new(CONSUMER_TYPE.parse()?, name.as_str().parse()?))
}

/// Every name that was ever used.
pub(super) fn names(store: &dyn EventStore) -> Result<Vec<ConsumerName>, ReadError> {
    let consumer_type = CONSUMER_TYPE.parse().map_err(|error| damaged(&error))?;
    let mut names = Vec::new();
    let mut after: Option<AggregateId> = None;
    loop {
        let page = store.aggregates(&consumer_type, after.as_ref(), 1_000)?;
        let Some((last, _)) = page.last() else {
            return Ok(names);
        };
        after = Some(last.clone());
        for (id, _) in &page {
            names.push(id.as_str().parse().map_err(|error| damaged(&error))?);
        }
    }
}

/// What is known of a consumer; none when the name was never used.
pub(super) fn find(store: &dyn EventStore, name: &ConsumerName) -> Result<Option<Found>, ReadError> {
    let key = key_of(name).map_err(|error| damaged(&error))?;
    let newest = PageLimit {
        events: 1,
        bytes: usize::MAX,
    };
    let events = store.history(&key, Version(u64::MAX), Direction::Backward, newest)?;
    let Some(event) = events.first() else {
        return Ok(None);
    };
    let payload: Payload = serde_json::from_slice(&event.payload).map_err(|error| damaged(&error))?;
    let start: Cursor = payload.start.parse().map_err(|error| damaged(&error))?;
    Ok(Some(Found {
        described: Described {
            definition: payload.definition,
            paused: payload.paused,
            paused_because: payload.paused_because,
            generation: payload.generation,
            start: start.position,
            filter_changes: payload.filter_changes,
        },
        deleted: event.event_type.as_str() == Change::Deleted.names().1,
        version: event.version,
        changed_at: event.recorded_at,
    }))
}

fn damaged(error: &dyn std::fmt::Display) -> ReadError {
    ReadError::Damaged {
        what: format!("a consumer's definition: {error}"),
    }
}

/// A decision to be recorded.
#[derive(Debug)]
pub(super) struct Recording<'a> {
    pub(super) name: &'a ConsumerName,
    pub(super) change: Change,
    pub(super) described: &'a Described,
    pub(super) skipped: Option<Skipped>,
    pub(super) now: Millis,
    pub(super) command_id: String,
    pub(super) attempt: LaneEpoch,
}

/// Writes it and waits until it is durable.
pub(super) fn record(store: &Arc<dyn EventStore>, recording: Recording<'_>) -> Result<(), AppendError> {
    let identity = store.identity();
    let described = recording.described;
    let payload = Payload {
        definition: described.definition.clone(),
        paused: described.paused,
        paused_because: described.paused_because.clone(),
        generation: described.generation,
        start: Cursor::new(identity.log_id, identity.epoch, described.start).to_string(),
        filter_changes: described.filter_changes,
        skipped: recording.skipped,
    };
    let unknown = |reason: String| AppendError::Unknown { reason };
    let payload = serde_json::to_vec(&payload).map_err(|error| unknown(error.to_string()))?;
    let named = |error: InvalidName| unknown(error.to_string());
    let (command, event) = recording.change.names();
    let event = SystemEvent {
        key: key_of(recording.name).map_err(named)?,
        command: command.parse().map_err(named)?,
        event_type: event.parse().map_err(named)?,
        payload: Bytes::from(payload),
        module: ModuleDigest([0; 32]),
        now: recording.now,
        command_id: recording.command_id,
        attempt: recording.attempt,
    };
    system::record(&**store, event).map(drop)
}
