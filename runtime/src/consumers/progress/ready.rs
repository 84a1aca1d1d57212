//! What can be delivered now, and what of it goes together.

use std::{collections::BTreeSet, ops::Bound};

use crate::vocabulary::Position;

/// What sort of event it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Read from the feed.
    Fed,
    /// Of a parked lane that is being replayed.
    Replayed,
    /// One of either that has failed before.
    Failed,
}

/// Events that can be delivered, the oldest of a kind first.
///
/// What has failed before is delivered by itself: if it is what its member died of, the others would else die with it, until
/// all of them are parked. The kinds take turns, so that none waits for the end of another.
#[derive(Debug, Default)]
pub(super) struct Ready {
    fed: BTreeSet<Position>,
    replayed: BTreeSet<Position>,
    failed: BTreeSet<Position>,
    /// Whether it is a replayed one's turn.
    replayed_next: bool,
    /// Whether one that failed before was delivered last.
    failed_last: bool,
}

impl Ready {
    pub(super) fn insert(&mut self, kind: Kind, position: Position) {
        match kind {
            Kind::Fed => self.fed.insert(position),
            Kind::Replayed => self.replayed.insert(position),
            Kind::Failed => self.failed.insert(position),
        };
    }

    pub(super) fn remove(&mut self, position: Position) {
        for of_kind in [&mut self.fed, &mut self.replayed, &mut self.failed] {
            of_kind.remove(&position);
        }
    }

    pub(super) fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Fed => self.fed.len(),
            Kind::Replayed => self.replayed.len(),
            Kind::Failed => self.failed.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.fed.is_empty() && self.replayed.is_empty() && self.failed.is_empty()
    }

    /// Takes out what is delivered together, oldest first: one that failed before, or at most so many that did not.
    pub(super) fn take(&mut self, most: usize) -> Vec<Position> {
        if most == 0 {
            return Vec::new();
        }
        let others = !self.fed.is_empty() || !self.replayed.is_empty();
        let is_turn = !(self.failed_last && others);
        self.failed_last = is_turn && !self.failed.is_empty();
        if self.failed_last {
            return self.failed.pop_first().into_iter().collect();
        }
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some(position) = self.next()
        {
            taken.push(position);
        }
        taken.sort_unstable();
        taken
    }

    fn next(&mut self) -> Option<Position> {
        let (first, second) = if self.replayed_next {
            (&mut self.replayed, &mut self.fed)
        } else {
            (&mut self.fed, &mut self.replayed)
        };
        self.replayed_next = !self.replayed_next;
        first.pop_first().or_else(|| second.pop_first())
    }

    /// The first after a position, or else the first of all.
    pub(super) fn after(&self, position: Position) -> Option<Position> {
        let kinds = [&self.fed, &self.replayed, &self.failed];
        let behind = (Bound::Excluded(position), Bound::Unbounded);
        let later = kinds.iter().filter_map(|kind| kind.range(behind).next());
        let first = kinds.iter().filter_map(|kind| kind.first());
        later.min().or_else(|| first.min()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(fed: &[u64], replayed: &[u64], failed: &[u64]) -> Ready {
        let mut ready = Ready::default();
        for (kind, positions) in [
            (Kind::Fed, fed),
            (Kind::Replayed, replayed),
            (Kind::Failed, failed),
        ] {
            for position in positions {
                ready.insert(kind, Position(*position));
            }
            assert_eq!(ready.count(kind), positions.len());
        }
        ready
    }

    fn batches(ready: &mut Ready, most: usize) -> Vec<Vec<u64>> {
        let mut batches = Vec::new();
        while !ready.is_empty() {
            batches.push(ready.take(most).iter().map(|position| position.0).collect());
        }
        batches
    }

    #[test]
    fn what_has_failed_goes_by_itself_and_kinds_take_turns() {
        let all = batches(&mut ready(&[5, 7, 9], &[1, 2, 3, 4], &[6, 8]), 2);
        let expected: [&[u64]; 6] = [&[6], &[1, 5], &[8], &[2, 7], &[3, 9], &[4]];
        assert_eq!(all, expected);
        let singly = batches(&mut ready(&[5, 7], &[1, 2], &[]), 1);
        assert_eq!(singly.concat(), [5, 1, 7, 2]);
        assert_eq!(batches(&mut ready(&[], &[], &[1, 2]), 9), [[1], [2]]);
        assert_eq!(ready(&[1], &[], &[2]).take(0), []);
    }

    #[test]
    fn the_first_after_a_position_is_found_among_all() {
        let mut ready = ready(&[5], &[1], &[3]);
        for (after, expected) in [(0, 1), (1, 3), (3, 5), (5, 1)] {
            assert_eq!(ready.after(Position(after)), Some(Position(expected)));
        }
        for position in [1, 3, 5] {
            ready.remove(Position(position));
        }
        assert!(ready.is_empty());
        assert_eq!(ready.after(Position(0)), None);
    }
}
