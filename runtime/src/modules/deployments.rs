//! Deployments as events: the system aggregate `annals-deployment/{type}` has one event per activation, so that the
//! history of what served a type explains itself and survives like any other.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    store::{
        AppendError, Direction, EventStore, PageLimit, ReadError,
        system::{self, SystemEvent},
    },
    vocabulary::{
        AggregateId, AggregateKey, AggregateType, InvalidName, LaneEpoch, Millis, ModuleDigest, Version,
    },
};

/// The reserved type whose aggregates are the deployments, by aggregate type.
pub const DEPLOYMENT_TYPE: &str = "annals-deployment";
const ACTIVATE: &str = "activate";
const ACTIVATED: &str = "activated";

/// One activation of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deployment {
    /// The module.
    pub digest: ModuleDigest,
    /// When it was activated.
    pub deployed_at: Millis,
    /// The how-manieth activation of the type it is, from 1.
    pub version: Version,
}

#[derive(Serialize, Deserialize)]
struct Activated {
    digest: String,
}

/// Where the deployments of a type are kept.
fn key_of(aggregate_type: &AggregateType) -> Result<AggregateKey, InvalidName> {
    Ok(AggregateKey::new(
        DEPLOYMENT_TYPE.parse()?,
        aggregate_type.as_str().parse()?,
    ))
}

/// The types that have ever had a module.
pub(super) fn deployed_types(store: &dyn EventStore) -> Result<Vec<AggregateType>, ReadError> {
    let deployment_type: AggregateType = DEPLOYMENT_TYPE.parse().map_err(|error| damaged(&error))?;
    let mut types = Vec::new();
    let mut after: Option<AggregateId> = None;
    loop {
        let page = store.aggregates(&deployment_type, after.as_ref(), 1_000)?;
        let Some((last, _)) = page.last() else {
            return Ok(types);
        };
        after = Some(last.clone());
        for (id, _) in &page {
            types.push(id.as_str().parse().map_err(|error| damaged(&error))?);
        }
    }
}

/// The activations of a type, newest first.
pub(super) fn history(
    store: &dyn EventStore,
    aggregate_type: &AggregateType,
    events: usize,
) -> Result<Vec<Deployment>, ReadError> {
    let key = key_of(aggregate_type).map_err(|error| damaged(&error))?;
    let limit = PageLimit {
        events,
        bytes: usize::MAX,
    };
    let events = store.history(&key, Version(u64::MAX), Direction::Backward, limit)?;
    events
        .iter()
        .map(|event| {
            let activated: Activated =
                serde_json::from_slice(&event.payload).map_err(|error| damaged(&error))?;
            let digest = activated.digest.parse().map_err(|error| damaged(&error))?;
            Ok(Deployment {
                digest,
                deployed_at: event.recorded_at,
                version: event.version,
            })
        })
        .collect()
}

fn damaged(error: &dyn std::fmt::Display) -> ReadError {
    ReadError::Damaged {
        what: format!("a deployment: {error}"),
    }
}

/// Writes an activation and waits until it is durable. The caller sees to it that there is one at a time.
pub(super) fn record(
    store: &Arc<dyn EventStore>,
    aggregate_type: &AggregateType,
    digest: ModuleDigest,
    now: Millis,
    command_id: String,
    attempt: LaneEpoch,
) -> Result<Deployment, AppendError> {
    let unreadable = |error: InvalidName| AppendError::Unknown {
        reason: error.to_string(),
    };
    let event = SystemEvent {
        key: key_of(aggregate_type).map_err(unreadable)?,
        command: ACTIVATE.parse().map_err(unreadable)?,
        event_type: ACTIVATED.parse().map_err(unreadable)?,
        payload: Bytes::from(format!("{{\"digest\":\"{digest}\"}}")),
        module: digest,
        now,
        command_id,
        attempt,
    };
    let committed = system::record(&**store, event)?;
    Ok(Deployment {
        digest,
        deployed_at: committed.commit.context.now,
        version: committed.commit.last_version(),
    })
}
