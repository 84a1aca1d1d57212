//! A store in memory with something in its way: commits that are held back, and what a test says of single operations.
//! Everything else passes.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Mutex},
};

use bytes::Bytes;

use crate::{
    store::{
        AppendError, CommitListener, Completion, ConsumerRow, Direction, EventCount, EventStore, FeedFilter,
        FeedPage, Head, LogIdentity, MemoryStore, PageLimit, Proposal, ReadError, Snapshot, StoredModule,
    },
    vocabulary::{
        AggregateId, AggregateKey, AggregateType, Committed, IdempotencyKey, ModuleDigest, Position,
        RecordedEvent, Version,
    },
};

/// What is in the way. An operation that is not written here passes.
pub trait Intercept: fmt::Debug + Send + Sync + 'static {
    /// A proposal that is not held back.
    fn append(&self, store: &MemoryStore, proposal: Proposal, done: Completion) {
        store.append(proposal, done);
    }

    /// A read of a history; not of the server's own aggregates.
    ///
    /// # Errors
    /// Those of the store, and the test's own.
    fn history(
        &self,
        store: &MemoryStore,
        key: &AggregateKey,
        from: Version,
        direction: Direction,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        store.history(key, from, direction, limit)
    }

    /// A snapshot to be kept.
    fn save_snapshot(&self, store: &MemoryStore, snapshot: Snapshot) {
        store.save_snapshot(snapshot);
    }

    /// A look for a snapshot.
    ///
    /// # Errors
    /// Those of the store, and the test's own.
    fn snapshot(
        &self,
        store: &MemoryStore,
        key: &AggregateKey,
        module: &ModuleDigest,
        at_most: Version,
    ) -> Result<Option<Snapshot>, ReadError> {
        store.snapshot(key, module, at_most)
    }

    /// A read of the feed.
    ///
    /// # Errors
    /// Those of the store, and the test's own.
    fn feed(
        &self,
        store: &MemoryStore,
        after: Position,
        filter: &FeedFilter,
        limit: PageLimit,
    ) -> Result<FeedPage, ReadError> {
        store.feed(after, filter, limit)
    }

    /// What consumers have reached, to be kept.
    ///
    /// # Errors
    /// Those of the store, and the test's own.
    fn save_consumers(&self, store: &MemoryStore, rows: &[ConsumerRow]) -> Result<(), AppendError> {
        store.save_consumers(rows)
    }
}

/// Commits that are held back, in their order; none while they are not.
type Held = Option<Vec<(Proposal, Completion)>>;

/// The store. What is in its way can be asked through it.
pub struct Intercepted<I> {
    store: MemoryStore,
    held: Mutex<Held>,
    intercept: I,
}

impl<I: Intercept + Default> Default for Intercepted<I> {
    fn default() -> Self {
        Self {
            store: MemoryStore::new(),
            held: Mutex::default(),
            intercept: I::default(),
        }
    }
}

impl<I: Intercept> Intercepted<I> {
    /// Holds commits from now on.
    ///
    /// # Panics
    /// Like every method here, when another thread panicked in one.
    pub fn hold_commits(&self) {
        self.held.lock().unwrap().get_or_insert_default();
    }

    /// How many are held.
    pub fn held_commits(&self) -> usize {
        self.held.lock().unwrap().as_ref().map_or(0, Vec::len)
    }

    /// Lets what was held go on, in order, and holds no more.
    pub fn let_commits_go(&self) {
        let mut held = self.held.lock().unwrap();
        for (proposal, done) in held.take().into_iter().flatten() {
            self.intercept.append(&self.store, proposal, done);
        }
    }
}

impl<I> Deref for Intercepted<I> {
    type Target = I;

    fn deref(&self) -> &I {
        &self.intercept
    }
}

impl<I: fmt::Debug> fmt::Debug for Intercepted<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intercepted")
            .field("intercept", &self.intercept)
            .finish_non_exhaustive()
    }
}

impl<I: Intercept> EventStore for Intercepted<I> {
    fn append(&self, proposal: Proposal, done: Completion) {
        if let Some(waiting) = self.held.lock().unwrap().as_mut() {
            return waiting.push((proposal, done));
        }
        self.intercept.append(&self.store, proposal, done);
    }
    fn history(
        &self,
        key: &AggregateKey,
        from: Version,
        direction: Direction,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        // The server's own aggregates are none of the test's business.
        if key.aggregate_type.is_system() {
            return self.store.history(key, from, direction, limit);
        }
        self.intercept.history(&self.store, key, from, direction, limit)
    }
    fn save_snapshot(&self, snapshot: Snapshot) {
        self.intercept.save_snapshot(&self.store, snapshot);
    }
    fn snapshot(
        &self,
        key: &AggregateKey,
        module: &ModuleDigest,
        at_most: Version,
    ) -> Result<Option<Snapshot>, ReadError> {
        self.intercept.snapshot(&self.store, key, module, at_most)
    }
    fn identity(&self) -> LogIdentity {
        self.store.identity()
    }
    fn last_position(&self) -> Position {
        self.store.last_position()
    }
    fn listen(&self, listener: CommitListener) -> Position {
        self.store.listen(listener)
    }
    fn head(&self, key: &AggregateKey) -> Result<Head, ReadError> {
        self.store.head(key)
    }
    fn outcome(
        &self,
        key: &AggregateKey,
        idem: &IdempotencyKey,
    ) -> Result<Option<Arc<Committed>>, ReadError> {
        self.store.outcome(key, idem)
    }
    fn feed(&self, after: Position, filter: &FeedFilter, limit: PageLimit) -> Result<FeedPage, ReadError> {
        self.intercept.feed(&self.store, after, filter, limit)
    }
    fn count(&self, after: Position, filter: &FeedFilter) -> Result<EventCount, ReadError> {
        self.store.count(after, filter)
    }
    fn aggregates(
        &self,
        aggregate_type: &AggregateType,
        after: Option<&AggregateId>,
        limit: usize,
    ) -> Result<Vec<(AggregateId, Head)>, ReadError> {
        self.store.aggregates(aggregate_type, after, limit)
    }
    fn put_module(&self, module: &StoredModule, bytes: &[u8]) -> Result<(), AppendError> {
        self.store.put_module(module, bytes)
    }
    fn modules(&self) -> Result<Vec<StoredModule>, ReadError> {
        self.store.modules()
    }
    fn save_consumers(&self, rows: &[ConsumerRow]) -> Result<(), AppendError> {
        self.intercept.save_consumers(&self.store, rows)
    }
    fn consumer_rows(&self) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.store.consumer_rows()
    }
    fn module_bytes(&self, digest: &ModuleDigest) -> Result<Option<Bytes>, ReadError> {
        self.store.module_bytes(digest)
    }
    fn cache_key(&self) -> [u8; 32] {
        self.store.cache_key()
    }
    fn close(&self) {
        self.store.close();
    }
}
