//! Lanes that are parked. Their events stay in the log; what is kept is where they begin and end.

use serde::{Deserialize, Serialize};

use super::{LaneKey, Progress};
use crate::vocabulary::{Millis, Position, RecordedEvent, Version};

/// What share of the room for events from the feed replays have beside it: one in so many.
const SHARE: usize = 4;
/// Replayed lanes that are read at a time, and events of each: look-ups in the index, for which a fetch waits.
const LANES: usize = 16;
const EVENTS: usize = 64;

/// A parked lane: the event that could not be handled, and all later ones of its aggregate that the feed has come past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// Of which life of the consumer.
    pub(in crate::consumers) generation: u64,
    /// The version that the parked events begin at.
    pub first: Version,
    /// Where the event is in the log whose last attempt failed; 0 once it is done.
    pub position: Position,
    /// The position of the last parked event.
    pub through: Position,
    /// How many events are parked, if the filter has not been changed since.
    pub count: u64,
    /// How often the first was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub error: String,
    /// When it was parked, by the wall clock.
    pub parked_at: Millis,
    /// Whether its events are being delivered again.
    pub replaying: bool,
}

/// The replay of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::consumers) struct Replay {
    /// The version from which on its history is to be read.
    next: Version,
    /// Whether all of it has been read.
    ended: bool,
}

impl Replay {
    /// A replay that begins at a version.
    pub(super) fn from(next: Version) -> Self {
        Self { next, ended: false }
    }
}

/// A stretch of a history that is wanted for a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::consumers) struct ReplayRead {
    pub(in crate::consumers) lane: LaneKey,
    pub(in crate::consumers) from: Version,
    pub(in crate::consumers) through: Position,
    /// Most events.
    pub(in crate::consumers) most: usize,
}

/// Parked events that are to be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::consumers) struct Upto {
    /// Up to this version.
    pub(in crate::consumers) version: Version,
    /// Where the last of them is in the log.
    pub(in crate::consumers) position: Position,
    /// How many they are.
    pub(in crate::consumers) events: u64,
}

/// Why parked events cannot be replayed or skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParkedRefused {
    /// Nothing of the kind is parked.
    #[error("no event of this aggregate is parked")]
    NotParked,
    /// It is on its way already.
    #[error("its parked events are being replayed")]
    Replaying,
}

impl Progress {
    /// The parked lanes.
    pub(in crate::consumers) fn parked(&self) -> impl Iterator<Item = (&LaneKey, &Parked)> {
        self.parked.iter()
    }

    /// One of them.
    pub(in crate::consumers) fn parked_lane(&self, lane: &LaneKey) -> Option<&Parked> {
        self.parked.get(lane)
    }

    /// Puts a whole lane aside.
    pub(super) fn park(&mut self, lane: &LaneKey, attempts: u32, error: String, wall: Millis) {
        let places = self.lanes.remove(lane).unwrap_or_default();
        let items: Vec<_> = places.iter().filter_map(|place| self.take(*place)).collect();
        let (Some(first), Some(last)) = (items.first(), items.last()) else {
            return;
        };
        let (version, position) = (first.event.version, first.event.position);
        let through = last.event.position;
        match self.parked.get_mut(lane) {
            Some(parked) => {
                parked.first = version;
                parked.position = position;
                parked.attempts = attempts;
                parked.error = error;
                parked.parked_at = wall;
                parked.replaying = false;
            }
            None => {
                let parked = Parked {
                    generation: self.generation,
                    first: version,
                    position,
                    through,
                    count: items.len() as u64,
                    attempts,
                    error,
                    parked_at: wall,
                    replaying: false,
                };
                self.parked.insert(lane.clone(), parked);
            }
        }
        self.replays.remove(lane);
        self.parked_changes.insert(lane.clone());
        for item in items.iter().filter(|item| !item.replayed) {
            self.done(item.event.position);
        }
    }

    /// Another event of a parked lane has come.
    pub(super) fn follow_parked(&mut self, lane: &LaneKey, position: Position) {
        if let Some(parked) = self.parked.get_mut(lane) {
            parked.through = parked.through.max(position);
            parked.count += 1;
            self.parked_changes.insert(lane.clone());
        }
        if let Some(replay) = self.replays.get_mut(lane) {
            replay.ended = false;
        }
    }

    /// Lets a parked lane go on, from its first parked event.
    pub(in crate::consumers) fn replay(&mut self, lane: &LaneKey) -> Result<(), ParkedRefused> {
        let parked = self.parked.get_mut(lane).ok_or(ParkedRefused::NotParked)?;
        if parked.replaying {
            return Err(ParkedRefused::Replaying);
        }
        parked.replaying = true;
        self.replays.insert(lane.clone(), Replay::from(parked.first));
        self.parked_changes.insert(lane.clone());
        Ok(())
    }

