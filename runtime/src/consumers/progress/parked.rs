//! Lanes that are parked. Their events stay in the log; what is kept is which of an aggregate's versions they are.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::{Failures, Item, LaneKey, Order, ParkedEvents, Progress, State, stretch::Stretches};
use crate::vocabulary::{Millis, Position, RecordedEvent, Version};

/// A parked lane: the event that could not be handled, and all later ones of its aggregate that the feed has come past.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::consumers) struct Parked {
    /// Of which life of the consumer.
    pub(in crate::consumers) generation: u64,
    /// Which of its events are parked.
    pub(in crate::consumers) stretches: Stretches,
    /// Where the event is in the log whose last attempt failed; 0 once it is done.
    pub(in crate::consumers) position: Position,
    /// No parked event is before this position.
    pub(in crate::consumers) since: Position,
    /// The position of the last parked event.
    pub(in crate::consumers) through: Position,
    /// How many events are parked.
    pub(in crate::consumers) count: u64,
    /// How often the event was tried whose last attempt failed.
    pub(in crate::consumers) attempts: u32,
    /// Why the last attempt failed.
    pub(in crate::consumers) error: String,
    /// When it was parked, by the wall clock.
    pub(in crate::consumers) parked_at: Millis,
    /// Whether its events are being delivered again.
    pub(in crate::consumers) replaying: bool,
}

/// What is shown of a parked lane. It is small, however many gaps there are between its events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedSummary {
    /// No event before this version is parked. Once the first ones are acknowledged or left out, the next one may be behind
    /// it: which is only in the log.
    pub first: Version,
    /// How many events are parked.
    pub count: u64,
    /// How often the event was tried whose last attempt failed.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub error: String,
    /// When it was parked, by the wall clock.
    pub parked_at: Millis,
    /// Whether its events are being delivered again.
    pub replaying: bool,
}

impl Parked {
    /// What is shown of it.
    pub(in crate::consumers) fn summary(&self) -> ParkedSummary {
        ParkedSummary {
            first: self.stretches.first().unwrap_or_default(),
            count: self.count,
            attempts: self.attempts,
            error: self.error.clone(),
            parked_at: self.parked_at,
            replaying: self.replaying,
        }
    }
}

/// Parked events that are to be left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::consumers) struct Skip {
    /// What was parked when that was decided.
    pub(in crate::consumers) which: ParkedEvents,
    /// Those of them up to this version.
    pub(in crate::consumers) through: Version,
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

    /// Those behind one of them.
    pub(in crate::consumers) fn parked_after(
        &self,
        after: Option<&LaneKey>,
    ) -> impl Iterator<Item = (&LaneKey, &Parked)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.parked.range::<LaneKey, _>((from, Bound::Unbounded))
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
        self.parked_changed(lane);
        for Item { event, replayed, .. } in items {
            if !replayed {
                self.put_aside(lane, &event);
            }
            self.done(event.position);
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
        self.parked_changed(lane);
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

    /// Leaves out parked events: all of them, or the first ones. What has been parked since that was decided stays.
    pub(in crate::consumers) fn skip(&mut self, lane: &LaneKey, skip: &Skip) -> Result<(), ParkedRefused> {
        let parked = self.parked.get_mut(lane).ok_or(ParkedRefused::NotParked)?;
        if parked.replaying {
            return Err(ParkedRefused::Replaying);
        }
        parked.stretches.take_out(&skip.which.stretches, skip.through);
        parked.position = Position(0);
        parked.count = parked.count.saturating_sub(skip.events);
        if parked.stretches.is_empty() {
            self.parked.remove(lane);
        }
        self.parked_changed(lane);
        Ok(())
    }

    /// A parked lane is another, or none any more: that is to be written down.
    pub(super) fn parked_changed(&mut self, lane: &LaneKey) {
        self.places = None;
        self.parked_changes.insert(lane.clone());
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
