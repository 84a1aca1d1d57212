//! What a subscriber is given.

use std::sync::Arc;

use super::Written;
use crate::vocabulary::{Committed, Position, RecordedEvent};

/// What a subscriber is given, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery<E = Event> {
    /// An event.
    Event(E),
    /// Everything up to here has been delivered or was not wanted; what comes next is live.
    CaughtUp(Position),
    /// The subscriber was too slow for the broadcast; it goes on from the store. Nothing is lost.
    FellBehind(Position),
    /// Everything up to here has been looked at: where to resume although nothing was wanted.
    Checkpoint(Position),
    /// The server is shutting down.
    Closed,
}

/// An event on its way to a subscriber.
#[derive(Debug, Clone)]
pub enum Event {
    /// Read from the store.
    Read(RecordedEvent),
    /// As it was committed.
    Live(LiveEvent),
    /// Several, one behind the other, in the form that was asked for.
    Written(Written),
}

impl Event {
    /// Its place in the whole log; of several, the last one's.
    #[must_use]
    pub fn position(&self) -> Position {
        match self {
            Self::Read(event) => event.position,
            Self::Live(event) => event.position(),
            Self::Written(written) => written.position(),
        }
    }
}

/// An event of a commit that all who follow share.
#[derive(Debug, Clone)]
pub struct LiveEvent {
    commit: Arc<Committed>,
    index: usize,
}

impl LiveEvent {
    pub(super) fn new(commit: &Arc<Committed>, index: usize) -> Self {
        Self {
            commit: Arc::clone(commit),
            index,
        }
    }

    /// Its place in the whole log.
    #[must_use]
    pub fn position(&self) -> Position {
        Position(self.commit.first_position.0 + self.index as u64)
    }

    /// The commit, and which of its events this is.
    #[must_use]
    pub fn of(&self) -> (&Committed, usize) {
        (&self.commit, self.index)
    }
}
