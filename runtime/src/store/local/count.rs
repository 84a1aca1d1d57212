//! How many events there are. The index knows it but for what is newer, and for the stretch that a count begins in; where
//! names have run out, and only there, it may be more than is read for a count.

use super::{Shared, feed::unreadable_chunk};
use crate::{
    store::{EventCount, FeedFilter, ReadError, index::Part},
    vocabulary::Position,
};

/// How much of the log one count reads.
const READ_BYTES: usize = 4 << 20;
/// Positions that it reads: beyond, the rows of the index are not looked at one by one either.
const READ_EVENTS: u64 = 65_536;

impl Shared {
    pub(super) fn count(&self, after: Position, filter: &FeedFilter) -> Result<EventCount, ReadError> {
        let from = after.0.saturating_add(1);
        // Taken first: whatever goes from here to the index meanwhile is seen in both, and counted in the index.
        let fresh = self.overlay.pages();
        let counted = self.indexed(|index| index.count(from, filter, READ_EVENTS))?;
        let (mut events, mut unread) = (counted.events, counted.unread);
        let mut room = READ_BYTES;
        for part in &counted.parts {
            let (found, left) = self.count_part(part, filter, &mut room)?;
            events += found;
            unread += left;
        }
        let rest = from.max(counted.reached)..u64::MAX;
        for pages in fresh {
            let looked = pages.look(rest.start, |first_position, scan| {
                events += filter.count_of(scan, first_position, &rest)?;
                Ok(())
            });
            looked.map_err(|error| ReadError::Damaged {
                what: format!("the newest commits: {error}"),
            })?;
        }
        Ok(EventCount {
            events: events + unread,
            is_exact: unread == 0 && filter.is_by_kind_alone(),
        })
    }

    /// Counts a part of the log while there is room for chunks: how many there are as far as it was read, and how many there
    /// may be in the rest.
    fn count_part(
        &self,
        part: &Part,
        filter: &FeedFilter,
        room: &mut usize,
    ) -> Result<(u64, u64), ReadError> {
        let positions = &part.positions;
        let end = self.log.end();
        let (mut at, mut number) = (positions.start, part.chunk);
        let mut events = 0;
        // Once as many were found as there can be, the rest has none.
        while at < positions.end && *room > 0 && events < part.at_most {
            let chunk = match number {
                Some(number) if number < end.chunk => Some(self.log.chunk(number)?),
                Some(_) => None,
                None => self.log.chunk_at(at)?,
            };
            let Some(chunk) = chunk else {
                return Ok((events, 0));
            };
            *room = room.saturating_sub(chunk.body_bytes());
            let behind = chunk
                .look(|first_position, scan| {
                    events += filter.count_of(scan, first_position, positions)?;
                    Ok(())
                })
                .map_err(|error| unreadable_chunk(&chunk, &error))?;
            (at, number) = (behind.position, Some(behind.chunk));
        }
        let left = positions.end.saturating_sub(at);
        Ok((events, left.min(part.at_most.saturating_sub(events))))
    }
}
