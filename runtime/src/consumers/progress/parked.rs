//! Lanes that are parked. Their events stay in the log; what is kept is where they begin and end.

use serde::{Deserialize, Serialize};

use super::{Failures, Item, LaneKey, Order, ParkedEvents, Progress, State, stretch::Stretches};
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
    /// Which of its events are parked.
    pub(in crate::consumers) stretches: Stretches,
    /// Where the event is in the log whose last attempt failed; 0 once it is done.
    pub position: Position,
    /// No parked event is before this position.
    pub since: Position,
    /// The position of the last parked event.
    pub through: Position,
    /// How many events are parked.
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

impl Parked {
    /// The version that the parked events begin at.
    #[must_use]
    pub fn first(&self) -> Version {
        self.stretches.first().unwrap_or_default()
    }
}

/// A stretch of a history that is wanted for a replay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::consumers) struct ReplayRead {
    pub(in crate::consumers) lane: LaneKey,
    pub(in crate::consumers) parked: ParkedEvents,
    /// Most events.
    pub(in crate::consumers) most: usize,
}

/// Parked events that are to be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::consumers) struct Upto {
    /// Up to this version.
    pub(in crate::consumers) version: Version,
    /// How many they are.
    pub(in crate::consumers) events: u64,
}

/// Why parked events cannot be replayed or skipped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParkedRefused {
    /// Nothing of the kind is parked.
    #[error("no event of this aggregate is parked")]
    NotParked,
    /// A version was named where the events of an aggregate are parked together.
    #[error("its events are parked together, since the consumer's ordering is `aggregate`")]
    Together,
    /// No version was named where each event is parked by itself.
    #[error("each of its events is parked by itself, since the consumer's ordering is `none`; parked are {}", listed(.parked))]
    Apart {
        /// Those that are, as far as they are shown.
        parked: Vec<Version>,
    },
    /// It is on its way already.
    #[error("its parked events are being replayed")]
    Replaying,
}

/// Versions that are shown of an aggregate's events that are parked each by itself.
const SHOWN: usize = 10;

fn listed(versions: &[Version]) -> String {
    let mut listed: Vec<String> = versions
        .iter()
        .take(SHOWN)
        .map(|version| format!("`{version}`"))
        .collect();
    if versions.len() > SHOWN {
        listed.push("more".to_owned());
    }
    listed.join(", ")
}

impl Progress {
    /// The parked lanes.
    pub(in crate::consumers) fn parked(&self) -> impl Iterator<Item = (&LaneKey, &Parked)> {
        self.parked.iter()
    }

    /// One of them.
    pub(in crate::consumers) fn parked_lane(&self, lane: &LaneKey) -> Result<&Parked, ParkedRefused> {
        self.parked.get(lane).ok_or_else(|| self.missing(lane))
    }

    /// Why no such lane is parked.
    fn missing(&self, lane: &LaneKey) -> ParkedRefused {
        match (lane.alone, self.rules.ordering) {
            (Some(_), Order::Aggregate) => ParkedRefused::Together,
            (None, Order::None) => {
                let of_aggregate = self.parked.range(lane..);
                let of_aggregate = of_aggregate.take_while(|(parked, _)| parked.aggregate == lane.aggregate);
                let versions = of_aggregate.filter_map(|(parked, _)| parked.alone);
                let parked: Vec<Version> = versions.take(SHOWN + 1).collect();
                if parked.is_empty() {
                    ParkedRefused::NotParked
                } else {
                    ParkedRefused::Apart { parked }
                }
            }
            _ => ParkedRefused::NotParked,
        }
    }

    /// Which events of a parked lane are parked.
    pub(in crate::consumers) fn parked_events(&self, parked: &Parked) -> ParkedEvents {
        ParkedEvents::new(&parked.stretches, &self.filters)
    }

    /// Puts a whole lane aside.
    pub(super) fn park(&mut self, lane: &LaneKey, failed: Position, failures: Failures, wall: Millis) {
        let places = self.lanes.remove(lane).unwrap_or_default();
        let items: Vec<Item> = places.iter().filter_map(|place| self.take(*place)).collect();
        let Some(first) = items.first() else { return };
        let parked = self.parked.entry(lane.clone()).or_insert_with(|| Parked {
            generation: self.generation,
            stretches: Stretches::default(),
            position: failed,
            since: first.event.position,
            through: failed,
            count: 0,
            attempts: 0,
            error: String::new(),
            parked_at: wall,
            replaying: false,
        });
        parked.position = failed;
        parked.attempts = failures.attempts;
        parked.error = failures.error;
        parked.parked_at = wall;
        parked.replaying = false;
        self.replays.remove(lane);
        self.parked_changes.insert(lane.clone());
        for Item { event, replayed, .. } in items {
            self.failures.remove(&event.position);
            if !replayed {
                self.put_aside(lane, &event);
                self.done(event.position);
            }
        }
        self.forget_passed();
    }

