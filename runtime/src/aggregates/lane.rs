//! A lane: the single file of one aggregate's work. A pure state machine: no I/O, no clock.
//!
//! It knows the durable head, holds the live object while there is one, and lets nothing be decided while a commit is
//! in flight. Every answer is gated by the version it was decided at. The lane's epoch changes whenever its live object
//! is lost, so that the writer can refuse what was decided on a state that no longer counts.

use std::collections::VecDeque;

use crate::{
    store::Head,
    vocabulary::{LaneEpoch, Version},
};

/// One aggregate's lane. `Live` is its live object, `Work` what waits, `Pending` what waits for a commit.
#[derive(Debug)]
pub(crate) struct Lane<Live, Work, Pending> {
    epoch: LaneEpoch,
    head: Option<Head>,
    live: Option<Live>,
    in_flight: Option<InFlight<Pending>>,
    queue: VecDeque<Work>,
}

#[derive(Debug)]
struct InFlight<Pending> {
    epoch: LaneEpoch,
    head: Head,
    pending: Pending,
}

/// What a settled commit leaves to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Settled<Live, Pending> {
    /// Durable: the answer may leave.
    Durable(Pending),
    /// Not durable, or not known to be: the live object must be dropped.
    Lost(Pending, Option<Live>),
    /// Not a commit of this lane's that is in flight.
    Unknown,
}

impl<Live, Work, Pending> Lane<Live, Work, Pending> {
    pub(crate) fn new(epoch: LaneEpoch) -> Self {
        Self {
            epoch,
            head: None,
            live: None,
            in_flight: None,
            queue: VecDeque::new(),
        }
    }

    pub(crate) fn epoch(&self) -> LaneEpoch {
        self.epoch
    }

    /// Adds work at the end; gives it back when `limit` are waiting.
    pub(crate) fn push(&mut self, work: Work, limit: usize) -> Result<(), Work> {
        if self.queue.len() >= limit {
            return Err(work);
        }
        self.queue.push_back(work);
        Ok(())
    }

    /// Puts work back to the front: it is to be decided again.
    pub(crate) fn push_again(&mut self, work: Work) {
        self.queue.push_front(work);
    }

    /// The next piece of work, unless a commit is in flight.
    pub(crate) fn take_ready(&mut self) -> Option<Work> {
        if self.in_flight.is_some() {
            None
        } else {
            self.queue.pop_front()
        }
    }

    /// Whether [`Lane::take_ready`] would give something.
    pub(crate) fn has_ready(&self) -> bool {
        self.in_flight.is_none() && !self.queue.is_empty()
    }

    /// The durable head, once it is known.
    pub(crate) fn head(&self) -> Option<Head> {
        self.head
    }

    /// Takes note of the durable head as the store reports it.
    pub(crate) fn learn_head(&mut self, head: Head) {
        self.head = Some(head);
    }

    /// Whether an answer that was decided at `version` may leave the process.
    pub(crate) fn is_durable(&self, version: Version) -> bool {
        self.head.is_some_and(|head| version <= head.version)
    }

    pub(crate) fn live(&self) -> Option<&Live> {
        self.live.as_ref()
    }

    /// The live object is there, at the version of the durable head.
    pub(crate) fn went_live(&mut self, live: Live) {
        debug_assert!(self.live.is_none(), "a lane has one live object");
        self.live = Some(live);
    }

    /// Takes the live object away, for eviction or because its cell is gone. What was decided on it counts no more,
    /// except what is in flight already: that is settled by the log.
    pub(crate) fn lose_live(&mut self, next: LaneEpoch) -> Option<Live> {
        debug_assert!(next > self.epoch, "epochs only grow");
        self.epoch = next;
        self.live.take()
    }

    /// A decision was handed to the writer; the lane waits until it is settled.
    pub(crate) fn propose(&mut self, head: Head, pending: Pending) {
        debug_assert!(self.in_flight.is_none(), "one commit in flight per lane");
        self.in_flight = Some(InFlight {
            epoch: self.epoch,
            head,
            pending,
        });
    }

    /// The writer's word on the commit that was proposed in `epoch`: `Some(head)` when it is durable.
    pub(crate) fn settle(
        &mut self,
        epoch: LaneEpoch,
        durable: bool,
        next: LaneEpoch,
    ) -> Settled<Live, Pending> {
        match self.in_flight.take() {
            Some(in_flight) if in_flight.epoch == epoch => {
                if durable {
                    self.head = Some(in_flight.head);
                    return Settled::Durable(in_flight.pending);
                }
                self.head = None;
                let live = self.lose_live(next);
                Settled::Lost(in_flight.pending, live)
            }
            other => {
                self.in_flight = other;
                Settled::Unknown
            }
        }
    }

