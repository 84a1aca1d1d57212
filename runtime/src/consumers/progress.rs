//! How far a consumer has got: what is done, what is leased, what waits, what is parked. Pure: events and times come in,
//! deliveries go out.
//!
//! The feed is read ahead by a bounded number of events. Those of one aggregate form a *lane*: only its first event can be
//! delivered, and the next takes its place once that one is acknowledged, so members never have two events of one
//! aggregate at a time. After the last attempt a lane is *parked*: its events, and those that come later, are
//! left in the log, and only which of its versions they are is kept. Without an order each event is a lane by itself.

mod deliver;
mod judged;
mod parked;
mod places;
mod ready;
mod recent;
mod record;
mod replays;
mod settle;
mod stretch;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::{
    definition::{Definition, Order},
    lease::{LeaseId, Owner},
};
use crate::vocabulary::{AggregateKey, Millis, Position, RecordedEvent, Version};

pub(super) use judged::EARLIER_FILTERS;
use judged::Judged;
pub(super) use parked::{Parked, Skip};
pub use parked::{ParkedRefused, ParkedSummary};
use places::Places;
use ready::{Kind, Ready};
use recent::Recent;
pub(super) use record::Record;
pub(super) use replays::ReplayRead;
pub use settle::Refusal;
use stretch::Filters;
pub(super) use stretch::ParkedEvents;

/// Events that follow each other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LaneKey {
    /// The aggregate.
    pub aggregate: AggregateKey,
    /// Which event, when each is by itself.
    pub alone: Option<Version>,
}

/// The time. Leases and pauses go by the steady clock alone.
#[derive(Debug, Clone, Copy)]
pub(super) struct Now {
    /// Milliseconds of a clock that never goes back.
    pub(super) steady: Millis,
    /// Milliseconds since the Unix epoch, for people.
    pub(super) wall: Millis,
}

/// How much may be held in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Events that are read ahead. Replays have room for a quarter as many beside them, so that neither holds up the other.
    pub(super) events: usize,
    /// Their payloads, bytes.
    pub(super) bytes: usize,
    /// Lanes that may be parked.
    pub(super) parked: usize,
}

/// What a member is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivered {
    /// What it acknowledges it with.
    pub lease: LeaseId,
    /// Why the attempt before failed.
    pub last_error: Option<String>,
    /// The event.
    pub event: RecordedEvent,
}

/// Attempts that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Failures {
    pub(super) attempts: u32,
    pub(super) error: String,
}

