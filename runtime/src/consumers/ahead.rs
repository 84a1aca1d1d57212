//! Reading ahead: the next stretch of the feed, and of the histories of lanes that are being replayed.

use std::sync::Arc;

use crate::{
    store::{Direction, EventStore, FeedFilter, FeedPage, PageLimit, ReadError},
    vocabulary::{Position, RecordedEvent, Version},
};

use super::{
    consumer::{Consumer, State},
    error::ConsumerError,
    fetch::most_of,
    progress::{Progress, ReplayRead},
    service::Consumers,
};

/// What is read for a consumer in one go.
struct Reads {
    feed: Option<(Position, PageLimit)>,
    replays: Vec<ReplayRead>,
    /// Most bytes of all replays together; a single larger event still passes.
    replay_bytes: usize,
    filter: FeedFilter,
    generation: u64,
}

/// What was read.
struct Found {
    feed: Option<(Position, FeedPage)>,
    replays: Vec<(ReplayRead, Vec<RecordedEvent>, Option<Version>)>,
}

impl Consumers {
    /// Reads what is wanted next. False when there is nothing to read and nothing to deliver.
    pub(super) async fn read_ahead(
        &self,
        consumer: &Arc<Consumer>,
        most: Option<usize>,
        last: Position,
    ) -> Result<bool, ConsumerError> {
        let _reading = consumer.reading.lock().await;
        let reads = {
            let mut state = consumer.lock();
            if state.described.paused || state.progress.room() == 0 {
                return Ok(false);
            }
            let reads = self.wanted(&mut state, most, last);
            if reads.feed.is_none() && reads.replays.is_empty() {
                // Somebody else may take it before it is leased: then there is another look.
                return Ok(state.progress.is_ready());
            }
            reads
        };
        let store = Arc::clone(&self.store);
        let found = tokio::task::spawn_blocking(move || {
            let found = read(&*store, &reads);
            (reads, found)
        });
        let (reads, found) = found.await.map_err(|error| ReadError::Unavailable {
            reason: error.to_string(),
        })?;
        let found = found?;
        let mut state = consumer.lock();
        // What was read by other rules than are in force now is read again: else it would be passed over for good.
        let is_wanted = state.progress.generation() == reads.generation
            && state.described.definition.filter == reads.filter;
        if is_wanted {
            take(&mut state.progress, found);
        }
        Ok(true)
    }

    /// What a fetch of so many wants to be read. The feed and the replays are each read on while too little of theirs is
    /// ready, so that neither waits for the other.
    fn wanted(&self, state: &mut State, most: Option<usize>, last: Position) -> Reads {
        let progress = &mut state.progress;
        let most = most_of(most, progress);
        let feed = progress.wants_more().filter(|(scanned, _)| *scanned < last);
        let feed = feed.filter(|_| progress.is_short_of(false, most));
        let feed = feed.map(|(after, room)| {
            let page = PageLimit {
                events: room.min(self.limits.page_events),
                bytes: self.limits.stream_page_bytes,
            };
            (after, page)
        });
        let replays = if progress.is_short_of(true, most) {
            progress.wanted_for_replays()
        } else {
            Vec::new()
        };
        Reads {
            feed,
            replays,
            replay_bytes: self.limits.stream_page_bytes,
            filter: state.described.definition.filter.clone(),
            generation: progress.generation(),
        }
    }
}

/// Runs where it may block.
fn read(store: &dyn EventStore, reads: &Reads) -> Result<Found, ReadError> {
    let mut replays = Vec::new();
    let mut bytes = reads.replay_bytes;
    for read in &reads.replays {
        if bytes == 0 {
            // The rest comes with the next look.
            break;
        }
        let (events, next) = read_replay(store, read, &mut bytes)?;
        replays.push((read.clone(), events, next));
    }
    let feed = match reads.feed {
        Some((after, page)) => Some((after, store.feed(after, &reads.filter, page)?)),
        None => None,
    };
    Ok(Found { feed, replays })
}

/// The parked events of a lane, and where to go on; no version when that was all. Which they are was settled when they were
/// parked: the filter of now says nothing of them.
fn read_replay(
    store: &dyn EventStore,
    read: &ReplayRead,
    bytes: &mut usize,
) -> Result<(Vec<RecordedEvent>, Option<Version>), ReadError> {
    let (first, through) = (read.parked.first(), read.parked.last());
    let versions = usize::try_from(through.0.saturating_sub(first.0)).unwrap_or(usize::MAX);
    let page = PageLimit {
        events: read.most.min(versions.saturating_add(1)),
        bytes: *bytes,
    };
    let mut events = store.history(&read.lane.aggregate, first, Direction::Forward, page)?;
    let last = events.last().map(|event| event.version);
    let more = last.filter(|version| *version < through);
    let taken: usize = events.iter().map(|event| event.payload.len()).sum();
    *bytes = bytes.saturating_sub(taken);
    events.retain(|event| read.parked.have(event));
    Ok((events, more.map(|version| version.plus(1))))
}

fn take(progress: &mut Progress, found: Found) {
    for (read, events, next) in found.replays {
        progress.offer_replay(&read, events.into_iter().map(unshared).collect(), next);
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
