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
    progress::{Now, Progress, ReplayRead},
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
    replays: Vec<(ReplayRead, Result<Replayed, Damage>)>,
}

/// The parked events of a lane, and where to go on; no version when that was all.
struct Replayed {
    events: Vec<RecordedEvent>,
    next: Option<Version>,
}

/// What is damaged.
struct Damage(String);

/// How many positions the checkpoint may have come past without anything of it being written down. What is acknowledged is
/// written down by itself; this is for those who read on and on past what they do not want. One write each of so many
/// positions is nothing beside the commits that they came with, and reading so many again takes a moment.
pub(super) const UNRECORDED: u64 = 16_384;

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
        if self.take(consumer, &reads, found) {
            self.keep(consumer);
        }
        Ok(true)
    }

    /// Takes what was read. True when something of it is to be written down.
    fn take(&self, consumer: &Consumer, reads: &Reads, found: Found) -> bool {
        let now = self.now();
        let mut state = consumer.lock();
        // What was read by other rules than are in force now is read again: else it would be passed over for good.
        let is_wanted = state.progress.generation() == reads.generation
            && state.described.definition.filter == reads.filter;
        if !is_wanted {
            return false;
        }
        let is_parked_again = take(&mut state.progress, found, now);
        let is_to_be_kept = state.has_come_by(UNRECORDED) || is_parked_again;
        if is_to_be_kept {
            state.changed();
        }
        is_to_be_kept
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
        let replayed = match read_replay(store, read, &mut bytes) {
            Ok(replayed) => Ok(replayed),
            // It hurts nobody but its own aggregate.
            Err(ReadError::Damaged { what }) => Err(Damage(what)),
            Err(error @ ReadError::Unavailable { .. }) => return Err(error),
        };
        replays.push((read.clone(), replayed));
    }
    let feed = match reads.feed {
        Some((after, page)) => Some((after, store.feed(after, &reads.filter, page)?)),
        None => None,
    };
    Ok(Found { feed, replays })
}

/// Which events of a lane are parked was settled when they were: the filter of now says nothing of them.
fn read_replay(store: &dyn EventStore, read: &ReplayRead, bytes: &mut usize) -> Result<Replayed, ReadError> {
    let (first, through) = (read.parked.first(), read.parked.last());
    let versions = usize::try_from(through.0.saturating_sub(first.0)).unwrap_or(usize::MAX);
    let page = PageLimit {
        events: read.most.min(versions.saturating_add(1)),
        bytes: *bytes,
    };
    let history = |page| store.history(&read.lane.aggregate, first, Direction::Forward, page);
    let mut events = match history(page) {
        // What comes before the damage is served, one by one.
        Err(ReadError::Damaged { .. }) if page.events > 1 => history(PageLimit { events: 1, ..page }),
        found => found,
    }?;
    let last = events.last().map(|event| event.version);
    let more = last.filter(|version| *version < through);
    let taken: usize = events.iter().map(|event| event.payload.len()).sum();
    *bytes = bytes.saturating_sub(taken);
    events.retain(|event| read.parked.have(event));
    Ok(Replayed {
        events,
        next: more.map(|version| version.plus(1)),
    })
}

/// True when something that was to be replayed is parked again.
fn take(progress: &mut Progress, found: Found, now: Now) -> bool {
    let mut is_parked_again = false;
    for (read, replayed) in found.replays {
        match replayed {
            Ok(Replayed { events, next }) => {
                progress.offer_replay(&read, events.into_iter().map(unshared).collect(), next);
            }
            Err(Damage(what)) => {
                let aggregate = &read.lane.aggregate;
                tracing::error!(%aggregate, what, "parked events are damaged: their replay has ended");
                is_parked_again |= progress.replay_is_damaged(&read, &format!("damaged: {what}"), now.wall);
            }
        }
    }
    if let Some((after, page)) = found.feed {
        let events = page.events.into_iter().map(unshared).collect();
        progress.offer(after, events, page.scanned);
    }
    is_parked_again
}

/// An event by itself: its payload would else keep the whole chunk in memory that it was read from.
fn unshared(event: RecordedEvent) -> RecordedEvent {
    RecordedEvent {
        payload: bytes::Bytes::copy_from_slice(&event.payload),
        ..event
    }
}
