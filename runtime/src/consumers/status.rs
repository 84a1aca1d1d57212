//! What is told of consumers.

use std::{collections::BTreeMap, ops::Bound, sync::PoisonError};

use super::{
    consumer::State, definition::Definition, error::ConsumerError, progress::LaneKey, service::Consumers,
};
use crate::vocabulary::{ConsumerName, Millis, Position};

/// A consumer as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its name.
    pub name: ConsumerName,
    /// What it was asked to be.
    pub definition: Definition,
    /// Whether it delivers nothing at the moment.
    pub paused: bool,
    /// Why, when nobody asked for it.
    pub paused_because: Option<String>,
    /// When its definition was last changed, by the wall clock.
    pub changed_at: Millis,
    /// Everything up to here is acknowledged, parked or not wanted.
    pub checkpoint: Position,
    /// Leases that are out, by member.
    pub leases: BTreeMap<String, usize>,
    /// Aggregates with parked events.
    pub parked_aggregates: usize,
    /// Parked events of all of them.
    pub parked_events: u64,
}

impl Consumers {
    /// Every name.
    #[must_use]
    pub fn names(&self) -> Vec<ConsumerName> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.keys().cloned().collect()
    }

    /// Names in order, after one of them.
    #[must_use]
    pub fn names_after(&self, after: Option<&ConsumerName>, most: usize) -> Vec<ConsumerName> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let names = known.range::<ConsumerName, _>((from, Bound::Unbounded));
        names.map(|(name, _)| name.clone()).take(most).collect()
    }

    /// Whether there is one of this name, for whoever waits for something before it is looked at.
    ///
    /// # Errors
    /// [`ConsumerError::Unknown`].
    pub fn check_known(&self, name: &ConsumerName) -> Result<(), ConsumerError> {
        self.find(name).map(drop)
    }

    /// A consumer as it stands.
    ///
    /// # Errors
    /// [`ConsumerError::Unknown`].
    pub fn status(&self, name: &ConsumerName) -> Result<Status, ConsumerError> {
        let consumer = self.find(name)?;
        let mut state = consumer.lock();
        if state.expire(self.now()) {
            consumer.wake();
            self.keep(&consumer);
        }
        Ok(status_of(name, &state))
    }
}

/// How many aggregates lanes are of that are in order: without an ordering each event is a lane.
pub(super) fn aggregates_of<'a>(lanes: impl Iterator<Item = &'a LaneKey>) -> usize {
    let mut last = None;
    let others = lanes.filter(|lane| last.replace(&lane.aggregate) != Some(&lane.aggregate));
    others.count()
}

fn status_of(name: &ConsumerName, state: &State) -> Status {
    let progress = &state.progress;
    let members = progress.members().into_iter();
    Status {
        name: name.clone(),
        definition: state.described.definition.clone(),
        paused: state.described.paused,
        paused_because: state.described.paused_because.clone(),
        changed_at: state.changed_at,
        checkpoint: progress.checkpoint(),
        leases: members
            .map(|(member, leases)| (member.to_owned(), leases))
            .collect(),
        parked_aggregates: aggregates_of(progress.parked().map(|(lane, _)| lane)),
        parked_events: progress.parked().map(|(_, parked)| parked.count).sum(),
    }
}
