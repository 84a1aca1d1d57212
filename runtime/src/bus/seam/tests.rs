//! Nothing is missed and nothing comes twice, however commits, the broadcast and the reader interleave.
//!
//! The model has what the seam relies on and no more: a commit is readable first and broadcast then, both in order, and
//! the broadcast drops its oldest when it is full. A property test takes the steps one by one and shrinks what fails;
//! shuttle lets threads take them, under schedules of its choosing, and would report a reader that waits for ever.

use std::ops::RangeInclusive;

use proptest::prelude::*;
use shuttle::{
    sync::{Arc, Condvar, Mutex},
    thread,
};

use super::*;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Event(u64);

impl Placed for Event {
    fn position(&self) -> Position {
        Position(self.0)
    }
}

#[derive(Debug, Clone)]
struct Commit {
    positions: RangeInclusive<u64>,
    is_wanted: bool,
    /// Too large for the broadcast.
    is_stored: bool,
}

impl Commit {
    fn wanted(&self) -> impl Iterator<Item = u64> + use<> {
        let is_wanted = self.is_wanted;
        self.positions.clone().filter(move |_| is_wanted)
    }
}

/// The store and the broadcast.
#[derive(Debug, Default)]
struct Model {
    /// Everything that is readable.
    commits: Vec<Commit>,
    /// So many of them have been broadcast.
    told: usize,
    /// So many of those are kept.
    capacity: usize,
    /// Which of them the reader gets next.
    receiver: usize,
}

enum Received {
    Nothing,
    Commit(Commit),
    Lagged,
}

impl Model {
    fn write(&mut self, events: u64, is_wanted: bool, is_stored: bool) {
        let first = self.commits.last().map_or(1, |commit| commit.positions.end() + 1);
        self.commits.push(Commit {
            positions: first..=first + events - 1,
            is_wanted,
            is_stored,
        });
    }

    fn tell(&mut self) {
        self.told = self.commits.len().min(self.told + 1);
    }

    fn wanted(&self) -> Vec<u64> {
        self.commits.iter().flat_map(Commit::wanted).collect()
    }

    /// A page that looks at so many positions.
    fn read(&self, after: Position, looks_at: u64) -> (Vec<Event>, Position, bool) {
        let end = self.commits.last().map_or(0, |commit| *commit.positions.end());
        let scanned = end.min(after.0 + looks_at).max(after.0);
        let stretch = after.0 + 1..=scanned;
        let wanted = self
            .wanted()
            .into_iter()
            .filter(|position| stretch.contains(position));
        (wanted.map(Event).collect(), Position(scanned), scanned >= end)
    }

    fn receive(&mut self) -> Received {
        if self.receiver == self.told {
            return Received::Nothing;
        }
        if self.told - self.receiver > self.capacity {
            self.receiver = self.told - self.capacity;
            return Received::Lagged;
        }
        self.receiver += 1;
        Received::Commit(self.commits[self.receiver - 1].clone())
    }
}

/// Gives a seam what the broadcast has; false when it has nothing.
fn received(seam: &mut Seam<Event>, received: Received) -> bool {
    match received {
        Received::Nothing => return false,
        Received::Lagged => seam.lagged(),
        Received::Commit(commit) if commit.is_stored => seam.stored(Position(*commit.positions.end())),
        Received::Commit(commit) => {
            seam.commit(commit.wanted().map(Event), Position(*commit.positions.end()));
        }
    }
    true
}

/// What a subscriber has been given.
#[derive(Debug, Default)]
struct Given {
    events: Vec<u64>,
    /// Where it would resume.
    place: u64,
}

impl Given {
    /// Takes a delivery and checks it: a place that is told of has everything before it.
    fn take(&mut self, delivery: Delivery<Event>, wanted: &[u64]) {
        match delivery {
            Delivery::Event(Event(position)) => {
                self.events.push(position);
                self.place = position;
            }
            Delivery::CaughtUp(place) | Delivery::FellBehind(place) | Delivery::Checkpoint(place) => {
                assert!(
                    place.0 >= self.place,
                    "{place:?} was told of after {}",
                    self.place
                );
                self.place = place.0;
            }
            Delivery::Closed => panic!("nobody closes here"),
        }
        let before: Vec<u64> = wanted
            .iter()
            .copied()
            .filter(|position| *position <= self.place)
            .collect();
        assert_eq!(self.events, before, "at {}", self.place);
    }
}

#[derive(Debug, Clone)]
enum Act {
    Write {
        events: u64,
        is_wanted: bool,
        is_stored: bool,
    },
    Tell,
    Reader {
        steps: usize,
    },
    /// The subscriber goes and comes back with the last place it was told of.
    Reconnect,
    /// A heartbeat: the place is told of when it is news.
    Silence,
}

