//! One writing for many: those who follow the same events in the same form are sent the same bytes.
//!
//! A relay is a task that follows the bus once for all of them, writes what it is given, and broadcasts that in frames. A
//! subscriber reads from the store until it is at the head, and then listens to frames as it would to commits. The
//! seam holds as it does there: the relay has followed since before anybody listened to it, so what was committed
//! before the listening began is readable, what is committed later is in a frame to come, and what comes both ways is known
//! by its position.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::{broadcast, watch};

use super::{
    Bus, Delivery, Event, Signal, Subscription,
    push::{Join, Pushers},
};
use crate::{
    store::{FeedFilter, ReadError},
    vocabulary::Position,
};

/// Appends an event in the form that subscribers are sent.
type Write = dyn Fn(&Event, &mut Vec<u8>) + Send + Sync;

/// The form that a subscriber wants.
#[derive(Clone)]
pub struct Form {
    name: &'static str,
    write: Arc<Write>,
}

impl Form {
    /// What makes it, under a name: all who say the same name are sent the same bytes.
    #[must_use]
    pub fn new(name: &'static str, write: impl Fn(&Event, &mut Vec<u8>) + Send + Sync + 'static) -> Self {
        Self {
            name,
            write: Arc::new(write),
        }
    }
}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Form").field(&self.name).finish()
    }
}

/// Events that are written already, one behind the other.
#[derive(Debug, Clone)]
pub struct Written {
    last: Position,
    bytes: Bytes,
}

impl Written {
    /// The place of the last of them.
    #[must_use]
    pub fn position(&self) -> Position {
        self.last
    }

    /// All of them.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Written events as they are broadcast.
#[derive(Debug)]
pub(crate) struct Frame {
    bytes: Bytes,
    /// The place of each, and where it ends.
    ends: Box<[(Position, usize)]>,
    /// Everything up to here is in this frame or an earlier one, or is not wanted.
    pub(super) through: Position,
}

impl Frame {
    #[cfg(test)]
    pub(super) fn new(bytes: Bytes, ends: Box<[(Position, usize)]>, through: Position) -> Self {
        Self { bytes, ends, through }
    }

    /// Those after a position.
    pub(super) fn after(&self, position: Position) -> Option<Written> {
        let known = self.ends.partition_point(|(at, _)| *at <= position);
        let (last, _) = self.ends.get(known..)?.last()?;
        let from = known.checked_sub(1).and_then(|before| self.ends.get(before));
        Some(Written {
            last: *last,
            bytes: self.bytes.slice(from.map_or(0, |(_, end)| *end)..),
        })
    }
}

/// The handle to a relay, which ends when the last one is gone.
#[derive(Debug)]
pub(super) struct Relay {
    frames: broadcast::WeakSender<Signal>,
    pushers: Mutex<Pushers>,
    _followed: watch::Sender<()>,
}

impl Relay {
    /// Every frame from now on. None once it has ended, which it does of itself when the store cannot be read.
    pub(super) fn listen(&self) -> Option<broadcast::Receiver<Signal>> {
        self.frames.upgrade().map(|frames| frames.subscribe())
    }

    /// Has frames pushed to a subscriber from now on, until it is given back.
    pub(super) fn push(&self, join: Join) {
        let mut pushers = self.pushers.lock().unwrap_or_else(PoisonError::into_inner);
        pushers.join(join);
    }

