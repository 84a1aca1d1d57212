//! A lane: the single file of one aggregate's work. A pure state machine: no I/O, no clock.
//!
//! It decides on the *tip*, the state after everything that it has handed to the writer, and does not wait for the fsync
//! between two decisions. What makes that honest: every answer waits behind the newest decision that it was made on,
//! and leaves only when that is durable. When a decision turns out not to be durable, the live object is dropped,
//! everything that was decided on it is decided again, in the order in which it came, and nothing is decided before
//! all that is in flight is settled. The lane's epoch changes whenever its live object is lost, so that the writer
//! can refuse what was decided on a state that no longer counts.

use std::collections::VecDeque;

use crate::{store::Head, vocabulary::LaneEpoch};

/// One aggregate's lane. `Live` is its live object, `Work` what waits for its turn, `Pending` what is kept of a decision
/// in flight, `Gated` an answer that waits for it, `Failure` why it is not durable.
#[derive(Debug)]
pub(crate) struct Lane<Live, Work, Pending, Gated, Failure> {
    epoch: LaneEpoch,
    /// Where the next decision is made; none while it has to be asked of the store.
    tip: Option<Head>,
    live: Option<Live>,
    in_flight: VecDeque<InFlight<Pending, Gated, Failure>>,
    in_flight_max: usize,
    next: u64,
    /// A decision was lost: the tip counts no more, also when what is still in flight turns out to be durable.
    in_doubt: bool,
    /// To be decided again, in order, before the queue, once nothing is in flight.
    again: Vec<Work>,
    queue: VecDeque<Work>,
}

#[derive(Debug)]
struct InFlight<Pending, Gated, Failure> {
    number: u64,
    epoch: LaneEpoch,
    pending: Pending,
    behind: Vec<Gated>,
    settled: Option<Result<(), Failure>>,
}

/// A decision that is settled, with what waited behind it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Settled<Live, Pending, Gated, Failure> {
    /// Durable: the answers may leave.
    Durable { pending: Pending, behind: Vec<Gated> },
    /// Not durable, or not known to be. The live object is to be dropped, and what waited is to be decided again.
    Lost {
        failure: Failure,
        behind: Vec<Gated>,
        live: Option<Live>,
    },
}

