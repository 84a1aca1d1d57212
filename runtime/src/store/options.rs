//! What can be chosen about the embedded engine.

use std::{fmt, sync::Arc, time::Duration};

/// How far a long opening has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// Commits done.
    pub done: u64,
    /// Commits in all.
    pub total: u64,
}

/// What takes its time while a store opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The index lacks the end of the log and is brought up to it.
    CatchingUp,
    /// The index is missing, damaged or of another log, and is built again.
    Rebuilding,
}

/// Told how a long opening goes on.
pub type ProgressListener = Arc<dyn Fn(Progress) + Send + Sync>;

/// The embedded engine's sizes and times. The defaults were measured; see `docs/decisions/`.
#[derive(Clone)]
pub struct StoreOptions {
    /// Largest chunk, bytes, unless one commit alone is larger. Powers of two fill redb's pages.
    pub chunk_bytes: usize,
    /// A segment is sealed once it takes this much of the disk, bytes, or once its file has to grow after half of it: it
    /// bounds the recovery after an abort.
    pub segment_bytes: u64,
    /// redb's cache for the segment being written, bytes.
    pub log_cache_bytes: usize,
    /// redb's cache for each sealed segment that is open, bytes.
    pub sealed_cache_bytes: usize,
    /// Sealed segments that are open at a time, count; each takes a descriptor and a cache.
    pub sealed_open: usize,
    /// redb's cache for the index, bytes: small, since a block is read once and kept elsewhere.
    pub index_cache_bytes: usize,
    /// Blocks of the index that were checked lately and are kept, bytes: what is read page by page comes from there.
    pub index_block_cache_bytes: usize,
    /// A block of the index, bytes: a power of two, so that it fills redb's pages.
    pub index_block_bytes: usize,
    /// What the indexer writes in one transaction, bytes: the log's commits wait for the disk behind it.
    pub index_slice_bytes: usize,
    /// Runs of the index that become one, count: fewer are read sooner, more are rewritten less often.
    pub index_merge_runs: usize,
    /// The filters of a run, bits per aggregate or idempotency key: 12 err once in about 200 look-ups.
    pub index_filter_bits: usize,
    /// One filter, bytes at most: beyond it errs more often. A run has two, and the largest has most of all.
    pub index_filter_bytes: usize,
    /// Positions of the log, count, of which the index knows how many events of which kind they have: a feed of a few kinds
    /// goes past those that have none. An index keeps what it was made with.
    pub index_stretch_events: u64,
    /// So many of these stretches, count, are summed up, and skipped together.
    pub index_group_stretches: u64,
    /// Commits that are not indexed yet, bytes by estimate. The writer waits when it is reached.
    pub overlay_bytes: usize,
    /// Events of one run: the indexer begins once this many wait.
    pub run_events: usize,
    /// Bytes in memory of one run: the indexer begins once this many wait.
    pub run_bytes: usize,
    /// The indexer begins once the oldest commit waits for this long.
    pub run_after: Duration,
    /// Commits in one group commit, count.
    pub batch_commits: usize,
    /// Bytes in one group commit, by estimate.
    pub batch_bytes: usize,
    /// Proposals that may wait for the writer, count.
    pub queue: usize,
    /// Aggregates whose head the writer keeps in memory, count.
    pub heads: usize,
    /// An index of up to this many bytes is checked page by page when it is opened.
    pub index_check_bytes: u64,
    /// Told how a long opening goes on.
    pub progress: Option<ProgressListener>,
}

const MIB: usize = 1 << 20;

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            chunk_bytes: 64 << 10,
            segment_bytes: 256 << 20,
            log_cache_bytes: 64 * MIB,
            sealed_cache_bytes: 4 * MIB,
            sealed_open: 16,
            index_cache_bytes: 32 * MIB,
            index_block_cache_bytes: 16 * MIB,
            index_block_bytes: 32 << 10,
            index_slice_bytes: 4 * MIB,
            index_merge_runs: 4,
            index_filter_bits: 12,
            index_filter_bytes: 32 * MIB,
            index_stretch_events: 1_024,
            index_group_stretches: 256,
            overlay_bytes: 192 * MIB,
            run_events: 262_144,
            run_bytes: 64 * MIB,
            run_after: Duration::from_secs(5),
            batch_commits: 1_024,
            batch_bytes: 8 * MIB,
            queue: 8_192,
            heads: 100_000,
            index_check_bytes: 64 << 20,
            progress: None,
        }
    }
}

impl fmt::Debug for StoreOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreOptions")
            .field("chunk_bytes", &self.chunk_bytes)
            .field("segment_bytes", &self.segment_bytes)
            .field("overlay_bytes", &self.overlay_bytes)
            .field("run_events", &self.run_events)
            .finish_non_exhaustive()
    }
}
