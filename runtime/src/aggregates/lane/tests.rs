//! Lanes by example, and against a sequential model: random schedules of commands, reads, failures, losses of the live object
//! and late results, over a disk that keeps the writer's rules.

use std::collections::{HashSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::vocabulary::Version;

fn head(version: u64) -> Head {
    Head {
        version: Version(version),
        ..Head::default()
    }
}

type Plain = Lane<u64, u8, u8, u8, &'static str>;

fn lane() -> Plain {
    let mut lane = Lane::new(LaneEpoch(1), 3);
    lane.learn_head(head(0));
    lane.went_live(0);
    lane
}

#[test]
fn the_next_decision_does_not_wait_for_the_fsync_of_the_last() {
    let mut lane = lane();
    for work in 1..=4 {
        lane.push(work, 4).unwrap();
    }
    assert_eq!(lane.push(5, 4), Err(5));
    for version in 1..=3 {
        assert_eq!(lane.take_ready(), Some(version));
        lane.propose(head(u64::from(version)), version);
    }
    assert_eq!(lane.take_ready(), None, "so many are in flight, and no more");
    assert_eq!((lane.tip(), lane.is_settled()), (Some(head(3)), false));
    assert!(lane.settle(0, Ok(())) && !lane.settle(0, Ok(())) && !lane.settle(9, Ok(())));
    let settled = lane.next_settled(LaneEpoch(2));
    let durable = |pending| Settled::Durable {
        pending,
        behind: Vec::new(),
    };
    assert_eq!(settled, Some(durable(1)));
    assert_eq!(lane.next_settled(LaneEpoch(3)), None);
    lane.resume();
    assert_eq!(lane.take_ready(), Some(4));
}

#[test]
fn answers_wait_behind_what_they_were_decided_on() {
    let mut lane = lane();
    assert_eq!(lane.gate(7), Some(7), "nothing to wait for");
    let first = lane.propose(head(1), 10);
    assert_eq!(lane.gate(8), None);
    let second = lane.propose(head(2), 20);
    assert_eq!(lane.gate(9), None);
    assert_eq!(lane.gate_behind(6, |pending| *pending == 10), None);
    assert_eq!(lane.gate_behind(5, |pending| *pending == 30), Some(5));
    assert!(lane.settle(second, Ok(())));
    assert_eq!(
        lane.next_settled(LaneEpoch(2)),
        None,
        "results are taken in order"
    );
    assert!(lane.settle(first, Ok(())));
    let durable = |pending, behind| Some(Settled::Durable { pending, behind });
    assert_eq!(lane.next_settled(LaneEpoch(2)), durable(10, vec![8, 6]));
    assert_eq!(lane.next_settled(LaneEpoch(2)), durable(20, vec![9]));
}

#[test]
fn what_was_decided_on_a_lost_decision_is_decided_again_in_order() {
    let mut lane = lane();
    lane.push(9, 9).unwrap();
    let first = lane.propose(head(1), 1);
    let second = lane.propose(head(2), 2);
    assert!(lane.settle(first, Err("disk")));
    let lost = |failure, live| {
        Some(Settled::Lost {
            failure,
            behind: Vec::new(),
            live,
        })
    };
    assert_eq!(lane.next_settled(LaneEpoch(2)), lost("disk", Some(0)));
    lane.decide_again(1);
    lane.resume();
    assert_eq!(lane.take_ready(), None, "something is in flight still");
    assert!(lane.settle(second, Err("superseded")));
    assert_eq!(lane.next_settled(LaneEpoch(3)), lost("superseded", None));
    lane.decide_again(2);
    lane.resume();
    assert_eq!(
        (lane.tip(), lane.live(), lane.epoch()),
        (None, None, LaneEpoch(2))
    );
    lane.learn_head(head(0));
    lane.went_live(0);
    assert_eq!(
        [lane.take_ready(), lane.take_ready(), lane.take_ready()],
        [Some(1), Some(2), Some(9)]
    );
}

#[test]
fn a_lane_that_lost_its_object_rebuilds_once_all_is_settled() {
    let mut lane = lane();
    let number = lane.propose(head(1), 7);
    lane.push(8, 9).unwrap();
    lane.lose_live(LaneEpoch(2));
    assert!(!lane.has_ready());
    assert!(lane.settle(number, Ok(())));
    assert!(lane.next_settled(LaneEpoch(3)).is_some());
    lane.resume();
    assert_eq!(lane.tip(), Some(head(1)));
    assert_eq!(lane.take_ready(), Some(8));
}

#[test]
fn an_object_that_moved_goes_on_with_what_is_in_flight() {
    let mut lane = lane();
    let number = lane.propose(head(1), 7);
    lane.push(8, 9).unwrap();
    let epoch = lane.epoch();
    assert_eq!(lane.move_live(55), Some(0));
    assert_eq!((lane.epoch(), lane.take_ready()), (epoch, Some(8)));
    assert!(lane.settle(number, Err("disk")));
    let lost = Settled::Lost {
        failure: "disk",
        behind: Vec::new(),
        live: Some(55),
    };
    assert_eq!(lane.next_settled(LaneEpoch(2)), Some(lost), "and is lost with it");
}

#[test]
fn a_lane_that_shrinks_keeps_what_it_has() {
    let mut lane = lane();
    let number = lane.propose(head(1), 7);
    lane.push(8, 9).unwrap();
    lane.shrink();
    assert_eq!(lane.take_ready(), Some(8));
    assert!(lane.settle(number, Ok(())));
    assert!(lane.next_settled(LaneEpoch(2)).is_some());
    lane.resume();
    lane.shrink();
    assert!(lane.is_idle() && lane.live().is_some());
}

/// What a caller wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    /// A decision with an event.
    Record(u32),
    /// A decision that records nothing: a rejection without a key.
    Reject(u32),
    /// A read of the state.
    Read(u32),
}

