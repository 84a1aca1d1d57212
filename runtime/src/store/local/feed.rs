//! The whole log, page by page.

use super::Shared;
use crate::{
    store::{FeedFilter, FeedPage, PageLimit, ReadError},
    vocabulary::Position,
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
        let mut page = FeedPage {
            events: Vec::new(),
            scanned: after,
            at_head: false,
        };
        let mut bytes = 0;
        let mut looked_at = 0;
        let mut chunk = self.log.chunk_at(after.0.saturating_add(1))?;
        while let Some(current) = chunk {
            let number = current.before.chunk;
            let (commits, behind) = current.read_all().map_err(|error| ReadError::Damaged {
                what: format!(
                    "chunk {number} of the log, from position {}: {error}",
                    current.before.position
                ),
            })?;
            for event in commits.iter().flat_map(|committed| committed.recorded_events()) {
                if event.position <= after {
                    continue;
                }
                if filter.wants(&event) {
                    bytes += event.payload.len();
                    let full = page.events.len() >= limit.events.max(1)
                        || (!page.events.is_empty() && bytes > limit.bytes);
                    if full {
                        return Ok(page);
                    }
                    page.scanned = event.position;
                    page.events.push(event);
                } else {
                    page.scanned = event.position;
                }
            }
            looked_at += current.body_bytes();
            if behind.chunk >= end.chunk {
                break;
            }
            if looked_at >= STRETCH_BYTES {
                return Ok(page);
            }
            chunk = Some(self.log.chunk(behind.chunk)?);
        }
        page.at_head = page.scanned.0 + 1 >= end.position;
        Ok(page)
    }
}