    fn is_running(&self) -> bool {
        self.frames.strong_count() > 0
    }
}

#[derive(Debug)]
struct Entry {
    filter: FeedFilter,
    form: &'static str,
    relay: Weak<Relay>,
}

impl Entry {
    fn relay(&self) -> Option<Arc<Relay>> {
        self.relay.upgrade().filter(|relay| relay.is_running())
    }
}

/// All relays.
#[derive(Debug, Clone, Default)]
pub(super) struct Relays(Arc<Mutex<Vec<Entry>>>);

impl Relays {
    /// The relay of a filter and a form, which is begun when there is none. None when there are as many as there may be.
    pub(super) fn of(&self, bus: &Bus, filter: &FeedFilter, form: Form) -> Option<Arc<Relay>> {
        let mut entries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        entries.retain(|entry| entry.relay().is_some());
        let same = entries
            .iter()
            .find(|entry| entry.form == form.name && entry.filter == *filter);
        if let Some(relay) = same.and_then(Entry::relay) {
            return Some(relay);
        }
        if entries.len() >= bus.limits.relays {
            return None;
        }
        let (name, relay) = (form.name, Arc::new(start(bus, filter, form)));
        entries.push(Entry {
            filter: filter.clone(),
            form: name,
            relay: Arc::downgrade(&relay),
        });
        Some(relay)
    }
}

fn start(bus: &Bus, filter: &FeedFilter, form: Form) -> Relay {
    let (sender, _) = broadcast::channel(bus.limits.relay_frames);
    let (followed, gone) = watch::channel(());
    let frames = sender.downgrade();
    let head = bus.store.last_position();
    let writing = Writing {
        subscription: Subscription::new(bus, None, head, filter.clone().into()),
        frames: sender,
        form,
        bytes: Vec::new(),
        ends: Vec::new(),
        told: head,
    };
    let limits = &bus.limits;
    tokio::spawn(writing.run(gone, limits.heartbeat / 2, limits.stream_gather));
    Relay {
        frames,
        pushers: Mutex::new(Pushers::new(limits)),
        _followed: followed,
    }
}

/// The task of a relay.
struct Writing {
    subscription: Subscription,
    frames: broadcast::Sender<Signal>,
    form: Form,
    bytes: Vec<u8>,
    ends: Vec<(Position, usize)>,
    /// How far the last frame went.
    told: Position,
}

impl Writing {
    /// What comes after a silence is sent at once; else, what has come meanwhile.
    async fn run(mut self, mut gone: watch::Receiver<()>, silence: Duration, gather: Duration) {
        loop {
            let first = tokio::select! {
                _ = gone.changed() => return,
                first = tokio::time::timeout(silence, self.subscription.next()) => first,
            };
            let mut goes_on = first.map_or(true, |first| self.take(first));
            while goes_on && self.bytes.len() < self.frame_bytes() {
                match self.subscription.try_next() {
                    Some(next) => goes_on = self.take(next),
                    None => break,
                }
            }
            let is_full = self.bytes.len() >= self.frame_bytes();
            let passed = self.subscription.passed();
            self.send(passed);
            if !goes_on {
                return;
            }
            if !is_full {
                tokio::time::sleep(gather).await;
            }
        }
    }

    fn frame_bytes(&self) -> usize {
        self.subscription.bus().limits.relay_frame_bytes
    }

    /// False when that was the end.
    fn take(&mut self, next: Result<Delivery, ReadError>) -> bool {
        match next {
            Ok(Delivery::Event(event)) => self.event(&event),
            // Subscribers are told as they would be without a relay.
            Ok(Delivery::Checkpoint(position)) => self.send(Some(position)),
            Ok(Delivery::CaughtUp(_) | Delivery::FellBehind(_)) => {}
            Ok(Delivery::Closed) => return false,
            Err(error) => {
                // Those who listen read for themselves from here on, and are told.
                tracing::warn!(%error, "what subscribers share could not be read");
                return false;
            }
        }
        true
    }

    fn event(&mut self, event: &Event) {
        // Who listens after this look finds the event in the store.
        if self.frames.receiver_count() == 0 {
            return;
        }
        if let Event::Read(read) = event
            && read.payload.len() > self.subscription.bus().limits.bus_commit_bytes
        {
            // Not this one, although the subscription has passed it.
            self.send(None);
            let signal = Signal::Stored {
                key: read.key.clone(),
                last: read.position,
            };
            drop(self.frames.send(signal));
            self.told = read.position;
            return;
        }
        (self.form.write)(event, &mut self.bytes);
        self.ends.push((event.position(), self.bytes.len()));
    }

    /// Broadcasts what is written, and that everything up to a place has been looked at.
    fn send(&mut self, passed: Option<Position>) {
        let last = self.ends.last().map_or(self.told, |(last, _)| *last);
        let through = passed.map_or(last, |passed| passed.max(last));
        if through <= self.told {
            return;
        }
        // Without what a vector has beyond its content: frames are kept for a while.
        let frame = Frame {
            bytes: std::mem::take(&mut self.bytes).into_boxed_slice().into(),
            ends: std::mem::take(&mut self.ends).into(),
            through,
        };
        self.told = through;
        // An error only says that nobody is listening.
        drop(self.frames.send(Signal::Frame(Arc::new(frame))));
    }
}

#[cfg(test)]
mod tests;