impl<Live, Work, Pending, Gated, Failure> Lane<Live, Work, Pending, Gated, Failure> {
    /// A lane that knows nothing of its aggregate yet. At most `in_flight_max` decisions wait for the writer at a time.
    pub(crate) fn new(epoch: LaneEpoch, in_flight_max: usize) -> Self {
        Self {
            epoch,
            tip: None,
            live: None,
            in_flight: VecDeque::new(),
            in_flight_max: in_flight_max.max(1),
            next: 0,
            in_doubt: false,
            again: Vec::new(),
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

    /// Puts the work that was just taken back to the front.
    pub(crate) fn push_back_first(&mut self, work: Work) {
        self.queue.push_front(work);
    }

    /// Keeps work that is to be decided again, behind what was kept before it; [`Lane::resume`] takes it up.
    pub(crate) fn decide_again(&mut self, work: Work) {
        self.again.push(work);
    }

    /// The next piece of work, unless it has to wait.
    pub(crate) fn take_ready(&mut self) -> Option<Work> {
        if self.must_wait() {
            None
        } else {
            self.queue.pop_front()
        }
    }

    /// Whether [`Lane::take_ready`] would give something.
    pub(crate) fn has_ready(&self) -> bool {
        !self.queue.is_empty() && !self.must_wait()
    }

    /// Whether something waits here for a word of the store.
    pub(crate) fn is_blocked(&self) -> bool {
        !self.in_flight.is_empty() && (!self.again.is_empty() || (!self.queue.is_empty() && self.must_wait()))
    }

    /// While something is in flight, only the live object that it was decided on may decide.
    fn must_wait(&self) -> bool {
        match self.in_flight.back() {
            None => false,
            Some(newest) => {
                self.live.is_none()
                    || newest.epoch != self.epoch
                    || self.in_flight.len() >= self.in_flight_max
            }
        }
    }

    /// Whether everything that was decided here is durable.
    pub(crate) fn is_settled(&self) -> bool {
        self.in_flight.is_empty()
    }

    /// What the next decision is made on, once it is known.
    pub(crate) fn tip(&self) -> Option<Head> {
        self.tip
    }

    /// Takes note of the durable head as the store reports it. Nothing may be in flight.
    pub(crate) fn learn_head(&mut self, head: Head) {
        debug_assert!(
            self.in_flight.is_empty(),
            "the store does not know what is in flight"
        );
        self.tip = Some(head);
    }

    pub(crate) fn live(&self) -> Option<&Live> {
        self.live.as_ref()
    }

    /// The live object is there, at the version of the durable head. Nothing may be in flight.
    pub(crate) fn went_live(&mut self, live: Live) {
        debug_assert!(self.live.is_none(), "a lane has one live object");
        debug_assert!(
            self.in_flight.is_empty(),
            "a live object is built from what is durable"
        );
        self.live = Some(live);
    }

    /// The live object is somewhere else from now on, in the same state: what was decided on it counts as before. Gives back
    /// the old one.
    pub(crate) fn move_live(&mut self, live: Live) -> Option<Live> {
        debug_assert!(self.live.is_some(), "only what is there can move");
        self.live.replace(live)
    }

    /// Takes the live object away, for eviction or because its cell is gone. What is in flight is settled by the log.
    pub(crate) fn lose_live(&mut self, next: LaneEpoch) -> Option<Live> {
        debug_assert!(next > self.epoch, "epochs only grow");
        self.epoch = next;
        self.live.take()
    }

    /// A decision goes to the writer, after which the aggregate will stand at `head`. The number is for
    /// [`Lane::settle`].
    pub(crate) fn propose(&mut self, head: Head, pending: Pending) -> u64 {
        let number = self.next;
        self.next += 1;
        self.tip = Some(head);
        self.in_flight.push_back(InFlight {
            number,
            epoch: self.epoch,
            pending,
            behind: Vec::new(),
            settled: None,
        });
        number
    }

    /// Lets an answer wait behind everything in flight; gives it back when there is nothing to wait for.
    pub(crate) fn gate(&mut self, answer: Gated) -> Option<Gated> {
        match self.in_flight.back_mut() {
            Some(newest) => {
                newest.behind.push(answer);
                None
            }
            None => Some(answer),
        }
    }

    /// Lets an answer wait behind the decision in flight that is the one wanted; gives it back when there is none.
    pub(crate) fn gate_behind(&mut self, answer: Gated, is_it: impl Fn(&Pending) -> bool) -> Option<Gated> {
        match self.in_flight.iter_mut().find(|entry| is_it(&entry.pending)) {
            Some(entry) => {
                entry.behind.push(answer);
                None
            }
            None => Some(answer),
        }
    }

    /// The writer's word on a decision. False when no such decision is in flight.
    pub(crate) fn settle(&mut self, number: u64, result: Result<(), Failure>) -> bool {
        let entry = self.in_flight.iter_mut().find(|entry| entry.number == number);
        match entry {
            Some(entry) if entry.settled.is_none() => {
                entry.settled = Some(result);
                true
            }
            _ => false,
        }
    }

    /// The oldest decision in flight, once it is settled: in the order in which they were made, whatever the order in
    /// which their results came. `next` is the lane's epoch if it loses its live object by this.
    pub(crate) fn next_settled(&mut self, next: LaneEpoch) -> Option<Settled<Live, Pending, Gated, Failure>> {
        self.in_flight.front()?.settled.as_ref()?;
        let InFlight {
            epoch,
            pending,
            behind,
            settled,
            ..
        } = self.in_flight.pop_front()?;
        Some(match settled? {
            Ok(()) => Settled::Durable { pending, behind },
            Err(failure) => {
                self.in_doubt = true;
                let live = if epoch == self.epoch {
                    self.lose_live(next)
                } else {
                    None
                };
                Settled::Lost {
                    failure,
                    behind,
                    live,
                }
            }
        })
    }

    /// To be called when [`Lane::next_settled`] gives no more. Once nothing is in flight after a loss, what was lost is
    /// decided again, on what the store then says.
    pub(crate) fn resume(&mut self) {
        if !self.in_flight.is_empty() {
            return;
        }
        if std::mem::take(&mut self.in_doubt) {
            self.tip = None;
        }
        for work in self.again.drain(..).rev() {
            self.queue.push_front(work);
        }
    }

    /// Gives back the memory of queues that are empty: most lanes are idle most of the time.
    pub(crate) fn shrink(&mut self) {
        if self.queue.is_empty() {
            self.queue = VecDeque::new();
        }
        if self.in_flight.is_empty() {
            self.in_flight = VecDeque::new();
        }
        if self.again.is_empty() {
            self.again = Vec::new();
        }
    }

    /// Nothing waits and nothing is in flight: the lane can be let go.
    pub(crate) fn is_idle(&self) -> bool {
        self.in_flight.is_empty() && self.queue.is_empty() && self.again.is_empty()
    }
}

#[cfg(test)]
mod tests;
