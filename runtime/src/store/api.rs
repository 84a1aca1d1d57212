//! The seam between the rooms and whatever keeps the log.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use super::{
    FeedFilter,
    error::{AppendError, ReadError},
};
use crate::vocabulary::{
    AggregateId, AggregateKey, AggregateType, Commit, Committed, Epoch, IdempotencyKey, LaneEpoch, LogId,
    Manifest, Millis, ModuleDigest, Position, RecordedEvent, Version,
};

/// A commit that a lane wants written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The life of the lane that decided it: refused once an earlier proposal of the same life was not committed.
    pub lane_epoch: LaneEpoch,
    /// The version it was decided on; `commit.first_version` is one more.
    pub expected: Version,
    /// What to write.
    pub commit: Commit,
}

/// Called exactly once per proposal, after the fsync that covers it or the failure: on a thread of the store, or on that
/// of a caller of [`EventStore::append_here`]. It must not block, and must not append.
pub type Completion = Box<dyn FnOnce(Result<Arc<Committed>, AppendError>) + Send>;

/// Told of every commit once it is durable and readable, in commit order, before its completion is called.
/// It runs where completions do, and must not block or append.
pub type CommitListener = Box<dyn Fn(&Arc<Committed>) + Send + Sync>;

/// What identifies a log and the branch of it that is being written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogIdentity {
    /// Drawn once when the log was created.
    pub log_id: LogId,
    /// The branch.
    pub epoch: Epoch,
}

/// Where an aggregate stands, durably.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Head {
    /// The number of its events; 0 when it does not exist.
    pub version: Version,
    /// When its last event was recorded; 0 without events.
    pub recorded_at: Millis,
    /// The position of its last event; 0 without events.
    pub position: Position,
}

/// Which way a history is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Oldest first.
    Forward,
    /// Newest first.
    Backward,
}

/// How much one read may return. At least one event is returned when there is one, whatever its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageLimit {
    /// Most events.
    pub events: usize,
    /// Most payload bytes.
    pub bytes: usize,
}

/// A stretch of the whole log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedPage {
    /// The wanted events, in order of position.
    pub events: Vec<RecordedEvent>,
    /// Everything up to here has been looked at, also when it was not wanted: where to go on.
    pub scanned: Position,
    /// Whether `scanned` was the end of the durable log when it was read.
    pub at_head: bool,
}

/// How many events a filter wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventCount {
    /// So many, or at most so many.
    pub events: u64,
    /// Whether that is the number.
    pub is_exact: bool,
}

/// A saved state. Never trusted over the log, and used only by the module that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Whose state.
    pub key: AggregateKey,
    /// After how many events.
    pub version: Version,
    /// `recorded-at` of the event of that version.
    pub recorded_at: Millis,
    /// The module that saved it.
    pub module: ModuleDigest,
    /// The module's state version.
    pub state_version: u32,
    /// The module's bytes.
    pub state: Bytes,
}

/// An uploaded module as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredModule {
    /// SHA-256 of the upload.
    pub digest: ModuleDigest,
    /// What it says of itself.
    pub manifest: Manifest,
    /// When it was uploaded first.
    pub uploaded_at: Millis,
    /// Size of the upload, bytes.
    pub size_bytes: u64,
}

/// A change of a row of what consumers have reached. What it means is theirs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumerRow {
    /// Its name.
    pub key: Bytes,
    /// Its new content; none takes the row away.
    pub value: Option<Bytes>,
}

/// One engine that keeps the log. Every method may be called from any thread; reads see everything whose completion
/// has been called, and nothing that is not durable.
pub trait EventStore: Send + Sync + fmt::Debug {
    /// Which log this is.
    fn identity(&self) -> LogIdentity;

    /// Position of the last durable event; 0 for an empty log.
    fn last_position(&self) -> Position;

    /// Queues a proposal. Blocks while the writer's queue is full (back-pressure towards the shards).
    fn append(&self, proposal: Proposal, done: Completion);

    /// The same for a caller that has nothing else to do: an engine that is writing nothing may make the commit on the
    /// caller's thread, and complete it before this returns. It saves two changes of threads, and takes as long as a commit.
    fn append_here(&self, proposal: Proposal, done: Completion) {
        self.append(proposal, done);
    }

