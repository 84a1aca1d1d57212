//! One subscriber: the seam's steps, taken.

use std::sync::Arc;

use futures_util::FutureExt as _;
use tokio::{
    sync::{
        broadcast::{
            Receiver,
            error::{RecvError, TryRecvError},
        },
        watch,
    },
    task::{JoinError, JoinHandle},
};

use crate::{
    store::{PageLimit, ReadError},
    vocabulary::Position,
};

use super::{
    Bus, Delivery, Event, Place, Signal, Source,
    event::LiveEvent,
    seam::{Placed, Seam, Step},
    source::SourcePage,
};

/// Steps that are taken at a time before others get their turn.
const STEPS_AT_ONCE: usize = 256;

/// A place in the log that moves forward.
#[derive(Debug)]
pub struct Subscription {
    bus: Bus,
    source: Source,
    page: PageLimit,
    seam: Seam<Event>,
    /// The broadcast, while the seam listens.
    receiver: Option<Receiver<Signal>>,
    /// The page that is being read.
    reading: Option<JoinHandle<Result<SourcePage, ReadError>>>,
    closed: watch::Receiver<bool>,
    _place: Place,
}

impl Placed for Event {
    fn position(&self) -> Position {
        Self::position(self)
    }
}

impl Subscription {
    pub(super) fn new(bus: &Bus, place: Place, after: Position, source: Source) -> Self {
        let limits = &bus.limits;
        Self {
            bus: bus.clone(),
            source,
            page: PageLimit {
                events: limits.stream_page_events,
                bytes: limits.stream_page_bytes,
            },
            seam: Seam::new(after, limits.checkpoint_positions),
            receiver: None,
            reading: None,
            closed: bus.closed.subscribe(),
            _place: place,
        }
    }

    /// The next delivery; waits when there is none yet. Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`ReadError`] when the store cannot be read; the subscription can be asked again.
    pub async fn next(&mut self) -> Result<Delivery, ReadError> {
        loop {
            if self.bus.is_closing() {
                return Ok(Delivery::Closed);
            }
            match self.seam.next() {
                Step::Deliver(delivery) => {
                    self.read_ahead();
                    return Ok(delivery);
                }
                Step::Read => {
                    let read = self.reading().await;
                    self.take_page(read)?;
                }
                Step::Listen => self.listen(),
                Step::Receive => {
                    let Some(receiver) = &mut self.receiver else {
                        self.seam.lagged();
                        continue;
                    };
                    let signal = tokio::select! {
                        signal = receiver.recv() => signal,
                        _ = self.closed.wait_for(|closed| *closed) => return Ok(Delivery::Closed),
                    };
                    self.take_signal(signal);
                }
            }
        }
    }

    /// The next delivery when it is there already.
    pub fn try_next(&mut self) -> Option<Result<Delivery, ReadError>> {
        for _ in 0..STEPS_AT_ONCE {
            match self.seam.next() {
                Step::Deliver(delivery) => {
                    self.read_ahead();
                    return Some(Ok(delivery));
                }
                Step::Read => {
                    let read = self.reading().now_or_never()?;
                    if let Err(error) = self.take_page(read) {
                        return Some(Err(error));
                    }
                }
                Step::Listen => self.listen(),
                Step::Receive => match self.receiver.as_mut()?.try_recv() {
                    Ok(signal) => self.take_signal(Ok(signal)),
                    Err(TryRecvError::Lagged(missed)) => self.take_signal(Err(RecvError::Lagged(missed))),
                    // The next call that waits is told.
                    Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
                },
            }
        }
        None
    }

    /// Whether what comes next comes from the broadcast.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.seam.is_live()
    }

    /// Everything up to here has been looked at; deliveries of what was found may still be to come.
    #[must_use]
    pub fn reached(&self) -> Position {
        self.seam.reached()
    }

    /// The place that has been reached, when no delivery has told of it: in silence, where to resume.
    pub fn checkpoint(&mut self) -> Option<Position> {
        self.seam.checkpoint()
    }

    /// Reads the next page while half of the last one is still to be delivered.
    fn read_ahead(&mut self) {
        if self.reading.is_none() && self.seam.reads_next() && self.seam.ready() <= self.page.events / 2 {
            let _ahead = self.reading();
        }
    }

    /// The page that is being read, on a thread that may block.
    fn reading(&mut self) -> &mut JoinHandle<Result<SourcePage, ReadError>> {
        self.reading.get_or_insert_with(|| {
            let (store, source) = (Arc::clone(&self.bus.store), self.source.clone());
            let (after, page) = (self.seam.reached(), self.page);
            tokio::task::spawn_blocking(move || source.read(&*store, after, page))
        })
    }

    fn take_page(&mut self, read: Result<Result<SourcePage, ReadError>, JoinError>) -> Result<(), ReadError> {
        self.reading = None;
        let unavailable = |error: JoinError| ReadError::Unavailable {
            reason: error.to_string(),
        };
        let read = read.map_err(unavailable)??;
        self.source.passed_page(&read);
        let page = read.page;
        let events = page.events.into_iter().map(Event::Read);
        self.seam.page(events, page.scanned, page.at_head);
        Ok(())
    }

    fn listen(&mut self) {
        self.receiver = Some(self.bus.sender.subscribe());
        self.seam.listening();
    }

    fn take_signal(&mut self, signal: Result<Signal, RecvError>) {
        match signal {
            Ok(Signal::Commit(shared)) => {
                let (commit, last) = (&shared.committed.commit, shared.committed.last_position());
                let source = &self.source;
                let commit_events = if source.wants_commit(commit) {
                    commit.events.as_slice()
                } else {
                    &[]
                };
                let wanted = commit_events.iter().enumerate();
                let wanted = wanted.filter(|(index, event)| source.wants_event(commit, *index, event));
                let live = wanted.map(|(index, _)| Event::Live(LiveEvent::new(&shared, index)));
                self.seam.commit(live, last);
                self.source.passed_commit(commit);
            }
            Ok(Signal::Stored { key, last }) => {
                if self.source.may_want(&key) {
                    self.seam.stored(last);
                } else {
                    self.seam.commit([], last);
                }
            }
            // It is not closed: the subscription's own handle to the bus holds it open.
            Err(RecvError::Lagged(_) | RecvError::Closed) => self.seam.lagged(),
        }
        if self.seam.reads_next() {
            self.receiver = None;
        }
    }
}

#[cfg(test)]
mod tests;
