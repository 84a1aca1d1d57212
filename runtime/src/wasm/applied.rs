//! Events on their way into a module, borrowed from wherever they are.

use super::bindings::annals::aggregate::types as wit;
use crate::vocabulary::{Millis, NewEvent, RecordedEvent, Version};

/// An event to apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppliedEvent<'a> {
    /// Its number within the aggregate.
    pub version: Version,
    /// Wire name.
    pub event_type: &'a str,
    /// Schema version of the payload.
    pub schema: u32,
    /// `context.now` of the decision.
    pub recorded_at: Millis,
    /// The event's data, as stored.
    pub payload: &'a [u8],
}

impl<'a> AppliedEvent<'a> {
    /// An event that was just decided and has no place in the log yet.
    #[must_use]
    pub fn decided(version: Version, recorded_at: Millis, event: &'a NewEvent) -> Self {
        Self {
            version,
            event_type: event.event_type.as_str(),
            schema: event.schema,
            recorded_at,
            payload: &event.payload,
        }
    }

    pub(super) fn as_wit(&self) -> wit::RecordedEvent<'a> {
        wit::RecordedEvent {
            version: self.version.0,
            event_type: self.event_type,
            schema: self.schema,
            recorded_at: self.recorded_at,
            payload: self.payload,
        }
    }
}

impl<'a> From<&'a RecordedEvent> for AppliedEvent<'a> {
    fn from(event: &'a RecordedEvent) -> Self {
        Self {
            version: event.version,
            event_type: event.event_type.as_str(),
            schema: event.schema,
            recorded_at: event.recorded_at,
            payload: &event.payload,
        }
    }
}

/// The module's refusal to apply an event. The events before it in the same call may have been applied, so the live
/// object is to be dropped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the module cannot apply the event of version {version}: {problem}")]
pub struct ApplyRefusal {
    /// The event that could not be applied, as the module named it.
    pub version: Version,
    /// What is wrong with it.
    pub problem: ApplyProblem,
}

/// Why an event could not be applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyProblem {
    /// The module does not know this event type or this schema of it.
    #[error("it does not know this event type or this schema of it")]
    UnknownEvent,
    /// The payload does not decode.
    #[error("the payload does not decode: {0}")]
    Malformed(String),
    /// The event cannot follow from this state: history and code disagree.
    #[error("it cannot follow from this state: {0}")]
    Impossible(String),
}

impl From<wit::ApplyError> for ApplyRefusal {
    fn from(error: wit::ApplyError) -> Self {
        Self {
            version: Version(error.version),
            problem: match error.problem {
                wit::ApplyProblem::UnknownEvent => ApplyProblem::UnknownEvent,
                wit::ApplyProblem::MalformedEvent(problem) => ApplyProblem::Malformed(problem),
                wit::ApplyProblem::ImpossibleEvent(problem) => ApplyProblem::Impossible(problem),
            },
        }
    }
}

/// Splits events so that one call lowers at most `bytes_max` of payload (one event may be larger) and `count_max`
/// events: the guest's memory never shrinks, so a long history must not pass through it in one piece.
pub(super) fn batches<'e, 'a>(
    events: &'e [AppliedEvent<'a>],
    count_max: usize,
    bytes_max: usize,
) -> impl Iterator<Item = &'e [AppliedEvent<'a>]> {
    let mut rest = events;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut bytes = 0usize;
        let fitting = rest
            .iter()
            .take(count_max)
            .take_while(|event| {
                bytes = bytes.saturating_add(event.payload.len());
                bytes <= bytes_max
            })
            .count()
            .max(1);
        let (batch, after) = rest.split_at(fitting);
        rest = after;
        Some(batch)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn batches_hold_all_events_in_order_within_the_limits(sizes in prop::collection::vec(0usize..50, 0..60)) {
            let payload = [0u8; 50];
            let events: Vec<_> = sizes
                .iter()
                .enumerate()
                .map(|(index, size)| AppliedEvent {
                    version: Version(index as u64 + 1),
                    event_type: "e",
                    schema: 1,
                    recorded_at: 0,
                    payload: &payload[..*size],
                })
                .collect();
            let batches: Vec<_> = batches(&events, 7, 40).collect();
            let joined = batches.concat();
            prop_assert_eq!(joined.as_slice(), events.as_slice());
            for batch in batches {
                let bytes: usize = batch.iter().map(|event| event.payload.len()).sum();
                prop_assert!(!batch.is_empty() && batch.len() <= 7);
                prop_assert!(bytes <= 40 || batch.len() == 1);
            }
        }
    }
}
