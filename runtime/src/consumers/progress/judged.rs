//! What a change of the filter means: what lies behind the checkpoint, and is neither acknowledged nor parked nor leased, is
//! judged by the new one.
//!
//! The feed is read again from the checkpoint. What is done there is named nowhere; but what an earlier filter came past
//! and wanted is done, unless it is among what was left undone. So that is what is kept of an earlier filter, until the
//! checkpoint has come past where it got to. A restart is the same with one filter: see [`super::Record`].

use std::{collections::BTreeSet, mem};

use super::{Definition, Item, LaneKey, Places, Progress, State};
use crate::{
    store::FeedFilter,
    vocabulary::{Millis, Position, RecordedEvent},
};

/// Earlier filters that are kept: each has as many positions as are read ahead.
pub(in crate::consumers) const EARLIER_FILTERS: usize = 16;

/// How far an earlier filter got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Judged {
    /// Its number.
    pub(super) filter: u32,
    /// It came past everything up to here.
    pub(super) through: Position,
    /// What of it was wanted and is still neither acknowledged nor parked.
    pub(super) undone: BTreeSet<Position>,
}

impl Progress {
    /// From now on these rules are in force, when the log ends there. What is leased stays so; what waits is read again if
    /// the filter is another.
    pub(in crate::consumers) fn set_rules(&mut self, rules: Definition, end: Position) {
        let before = mem::replace(&mut self.rules, rules);
        if before.filter != self.rules.filter {
            self.filter_since = end;
            self.filter_changes += 1;
            self.judge_anew();
        }
    }

    /// Whether one more filter can be remembered.
    pub(in crate::consumers) fn takes_filter(&self, filter: &FeedFilter) -> bool {
        let is_known = |judged: &Judged| self.filters.get(judged.filter) == Some(filter);
        *filter == self.rules.filter
            || self.earlier.len() < EARLIER_FILTERS
            || self.earlier.iter().any(is_known)
    }

    fn judge_anew(&mut self) {
        let checkpoint = self.checkpoint();
        let read = self.read_once();
        self.mixed = self.mixed.max(read);
        self.earlier.push(Judged {
            filter: self.filters.current().filter,
            through: read,
            undone: mem::take(&mut self.undone),
        });
        self.filters.change(self.rules.filter.clone());
        let number = self.filters.current().filter;
        // It may have been in force before: then it knows what it came past.
        let resumed = self.earlier.iter().position(|judged| judged.filter == number);
        let resumed = resumed.map(|index| self.earlier.swap_remove(index));
        self.scanned = checkpoint;
        self.known = checkpoint;
        if let Some(mut judged) = resumed {
            self.known = judged.through.max(checkpoint);
            // What it left undone before the checkpoint was let go by another filter since.
            self.undone = judged.undone.split_off(&Position(checkpoint.0.saturating_add(1)));
        }
        self.last_done = self.known;
        self.put_back_what_waits();
        self.forget_passed();
        self.forget_filters();
    }

    /// Takes all that is not leased out of memory: what is wanted is read again, and what is replayed after it.
    fn put_back_what_waits(&mut self) {
        let waits = |item: &Item| !matches!(item.state, State::Leased { .. });
        let waiting: Vec<Position> = self
            .items
            .iter()
            .filter(|(_, item)| waits(item))
            .map(|(position, _)| *position)
            .collect();
        for position in waiting {
            if let Some(item) = self.take(position)
                && !item.replayed
                && !self.rules.filter.wants(&item.event)
            {
                self.failures.remove(&position);
            }
        }
        let items = &self.items;
        self.lanes.retain(|_, places| {
            places.retain(|place| items.contains_key(place));
            !places.is_empty()
        });
    }

    /// Everything up to here has been read, by the present filter in this life of the process or an earlier one.
    pub(super) fn read_once(&self) -> Position {
        self.scanned.max(self.known)
    }

    /// Whether an event that the filter wants is acknowledged or parked.
    pub(super) fn is_done(&self, event: &RecordedEvent) -> bool {
        let position = event.position;
        let by_present = position <= self.known && !self.undone.contains(&position);
        by_present
            || self.earlier.iter().any(|judged| {
                position <= judged.through
                    && !judged.undone.contains(&position)
                    && self
                        .filters
                        .get(judged.filter)
                        .is_some_and(|filter| filter.wants(event))
            })
    }

    /// Takes note that an event of the feed needs nothing any more.
    pub(super) fn done(&mut self, position: Position) {
        self.undone.remove(&position);
        for judged in &mut self.earlier {
            judged.undone.remove(&position);
        }
        self.failures.remove(&position);
        self.last_done = self.last_done.max(position);
    }

    /// Forgets earlier filters that the checkpoint has come past, and what was kept for their sake.
    pub(super) fn forget_passed(&mut self) {
        let checkpoint = self.checkpoint();
        let before = self.earlier.len();
        self.earlier.retain(|judged| judged.through > checkpoint);
        if self.earlier.len() == before {
            return;
        }
        let places = self.places.take();
        let places = places.unwrap_or_else(|| Places::of(self.parked.values()));
        self.failures.retain(|position, _| {
            *position > checkpoint || self.items.contains_key(position) || places.may_have(*position)
        });
        self.places = Some(places);
        self.forget_filters();
    }

    /// Forgets the filters that nothing goes by any more.
    fn forget_filters(&mut self) {
        let (earlier, parked) = (&self.earlier, &self.parked);
        self.filters.retain(|number| {
            earlier.iter().any(|judged| judged.filter == number)
                || parked.values().any(|parked| parked.stretches.go_by(number))
        });
    }

    /// Whether a leased event comes again when its lease is over. One that the filter does not want any more, or that the
    /// checkpoint has passed while it did not, is let go.
    pub(super) fn is_owed(&self, item: &Item) -> bool {
        let position = item.event.position;
        item.replayed
            || self.undone.contains(&position)
            || (position > self.scanned && self.rules.filter.wants(&item.event))
    }

    /// The lease of an event is over, and it is not done: it is ready when its lane has come to it, not before a time. What
    /// is to be read again comes when it is, also what is replayed and not the first that is parked any more.
    pub(super) fn give_back(&mut self, position: Position, not_before: Option<Millis>) {
        let Some(item) = self.items.get(&position) else {
            return;
        };
        let (lane, is_owed) = (self.lane_of(&item.event), self.is_owed(item));
        let is_read_again = if item.replayed {
            self.may_have_before(&lane, item.event.version)
        } else {
            position > self.scanned
        };
        if !is_owed || is_read_again {
            self.take(position);
            if !is_owed {
                self.failures.remove(&position);
            }
            self.advance(&lane, position);
            return;
        }
        let first = self.lanes.get(&lane).and_then(|places| places.front().copied());
        let Some(first) = first else { return };
        match not_before.filter(|_| first == position) {
            Some(until) => self.wait(position, until),
            None => self.make_ready(first),
        }
    }

    /// Puts an event into its lane, in the order of the log: only what is leased out can be behind it.
    pub(super) fn queue(&mut self, lane: LaneKey, position: Position) {
        let places = self.lanes.entry(lane).or_default();
        let place = places.partition_point(|other| *other < position);
        places.insert(place, position);
        if places.len() == 1 {
            self.make_ready(position);
        }
    }
}
