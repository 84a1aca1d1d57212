//! Places for those who follow: there are so many.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use super::{Bus, TooManySubscribers};

/// A place that is taken until this is dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Bus {
    /// Takes a place for a stream.
    ///
    /// # Errors
    /// [`TooManySubscribers`].
    pub fn place(&self) -> Result<Place, TooManySubscribers> {
        let limit = self.limits.subscribers;
        let room = |count: usize| (count < limit).then_some(count + 1);
        self.subscribers
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, room)
            .map_err(|_| TooManySubscribers { limit })?;
        Ok(Place(Arc::clone(&self.subscribers)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}
