//! The whole log, page by page. What the index knows to hold nothing that is wanted is gone past.

use super::Shared;
use crate::{
    store::{
        FeedFilter, FeedPage, PageLimit, ReadError,
        format::{Chunk, Malformed, Mark},
        index::{Seeking, Stretch},
    },
    vocabulary::{Committed, Position, RecordedEvent},
};

/// How much of the log one call looks at, bytes, when little of it is wanted.
const STRETCH_BYTES: usize = 4 << 20;

impl Shared {
    pub(super) fn feed(
        &self,
        after: Position,
        filter: &FeedFilter,
        limit: PageLimit,
    ) -> Result<FeedPage, ReadError> {
        let end = self.log.end();
        let seeking = Seeking::new(filter);
        let mut page = Page::new(after, filter, limit);
        let mut at = after.0.saturating_add(1);
        // The chunk that holds the position, when it is known, and where the index is to be asked again.
        let (mut chunk, mut until) = (None, 0);
        let mut looked_at = 0;
        while at < end.position && looked_at < STRETCH_BYTES {
            if at >= until {
                let stretch = if filter.names_types() {
                    self.stretch(at, &seeking)
                } else {
                    Stretch::rest(at)
                };
                if stretch.from > at || chunk.is_none() {
                    chunk = stretch.chunk;
                }
                (at, until) = (stretch.from.min(end.position), stretch.until);
                page.pass(at);
                continue;
            }
            let Some(current) = self.chunk_with(at, chunk)? else {
                break;
            };
            looked_at += current.body_bytes();
            let Some(behind) = page
                .take(&current)
                .map_err(|error| unreadable_chunk(&current, &error))?
            else {
                break;
            };
            (at, chunk) = (behind.position, Some(behind.chunk));
        }
        Ok(FeedPage {
            at_head: page.scanned.saturating_add(1) >= end.position,
            scanned: Position(page.scanned),
            events: page.events,
        })
    }

    /// Where the next events may be that are sought. Without the index that is right here.
    fn stretch(&self, position: u64, seeking: &Seeking<'_>) -> Stretch {
        self.index.stretch(position, seeking).unwrap_or_else(|error| {
            tracing::debug!(?error, "a feed goes on without the index");
            self.overlay.nudge();
            Stretch::rest(position)
        })
    }

    /// The chunk that holds a position, or one before it, given the chunk that should.
    fn chunk_with(&self, position: u64, chunk: Option<u64>) -> Result<Option<Chunk>, ReadError> {
        if let Some(chunk) = chunk {
            let found = self.log.chunk(chunk)?;
            if found.before.position <= position {
                return Ok(Some(found));
            }
        }
        self.log.chunk_at(position)
    }
}

pub(super) fn unreadable_chunk(chunk: &Chunk, error: &Malformed) -> ReadError {
    let before = chunk.before;
    ReadError::Damaged {
        what: format!(
            "chunk {} of the log, from position {}: {error}",
            before.chunk, before.position
        ),
    }
}

/// A page that is being filled.
struct Page<'a> {
    after: Position,
    filter: &'a FeedFilter,
    limit: PageLimit,
    events: Vec<RecordedEvent>,
    bytes: usize,
    scanned: u64,
}

impl<'a> Page<'a> {
    fn new(after: Position, filter: &'a FeedFilter, limit: PageLimit) -> Self {
        Self {
            after,
            filter,
            limit,
            events: Vec::new(),
            bytes: 0,
            scanned: after.0,
        }
    }

    /// Nothing is wanted before a position.
    fn pass(&mut self, position: u64) {
        self.scanned = self.scanned.max(position - 1);
    }

    /// Takes what is wanted of a chunk, and says where the log goes on; none when the page is full.
    fn take(&mut self, chunk: &Chunk) -> Result<Option<Mark>, Malformed> {
        let filter = self.filter;
        let (commits, behind) = chunk.read_wanted(|scan| filter.wants_any_of(scan))?;
        for event in commits.into_iter().flat_map(Committed::into_recorded_events) {
            if event.position <= self.after || !filter.wants(&event) {
                continue;
            }
            self.bytes += event.payload.len();
            let full = self.events.len() >= self.limit.events.max(1)
                || (!self.events.is_empty() && self.bytes > self.limit.bytes);
            if full {
                self.pass(event.position.0);
                return Ok(None);
            }
            self.events.push(event);
        }
        self.pass(behind.position);
        Ok(Some(behind))
    }
}
