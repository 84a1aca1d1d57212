//! How far a consumer is behind.

use crate::{
    store::{FeedFilter, PageLimit},
    vocabulary::{ConsumerName, Millis, Position},
};

use super::{error::ConsumerError, service::Consumers};

/// What a consumer has not done yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lag {
    /// Events that are neither acknowledged nor parked.
    pub events: u64,
    /// Whether that is the number; else there are at most so many: the filter wants more than types say, the log was not
    /// read as far as it would take, or the filter was changed and it is not known yet which of them are acknowledged.
    pub is_exact: bool,
    /// How long ago the oldest of them was recorded, milliseconds, by the wall clock. None when there is none, or when the
    /// next one has not been found yet.
    pub oldest_ms: Option<Millis>,
}

impl Consumers {
    /// How far a consumer is behind. It blocks.
    ///
    /// # Errors
    /// [`ConsumerError`].
    pub fn lag(&self, name: &ConsumerName) -> Result<Lag, ConsumerError> {
        let consumer = self.find(name)?;
        let (undone, after, may_be_done, oldest, filter) = {
            let state = consumer.lock();
            let progress = &state.progress;
            let (undone, after) = progress.undone();
            let oldest = progress.oldest().map(|event| event.recorded_at);
            let filter = state.described.definition.filter.clone();
            (undone, after, progress.rest_may_be_done(), oldest, filter)
        };
        let behind = self.store.count(after, &filter)?;
        let oldest = match oldest {
            None if undone + behind.events > 0 => {
                let checkpoint = consumer.lock().progress.checkpoint();
                self.recorded_next(checkpoint, &filter)?
            }
            found => found,
        };
        let now = self.now().wall;
        Ok(Lag {
            events: undone + behind.events,
            is_exact: behind.is_exact && !may_be_done,
            oldest_ms: oldest.map(|recorded_at| now.saturating_sub(recorded_at)),
        })
    }

    /// When the next wanted event was recorded, as far as one look into the log tells.
    fn recorded_next(&self, after: Position, filter: &FeedFilter) -> Result<Option<Millis>, ConsumerError> {
        let one = PageLimit { events: 1, bytes: 1 };
        let page = self.store.feed(after, filter, one)?;
        Ok(page.events.first().map(|event| event.recorded_at))
    }
}
