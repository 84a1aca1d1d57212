//! The lanes of a shard: by their place, by their aggregate, and in the order of their last use.

use std::{collections::HashMap, time::Instant};

use crate::vocabulary::AggregateKey;

use super::{recency::Recency, shard::LaneId, work::Entry};

#[derive(Default)]
pub(crate) struct Lanes {
    places: Vec<Option<Entry>>,
    free: Vec<LaneId>,
    by_key: HashMap<AggregateKey, LaneId>,
    recency: Recency,
}

impl Lanes {
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn of(&self, key: &AggregateKey) -> Option<LaneId> {
        self.by_key.get(key).copied()
    }

    pub(crate) fn get_mut(&mut self, lane: LaneId) -> Option<&mut Entry> {
        self.places.get_mut(lane)?.as_mut()
    }

    /// The lane, which is used now.
    pub(crate) fn using(&mut self, lane: LaneId, now: Instant) -> Option<&mut Entry> {
        let entry = self.places.get_mut(lane)?.as_mut()?;
        entry.last_used = now;
        self.recency.touch(lane);
        Some(entry)
    }

    pub(crate) fn are_idle(&self) -> bool {
        self.places.iter().flatten().all(|entry| entry.lane.is_idle())
    }

    /// The lane that nothing was asked of for the longest time.
    pub(crate) fn oldest(&self) -> Option<(LaneId, &Entry)> {
        let lane = self.recency.oldest_first().next()?;
        Some((lane, self.places.get(lane)?.as_ref()?))
    }

    /// The longest unused lane that can be let go. Those with something to do are used often, so that few are passed over.
    pub(crate) fn oldest_idle(&self) -> Option<LaneId> {
        let is_idle = |lane: &LaneId| {
            let place = self.places.get(*lane).and_then(Option::as_ref);
            place.is_some_and(|entry| entry.lane.is_idle())
        };
        self.recency.oldest_first().find(is_idle)
    }

    pub(crate) fn insert(&mut self, key: AggregateKey, entry: impl FnOnce(LaneId) -> Entry) -> LaneId {
        let lane = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        if let Some(place) = self.places.get_mut(lane) {
            *place = Some(entry(lane));
        }
        self.by_key.insert(key, lane);
        self.recency.insert(lane);
        lane
    }

    pub(crate) fn remove(&mut self, lane: LaneId) -> Option<Entry> {
        let entry = self.places.get_mut(lane)?.take()?;
        self.by_key.remove(&entry.key);
        self.recency.remove(lane);
        self.free.push(lane);
        Some(entry)
    }
}
