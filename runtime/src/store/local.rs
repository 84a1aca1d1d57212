//! The embedded engine: the log, the index and the small rest, with a thread that writes and one that indexes.

mod count;
mod feed;
mod history;
mod indexer;
mod open;
mod writer;

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool, atomic::Ordering},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;

use self::{
    indexer::Indexer,
    writer::{Prepared, Writer},
};
use super::{
    AppendError, CommitListener, Completion, ConsumerRow, Direction, EventCount, EventStore, FeedFilter,
    FeedPage, Head, LogIdentity, OpenError, PageLimit, Proposal, ReadError, Snapshot, StoreOptions,
    StoredModule,
    file::DataDirectory,
    format::Malformed,
    index::{Index, IndexError},
    listeners::Listeners,
    log::Log,
    meta::Meta,
    overlay::Overlay,
    queue::{BatchLimit, Queue},
    undecided::Undecided,
};
use crate::vocabulary::{
    AggregateId, AggregateKey, AggregateType, Committed, IdempotencyKey, ModuleDigest, Position,
    RecordedEvent, Version,
};

/// How long a read that met a damaged index waits for it to be rebuilt before it gives up.
const REBUILD_PATIENCE: Duration = Duration::from_secs(2);

/// A store in a directory of this machine. One process at a time has it open.
#[derive(Debug)]
pub struct LocalStore {
    shared: Arc<Shared>,
    queue: Queue<Prepared>,
    indexer: Mutex<Option<JoinHandle<()>>>,
}

/// What the readers and the two threads share.
#[derive(Debug)]
struct Shared {
    identity: LogIdentity,
    options: StoreOptions,
    meta: Meta,
    log: Log,
    index: Index,
    overlay: Overlay,
    listeners: Listeners,
    undecided: Undecided,
    stopping: AtomicBool,
    directory: DataDirectory,
}

impl LocalStore {
    /// Opens a data directory, or creates one in an empty or new directory. After a crash it recovers; what is missing
    /// of the index is made up for, which [`StoreOptions::progress`] is told of.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(directory: &Path, options: StoreOptions) -> Result<Self, OpenError> {
        Self::open_in(DataDirectory::open(directory)?, options)
    }

    pub(super) fn open_in(directory: DataDirectory, options: StoreOptions) -> Result<Self, OpenError> {
        let shared = Arc::new(open::open(directory, options)?);
        let options = &shared.options;
        let limit = BatchLimit {
            commits: options.batch_commits.max(1),
            bytes: options.batch_bytes,
        };
        let io = |source| OpenError::Io {
            what: "starting the store's threads".to_owned(),
            source,
        };
        let indexer = Indexer::new(Arc::clone(&shared));
        let indexer = std::thread::Builder::new()
            .name("store-indexer".to_owned())
            .spawn(move || indexer.run())
            .map_err(io)?;
        let writer = Writer::new(Arc::clone(&shared));
        let queue = Queue::start("store-writer", options.queue, limit, writer).map_err(io)?;
        Ok(Self {
            shared,
            queue,
            indexer: Mutex::new(Some(indexer)),
        })
    }

    /// How often a damaged index was replaced since the store was opened.
    #[must_use]
    pub fn index_rebuilds(&self) -> u64 {
        self.shared.index.rebuilds()
    }
}

impl Drop for LocalStore {
    fn drop(&mut self) {
        EventStore::close(self);
    }
}

impl Shared {
    fn head(&self, key: &AggregateKey) -> Result<Head, ReadError> {
        self.undecided.check(key)?;
        let wanted = self.overlay.wanted(key);
        match self.overlay.head(&wanted) {
            Ok(Some(head)) => Ok(head),
            Ok(None) => self.indexed(|index| index.head(key, &wanted)),
            Err(error) => Err(unreadable(key, &error)),
        }
    }