    /// One more event of a parked lane.
    fn put_aside(&mut self, lane: &LaneKey, event: &RecordedEvent) {
        let Some(parked) = self.parked.get_mut(lane) else {
            return;
        };
        if lane.alone.is_some() || event.position <= self.mixed {
            parked.stretches.name(event.version);
        } else {
            parked.stretches.grow(event.version, self.filters.current());
        }
        parked.since = parked.since.min(event.position);
        parked.through = parked.through.max(event.position);
        parked.count += 1;
        self.parked_changes.insert(lane.clone());
    }

    /// Another event of a parked lane has come. Where it comes before those that are being replayed, they are read again.
    pub(super) fn follow_parked(&mut self, lane: &LaneKey, event: &RecordedEvent) {
        self.put_aside(lane, event);
        let Some(places) = self.lanes.get_mut(lane) else {
            return;
        };
        let items = &self.items;
        let is_out = |place: &Position| {
            matches!(
                items.get(place).map(|item| &item.state),
                Some(State::Leased { .. })
            )
        };
        let later: Vec<Position> = places
            .iter()
            .copied()
            .filter(|place| *place > event.position && !is_out(place))
            .collect();
        places.retain(|place| !later.contains(place));
        if places.is_empty() {
            self.lanes.remove(lane);
        }
        for place in later {
            self.take(place);
        }
    }

    /// Lets a parked lane go on, from its first parked event.
    pub(in crate::consumers) fn replay(&mut self, lane: &LaneKey) -> Result<(), ParkedRefused> {
        if self.parked_lane(lane)?.replaying {
            return Err(ParkedRefused::Replaying);
        }
        if let Some(parked) = self.parked.get_mut(lane) {
            parked.replaying = true;
        }
        self.replays.insert(lane.clone());
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
        if let Some(upto) = upto {
            if upto.version < parked.first() {
                return Ok(());
            }
            parked.stretches.cut_before(upto.version.plus(1));
            parked.position = Position(0);
            parked.count = parked.count.saturating_sub(upto.events);
        }
        if upto.is_none() || parked.stretches.is_empty() {
            self.parked.remove(lane);
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
        let wanting = |lane: &LaneKey| {
            let parked = self.parked.get(lane)?;
            let is_empty = !self.lanes.contains_key(lane);
            // While the feed is read again, earlier events of the lane may come that are wanted now.
            let is_known = self.scanned >= self.mixed.min(parked.through);
            (is_empty && is_known).then(|| ReplayRead {
                lane: lane.clone(),
                parked: self.parked_events(parked),
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
        parked.any(|parked| parked.since <= position && position <= parked.through)
    }

    /// Takes the parked events of a stretch that was wanted. `next` is the version after it; none when there are no more.
    pub(in crate::consumers) fn offer_replay(
        &mut self,
        read: &ReplayRead,
        events: Vec<RecordedEvent>,
        next: Option<Version>,
    ) {
        let Some(parked) = self.parked.get_mut(&read.lane) else {
            return;
        };
        if !parked.replaying
            || parked.stretches != read.parked.stretches
            || self.lanes.contains_key(&read.lane)
        {
            // Somebody else was faster.
            return;
        }
        if events.is_empty() {
            let rest = next.unwrap_or(Version(u64::MAX));
            parked.stretches.cut_before(rest);
        }
        for event in events {
            self.push(read.lane.clone(), event, true);
        }
        self.end_replay_if_drained(&read.lane);
    }

    /// An event of a replay is acknowledged.
    pub(super) fn replayed(&mut self, lane: &LaneKey, event: &RecordedEvent) {
        if let Some(parked) = self.parked.get_mut(lane) {
            parked.stretches.done(event.version);
            parked.position = Position(0);
            parked.count = parked.count.saturating_sub(1);
            self.parked_changes.insert(lane.clone());
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
