//! A store in memory that shows what is read of it, and lets a test hold reads and commits back.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use annals::{
    store::{
        AppendError, CommitListener, Completion, Direction, EventStore, FeedFilter, FeedPage, Head,
        LogIdentity, MemoryStore, PageLimit, Proposal, ReadError, Snapshot, StoredModule,
    },
    vocabulary::{
        AggregateId, AggregateKey, AggregateType, Committed, IdempotencyKey, ModuleDigest, Position,
        RecordedEvent, Version,
    },
};
use bytes::Bytes;

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

/// Commits that are held back, in their order; none while they are not.
type Held = Option<Vec<(Proposal, Completion)>>;

#[derive(Debug)]
pub(crate) struct Watched {
    inner: MemoryStore,
    pages: Mutex<Vec<Page>>,
    snapshots: Mutex<Vec<Version>>,
    reads: Arc<Doors>,
    held: Mutex<HeldCommits>,
}

#[derive(Default)]
struct HeldCommits(Held);

impl std::fmt::Debug for HeldCommits {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} held", self.0.as_ref().map(Vec::len))
    }
}

impl Watched {
    pub(crate) fn new(inner: MemoryStore) -> Self {
        Self {
            inner,
            pages: Mutex::default(),
            snapshots: Mutex::default(),
            reads: Arc::default(),
            held: Mutex::default(),
        }
    }

    /// The pages of histories that were read.
    pub(crate) fn pages(&self) -> Vec<Page> {
        self.pages.lock().unwrap().clone()
    }

    /// The versions of which snapshots were saved.
    pub(crate) fn snapshots(&self) -> Vec<Version> {
        self.snapshots.lock().unwrap().clone()
    }

    pub(crate) fn forget(&self) {
        self.pages.lock().unwrap().clear();
    }

    /// Holds reads of histories from now on.
    pub(crate) fn hold_reads(&self) -> Gate {
        self.reads.set(true);
        Gate(Arc::clone(&self.reads))
    }

    /// Lets everything through.
    pub(crate) fn open_all(&self) {
        self.reads.set(false);
        self.let_commits_go();
    }

    /// Holds commits from now on.
    pub(crate) fn hold_commits(&self) {
        self.held.lock().unwrap().0.get_or_insert_default();
    }

    /// How many are held.
    pub(crate) fn held_commits(&self) -> usize {
        self.held.lock().unwrap().0.as_ref().map_or(0, Vec::len)
    }

    /// Writes what was held, in order, and holds no more.
    pub(crate) fn let_commits_go(&self) {
        let mut held = self.held.lock().unwrap();
        for (proposal, done) in held.0.take().into_iter().flatten() {
            self.inner.append(proposal, done);
        }
    }
}

impl EventStore for Watched {
    fn append(&self, proposal: Proposal, done: Completion) {
        let mut held = self.held.lock().unwrap();
        match &mut held.0 {
            Some(waiting) => waiting.push((proposal, done)),
            None => self.inner.append(proposal, done),
        }
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
            return self.inner.history(key, from, direction, limit);
        }
        self.reads.pass();
        let events = self.inner.history(key, from, direction, limit)?;
        self.pages.lock().unwrap().push(Page {
            id: key.aggregate_id.as_str().to_owned(),
            from,
            last: events.last().map_or(Version(0), |event| event.version),
            events: events.len(),
        });
        Ok(events)
    }
    fn identity(&self) -> LogIdentity {
        self.inner.identity()
    }
    fn last_position(&self) -> Position {
        self.inner.last_position()
    }
    fn listen(&self, listener: CommitListener) -> Position {
        self.inner.listen(listener)
    }
    fn head(&self, key: &AggregateKey) -> Result<Head, ReadError> {
        self.inner.head(key)
    }
    fn outcome(
        &self,
        key: &AggregateKey,
        idem: &IdempotencyKey,
    ) -> Result<Option<Arc<Committed>>, ReadError> {
        self.inner.outcome(key, idem)
    }
    fn feed(&self, after: Position, filter: &FeedFilter, limit: PageLimit) -> Result<FeedPage, ReadError> {
        self.inner.feed(after, filter, limit)
    }
    fn aggregates(
        &self,
        aggregate_type: &AggregateType,
        after: Option<&AggregateId>,
        limit: usize,
    ) -> Result<Vec<(AggregateId, Head)>, ReadError> {
        self.inner.aggregates(aggregate_type, after, limit)
    }
    fn save_snapshot(&self, snapshot: Snapshot) {
        self.snapshots.lock().unwrap().push(snapshot.version);
        self.inner.save_snapshot(snapshot);
    }
    fn snapshot(
        &self,
        key: &AggregateKey,
        module: &ModuleDigest,
        at_most: Version,
    ) -> Result<Option<Snapshot>, ReadError> {
        self.inner.snapshot(key, module, at_most)
    }
    fn put_module(&self, module: &StoredModule, bytes: &[u8]) -> Result<(), AppendError> {
        self.inner.put_module(module, bytes)
    }
    fn modules(&self) -> Result<Vec<StoredModule>, ReadError> {
        self.inner.modules()
    }
    fn module_bytes(&self, digest: &ModuleDigest) -> Result<Option<Bytes>, ReadError> {
        self.inner.module_bytes(digest)
    }
    fn cache_key(&self) -> [u8; 32] {
        self.inner.cache_key()
    }
    fn close(&self) {
        self.inner.close();
    }
}
