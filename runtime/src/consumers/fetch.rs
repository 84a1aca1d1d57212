//! Delivering: reading ahead, leasing, and taking back what members say.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    store::{Direction, EventStore, FeedFilter, FeedPage, PageLimit, ReadError},
    vocabulary::{ConsumerName, Position, RecordedEvent, Version},
};

use super::{
    consumer::Consumer,
    error::ConsumerError,
    lease::{LeaseId, LeaseRefused},
    progress::{Delivered, Now, Progress, Refusal, ReplayRead},
    service::Consumers,
};

/// How long a fetch looks for the first wanted event although it does not wait for one to be committed.
const SEARCH: Duration = Duration::from_millis(200);
/// Parked events that are read at a time.
const REPLAY_EVENTS: usize = 64;

/// What a member asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Who asks; leases belong to it.
    pub member: String,
    /// Most events; none for the consumer's batch.
    pub most: Option<usize>,
    /// How long to wait for the first one.
    pub wait: Duration,
}

/// What came of acknowledging, refusing or extending leases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Leases for which it was done.
    pub done: u64,
    /// Leases whose events had been acknowledged before, of which the member may not have heard.
    pub already: u64,
    /// The others.
    pub refused: Vec<(LeaseId, LeaseRefused)>,
}

/// What is read for a consumer in one go.
struct Reads {
    feed: Option<(Position, PageLimit)>,
    filter: FeedFilter,
    replays: Vec<ReplayRead>,
}

/// What was read.
struct Found {
    feed: Option<(Position, FeedPage)>,
    replays: Vec<(ReplayRead, Vec<RecordedEvent>, Option<Version>)>,
}

impl Consumers {
    /// Leases events to a member, waiting for the first one.
    ///
    /// # Errors
    /// [`ConsumerError`].
    pub async fn fetch(&self, name: &ConsumerName, fetch: &Fetch) -> Result<Vec<Delivered>, ConsumerError> {
        self.fetch_by(name, fetch, None).await
    }

    /// Leases at most one event to a member: the first that can be delivered after a position, or else the first of all.
    ///
    /// # Errors
    /// [`ConsumerError`].
    pub async fn fetch_after(
        &self,
        name: &ConsumerName,
        fetch: &Fetch,
        after: Position,
    ) -> Result<Vec<Delivered>, ConsumerError> {
        self.fetch_by(name, fetch, Some(after)).await
    }

    async fn fetch_by(
        &self,
        name: &ConsumerName,
        fetch: &Fetch,
        after: Option<Position>,
    ) -> Result<Vec<Delivered>, ConsumerError> {
        let begun = Instant::now();
        let consumer = self.find(name)?;
        loop {
            // From here on every change is noticed, also one that comes before the wait.
            let mut wakes = consumer.wakes();
            let last = self.store.last_position();
            let read = self.read_ahead(&consumer, fetch.most, last).await?;
            let delivered = self.lease(&consumer, fetch, after)?;
            if !delivered.is_empty() {
                return Ok(delivered);
            }
            if read && begun.elapsed() < fetch.wait.max(SEARCH) {
                // It came past events that nobody wants; there are more.
                continue;
            }
            let left = fetch.wait.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            let due = consumer.lock().progress.next_due();
            let due = due.map(|due| Duration::from_millis(due.saturating_sub(self.now().steady)));
            let open = tokio::select! {
                open = self.bus.moved(last) => open,
                woken = wakes.changed() => woken.is_ok(),
                () = tokio::time::sleep(due.map_or(left, |due| due.min(left))) => true,
            };
            if !open {
                return Err(ConsumerError::Closing);
            }
        }
    }

    fn lease(
        &self,
        consumer: &Arc<Consumer>,
        fetch: &Fetch,
        after: Option<Position>,
    ) -> Result<Vec<Delivered>, ConsumerError> {
        let now = self.now();
        let mut state = consumer.lock();
        if state.deleted {
            return Err(ConsumerError::Unknown(consumer.name.clone()));
        }
        let expired = state.expire(now);
        let most = most_of(fetch.most, &state.progress);
        let delivered = if state.described.paused {
            Vec::new()
        } else {
            match after {
                Some(after) => state
                    .progress
                    .lease_after(&fetch.member, after, now)
                    .into_iter()
                    .collect(),
                None => state.progress.lease(&fetch.member, most, now),
            }
        };
        drop(state);
        if expired {
            self.keep(consumer);
        }
        Ok(delivered)
    }

    /// Reads what is wanted next. False when there is nothing to read.
    async fn read_ahead(
        &self,
        consumer: &Arc<Consumer>,
        most: Option<usize>,
        last: Position,
    ) -> Result<bool, ConsumerError> {
        let _reading = consumer.reading.lock().await;
        let (reads, generation) = {
            let state = consumer.lock();
            if state.described.paused || state.progress.ready() >= most_of(most, &state.progress) {
                return Ok(false);
            }
            let feed = state.progress.wants_more().filter(|(scanned, _)| *scanned < last);
            let feed = feed.map(|(after, room)| {
                let page = PageLimit {
                    events: room.min(self.limits.page_events),
                    bytes: self.limits.stream_page_bytes,
                };
                (after, page)
            });
            let reads = Reads {
                feed,
                filter: state.described.definition.filter.clone(),
                replays: state.progress.wanted_for_replays(),
            };
            (reads, state.progress.generation())
        };
        if reads.feed.is_none() && reads.replays.is_empty() {
            return Ok(false);
        }
        let store = Arc::clone(&self.store);
        let found = tokio::task::spawn_blocking(move || read(&*store, reads)).await;
        let found = found.map_err(|error| ReadError::Unavailable {
            reason: error.to_string(),
        })??;
        let mut state = consumer.lock();
        if state.progress.generation() == generation {
            take(&mut state.progress, found);
        }
        Ok(true)
    }