/// How much is held in memory.
#[derive(Debug, Clone, Copy, Default)]
struct Held {
    events: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Item {
    event: RecordedEvent,
    state: State,
    /// Whether it comes from a parked lane that is being replayed.
    replayed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// Behind another one of its lane.
    Queued,
    /// First of its lane.
    Ready,
    /// Not before this time.
    Waiting(Millis),
    Leased {
        member: String,
        attempt: u32,
        until: Millis,
    },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Progress {
    rules: Definition,
    bounds: Bounds,
    owner: Owner,
    generation: u64,
    /// Everything up to here has been read from the feed.
    scanned: Position,
    /// As an earlier life of the process left it, or an earlier time of the filter: everything up to here is done, but what
    /// `undone` names.
    known: Position,
    /// The filter in force, and those that something still goes by.
    filters: Filters,
    /// What earlier filters came past, behind the checkpoint.
    earlier: Vec<Judged>,
    /// Up to here an aggregate's events may be acknowledged although earlier ones are not: they were not wanted then.
    mixed: Position,
    /// Where the log ended when the filter was last changed: what was leased by another is not behind it.
    filter_since: Position,
    /// How often it was.
    filter_changes: u64,
    /// Wanted and neither acknowledged nor parked, as far as is known.
    undone: BTreeSet<Position>,
    /// The last position of what is done.
    last_done: Position,
    /// What was acknowledged last, as many as may be out: whoever did not hear of it asks again.
    acked: Recent<Position>,
    /// What was refused last, likewise, with the attempt.
    refused: Recent<(Position, u32)>,
    failures: BTreeMap<Position, Failures>,
    items: BTreeMap<Position, Item>,
    /// Those of the items that come from the feed.
    fed: Held,
    /// Those that come from replays.
    replayed: Held,
    lanes: HashMap<LaneKey, VecDeque<Position>>,
    ready: Ready,
    /// Leases that end, and pauses that do.
    due: BTreeSet<(Millis, Position)>,
    leased: usize,
    parked: BTreeMap<LaneKey, Parked>,
    /// Those of them that are being replayed, but for `early`.
    replays: BTreeSet<LaneKey>,
    /// Those that nothing is read of before the feed has been read again up to there, or further.
    early: BTreeSet<(Position, LaneKey)>,
    /// Where parked events lie; none when that has changed since it was last asked.
    places: Option<Places>,
    /// What of `parked` has changed since it was last written down.
    parked_changes: BTreeSet<LaneKey>,
}

impl Progress {
    /// A consumer that begins after a position.
    pub(super) fn new(generation: u64, start: Position, rules: Definition, bounds: Bounds) -> Self {
        Self {
            filters: Filters::new(rules.filter.clone()),
            rules,
            bounds,
            owner: Owner::default(),
            generation,
            scanned: start,
            known: start,
            earlier: Vec::new(),
            mixed: Position(0),
            filter_since: Position(0),
            filter_changes: 0,
            undone: BTreeSet::new(),
            last_done: start,
            acked: Recent::default(),
            refused: Recent::default(),
            failures: BTreeMap::new(),
            items: BTreeMap::new(),
            fed: Held::default(),
            replayed: Held::default(),
            lanes: HashMap::new(),
            ready: Ready::default(),
            due: BTreeSet::new(),
            leased: 0,
            parked: BTreeMap::new(),
            replays: BTreeSet::new(),
            early: BTreeSet::new(),
            places: None,
            parked_changes: BTreeSet::new(),
        }
    }

    /// The same, of this consumer.
    pub(super) fn owned_by(self, owner: Owner) -> Self {
        Self { owner, ..self }
    }

    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn rules(&self) -> &Definition {
        &self.rules
    }

    /// Everything up to here is acknowledged, parked or not wanted.
    pub(super) fn checkpoint(&self) -> Position {
        match self.undone.first() {
            Some(first) => Position(first.0.saturating_sub(1)),
            None => self.read_once(),
        }
    }

    /// Wanted events that are neither acknowledged nor parked, as far as the feed has been read: how many, and where
    /// the rest begins.
    pub(super) fn undone(&self) -> (u64, Position) {
        (self.undone.len() as u64, self.read_once())
    }

    /// Whether some of the rest may be acknowledged: another filter came past it.
    pub(super) fn rest_may_be_done(&self) -> bool {
        self.earlier
            .iter()
            .any(|judged| judged.through > self.read_once())
    }

    /// The oldest event that is neither acknowledged nor parked, of those that are in memory.
    pub(super) fn oldest(&self) -> Option<&RecordedEvent> {
        let item = self.undone.first().and_then(|first| self.items.get(first));
        item.map(|item| &item.event)
    }

    /// Events in memory.
    #[cfg(test)]
    pub(super) fn held_events(&self) -> usize {
        self.items.len()
    }

    /// Leases that are out.
    #[cfg(test)]
    pub(super) fn leased(&self) -> usize {
        self.leased
    }

    /// The members that hold leases, and how many.
    pub(super) fn members(&self) -> BTreeMap<&str, usize> {
        let mut members = BTreeMap::new();
        for item in self.items.values() {
            if let State::Leased { member, .. } = &item.state {
                *members.entry(member.as_str()).or_default() += 1;
            }
        }
        members
    }

    /// Where the feed is to be read on, and how many events there is room for. None while there is none.
    pub(super) fn wants_more(&self) -> Option<(Position, usize)> {
        let room = self.bounds.events.saturating_sub(self.fed.events);
        (room > 0 && self.fed.bytes < self.bounds.bytes).then_some((self.scanned, room))
    }

    /// How many more leases may be out.
    pub(super) fn room(&self) -> usize {
        (self.rules.concurrency as usize).saturating_sub(self.leased)
    }

    /// Whether anything can be delivered now.
    pub(super) fn is_ready(&self) -> bool {
        self.room() > 0 && !self.ready.is_empty()
    }

    /// Whether of the feed's events, or else of replayed ones, fewer can be delivered now than are asked for. Those that
    /// failed before do not count: they are delivered one at a time.
    pub(super) fn is_short_of(&self, replayed: bool, most: usize) -> bool {
        let kind = if replayed { Kind::Replayed } else { Kind::Fed };
        self.ready.count(kind) < most.min(self.room())
    }

    /// Takes a stretch of the feed, read from where [`Self::wants_more`] said.
    pub(super) fn offer(&mut self, after: Position, events: Vec<RecordedEvent>, scanned: Position) {
        if after != self.scanned {
            // Somebody else was faster.
            return;
        }
        for event in events {
            let position = event.position;
            if self.is_done(&event) {
                continue;
            }
            if let Some(item) = self.items.get(&position) {
                // It has been leased out since before the filter was changed. What is replayed is parked, and stays so.
                if !item.replayed {
                    self.undone.insert(position);
                }
                continue;
            }
            self.undone.insert(position);
            let lane = self.lane_of(&event);
            if self.parked.contains_key(&lane) {
                self.follow_parked(&lane, &event);
                self.done(position);
            } else {
                self.push(lane, event, false);
            }
        }
        self.scanned = self.scanned.max(scanned);
        self.forget_passed();
    }

    fn lane_of(&self, event: &RecordedEvent) -> LaneKey {
        LaneKey {
            aggregate: event.key.clone(),
            alone: (self.rules.ordering == Order::None).then_some(event.version),
        }
    }

    fn push(&mut self, lane: LaneKey, event: RecordedEvent, replayed: bool) {
        let position = event.position;
        let held = self.held(replayed);
        held.events += 1;
        held.bytes += event.payload.len();
        let item = Item {
            event,
            state: State::Queued,
            replayed,
        };
        self.items.insert(position, item);
        self.queue(lane, position);
    }

    fn held(&mut self, replayed: bool) -> &mut Held {
        if replayed {
            &mut self.replayed
        } else {
            &mut self.fed
        }
    }
}
