//! Who is told of commits, and how far the log is durable: one lock over both, so that a listener added now misses
//! nothing and sees nothing twice.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{AppendError, CommitListener, Completion};
use crate::vocabulary::{Committed, Position};

/// The listeners and the durable end of the log.
#[derive(Default)]
pub(super) struct Listeners {
    told: Mutex<Vec<CommitListener>>,
    last: AtomicU64,
}

impl Listeners {
    /// Starts at the end of a log that was opened.
    pub(super) fn starting_at(last: Position) -> Self {
        Self {
            told: Mutex::default(),
            last: AtomicU64::new(last.0),
        }
    }

    /// The position of the last durable event.
    pub(super) fn last_position(&self) -> Position {
        Position(self.last.load(Ordering::Acquire))
    }

    /// Adds a listener and says where it begins.
    pub(super) fn add(&self, listener: CommitListener) -> Position {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.push(listener);
        self.last_position()
    }

    /// Tells everybody of commits that are durable and readable by now.
    pub(super) fn publish(&self, commits: &[Arc<Committed>]) {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        for committed in commits {
            self.last.store(committed.last_position().0, Ordering::Release);
            for listener in told.iter() {
                guarded("a commit listener", || listener(committed));
            }
        }
    }
}

impl fmt::Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listeners")
            .field("last", &self.last_position())
            .finish_non_exhaustive()
    }
}

/// Calls a completion. A panic in it must not take the writer along.
pub(super) fn complete(done: Completion, result: Result<Arc<Committed>, AppendError>) {
    guarded("a completion", || done(result));
}

fn guarded(what: &str, call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!("{what} panicked; the store goes on without it");
    }
}
