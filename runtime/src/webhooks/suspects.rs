//! Events that failed for what seemed to be the receiver's sake: perhaps it was theirs. Pure.

use std::collections::BTreeMap;

use crate::vocabulary::Position;

/// As many as a consumer may have out at a time. When there are more all others are forgotten, and have one more try for it.
const MOST: usize = 10_000;

/// Each with how many requests had succeeded when it failed last.
#[derive(Debug, Default)]
pub(super) struct Suspects(BTreeMap<Position, u64>);

impl Suspects {
    /// They failed, after so many requests that succeeded.
    pub(super) fn note(&mut self, events: &[Position], successes: u64) {
        if self.0.len() + events.len() > MOST {
            self.0.clear();
        }
        self.0.extend(events.iter().map(|event| (*event, successes)));
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
    fn beyond_the_most_all_others_are_forgotten() {
        let mut suspects = Suspects::default();
        for event in 2..=MOST as u64 + 1 {
            suspects.note(&[Position(event)], 7);
        }
        assert_eq!(suspects.0.len(), MOST);
        // Also when it comes before all others in the log.
        suspects.note(&[Position(1)], 8);
        assert!(suspects.all_before(&[Position(1)], 9) && !suspects.contains(Position(2)));
    }

    #[test]
    fn the_last_failure_counts_until_it_is_cleared() {
        let mut suspects = Suspects::default();
        let [one, two] = [Position(1), Position(2)];
        suspects.note(&[one], 3);
        suspects.note(&[one], 4);
        assert!(suspects.all_before(&[one], 5) && !suspects.all_before(&[one], 4));
        assert!(!suspects.all_before(&[one, two], 5), "of which nothing is known");
        suspects.clear(&[one]);
        assert!(!suspects.contains(one));
    }
}
