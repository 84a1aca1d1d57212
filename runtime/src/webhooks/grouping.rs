//! Which events go into one request.

use crate::{
    consumers::{Delivered, LeaseId, Mode},
    vocabulary::Position,
};

/// What is sent now, and what has no room and is given back.
#[derive(Debug, Default)]
pub(super) struct Grouped {
    pub(super) requests: Vec<Vec<Delivered>>,
    pub(super) spare: Vec<LeaseId>,
}

/// Groups events into at most so many requests, the oldest first. In a batch, what has failed before goes by itself: a
/// batch fails as a whole, and else the others would fail with it until all of them are parked. `has_failed` tells of
/// those whose failure was no attempt.
pub(super) fn group(
    delivered: Vec<Delivered>,
    mode: Mode,
    most: usize,
    most_bytes: usize,
    has_failed: impl Fn(Position) -> bool,
) -> Grouped {
    let mut grouped = Grouped::default();
    // Where the batch is, and what it holds.
    let mut batch: Option<(usize, usize)> = None;
    for event in delivered {
        let bytes = event.event.payload.len();
        let together = mode == Mode::Batch && event.lease.attempt == 1 && !has_failed(event.lease.position);
        let room = batch.filter(|(_, taken)| together && taken + bytes <= most_bytes);
        if let Some((at, taken)) = room
            && let Some(request) = grouped.requests.get_mut(at)
        {
            request.push(event);
            batch = Some((at, taken + bytes));
        } else if (batch.is_none() || !together) && grouped.requests.len() < most {
            if together {
                batch = Some((grouped.requests.len(), bytes));
            }
            grouped.requests.push(vec![event]);
        } else {
            grouped.spare.push(event.lease);
        }
    }
    grouped
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::{
        store::conformance::key,
        vocabulary::{CommandName, EventType, ModuleDigest, Origin, RecordedEvent, Version},
    };

    fn event(position: u64, bytes: usize) -> RecordedEvent {
        RecordedEvent {
            key: key("account", "a"),
            version: Version(position),
            position: Position(position),
            event_type: EventType::parse("happened").unwrap(),
            schema: 1,
            recorded_at: position,
            payload: Bytes::from(vec![b' '; bytes]),
            origin: Arc::new(Origin {
                command: CommandName::parse("do").unwrap(),
                command_id: "c".into(),
                correlation_id: "c".into(),
                causation_id: None,
                actor: None,
                traceparent: None,
                module: ModuleDigest([0; 32]),
            }),
        }
    }

    /// Events as (attempt, bytes), and what comes of them as positions.
    fn check(mode: Mode, most: usize, events: &[(u32, usize)], requests: &[&[u64]], spare: &[u64]) {
        check_with(&[], mode, most, events, requests, spare);
    }

    /// The same where some have failed without an attempt.
    fn check_with(
        failed: &[u64],
        mode: Mode,
        most: usize,
        events: &[(u32, usize)],
        requests: &[&[u64]],
        spare: &[u64],
    ) {
        let delivered = events
            .iter()
            .zip(1..)
            .map(|((attempt, bytes), position)| Delivered {
                lease: LeaseId {
                    owner: crate::consumers::Owner::default(),
                    generation: 1,
                    position: Position(position),
                    attempt: *attempt,
                },
                last_error: None,
                event: event(position, *bytes),
            });
        let grouped = group(delivered.collect(), mode, most, 100, |event| {
            failed.contains(&event.0)
        });
        let position = |lease: &LeaseId| lease.position.0;
        let found: Vec<Vec<u64>> = grouped
            .requests
            .iter()
            .map(|request| request.iter().map(|event| position(&event.lease)).collect())
            .collect();
        assert_eq!(found, requests, "{events:?}");
        assert_eq!(
            grouped.spare.iter().map(position).collect::<Vec<_>>(),
            spare,
            "{events:?}"
        );
    }

    #[test]
    fn events_go_one_by_one_or_together() {
        check(Mode::Event, 2, &[(1, 10), (2, 10), (1, 10)], &[&[1], &[2]], &[3]);
        check(Mode::Batch, 1, &[(1, 40), (1, 60), (1, 1)], &[&[1, 2]], &[3]);
        check(Mode::Batch, 2, &[(1, 200), (1, 1)], &[&[1]], &[2]);
        check(Mode::Batch, 1, &[(2, 1), (1, 1), (1, 1)], &[&[1]], &[2, 3]);
        check(
            Mode::Batch,
            3,
            &[(1, 1), (2, 1), (1, 1), (3, 1), (2, 1)],
            &[&[1, 3], &[2], &[4]],
            &[5],
        );
        check(Mode::Batch, 3, &[], &[], &[]);
        check_with(
            &[2],
            Mode::Batch,
            3,
            &[(1, 1), (1, 1), (1, 1)],
            &[&[1, 3], &[2]],
            &[],
        );
    }
}
