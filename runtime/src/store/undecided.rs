//! Aggregates of which it is not known whether their newest commit is durable: a group commit failed after it may have
//! reached the disk, and the log is not open again yet. Until it is, nobody is told where they stand or that a key is
//! unknown, since the opposite may turn out to be true.

use std::{
    collections::HashSet,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use super::ReadError;
use crate::vocabulary::AggregateKey;

#[derive(Debug, Default)]
pub(super) struct Undecided {
    /// Whether there are any: asked at every read, and nearly always false.
    any: AtomicBool,
    keys: Mutex<HashSet<AggregateKey>>,
}

impl Undecided {
    /// From now on these wait. To be called before anybody is told that the group failed.
    pub(super) fn wait_for(&self, keys: impl IntoIterator<Item = AggregateKey>) {
        self.lock().extend(keys);
        self.any.store(true, Ordering::Release);
    }

    /// The log is open again, and what was durable after all is readable.
    pub(super) fn decided(&self) {
        self.lock().clear();
        self.any.store(false, Ordering::Release);
    }

    pub(super) fn check(&self, key: &AggregateKey) -> Result<(), ReadError> {
        if !self.any.load(Ordering::Acquire) || !self.lock().contains(key) {
            return Ok(());
        }
        let reason = format!("whether the newest commit of `{key}` is durable is being found out");
        Err(ReadError::Unavailable { reason })
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<AggregateKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
