//! Events that failed for what seemed to be the receiver's sake: perhaps it was theirs. Pure.

use std::collections::BTreeMap;

use crate::vocabulary::Position;

/// As many as a consumer may have out at a time. Of more the oldest are forgotten, and have one more try for it.
const MOST: usize = 10_000;

/// Each with how many requests had succeeded when it failed first.
#[derive(Debug, Default)]
pub(super) struct Suspects(BTreeMap<Position, u64>);

impl Suspects {
    /// They failed, after so many requests that succeeded. What is known of them stays.
    pub(super) fn note(&mut self, events: &[Position], successes: u64) {
        for event in events {
            self.0.entry(*event).or_insert(successes);
        }
        while self.0.len() > MOST {
            self.0.pop_first();
        }
    }

    /// Nothing is held against them any more.
    pub(super) fn clear(&mut self, events: &[Position]) {
        for event in events {
            self.0.remove(event);
        }
    }

    pub(super) fn contains(&self, event: Position) -> bool {
        self.0.contains_key(&event)
    }

    /// Whether every one of them failed before the last of so many requests succeeded.
    pub(super) fn all_before(&self, events: &[Position], successes: u64) -> bool {
        events
            .iter()
            .all(|event| self.0.get(event).is_some_and(|before| *before < successes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten_beyond_the_most() {
        let mut suspects = Suspects::default();
        let events: Vec<Position> = (1..=MOST as u64 + 1).map(Position).collect();
        suspects.note(&events, 7);
        assert!(!suspects.contains(Position(1)) && suspects.contains(Position(2)));
        assert_eq!(suspects.0.len(), MOST);
    }

    #[test]
    fn the_first_failure_counts_until_it_is_cleared() {
        let mut suspects = Suspects::default();
        let [one, two] = [Position(1), Position(2)];
        suspects.note(&[one], 3);
        suspects.note(&[one], 4);
        assert!(suspects.all_before(&[one], 4) && !suspects.all_before(&[one], 3));
        assert!(!suspects.all_before(&[one, two], 4), "of which nothing is known");
        suspects.clear(&[one]);
        assert!(!suspects.contains(one));
    }
}
