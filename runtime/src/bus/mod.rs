//! The bus: what was committed, as it is committed, for anybody who follows.
//!
//! A tokio broadcast carries recent commits. A subscriber that joins late or lags reads from the store and crosses over
//! to the broadcast without gap or duplicate, because a commit is readable before it is broadcast. Nothing here can slow
//! the writer: sending to a broadcast never waits.

mod event;
mod history;
mod pace;
mod place;
mod push;
mod relay;
mod seam;
mod source;
mod subscription;
#[cfg(test)]
mod tests;
mod waiting;

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use bytes::Bytes;
use tokio::sync::{Semaphore, broadcast, watch};

use crate::{
    store::{EventStore, FeedFilter},
    vocabulary::{AggregateKey, Commit, Committed, Limits, Outcome, Position},
};

pub use event::{Delivery, Event, LiveEvent};
pub use history::{History, HistoryPage};
pub use place::Place;
pub use push::{Outlet, Put};
pub use relay::{Form, Written};
pub use source::Source;
pub use subscription::Subscription;

use relay::{Frame, Relays};
use waiting::Moves;

/// What the broadcast carries.
#[derive(Debug, Clone)]
pub(crate) enum Signal {
    /// A commit with events.
    Commit(Arc<Committed>),
    /// A commit too large to be kept for those who are behind: it is read from the store.
    Stored { key: AggregateKey, last: Position },
    /// What a relay has written.
    Frame(Arc<Frame>),
}

/// The handle to the bus.
#[derive(Debug, Clone)]
pub struct Bus {
    store: Arc<dyn EventStore>,
    sender: broadcast::Sender<Signal>,
    limits: Arc<Limits>,
    subscribers: Arc<AtomicUsize>,
    closed: Arc<watch::Sender<bool>>,
    closing: Arc<AtomicBool>,
    moves: Moves,
    relays: Relays,
    /// For large pages.
    room: Arc<Semaphore>,
}

/// No more subscribers are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{limit} subscribers are following already, which is the limit")]
pub struct TooManySubscribers {
    /// The limit.
    pub limit: usize,
}

impl Bus {
    /// Follows the store's commits from now on.
    #[must_use]
    pub fn new(store: &Arc<dyn EventStore>, limits: &Arc<Limits>) -> Self {
        let (sender, _) = broadcast::channel(limits.bus_commits);
        let publish = sender.clone();
        let commit_bytes = limits.bus_commit_bytes;
        let moves = Moves::new();
        let moving = moves.clone();
        store.listen(Box::new(move |committed| {
            if committed.commit.events.is_empty() {
                return;
            }
            // Who subscribes after this look finds the commit in the store.
            if publish.receiver_count() > 0 {
                let signal = if kept_bytes(&committed.commit) <= commit_bytes {
                    Signal::Commit(Arc::clone(committed))
                } else {
                    Signal::Stored {
                        key: committed.commit.key.clone(),
                        last: committed.last_position(),
                    }
                };
                // An error only says that nobody is listening any more.
                drop(publish.send(signal));
            }
            moving.moved();
        }));
        Self {
            store: Arc::clone(store),
            sender,
            limits: Arc::clone(limits),
            subscribers: Arc::default(),
            closed: Arc::new(watch::channel(false).0),
            closing: Arc::default(),
            moves,
            relays: Relays::default(),
            room: Arc::new(Semaphore::new(limits.large_pages)),
        }
    }

    /// Everything after a position that the source has, from the store first, then live.
    ///
    /// # Errors
    /// [`TooManySubscribers`].
    pub fn subscribe(
        &self,
        after: Position,
        source: impl Into<Source>,
    ) -> Result<Subscription, TooManySubscribers> {
        Ok(Subscription::new(self, Some(self.place()?), after, source.into()))
    }

    /// The same of the whole log for those who are sent the events in a form: once live, they come as [`Event::Written`], and
    /// whoever follows the same events in the same form shares them. It is to be called within a runtime of tokio.
    ///
    /// # Errors
    /// [`TooManySubscribers`].
    pub fn subscribe_written(
        &self,
        after: Position,
        filter: FeedFilter,
        form: Form,
    ) -> Result<Subscription, TooManySubscribers> {
        let place = self.place()?;
        let relay = self.relays.of(self, &filter, form);
        Ok(Subscription::new(self, Some(place), after, filter.into()).through(relay))
    }

    /// Ends every subscription and every wait, for shutdown.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.closed.send_replace(true);
    }

    fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

/// What an event takes beside its payload, bytes: where its parts are, and its name.
const EVENT_BYTES: usize = 128;

/// What keeping a commit costs: all that clients and modules made as large, and as many, as they liked.
fn kept_bytes(commit: &Commit) -> usize {
    let each = commit.events.len() * EVENT_BYTES;
    let events: usize = commit.events.iter().map(|event| event.payload.len()).sum();
    let command = commit.command.payload.as_ref().map_or(0, Bytes::len);
    let answer = match &commit.outcome {
        Outcome::Accepted { reply, .. } => reply.as_ref().map_or(0, Bytes::len),
        Outcome::Rejected { message, details, .. } => message.len() + details.as_ref().map_or(0, Bytes::len),
    };
    each + events + command + answer
}
