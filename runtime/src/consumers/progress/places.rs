//! Where in the log parked events lie: what is asked of each old lease, and of each failed attempt, so it is put in order
//! once for all of them.

use std::collections::BTreeSet;

use super::{Parked, Progress};
use crate::vocabulary::Position;

/// See the module.
#[derive(Debug)]
pub(super) struct Places {
    /// The events that failed last, one of each lane but of those that are being replayed.
    failed: BTreeSet<Position>,
    /// From the first to the last of a lane, in order; those that meet are one.
    spans: Vec<(Position, Position)>,
}

impl Places {
    pub(super) fn of<'a>(parked: impl Iterator<Item = &'a Parked> + Clone) -> Self {
        let mut all: Vec<_> = parked
            .clone()
            .map(|parked| (parked.since, parked.through))
            .collect();
        all.sort_unstable();
        let mut spans: Vec<(Position, Position)> = Vec::new();
        for (since, through) in all {
            match spans.last_mut() {
                Some((_, end)) if since <= *end => *end = through.max(*end),
                _ => spans.push((since, through)),
            }
        }
        Self {
            failed: parked
                .filter(|parked| !parked.replaying)
                .map(|parked| parked.position)
                .collect(),
            spans,
        }
    }

    /// Whether the event there is the one that some lane is parked for. A replay brings it again.
    pub(super) fn have_failed(&self, position: Position) -> bool {
        self.failed.contains(&position)
    }

    /// Whether the event there may be parked: which events of the log are of a lane is not known before they are read, but
    /// they lie between its first and its last.
    pub(super) fn may_have(&self, position: Position) -> bool {
        let behind = self.spans.partition_point(|(since, _)| *since <= position);
        let span = behind.checked_sub(1).and_then(|last| self.spans.get(last));
        span.is_some_and(|(_, through)| position <= *through)
    }
}

impl Progress {
    /// Where parked events lie.
    pub(super) fn places(&mut self) -> &Places {
        let parked = &self.parked;
        self.places.get_or_insert_with(|| Places::of(parked.values()))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::stretch::Stretches, *};

    fn parked(since: u64, position: u64, through: u64, replaying: bool) -> Parked {
        Parked {
            generation: 1,
            stretches: Stretches::default(),
            position: Position(position),
            since: Position(since),
            through: Position(through),
            count: 1,
            attempts: 1,
            error: String::new(),
            parked_at: 0,
            replaying,
        }
    }

    #[test]
    fn they_are_what_looking_at_each_lane_would_find() {
        let lanes = [
            parked(7, 7, 9, false),
            parked(2, 3, 3, false),
            parked(3, 4, 5, true),
            parked(12, 12, 12, false),
        ];
        let places = Places::of(lanes.iter());
        for position in (0..15).map(Position) {
            let within = |parked: &Parked| parked.since <= position && position <= parked.through;
            assert_eq!(
                places.may_have(position),
                lanes.iter().any(within),
                "{position:?}"
            );
            let failed = |parked: &Parked| parked.position == position && !parked.replaying;
            let failed = lanes.iter().any(failed);
            assert_eq!(places.have_failed(position), failed, "{position:?}");
        }
        assert!(!Places::of([].iter()).may_have(Position(1)));
    }
}
