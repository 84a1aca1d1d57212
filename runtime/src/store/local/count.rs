//! How many events there are.

use std::ops::Range;

use super::{Shared, feed::unreadable_chunk};
use crate::{
    store::{FeedFilter, ReadError},
    vocabulary::Position,
};

impl Shared {
    pub(super) fn count(&self, after: Position, filter: &FeedFilter) -> Result<u64, ReadError> {
        let from = after.0.saturating_add(1);
        // Taken first: whatever goes from here to the index meanwhile is seen in both, and counted in the index.
        let fresh = self.overlay.pages();
        let counted = self.indexed(|index| index.count(from, filter))?;
        let mut events = counted.events;
        for positions in counted.unknown {
            events += self.count_in_log(positions, filter)?;
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
        Ok(events)
    }

    /// Counts a part of a stretch of the index.
    fn count_in_log(&self, positions: Range<u64>, filter: &FeedFilter) -> Result<u64, ReadError> {
        let end = self.log.end();
        let mut events = 0;
        let mut chunk = if positions.is_empty() {
            None
        } else {
            self.log.chunk_at(positions.start)?
        };
        while let Some(current) = chunk {
            let behind = current
                .look(|first_position, scan| {
                    events += filter.count_of(scan, first_position, &positions)?;
                    Ok(())
                })
                .map_err(|error| unreadable_chunk(&current, &error))?;
            let goes_on = behind.position < positions.end && behind.chunk < end.chunk;
            chunk = goes_on.then(|| self.log.chunk(behind.chunk)).transpose()?;
        }
        Ok(events)
    }
}
