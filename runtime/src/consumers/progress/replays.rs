//! Replays: what is parked is read from the log again, delivered in order, and is parked no more once it is acknowledged.

use std::mem;

use super::{LaneKey, Parked, ParkedEvents, ParkedRefused, Progress, settle::shortened};
use crate::vocabulary::{Millis, Position, RecordedEvent, Version};

/// What share of the room for events from the feed replays have beside it: one in so many.
const SHARE: usize = 4;
/// Replayed lanes that are read at a time, and events of each: look-ups in the index, for which a fetch waits.
const LANES: usize = 16;
const EVENTS: usize = 64;

/// A stretch of a history that is wanted for a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::consumers) struct ReplayRead {
    pub(in crate::consumers) lane: LaneKey,
    pub(in crate::consumers) parked: ParkedEvents,
    /// Most events.
    pub(in crate::consumers) most: usize,
}

impl Progress {
    /// Lets a parked lane go on, from its first parked event.
    pub(in crate::consumers) fn replay(&mut self, lane: &LaneKey) -> Result<(), ParkedRefused> {
        if self.parked_lane(lane)?.replaying {
            return Err(ParkedRefused::Replaying);
        }
        if let Some(parked) = self.parked.get_mut(lane) {
            parked.replaying = true;
        }
        self.replays.insert(lane.clone());
        self.parked_changed(lane);
        Ok(())
    }

    /// What is to be read so that replays go on: some lanes at a time, while there is room.
    pub(in crate::consumers) fn wanted_for_replays(&mut self) -> Vec<ReplayRead> {
        let room = (self.bounds.events / SHARE)
            .max(1)
            .saturating_sub(self.replayed.events);
        let has_room = self.replayed.bytes < (self.bounds.bytes / SHARE).max(1);
        let lanes = if has_room { room.min(LANES) } else { 0 };
        if lanes == 0 {
            return Vec::new();
        }
        self.look_at_early();
        let mut reads = self.idle_replays(lanes);
        let each = room / reads.len().max(1);
        for read in &mut reads {
            read.most = read.most.min(each);
        }
        reads
    }

    /// Some of the replayed lanes of which nothing is in memory. Those that it is too early for are put aside, so that not
    /// every fetch walks past all of them.
    fn idle_replays(&mut self, most: usize) -> Vec<ReplayRead> {
        let (mut reads, mut early) = (Vec::new(), Vec::new());
        for lane in &self.replays {
            if reads.len() == most {
                break;
            }
            let Some(parked) = self.parked.get(lane) else {
                continue;
            };
            if self.lanes.contains_key(lane) {
                continue;
            }
            let known_from = self.known_from(parked);
            if self.scanned < known_from {
                early.push((known_from, lane.clone()));
                continue;
            }
            reads.push(ReplayRead {
                lane: lane.clone(),
                parked: self.parked_events(parked),
                most: EVENTS,
            });
        }
        for (_, lane) in &early {
            self.replays.remove(lane);
        }
        self.early.extend(early);
        reads
    }

    /// Where all of a lane is known: while the feed is read again, earlier events may come that are wanted now.
    fn known_from(&self, parked: &Parked) -> Position {
        self.mixed.min(parked.through)
    }

    /// Whether something may come before a replayed event that was out. Of what is parked only events that are named count: a
    /// stretch that goes by a filter begins behind what was acknowledged last, wherever its next event is.
    pub(super) fn may_have_before(&self, lane: &LaneKey, version: Version) -> bool {
        let parked = self.parked.get(lane);
        parked.is_some_and(|parked| {
            self.scanned < self.known_from(parked) || parked.stretches.name_before(version)
        })
    }

    /// Takes back those of which it may be time now. Neither place goes back, so none of the others can be.
    fn look_at_early(&mut self) {
        while let Some((known_from, _)) = self.early.first()
            && *known_from <= self.scanned
            && let Some((_, lane)) = self.early.pop_first()
        {
            if self.parked.get(&lane).is_some_and(|parked| parked.replaying) {
                self.replays.insert(lane);
            }
        }
    }

    /// Takes the parked events of a stretch that was wanted. `next` is the version after it; none when there are no more.
    pub(in crate::consumers) fn offer_replay(
        &mut self,
        read: &ReplayRead,
        events: Vec<RecordedEvent>,
        next: Option<Version>,
    ) {
        if !self.still_wants(read) {
            return;
        }
        if events.is_empty()
            && let Some(parked) = self.parked.get_mut(&read.lane)
        {
            let rest = next.unwrap_or(Version(u64::MAX));
            parked.stretches.cut_before(rest);
        }
        for event in events {
            self.push(read.lane.clone(), event, true);
        }
        self.end_replay_if_drained(&read.lane);
    }

    /// The events of a stretch that was wanted are damaged: they are parked again, so that the others go on. True when that
    /// is to be written down.
    pub(in crate::consumers) fn replay_is_damaged(
        &mut self,
        read: &ReplayRead,
        error: &str,
        wall: Millis,
    ) -> bool {
        if !self.still_wants(read) {
            return false;
        }
        if let Some(parked) = self.parked.get_mut(&read.lane) {
            parked.replaying = false;
            parked.error = shortened(error);
            parked.parked_at = wall;
        }
        self.replays.remove(&read.lane);
        self.parked_changed(&read.lane);
        true
    }

    /// Whether it is as it was when a stretch was wanted: else somebody was faster.
    fn still_wants(&self, read: &ReplayRead) -> bool {
        let is_same = self
            .parked
            .get(&read.lane)
            .is_some_and(|parked| parked.replaying && parked.stretches == read.parked.stretches);
        is_same && !self.lanes.contains_key(&read.lane)
    }

    /// An event of a replay is acknowledged.
    pub(super) fn replayed(&mut self, lane: &LaneKey, event: &RecordedEvent) {
        if let Some(parked) = self.parked.get_mut(lane) {
            parked.stretches.done(event.version);
            let failed = mem::replace(&mut parked.position, Position(0));
            parked.count = parked.count.saturating_sub(1);
            self.parked_changes.insert(lane.clone());
            if failed != Position(0) {
                self.places = None;
            }
        }
    }

    /// A lane whose parked events have all been acknowledged is like any other.
    pub(super) fn end_replay_if_drained(&mut self, lane: &LaneKey) {
        let drained = self
            .parked
            .get(lane)
            .is_some_and(|parked| parked.stretches.is_empty());
        if drained && !self.lanes.contains_key(lane) {
            self.replays.remove(lane);
            self.parked.remove(lane);
            self.parked_changed(lane);
        }
    }
}