impl Ask {
    fn number(self) -> u32 {
        match self {
            Self::Record(number) | Self::Reject(number) | Self::Read(number) => number,
        }
    }
}

/// An answer that waits: to what, and the commands that made the state it was made on.
#[derive(Debug, Clone)]
struct Waiting {
    ask: Ask,
    seen: Vec<u32>,
}

#[derive(Debug)]
struct Proposal {
    number: u64,
    epoch: LaneEpoch,
    expected: u64,
    command: u32,
}

/// What the disk does with the next proposal.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Written,
    /// Not written, and known not to be.
    Refused,
    /// It cannot be said; it is there.
    UnknownWritten,
    /// It cannot be said; it is not there.
    UnknownLost,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Ask(u8),
    Run,
    Write(Fate),
    /// A result reaches the lane, any of those that are on their way.
    Deliver(prop::sample::Index),
    LoseLive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// It never got to the disk, because what it was decided on did not.
    Superseded,
    /// Told to the caller.
    Failed,
}

/// The world around one lane.
struct World {
    lane: Lane<Vec<u32>, Ask, u32, Waiting, (u32, Why)>,
    epochs: u64,
    asked: u32,
    /// The events of the aggregate: which command each came of.
    disk: Vec<u32>,
    writer: VecDeque<Proposal>,
    failed_lives: HashSet<u64>,
    results: Vec<(u64, u32, Result<(), Why>)>,
    /// Commands and reads in the order in which they were answered; for commands whether they succeeded.
    answered: Vec<(u32, bool)>,
}

impl World {
    fn new() -> Self {
        Self {
            lane: Lane::new(LaneEpoch(0), 5),
            epochs: 0,
            asked: 0,
            disk: Vec::new(),
            writer: VecDeque::new(),
            failed_lives: HashSet::new(),
            results: Vec::new(),
            answered: Vec::new(),
        }
    }

