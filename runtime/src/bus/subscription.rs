//! One subscriber: the seam's steps, taken.

use std::{sync::Arc, time::Instant};

use futures_util::FutureExt as _;
use tokio::{
    sync::{
        broadcast::{
            Receiver,
            error::{RecvError, TryRecvError},
        },
        oneshot, watch,
    },
    task::{JoinError, JoinHandle},
};

use crate::{store::ReadError, vocabulary::Position};

use super::{
    Bus, Delivery, Event, Place, Signal, Source,
    event::LiveEvent,
    pace::Pace,
    push::{Join, Outlet, Received},
    relay::Relay,
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
    pace: Pace,
    seam: Seam<Event>,
    /// What is listened to instead of the commits.
    relay: Option<Arc<Relay>>,
    /// The broadcast, while the seam listens.
    receiver: Option<Receiver<Signal>>,
    /// The page that is being read.
    reading: Option<JoinHandle<Result<SourcePage, ReadError>>>,
    closed: watch::Receiver<bool>,
    _place: Option<Place>,
}

impl Placed for Event {
    fn position(&self) -> Position {
        Self::position(self)
    }
}

impl Subscription {
    pub(super) fn new(bus: &Bus, place: Option<Place>, after: Position, source: Source) -> Self {
        Self {
            bus: bus.clone(),
            source,
            pace: Pace::new(&bus.limits, &bus.room),
            seam: Seam::new(after, bus.limits.checkpoint_positions),
            relay: None,
            receiver: None,
            reading: None,
            closed: bus.closed.subscribe(),
            _place: place,
        }
    }

    /// The same, which listens to a relay once it is at the head.
    pub(super) fn through(self, relay: Option<Arc<Relay>>) -> Self {
        Self { relay, ..self }
    }

    pub(super) fn bus(&self) -> &Bus {
        &self.bus
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
                    self.pace.rests();
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

    /// Has what comes next put into an outlet without being asked for it, as far as that goes: at most until there is no room
    /// in the outlet, or a silence. What has been delivered until then has to be in the outlet already. Dropping the future
    /// ends the subscription. False when it cannot go on.
    pub async fn push(&mut self, outlet: Arc<dyn Outlet>) -> bool {
        let is_idle = self.seam.is_live() && self.seam.ready() == 0;
        let (Some(relay), true) = (&self.relay, is_idle) else {
            return true;
        };
        let Some(receiver) = self.receiver.take_if(|receiver| receiver.is_empty()) else {
            return true;
        };
        let (back, given_back) = oneshot::channel();
        relay.push(Join {
            reached: self.seam.reached(),
            receiver,
            outlet,
            back,
        });
        let Ok(back) = given_back.await else {
            return false;
        };
        self.seam.passed_by(back.last, back.through);
        self.receiver = Some(back.receiver);
        for received in back.next {
            if self.receiver.is_none() {
                // The rest comes from the store.
                break;
            }
            self.take_signal(received);
        }
        true
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

    /// Where it has got to, when everything up to there has been delivered.
    pub(super) fn passed(&self) -> Option<Position> {
        (self.seam.ready() == 0).then(|| self.seam.reached())
    }

    /// The place that has been reached, when no delivery has told of it: in silence, where to resume.
    pub fn checkpoint(&mut self) -> Option<Position> {
        self.seam.checkpoint()
    }

    /// Reads the next page while half of the last one is still to be delivered.
    fn read_ahead(&mut self) {
        let is_short = self.seam.ready() <= self.pace.page().events / 2;
        if self.reading.is_none() && self.seam.reads_next() && is_short {
            let _ahead = self.reading();
        }
    }

    /// The page that is being read, on a thread that may block.
    fn reading(&mut self) -> &mut JoinHandle<Result<SourcePage, ReadError>> {
        self.reading.get_or_insert_with(|| {
            self.pace.asks(Instant::now());
            let (store, source) = (Arc::clone(&self.bus.store), self.source.clone());
            let (after, page) = (self.seam.reached(), self.pace.page());
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
        // By now everything that was read has been delivered.
        self.pace.rests();
        // A relay that has ended is left alone from then on.
        let frames = self.relay.as_ref().and_then(|relay| relay.listen());
        if frames.is_none() {
            self.relay = None;
        }
        self.receiver = Some(frames.unwrap_or_else(|| self.bus.sender.subscribe()));
        self.seam.listening();
    }

    fn take_signal(&mut self, signal: Received) {
        match signal {
            Ok(Signal::Commit(committed)) => {
                let (commit, last) = (&committed.commit, committed.last_position());
                let source = &self.source;
                let commit_events = if source.wants_commit(commit) {
                    commit.events.as_slice()
                } else {
                    &[]
                };
                let wanted = commit_events.iter().enumerate();
                let wanted = wanted.filter(|(index, event)| source.wants_event(commit, *index, event));
                let live = wanted.map(|(index, _)| Event::Live(LiveEvent::new(&committed, index)));
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
            Ok(Signal::Frame(frame)) => {
                let written = frame.after(self.seam.reached());
                self.seam.commit(written.map(Event::Written), frame.through);
            }
            // The bus is held open by the subscription's own handle to it, but a relay may end.
            Err(RecvError::Lagged(_) | RecvError::Closed) => self.seam.lagged(),
        }
        if self.seam.reads_next() {
            self.receiver = None;
        }
    }
}

#[cfg(test)]
mod tests;