fn act() -> impl Strategy<Value = Act> {
    let write = (1..4_u64, any::<bool>(), prop::bool::weighted(0.1));
    prop_oneof![
        4 => write.prop_map(|(events, is_wanted, is_stored)| Act::Write { events, is_wanted, is_stored }),
        4 => Just(Act::Tell),
        6 => (1..6_usize).prop_map(|steps| Act::Reader { steps }),
        1 => Just(Act::Reconnect),
        1 => Just(Act::Silence),
    ]
}

/// One step of a reader; false when it waits.
fn step(seam: &mut Seam<Event>, model: &mut Model, looks_at: u64, given: &mut Given) -> bool {
    match seam.next() {
        Step::Deliver(delivery) => given.take(delivery, &model.wanted()),
        Step::Read => {
            let (events, scanned, at_head) = model.read(seam.reached(), looks_at);
            seam.page(events, scanned, at_head);
        }
        Step::Listen => {
            model.receiver = model.told;
            seam.listening();
        }
        Step::Receive => return received(seam, model.receive()),
    }
    true
}

proptest! {
    #[test]
    fn every_wanted_event_comes_once_and_in_order(
        acts in prop::collection::vec(act(), 1..80),
        capacity in 1..4_usize,
        looks_at in 1..6_u64,
        untold_max in 1..8_u64,
    ) {
        let mut model = Model { capacity, ..Model::default() };
        let mut seam = Seam::new(Position(0), untold_max);
        let mut given = Given::default();
        for act in acts {
            match act {
                Act::Write { events, is_wanted, is_stored } => model.write(events, is_wanted, is_stored),
                Act::Tell => model.tell(),
                Act::Reader { steps } => {
                    for _ in 0..steps {
                        step(&mut seam, &mut model, looks_at, &mut given);
                    }
                }
                Act::Reconnect => seam = Seam::new(Position(given.place), untold_max),
                Act::Silence => {
                    if let Some(place) = seam.checkpoint() {
                        given.take(Delivery::Checkpoint(place), &model.wanted());
                    }
                }
            }
        }
        // At rest everything has come, and the place is at most so far behind.
        while model.told < model.commits.len() {
            model.tell();
        }
        while step(&mut seam, &mut model, looks_at, &mut given) {}
        prop_assert_eq!(&given.events, &model.wanted());
        let end = model.commits.last().map_or(0, |commit| *commit.positions.end());
        prop_assert!(end - given.place < untold_max, "{} of {end}", given.place);
    }
}

/// A writer and a reader as threads: the reader ends when it has all that is wanted, and otherwise waits for ever.
fn cross(commits: &'static [(u64, bool, bool)], capacity: usize, looks_at: u64) {
    let model = Model {
        capacity,
        ..Model::default()
    };
    let shared = Arc::new((Mutex::new(model), Condvar::new()));
    let all: u64 = commits
        .iter()
        .filter(|(_, is_wanted, _)| *is_wanted)
        .map(|(events, ..)| events)
        .sum();
    let writer = thread::spawn({
        let shared = Arc::clone(&shared);
        move || {
            for (events, is_wanted, is_stored) in commits {
                shared.0.lock().unwrap().write(*events, *is_wanted, *is_stored);
                shared.0.lock().unwrap().tell();
                shared.1.notify_all();
            }
        }
    });
    let mut seam = Seam::new(Position(0), 4);
    let mut given = Given::default();
    while (given.events.len() as u64) < all {
        match seam.next() {
            Step::Deliver(delivery) => given.take(delivery, &shared.0.lock().unwrap().wanted()),
            Step::Read => {
                let (events, scanned, at_head) = shared.0.lock().unwrap().read(seam.reached(), looks_at);
                seam.page(events, scanned, at_head);
            }
            Step::Listen => {
                let mut model = shared.0.lock().unwrap();
                model.receiver = model.told;
                seam.listening();
            }
            Step::Receive => {
                let mut model = shared.0.lock().unwrap();
                while !received(&mut seam, model.receive()) {
                    model = shared.1.wait(model).unwrap();
                }
            }
        }
    }
    writer.join().unwrap();
}

/// Events, whether they are wanted, and whether they are too large for the broadcast.
const COMMITS: &[(u64, bool, bool)] = &[
    (1, true, false),
    (2, true, false),
    (1, false, false),
    (1, true, true),
    (1, true, false),
    (3, false, false),
    (1, true, false),
];

#[test]
fn threads_cross_from_the_store_to_live_under_any_schedule() {
    for (capacity, looks_at) in [(8, 3), (2, 2), (1, 1)] {
        shuttle::check_random(move || cross(COMMITS, capacity, looks_at), 3_000);
        shuttle::check_pct(move || cross(COMMITS, capacity, looks_at), 1_000, 3);
    }
    // The smallest case there is, one schedule after the other.
    shuttle::check_dfs(|| cross(&COMMITS[..2], 4, 8), Some(20_000));
}
