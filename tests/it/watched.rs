//! What is read of a store is shown, and a test may hold reads back.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use annals::{
    store::{Direction, EventStore, MemoryStore, PageLimit, ReadError, Snapshot, conformance::Intercept},
    vocabulary::{AggregateKey, ModuleDigest, RecordedEvent, Version},
};

/// One read of a history.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) id: String,
    pub(crate) from: Version,
    pub(crate) last: Version,
    pub(crate) events: usize,
}

/// Somebody waits here until it is opened.
#[derive(Debug, Default)]
struct Doors {
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Doors {
    fn lock(&self) -> MutexGuard<'_, (bool, usize)> {
        self.state.lock().unwrap()
    }

    fn pass(&self) {
        let mut state = self.lock();
        if state.0 {
            state.1 += 1;
            self.changed.notify_all();
            while state.0 {
                state = self.changed.wait(state).unwrap();
            }
        }
    }

    fn set(&self, closed: bool) {
        *self.lock() = (closed, 0);
        self.changed.notify_all();
    }
}

/// Reads of histories are held until it is opened.
#[derive(Debug)]
pub(crate) struct Gate(Arc<Doors>);

impl Gate {
    /// Waits until a read is held.
    pub(crate) fn reached(&self) {
        let mut state = self.0.lock();
        while state.0 && state.1 == 0 {
            state = self.0.changed.wait(state).unwrap();
        }
    }

    pub(crate) fn open(&self) {
        self.0.set(false);
    }
}

/// Shows and holds reads.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    pages: Mutex<Vec<Page>>,
    saved: Mutex<Vec<Version>>,
    restored: Mutex<Vec<String>>,
    reads: Arc<Doors>,
}

impl Watched {
    /// The pages of histories that were read.
    pub(crate) fn pages(&self) -> Vec<Page> {
        self.pages.lock().unwrap().clone()
    }

    /// The versions of which snapshots were saved.
    pub(crate) fn snapshots(&self) -> Vec<Version> {
        self.saved.lock().unwrap().clone()
    }

    /// The aggregates whose snapshots were asked for, each time.
    pub(crate) fn asked_snapshots(&self) -> Vec<String> {
        self.restored.lock().unwrap().clone()
    }

    pub(crate) fn forget(&self) {
        self.pages.lock().unwrap().clear();
        self.restored.lock().unwrap().clear();
    }

    /// Holds reads of histories from now on.
    pub(crate) fn hold_reads(&self) -> Gate {
        self.reads.set(true);
        Gate(Arc::clone(&self.reads))
    }

    /// Lets reads through.
    pub(crate) fn let_reads_go(&self) {
        self.reads.set(false);
    }
}

impl Intercept for Watched {
    fn history(
        &self,
        store: &MemoryStore,
        key: &AggregateKey,
        from: Version,
        direction: Direction,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.reads.pass();
        let events = store.history(key, from, direction, limit)?;
        self.pages.lock().unwrap().push(Page {
            id: key.aggregate_id.as_str().to_owned(),
            from,
            last: events.last().map_or(Version(0), |event| event.version),
            events: events.len(),
        });
        Ok(events)
    }

    fn save_snapshot(&self, store: &MemoryStore, snapshot: Snapshot) {
        self.saved.lock().unwrap().push(snapshot.version);
        store.save_snapshot(snapshot);
    }

    fn snapshot(
        &self,
        store: &MemoryStore,
        key: &AggregateKey,
        module: &ModuleDigest,
        at_most: Version,
    ) -> Result<Option<Snapshot>, ReadError> {
        if key.aggregate_type.is_system() {
            return store.snapshot(key, module, at_most);
        }
        let id = key.aggregate_id.as_str().to_owned();
        self.restored.lock().unwrap().push(id);
        store.snapshot(key, module, at_most)
    }
}