    fn outcome(
        &self,
        key: &AggregateKey,
        idempotency: &IdempotencyKey,
    ) -> Result<Option<Arc<Committed>>, ReadError> {
        let wanted = self.overlay.wanted(key);
        let hash = self.overlay.outcome_hash(&wanted, idempotency);
        let found = self.overlay.outcome(&wanted, hash, idempotency);
        if let Some(found) = found.map_err(|error| unreadable(key, &error))? {
            return Ok(Some(found));
        }
        self.undecided.check(key)?;
        for (chunk, ordinal, position) in self.indexed(|index| index.outcomes(key, hash))? {
            let damaged = |error: Malformed| ReadError::Damaged {
                what: format!("a commit of `{key}` in chunk {chunk}: {error}"),
            };
            let found = self
                .log
                .chunk(chunk)?
                .read_one(ordinal, position)
                .map_err(damaged)?;
            // Another one may have the same hash.
            let record = found.commit.idempotency.as_ref();
            if found.commit.key == *key && record.is_some_and(|record| record.key == *idempotency) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Asks the index. When it is damaged, it is rebuilt behind, and a small one is ready in time for another try.
    fn indexed<T>(&self, mut ask: impl FnMut(&Index) -> Result<T, IndexError>) -> Result<T, ReadError> {
        match ask(&self.index) {
            Err(IndexError::Damaged(what)) => {
                self.overlay.nudge();
                let give_up = std::time::Instant::now() + REBUILD_PATIENCE;
                while self.index.is_suspect() && !self.stopping.load(Ordering::Acquire) {
                    if std::time::Instant::now() >= give_up {
                        return Err(ReadError::Damaged { what });
                    }
                    std::thread::sleep(Duration::from_millis(2));
                }
                Ok(ask(&self.index)?)
            }
            other => Ok(other?),
        }
    }
}

/// Bytes in memory that do not say what they should.
fn unreadable(key: &AggregateKey, error: &Malformed) -> ReadError {
    ReadError::Damaged {
        what: format!("the newest commits of `{key}`: {error}"),
    }
}

/// Where an aggregate stands after a commit with events.
fn head_after(committed: &Committed) -> Head {
    Head {
        version: committed.commit.last_version(),
        recorded_at: committed.commit.context.now,
        position: committed.last_position(),
    }
}

impl EventStore for LocalStore {
    fn identity(&self) -> LogIdentity {
        self.shared.identity
    }

    fn last_position(&self) -> Position {
        self.shared.listeners.last_position()
    }

    fn append(&self, proposal: Proposal, done: Completion) {
        self.queue.push(Prepared::new(proposal, done));
    }

    fn append_here(&self, proposal: Proposal, done: Completion) {
        self.queue.write_here(Prepared::new(proposal, done));
    }

    fn listen(&self, listener: CommitListener) -> Position {
        self.shared.listeners.add(listener)
    }

    fn head(&self, key: &AggregateKey) -> Result<Head, ReadError> {
        self.shared.head(key)
    }

    fn outcome(
        &self,
        key: &AggregateKey,
        idempotency: &IdempotencyKey,
    ) -> Result<Option<Arc<Committed>>, ReadError> {
        self.shared.outcome(key, idempotency)
    }

    fn history(
        &self,
        key: &AggregateKey,
        from: Version,
        direction: Direction,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.shared.history(key, from, direction, limit)
    }

    fn feed(&self, after: Position, filter: &FeedFilter, limit: PageLimit) -> Result<FeedPage, ReadError> {
        self.shared.feed(after, filter, limit)
    }

    fn count(&self, after: Position, filter: &FeedFilter) -> Result<EventCount, ReadError> {
        self.shared.count(after, filter)
    }

    fn aggregates(
        &self,
        aggregate_type: &AggregateType,
        after: Option<&AggregateId>,
        limit: usize,
    ) -> Result<Vec<(AggregateId, Head)>, ReadError> {
        self.shared.aggregates(aggregate_type, after, limit)
    }

    fn save_snapshot(&self, snapshot: Snapshot) {
        if !self.shared.index.keep_snapshot(snapshot) {
            tracing::warn!("a snapshot was dropped: too many wait to be written");
        }
        self.shared.overlay.nudge();
    }

    fn snapshot(
        &self,
        key: &AggregateKey,
        module: &ModuleDigest,
        at_most: Version,
    ) -> Result<Option<Snapshot>, ReadError> {
        let head = self.shared.head(key)?.version;
        self.shared
            .indexed(|index| index.snapshot(key, module, at_most.min(head)))
    }

    fn put_module(&self, module: &StoredModule, bytes: &[u8]) -> Result<(), AppendError> {
        self.shared.meta.put_module(module, bytes)
    }

    fn modules(&self) -> Result<Vec<StoredModule>, ReadError> {
        self.shared.meta.modules()
    }

    fn module_bytes(&self, digest: &ModuleDigest) -> Result<Option<Bytes>, ReadError> {
        self.shared.meta.module_bytes(digest)
    }

    fn save_consumers(&self, rows: &[ConsumerRow]) -> Result<(), AppendError> {
        self.shared.meta.save_consumers(rows)
    }

    fn consumer_rows(&self) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        self.shared.meta.consumer_rows()
    }

    fn cache_key(&self) -> [u8; 32] {
        self.shared.meta.identity.cache_key
    }

    fn close(&self) {
        self.queue.close();
        self.shared.stopping.store(true, Ordering::Release);
        self.shared.overlay.nudge();
        let mut indexer = self.indexer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(indexer) = indexer.take() {
            if indexer.join().is_err() {
                tracing::error!("the indexer's thread panicked");
            }
            self.shared.log.shut();
            self.shared.index.shut();
            self.shared.meta.shut();
            self.shared.directory.release();
        }
    }
}