    fn next_epoch(&mut self) -> LaneEpoch {
        self.epochs += 1;
        LaneEpoch(self.epochs)
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Ask(kind) => {
                self.asked += 1;
                let ask = match kind % 4 {
                    0 => Ask::Reject(self.asked),
                    1 => Ask::Read(self.asked),
                    _ => Ask::Record(self.asked),
                };
                self.lane.push(ask, usize::MAX).unwrap();
            }
            Step::Run => self.run()?,
            Step::Write(fate) => self.write(fate),
            Step::Deliver(index) if !self.results.is_empty() => {
                let (number, command, result) = self.results.remove(index.index(self.results.len()));
                self.deliver(number, command, result)?;
            }
            Step::Deliver(_) => {}
            Step::LoseLive => {
                let next = self.next_epoch();
                self.lane.lose_live(next);
            }
        }
        Ok(())
    }

    fn run(&mut self) -> Result<(), TestCaseError> {
        let Some(ask) = self.lane.take_ready() else {
            return Ok(());
        };
        if self.lane.tip().is_none() {
            self.lane.learn_head(head(self.disk.len() as u64));
        }
        let tip = self.lane.tip().unwrap().version.0;
        if self.lane.live().is_none() {
            prop_assert_eq!(tip, self.disk.len() as u64, "rebuilt from all that is durable");
            self.lane.went_live(self.disk.clone());
        }
        let mut state = self.lane.live().unwrap().clone();
        prop_assert_eq!(state.len() as u64, tip, "the live object is at the tip");
        let Ask::Record(command) = ask else {
            let waiting = Waiting { ask, seen: state };
            if let Some(waiting) = self.lane.gate(waiting) {
                self.answer(waiting)?;
            }
            return Ok(());
        };
        state.push(command);
        self.lane.live = Some(state);
        let epoch = self.lane.epoch();
        let number = self.lane.propose(head(tip + 1), command);
        self.writer.push_back(Proposal {
            number,
            epoch,
            expected: tip,
            command,
        });
        Ok(())
    }

    /// The writer's rules: nothing of a life that lost its ground, nothing on another head.
    fn write(&mut self, fate: Fate) {
        let Some(proposal) = self.writer.pop_front() else {
            return;
        };
        let Proposal {
            number,
            epoch,
            expected,
            command,
        } = proposal;
        let has_ground = !self.failed_lives.contains(&epoch.0) && expected == self.disk.len() as u64;
        let result = match fate {
            _ if !has_ground => Err(Why::Superseded),
            Fate::Written => Ok(()),
            Fate::Refused | Fate::UnknownLost | Fate::UnknownWritten => Err(Why::Failed),
        };
        if has_ground && matches!(fate, Fate::Written | Fate::UnknownWritten) {
            self.disk.push(command);
        }
        if result.is_err() {
            self.failed_lives.insert(epoch.0);
        }
        self.results.push((number, command, result));
    }

    fn deliver(&mut self, number: u64, command: u32, result: Result<(), Why>) -> Result<(), TestCaseError> {
        if result.is_ok() {
            // The writer answers by itself.
            self.answered.push((command, true));
        }
        prop_assert!(self.lane.settle(number, result.map_err(|why| (command, why))));
        loop {
            let next = self.next_epoch();
            match self.lane.next_settled(next) {
                Some(Settled::Durable { behind, .. }) => {
                    for waiting in behind {
                        self.answer(waiting)?;
                    }
                }
                Some(Settled::Lost {
                    failure: (command, why),
                    behind,
                    ..
                }) => {
                    match why {
                        Why::Superseded => self.lane.decide_again(Ask::Record(command)),
                        Why::Failed => self.answered.push((command, false)),
                    }
                    for waiting in behind {
                        self.lane.decide_again(waiting.ask);
                    }
                }
                None => break,
            }
        }
        self.lane.resume();
        Ok(())
    }

    /// An answer leaves: everything that it was decided on must be on the disk.
    fn answer(&mut self, waiting: Waiting) -> Result<(), TestCaseError> {
        let Waiting { ask, seen } = waiting;
        prop_assert!(
            self.disk.starts_with(&seen),
            "{:?} saw {:?}, the disk has {:?}",
            ask,
            seen,
            self.disk
        );
        self.answered.push((ask.number(), true));
        Ok(())
    }

    /// Lets everything come to its end.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..20 * (self.asked as usize + 1) {
            self.run()?;
            self.write(Fate::Written);
            if !self.results.is_empty() {
                let (number, command, result) = self.results.remove(0);
                self.deliver(number, command, result)?;
            }
        }
        prop_assert!(self.lane.is_idle() && self.writer.is_empty() && self.results.is_empty());
        let mut all: Vec<u32> = self.answered.iter().map(|(number, _)| *number).collect();
        all.sort_unstable();
        let every: Vec<u32> = (1..=self.asked).collect();
        prop_assert_eq!(all, every, "everything is answered, exactly once");
        prop_assert!(
            self.disk.windows(2).all(|pair| pair[0] < pair[1]),
            "decided in the order of the callers: {:?}",
            self.disk
        );
        prop_assert!(self.lane.live().is_none_or(|live| *live == self.disk));
        Ok(())
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let fate = prop_oneof![
        6 => Just(Fate::Written),
        1 => Just(Fate::Refused),
        1 => Just(Fate::UnknownWritten),
        1 => Just(Fate::UnknownLost),
    ];
    let step = prop_oneof![
        4 => any::<u8>().prop_map(Step::Ask),
        5 => Just(Step::Run),
        4 => fate.prop_map(Step::Write),
        4 => any::<prop::sample::Index>().prop_map(Step::Deliver),
        1 => Just(Step::LoseLive),
    ];
    prop::collection::vec(step, 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Against the sequential model: nothing leaves before what it was decided on is on the disk, everything is answered
    /// exactly once, and the disk holds the decisions in the order in which they were asked for.
    #[test]
    fn lanes_follow_the_sequential_model(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.step(step)?;
        }
        world.finish()?;
    }
}
