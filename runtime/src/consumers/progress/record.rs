//! What of a consumer's progress outlives the process.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{Bounds, Failures, LaneKey, Parked, Progress, Replay};
use crate::{consumers::definition::Definition, vocabulary::Position};

/// Everything up to `through` is acknowledged, parked or not wanted, but what `undone` names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::consumers) struct Record {
    pub(in crate::consumers) generation: u64,
    through: Position,
    /// Positions, each as the distance from the one before, the first from 0.
    undone: Vec<u64>,
    failures: Vec<(Position, Failures)>,
}

impl Progress {
    /// What is to be kept. It is small: no more positions than are read ahead.
    pub(in crate::consumers) fn record(&self) -> Record {
        let rest = self
            .undone
            .range(Position(self.last_done.0.saturating_add(1))..)
            .next();
        let through = match rest {
            Some(next) => Position(next.0.saturating_sub(1)),
            None => self.scanned.max(self.known),
        };
        let mut before = 0;
        let distances = self.undone.range(..=through).map(|position| {
            let distance = position.0 - before;
            before = position.0;
            distance
        });
        Record {
            generation: self.generation,
            through,
            undone: distances.collect(),
            failures: self
                .failures
                .iter()
                .map(|(place, failures)| (*place, failures.clone()))
                .collect(),
        }
    }

    /// Goes on where an earlier life of the process was.
    pub(in crate::consumers) fn restore(
        record: Record,
        parked: BTreeMap<LaneKey, Parked>,
        rules: Definition,
        bounds: Bounds,
    ) -> Self {
        let mut position = 0_u64;
        let undone: BTreeSet<Position> = record
            .undone
            .iter()
            .map(|distance| {
                position = position.saturating_add(*distance);
                Position(position)
            })
            .collect();
        let start = undone
            .first()
            .map_or(record.through, |first| Position(first.0.saturating_sub(1)));
        let replaying = parked.iter().filter(|(_, parked)| parked.replaying);
        let replays = replaying
            .map(|(lane, parked)| (lane.clone(), Replay::from(parked.first)))
            .collect();
        Self {
            known: record.through,
            last_done: record.through,
            undone,
            failures: record.failures.into_iter().collect(),
            parked,
            replays,
            ..Self::new(record.generation, start, rules, bounds)
        }
    }
}