    /// Leaves out parked events: all of them, or the first ones.
    pub(in crate::consumers) fn skip(
        &mut self,
        lane: &LaneKey,
        upto: Option<Upto>,
    ) -> Result<(), ParkedRefused> {
        let parked = self.parked.get_mut(lane).ok_or(ParkedRefused::NotParked)?;
        if parked.replaying {
            return Err(ParkedRefused::Replaying);
        }
        match upto {
            Some(upto) if upto.version < parked.first => return Ok(()),
            Some(upto) if upto.position < parked.through => {
                parked.first = upto.version.plus(1);
                parked.position = Position(0);
                // The filter may have been changed since they were counted.
                parked.count = parked.count.saturating_sub(upto.events).max(1);
            }
            _ => {
                self.parked.remove(lane);
            }
        }
        self.parked_changes.insert(lane.clone());
        Ok(())
    }

    /// What is to be read so that replays go on: some lanes at a time, while there is room.
    pub(in crate::consumers) fn wanted_for_replays(&self) -> Vec<ReplayRead> {
        let room = (self.bounds.events / SHARE)
            .max(1)
            .saturating_sub(self.replayed.events);
        let has_room = self.replayed.bytes < (self.bounds.bytes / SHARE).max(1);
        let wanting = |(lane, replay): (&LaneKey, &Replay)| {
            let parked = self.parked.get(lane)?;
            let is_empty = !self.lanes.contains_key(lane);
            (is_empty && !replay.ended).then(|| ReplayRead {
                lane: lane.clone(),
                from: replay.next,
                through: parked.through,
                most: EVENTS,
            })
        };
        let lanes = if has_room { room.min(LANES) } else { 0 };
        let mut reads: Vec<ReplayRead> = self.replays.iter().filter_map(wanting).take(lanes).collect();
        let each = room / reads.len().max(1);
        for read in &mut reads {
            read.most = read.most.min(each);
        }
        reads
    }

    /// Whether what is parked may have the event at this position: which events of the log are of the lane is not known
    /// before they are read, but they lie between its first and its last.
    pub(super) fn may_be_parked(&self, position: Position) -> bool {
        let mut parked = self.parked.values();
        parked.any(|parked| parked.position <= position && position <= parked.through)
    }

    /// Takes a stretch of a history that was wanted. `next` is the version to go on from; none when the end was reached.
    pub(in crate::consumers) fn offer_replay(
        &mut self,
        read: &ReplayRead,
        events: Vec<RecordedEvent>,
        next: Option<Version>,
    ) {
        let through = self.parked.get(&read.lane).map(|parked| parked.through);
        let Some(replay) = self.replays.get_mut(&read.lane) else {
            return;
        };
        if replay.next != read.from || self.lanes.contains_key(&read.lane) {
            // Somebody else was faster.
            return;
        }
        match next {
            Some(next) => replay.next = next,
            None => {
                replay.ended = through == Some(read.through);
                let last = events.last().map(|event| event.version.plus(1));
                replay.next = last.unwrap_or(replay.next);
            }
        }
        for event in events {
            self.push(read.lane.clone(), event, true);
        }
        self.end_replay_if_drained(&read.lane);
    }

    /// An event of a replay is acknowledged.
    pub(super) fn replayed(&mut self, lane: &LaneKey, event: &RecordedEvent) {
        if let Some(parked) = self.parked.get_mut(lane) {
            parked.first = event.version.plus(1);
            parked.position = Position(0);
            parked.count = parked.count.saturating_sub(1);
            self.parked_changes.insert(lane.clone());
        }
    }

    /// A lane whose parked events have all been acknowledged is like any other.
    pub(super) fn end_replay_if_drained(&mut self, lane: &LaneKey) {
        let ended = self.replays.get(lane).is_some_and(|replay| replay.ended);
        if ended && !self.lanes.contains_key(lane) {
            self.replays.remove(lane);
            self.parked.remove(lane);
            self.parked_changes.insert(lane.clone());
        }
    }

    /// What has changed since it was last asked: lanes, and what is parked of them now.
    pub(in crate::consumers) fn take_parked_changes(&mut self) -> Vec<(LaneKey, Option<Parked>)> {
        let changes = std::mem::take(&mut self.parked_changes);
        let now = |lane: LaneKey| {
            let parked = self.parked.get(&lane).cloned();
            (lane, parked)
        };
        changes.into_iter().map(now).collect()
    }

    /// These changes were not written down.
    pub(in crate::consumers) fn parked_again(&mut self, lanes: Vec<LaneKey>) {
        self.parked_changes.extend(lanes);
    }
}