    /// Adds a listener; it is told of every commit after this call, and `last_position` at the time of the call is
    /// returned, so that nothing is missed or seen twice.
    fn listen(&self, listener: CommitListener) -> Position;

    /// Where an aggregate stands. An aggregate nobody wrote is at version 0.
    ///
    /// # Errors
    /// [`ReadError`].
    fn head(&self, key: &AggregateKey) -> Result<Head, ReadError>;

    /// The commit that an idempotency key is bound to.
    ///
    /// # Errors
    /// [`ReadError`].
    fn outcome(
        &self,
        key: &AggregateKey,
        idempotency: &IdempotencyKey,
    ) -> Result<Option<Arc<Committed>>, ReadError>;

    /// Events of one aggregate. `from` is the first version wanted, inclusive, in the direction asked for; backward
    /// from a version beyond the head starts at the head. Versions are dense, without exception.
    ///
    /// # Errors
    /// [`ReadError`].
    fn history(
        &self,
        key: &AggregateKey,
        from: Version,
        direction: Direction,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, ReadError>;

    /// Events of the whole log after a position. Looks at a bounded stretch per call, so a page may be empty before
    /// the head is reached: go on at `scanned`.
    ///
    /// # Errors
    /// [`ReadError`].
    fn feed(&self, after: Position, filter: &FeedFilter, limit: PageLimit) -> Result<FeedPage, ReadError>;

    /// How many events after a position a filter wants. One that is not [`FeedFilter::is_by_kind_alone`] is told how many its
    /// types let through, which is never exact. It looks at a bounded part of the log, so that the number may be one of at
    /// most so many with any filter.
    ///
    /// # Errors
    /// [`ReadError`].
    fn count(&self, after: Position, filter: &FeedFilter) -> Result<EventCount, ReadError>;

    /// The aggregates of a type that have events, by id, after an id.
    ///
    /// # Errors
    /// [`ReadError`].
    fn aggregates(
        &self,
        aggregate_type: &AggregateType,
        after: Option<&AggregateId>,
        limit: usize,
    ) -> Result<Vec<(AggregateId, Head)>, ReadError>;

    /// Keeps a snapshot, some time soon; losing it costs only time. One above the head is ignored on load.
    fn save_snapshot(&self, snapshot: Snapshot);

    /// The newest snapshot of this module at or below a version.
    ///
    /// # Errors
    /// [`ReadError`]; a damaged snapshot is skipped as if it were not there, with a warning.
    fn snapshot(
        &self,
        key: &AggregateKey,
        module: &ModuleDigest,
        at_most: Version,
    ) -> Result<Option<Snapshot>, ReadError>;

    /// Keeps an uploaded module, durable when it returns. Keeping it again changes nothing.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`] or [`AppendError::Full`].
    fn put_module(&self, module: &StoredModule, bytes: &[u8]) -> Result<(), AppendError>;

    /// Every kept module, without its bytes.
    ///
    /// # Errors
    /// [`ReadError`].
    fn modules(&self) -> Result<Vec<StoredModule>, ReadError>;

    /// The bytes of a module, checked against its digest.
    ///
    /// # Errors
    /// [`ReadError`].
    fn module_bytes(&self, digest: &ModuleDigest) -> Result<Option<Bytes>, ReadError>;

    /// Keeps what consumers have reached: all rows or none, durable when it returns.
    ///
    /// # Errors
    /// [`AppendError::Unavailable`], [`AppendError::Full`] or [`AppendError::Unknown`].
    fn save_consumers(&self, rows: &[ConsumerRow]) -> Result<(), AppendError>;

    /// Every row that is kept, with its content, by name.
    ///
    /// # Errors
    /// [`ReadError`].
    fn consumer_rows(&self) -> Result<Vec<(Bytes, Bytes)>, ReadError>;

    /// A 32-byte key drawn when the log was created, for authenticating disposable files such as compiled code.
    fn cache_key(&self) -> [u8; 32];

    /// Finishes what was queued and closes. Proposals after it are answered [`AppendError::Unavailable`].
    fn close(&self);
}