    /// Nothing waits and nothing is in flight: the lane can be let go.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_none() && self.queue.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(version: u64) -> Head {
        Head {
            version: Version(version),
            ..Head::default()
        }
    }

    #[test]
    fn nothing_is_decided_while_a_commit_is_in_flight() {
        let mut lane: Lane<u64, u8, u8> = Lane::new(LaneEpoch(1));
        lane.push(1, 2).unwrap();
        lane.push(2, 2).unwrap();
        assert_eq!(lane.push(3, 2), Err(3));
        lane.learn_head(head(0));
        assert_eq!(lane.take_ready(), Some(1));
        lane.propose(head(1), 1);
        assert_eq!(lane.take_ready(), None);
        assert!(!lane.is_durable(Version(1)));
        assert_eq!(lane.settle(LaneEpoch(9), true, LaneEpoch(10)), Settled::Unknown);
        assert_eq!(
            lane.settle(LaneEpoch(1), true, LaneEpoch(10)),
            Settled::Durable(1)
        );
        assert!(lane.is_durable(Version(1)));
        assert_eq!(lane.take_ready(), Some(2));
    }

    #[test]
    fn a_failed_commit_drops_the_live_object_and_the_known_head() {
        let mut lane: Lane<u64, u8, u8> = Lane::new(LaneEpoch(1));
        lane.learn_head(head(3));
        lane.went_live(3);
        lane.propose(head(4), 7);
        assert_eq!(
            lane.settle(LaneEpoch(1), false, LaneEpoch(2)),
            Settled::Lost(7, Some(3))
        );
        assert_eq!(
            (lane.head(), lane.live(), lane.epoch()),
            (None, None, LaneEpoch(2))
        );
    }

    #[test]
    fn a_lane_that_lost_its_object_still_gets_its_commit_settled() {
        let mut lane: Lane<u64, u8, u8> = Lane::new(LaneEpoch(1));
        lane.learn_head(head(0));
        lane.went_live(0);
        lane.propose(head(1), 7);
        lane.push(8, 9).unwrap();
        lane.lose_live(LaneEpoch(2));
        assert_eq!(
            lane.take_ready(),
            None,
            "it rebuilds only once the head is settled"
        );
        assert_eq!(lane.settle(LaneEpoch(1), true, LaneEpoch(3)), Settled::Durable(7));
        assert_eq!(lane.head(), Some(head(1)));
        assert_eq!(lane.take_ready(), Some(8));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push,
        Run,
        Settle(bool),
        Lose,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => Just(Step::Push),
            4 => Just(Step::Run),
            3 => any::<bool>().prop_map(Step::Settle),
            1 => Just(Step::Lose),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        /// Against a sequential model: work is decided in order, each decision on the durable state (or on the live
        /// object that equals it), and each piece of work is answered exactly once.
        #[test]
        fn lanes_follow_the_sequential_model(steps in steps()) {
            let mut lane: Lane<u64, u32, u32> = Lane::new(LaneEpoch(0));
            let (mut disk, mut proposed, mut epochs) = (0_u64, None, 0_u64);
            let (mut pushed, mut answered) = (0_u32, Vec::new());
            let mut next = || { epochs += 1; LaneEpoch(epochs) };
            for step in steps {
                match step {
                    Step::Push => { pushed += 1; lane.push(pushed, usize::MAX).unwrap(); }
                    Step::Run => if let Some(work) = lane.take_ready() {
                        prop_assert!(proposed.is_none());
                        if lane.head().is_none() { lane.learn_head(head(disk)); }
                        let version = lane.head().unwrap().version.0;
                        prop_assert_eq!(version, disk);
                        if lane.live().is_none() { lane.went_live(version); }
                        proposed = Some((lane.epoch(), version + 1));
                        lane.propose(head(version + 1), work);
                    },
                    Step::Settle(durable) => if let Some((epoch, version)) = proposed.take() {
                        if durable { disk = version; }
                        match lane.settle(epoch, durable, next()) {
                            Settled::Durable(work) => {
                                prop_assert!(durable && lane.is_durable(Version(version)));
                                answered.push(work);
                                if lane.live().is_some() {
                                    lane.live = Some(version);
                                }
                            }
                            Settled::Lost(work, _) => {
                                prop_assert!(!durable && lane.live().is_none());
                                answered.push(work);
                            }
                            Settled::Unknown => prop_assert!(false, "the commit was ours"),
                        }
                    },
                    Step::Lose => { lane.lose_live(next()); }
                }
            }
            let sorted: Vec<_> = (1..=answered.len() as u32).collect();
            prop_assert_eq!(answered, sorted);
        }
    }
}
