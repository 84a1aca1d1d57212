//! One subscriber: catch up from the store, cross over to live, fall back when it lags.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use tokio::sync::{
    broadcast::{Receiver, error::RecvError},
    watch,
};

use crate::{
    store::{FeedFilter, FeedPage, PageLimit, ReadError},
    vocabulary::{Position, RecordedEvent},
};

use super::{Bus, Signal};

/// What a subscriber is given, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// An event.
    Event(Box<RecordedEvent>),
    /// Everything up to here has been delivered or was not wanted; what comes next is live.
    CaughtUp(Position),
    /// The subscriber was too slow for the broadcast; it goes on from the store. Nothing is lost.
    FellBehind(Position),
    /// Everything up to here has been looked at: where to resume although nothing was wanted.
    Checkpoint(Position),
    /// The server is shutting down.
    Closed,
}

/// A place in the log that moves forward.
#[derive(Debug)]
pub struct Subscription {
    bus: Bus,
    filter: FeedFilter,
    page: PageLimit,
    /// Everything up to here has been put into `ready` or was not wanted.
    reached: Position,
    ready: VecDeque<Delivery>,
    phase: Phase,
    /// Whether reaching the head is news to the subscriber: at first, and after it fell behind.
    announce: bool,
    closed: watch::Receiver<bool>,
}

#[derive(Debug)]
enum Phase {
    /// Reading pages from the store.
    CatchingUp,
    /// Listening already, reading the store once more to its end, so that there is no gap at the seam.
    CrossingOver(Receiver<Signal>),
    /// Everything comes from the broadcast.
    Live(Receiver<Signal>),
}

impl Subscription {
    pub(crate) fn new(bus: &Bus, after: Position, filter: FeedFilter, page: PageLimit) -> Self {
        Self {
            bus: bus.clone(),
            filter,
            page,
            reached: after,
            ready: VecDeque::new(),
            phase: Phase::CatchingUp,
            announce: true,
            closed: bus.closed.subscribe(),
        }
    }

    /// The next delivery; waits when there is none yet. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot be read; the subscription can be asked again.
    pub async fn next(&mut self) -> Result<Delivery, ReadError> {
        loop {
            if self.bus.closing.load(Ordering::Acquire) {
                return Ok(Delivery::Closed);
            }
            if let Some(delivery) = self.ready.pop_front() {
                return Ok(delivery);
            }
            match &mut self.phase {
                Phase::CatchingUp | Phase::CrossingOver(_) => self.read_page().await?,
                Phase::Live(receiver) => {
                    let signal = tokio::select! {
                        signal = receiver.recv() => signal,
                        _ = self.closed.wait_for(|closed| *closed) => return Ok(Delivery::Closed),
                    };
                    self.take(signal);
                }
            }
        }
    }

    async fn read_page(&mut self) -> Result<(), ReadError> {
        let FeedPage {
            events,
            scanned,
            at_head,
        } = self.read().await?;
        let nothing_wanted = events.is_empty() && scanned > self.reached;
        self.reached = self.reached.max(scanned);
        self.ready
            .extend(events.into_iter().map(|event| Delivery::Event(Box::new(event))));
        if nothing_wanted && !at_head {
            self.ready.push_back(Delivery::Checkpoint(self.reached));
        }
        if at_head {
            self.phase = match std::mem::replace(&mut self.phase, Phase::CatchingUp) {
                Phase::CatchingUp => Phase::CrossingOver(self.bus.sender.subscribe()),
                Phase::CrossingOver(receiver) | Phase::Live(receiver) => {
                    if std::mem::take(&mut self.announce) {
                        self.ready.push_back(Delivery::CaughtUp(self.reached));
                    }
                    Phase::Live(receiver)
                }
            };
        }
        Ok(())
    }

    /// Reads on a thread that may block.
    async fn read(&self) -> Result<FeedPage, ReadError> {
        let (store, filter) = (Arc::clone(&self.bus.store), self.filter.clone());
        let (after, page) = (self.reached, self.page);
        let read = tokio::task::spawn_blocking(move || store.feed(after, &filter, page)).await;
        read.unwrap_or_else(|error| {
            Err(ReadError::Unavailable {
                reason: error.to_string(),
            })
        })
    }

    fn take(&mut self, signal: Result<Signal, RecvError>) {
        match signal {
            // Delivered already, from the store.
            Ok(signal) if signal.last_position() <= self.reached => {}
            Ok(Signal::Commit(committed)) => {
                if self.filter.wants_commit(&committed.commit) {
                    let events = committed
                        .recorded_events()
                        .filter(|event| event.position > self.reached && self.filter.wants(event));
                    self.ready
                        .extend(events.map(|event| Delivery::Event(Box::new(event))));
                }
                self.reached = committed.last_position();
            }
            Ok(Signal::Stored { .. }) => self.phase = Phase::CatchingUp,
            Err(RecvError::Lagged(_)) => {
                self.ready.push_back(Delivery::FellBehind(self.reached));
                self.announce = true;
                self.phase = Phase::CatchingUp;
            }
            Err(RecvError::Closed) => self.ready.push_back(Delivery::Closed),
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.bus.subscribers.fetch_sub(1, Ordering::AcqRel);
    }
}