    /// Acknowledges leases. What is acknowledged when this returns stays so.
    ///
    /// # Errors
    /// [`ConsumerError`]; `NotWritten` when it may be forgotten again: acknowledge again.
    pub async fn ack(
        &self,
        name: &ConsumerName,
        member: &str,
        leases: &[LeaseId],
    ) -> Result<Settled, ConsumerError> {
        self.settle(name, leases, |progress, lease, now| {
            progress.ack(lease, member, now)
        })
        .await
    }

    /// Gives leases back: their events are delivered again after a pause, or parked.
    ///
    /// # Errors
    /// As for [`Self::ack`].
    pub async fn nack(
        &self,
        name: &ConsumerName,
        member: &str,
        leases: &[LeaseId],
        refusal: &Refusal,
    ) -> Result<Settled, ConsumerError> {
        self.settle(name, leases, |progress, lease, now| {
            progress.nack(lease, member, refusal, now).map(|()| true)
        })
        .await
    }

    /// Gives leases the whole time again. Nothing of it is written down.
    ///
    /// # Errors
    /// [`ConsumerError::Unknown`].
    pub fn extend(
        &self,
        name: &ConsumerName,
        member: &str,
        leases: &[LeaseId],
    ) -> Result<Settled, ConsumerError> {
        let consumer = self.find(name)?;
        let now = self.now();
        let mut state = consumer.lock();
        let expired = state.expire(now);
        let mut settled = Settled::default();
        for lease in leases {
            settled.note(*lease, state.progress.extend(*lease, member, now).map(|()| true));
        }
        drop(state);
        if expired {
            consumer.wake();
            self.keep(&consumer);
        }
        Ok(settled)
    }

    async fn settle(
        &self,
        name: &ConsumerName,
        leases: &[LeaseId],
        mut end: impl FnMut(&mut Progress, LeaseId, Now) -> Result<bool, LeaseRefused>,
    ) -> Result<Settled, ConsumerError> {
        let consumer = self.find(name)?;
        let now = self.now();
        let mut settled = Settled::default();
        let (expired, change) = {
            let mut state = consumer.lock();
            let expired = state.expire(now);
            for lease in leases {
                settled.note(*lease, end(&mut state.progress, *lease, now));
            }
            // Also what was acknowledged before may not have been written down.
            let is_told = settled.done + settled.already > 0;
            (expired, is_told.then(|| state.changed()))
        };
        if expired || change.is_some() {
            consumer.wake();
            self.keep(&consumer);
        }
        if let Some(change) = change {
            consumer.durable(change).await?;
        }
        Ok(settled)
    }
}

impl Settled {
    pub(super) fn note(&mut self, lease: LeaseId, ended: Result<bool, LeaseRefused>) {
        match ended {
            Ok(true) => self.done += 1,
            Ok(false) => self.already += 1,
            Err(refused) => self.refused.push((lease, refused)),
        }
    }
}

fn most_of(asked: Option<usize>, progress: &Progress) -> usize {
    asked.unwrap_or(progress.rules().batch as usize)
}

/// Runs where it may block.
fn read(store: &dyn EventStore, reads: Reads) -> Result<Found, ReadError> {
    let mut replays = Vec::new();
    for read in reads.replays {
        let (events, next) = read_replay(store, &reads.filter, &read)?;
        replays.push((read, events, next));
    }
    let feed = match reads.feed {
        Some((after, page)) => Some((after, store.feed(after, &reads.filter, page)?)),
        None => None,
    };
    Ok(Found { feed, replays })
}

/// The parked events of a lane from a version on, and where to go on; no version when that was all.
fn read_replay(
    store: &dyn EventStore,
    filter: &FeedFilter,
    read: &ReplayRead,
) -> Result<(Vec<RecordedEvent>, Option<Version>), ReadError> {
    let page = PageLimit {
        events: if read.lane.alone.is_some() {
            1
        } else {
            REPLAY_EVENTS
        },
        bytes: usize::MAX,
    };
    let mut events = store.history(&read.lane.aggregate, read.from, Direction::Forward, page)?;
    let found = events.len();
    events.retain(|event| event.position <= read.through);
    let next = events.last().map(|event| event.version.plus(1));
    let more = found == events.len() && found == page.events && read.lane.alone.is_none();
    let more = more && events.last().is_some_and(|event| event.position < read.through);
    events.retain(|event| filter.wants(event));
    Ok((events, next.filter(|_| more)))
}

fn take(progress: &mut Progress, found: Found) {
    for (read, events, next) in found.replays {
        progress.offer_replay(&read, events, next);
    }
    if let Some((after, page)) = found.feed {
        let events = page.events.into_iter().map(unshared).collect();
        progress.offer(after, events, page.scanned);
    }
}

/// An event by itself: its payload would else keep the whole chunk in memory that it was read from.
fn unshared(event: RecordedEvent) -> RecordedEvent {
    RecordedEvent {
        payload: bytes::Bytes::copy_from_slice(&event.payload),
        ..event
    }
}
