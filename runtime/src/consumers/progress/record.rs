//! What of a consumer's progress outlives the process.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Bounds, Failures, Filters, Judged, LaneKey, Parked, Progress};
use crate::{consumers::definition::Definition, vocabulary::Position};

/// Everything up to `through` is acknowledged, parked or not wanted, but what `undone` names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::consumers) struct Record {
    pub(in crate::consumers) generation: u64,
    through: Position,
    undone: Distances,
    failures: Vec<(Position, Failures)>,
    filters: Filters,
    /// The number of an earlier filter, how far it got, and what it left undone.
    earlier: Vec<(u32, Position, Distances)>,
    mixed: Position,
    filter_since: Position,
    filter_changes: u64,
}

/// Positions, each as the distance from the one before, the first from 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Distances(Vec<u64>);

impl Distances {
    fn of<'a>(positions: impl Iterator<Item = &'a Position>) -> Self {
        let mut before = 0;
        let distances = positions.map(|position| {
            let distance = position.0 - before;
            before = position.0;
            distance
        });
        Self(distances.collect())
    }

    fn positions(&self) -> BTreeSet<Position> {
        let mut position = 0_u64;
        let positions = self.0.iter().map(|distance| {
            position = position.saturating_add(*distance);
            Position(position)
        });
        positions.collect()
    }
}

impl Progress {
    /// What is to be kept. It is small: no more positions than are read ahead, for each filter that is remembered.
    pub(in crate::consumers) fn record(&self) -> Record {
        let rest = self
            .undone
            .range(Position(self.last_done.0.saturating_add(1))..)
            .next();
        let through = match rest {
            Some(next) => Position(next.0.saturating_sub(1)),
            None => self.read_once(),
        };
        let earlier = self.earlier.iter();
        let earlier = earlier.map(|judged| {
            let undone = Distances::of(judged.undone.iter());
            (judged.filter, judged.through, undone)
        });
        let failures = self.failures.iter();
        Record {
            generation: self.generation,
            through,
            undone: Distances::of(self.undone.range(..=through)),
            failures: failures
                .map(|(place, failures)| (*place, failures.clone()))
                .collect(),
            filters: self.filters.clone(),
            earlier: earlier.collect(),
            mixed: self.mixed,
            filter_since: self.filter_since,
            filter_changes: self.filter_changes,
        }
    }

    /// Goes on where an earlier life of the process was, by rules that may have another filter, when the log
    /// ends there.
    pub(in crate::consumers) fn restore(
        record: Record,
        parked: BTreeMap<LaneKey, Parked>,
        rules: Definition,
        bounds: Bounds,
        end: Position,
    ) -> Self {
        let undone = record.undone.positions();
        let start = undone
            .first()
            .map_or(record.through, |first| Position(first.0.saturating_sub(1)));
        let replaying = parked.iter().filter(|(_, parked)| parked.replaying);
        let replays = replaying.map(|(lane, _)| lane.clone()).collect();
        let earlier = record.earlier.iter().map(|(filter, through, undone)| Judged {
            filter: *filter,
            through: *through,
            undone: undone.positions(),
        });
        let mut before = rules.clone();
        if let Some(filter) = record.filters.get(record.filters.current().filter) {
            before.filter = filter.clone();
        }
        let mut progress = Self {
            known: record.through,
            last_done: record.through,
            undone,
            failures: record.failures.into_iter().collect(),
            parked,
            replays,
            earlier: earlier.collect(),
            filters: record.filters,
            mixed: record.mixed,
            filter_since: record.filter_since,
            filter_changes: record.filter_changes,
            ..Self::new(record.generation, start, before, bounds)
        };
        progress.set_rules(rules, end);
        progress
    }

    /// The same when another filter was put in force so often by now, and the log ends there. Where that is oftener than was
    /// written down here, events may have been leased and let go of which nothing is known, also if the filter is the same again.
    pub(in crate::consumers) fn after_filter_changes(self, changes: u64, end: Position) -> Self {
        let is_known = self.filter_changes == changes;
        Self {
            filter_since: if is_known { self.filter_since } else { end },
            filter_changes: changes,
            ..self
        }
    }
}
