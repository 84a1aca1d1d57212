//! The seam between the store and the broadcast, without any I/O: pages and signals go in, and what comes out is what to
//! deliver and what to do next.
//!
//! ```text
//!  CatchingUp ── a page at the head ──► Turning ── listening ──► CrossingOver ── a page at the head ──► Live
//!      ▲                                                                                                 │
//!      └────────────────────── lagged, or a commit that is only in the store ────────────────────────────┘
//! ```
//!
//! What is committed before the listening begins is readable by then, since a commit is readable before it is broadcast,
//! and the page that is read after it has it. What is committed later is broadcast. So nothing is missed, and what
//! comes both ways is known by its position.

use std::collections::VecDeque;

use crate::vocabulary::Position;

use super::Delivery;

/// What has a place in the log.
pub(super) trait Placed {
    fn position(&self) -> Position;
}

/// What is to be done next.
#[derive(Debug)]
pub(super) enum Step<E> {
    /// Deliver this.
    Deliver(Delivery<E>),
    /// Read a page after [`Seam::reached`], and give it to [`Seam::page`].
    Read,
    /// Begin to listen to the broadcast, and say so with [`Seam::listening`].
    Listen,
    /// Wait for a signal of the broadcast.
    Receive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Reading pages from the store.
    CatchingUp,
    /// At the head of the store; not listening yet.
    Turning,
    /// Listening already, reading the store once more to its end.
    CrossingOver,
    /// Everything comes from the broadcast.
    Live,
}

/// A place in the log that moves forward.
#[derive(Debug)]
pub(super) struct Seam<E> {
    phase: Phase,
    /// Everything up to here has been put into `ready` or was not wanted.
    reached: Position,
    /// The last place that the subscriber learns of from what it was given and what is `ready`.
    told: Position,
    /// So far `reached` may be from `told`.
    untold_max: u64,
    ready: VecDeque<Delivery<E>>,
    /// Whether reaching the head is news to the subscriber: at first, and after it fell behind.
    announce: bool,
}

impl<E: Placed> Seam<E> {
    pub(super) fn new(after: Position, untold_max: u64) -> Self {
        Self {
            phase: Phase::CatchingUp,
            reached: after,
            told: after,
            untold_max,
            ready: VecDeque::new(),
            announce: true,
        }
    }

    /// Everything up to here has been looked at.
    pub(super) fn reached(&self) -> Position {
        self.reached
    }

    /// Whether everything comes from the broadcast.
    pub(super) fn is_live(&self) -> bool {
        self.phase == Phase::Live
    }

    /// Deliveries that wait to be taken.
    pub(super) fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Whether a page is wanted once everything that is ready has been taken.
    pub(super) fn reads_next(&self) -> bool {
        matches!(self.phase, Phase::CatchingUp | Phase::CrossingOver)
    }

    pub(super) fn next(&mut self) -> Step<E> {
        if let Some(delivery) = self.ready.pop_front() {
            return Step::Deliver(delivery);
        }
        match self.phase {
            Phase::CatchingUp | Phase::CrossingOver => Step::Read,
            Phase::Turning => Step::Listen,
            Phase::Live => Step::Receive,
        }
    }

    /// Takes a page: what is wanted between `reached` and `scanned`.
    pub(super) fn page(&mut self, events: impl IntoIterator<Item = E>, scanned: Position, at_head: bool) {
        self.take(events, scanned);
        if !at_head {
            return;
        }
        match self.phase {
            Phase::CatchingUp => self.phase = Phase::Turning,
            Phase::CrossingOver => {
                self.phase = Phase::Live;
                if std::mem::take(&mut self.announce) {
                    self.tell(Delivery::CaughtUp);
                }
            }
            Phase::Turning | Phase::Live => {}
        }
    }

    /// The broadcast is listened to from now on.
    pub(super) fn listening(&mut self) {
        self.phase = Phase::CrossingOver;
    }

    /// Takes a commit that was broadcast: what is wanted of it, and its last position.
    pub(super) fn commit(&mut self, events: impl IntoIterator<Item = E>, last: Position) {
        self.take(events, last);
    }

    /// What was broadcast up to a place was delivered past the seam; and where the last event of that is.
    pub(super) fn passed_by(&mut self, last: Option<Position>, through: Position) {
        self.told = self.told.max(last.unwrap_or_default());
        self.take([], through);
    }

    /// A commit up to this position is to be read from the store; whether the page has more does not matter.
    pub(super) fn stored(&mut self, last: Position) {
        if last > self.reached {
            self.phase = Phase::CatchingUp;
        }
    }

    /// The broadcast has gone on without us.
    pub(super) fn lagged(&mut self) {
        self.tell(Delivery::FellBehind);
        self.announce = true;
        self.phase = Phase::CatchingUp;
    }

    /// The place that has been reached, when that is news and nothing is ready that would tell.
    pub(super) fn checkpoint(&mut self) -> Option<Position> {
        if !self.ready.is_empty() || self.reached <= self.told {
            return None;
        }
        self.told = self.reached;
        Some(self.reached)
    }

    fn take(&mut self, events: impl IntoIterator<Item = E>, last: Position) {
        for event in events {
            // Delivered already, when it came the other way too.
            if event.position() > self.reached {
                self.reached = event.position();
                self.told = self.reached;
                self.ready.push_back(Delivery::Event(event));
            }
        }
        self.reached = self.reached.max(last);
        if self.reached.0 - self.told.0 >= self.untold_max {
            self.tell(Delivery::Checkpoint);
        }
    }

    fn tell(&mut self, what: impl FnOnce(Position) -> Delivery<E>) {
        self.told = self.reached;
        self.ready.push_back(what(self.reached));
    }
}

#[cfg(test)]
mod tests;
