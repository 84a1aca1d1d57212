//! What is durable in the log and not in the index yet: in memory, bounded, and read before the index, so that a
//! commit which is on its way from here to there is seen in one of the two.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Direction, format::Mark, log::Packed};
use crate::vocabulary::{AggregateKey, Committed, IdempotencyKey, Version};

/// One chunk's commits.
#[derive(Debug, Clone)]
pub(super) struct Fresh {
    /// The chunk.
    pub(super) chunk: u64,
    /// The log before it.
    pub(super) before: Mark,
    /// The log behind it.
    pub(super) after: Mark,
    /// Its commits, in order.
    pub(super) commits: Vec<Arc<Committed>>,
    bytes: usize,
    events: usize,
}

impl Fresh {
    /// The commits of a chunk.
    pub(super) fn new(before: Mark, after: Mark, commits: Vec<Arc<Committed>>) -> Self {
        Self {
            chunk: before.chunk,
            before,
            after,
            bytes: commits.iter().map(|committed| memory_of(committed)).sum(),
            events: commits
                .iter()
                .map(|committed| committed.commit.events.len())
                .sum(),
            commits,
        }
    }
}

impl From<Packed> for Fresh {
    fn from(packed: Packed) -> Self {
        Self::new(packed.before, packed.after, packed.commits)
    }
}

/// Roughly what a commit takes in memory.
fn memory_of(committed: &Committed) -> usize {
    let commit = &committed.commit;
    let events: usize = commit.events.iter().map(|event| event.payload.len() + 96).sum();
    768 + events + commit.command.payload.as_ref().map_or(0, bytes::Bytes::len)
}

/// The commits that wait for the index.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    inner: Mutex<Inner>,
    /// Told when something came, went, or is asked of the indexer.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    aggregates: HashMap<AggregateKey, Recent>,
    waiting: VecDeque<Fresh>,
    bytes: usize,
    events: usize,
    since: Option<Instant>,
    hurry: bool,
}

/// The newest commits of one aggregate.
#[derive(Debug, Default)]
struct Recent {
    with_events: VecDeque<Arc<Committed>>,
    outcomes: HashMap<IdempotencyKey, Arc<Committed>>,
}

/// When the indexer should begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct RunLimit {
    /// So many events wait.
    pub(super) events: usize,
    /// So many bytes wait.
    pub(super) bytes: usize,
    /// The oldest waits for so long.
    pub(super) after: Duration,
}

impl Overlay {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds chunks that are durable.
    pub(super) fn add(&self, chunks: Vec<Fresh>) {
        let mut inner = self.lock();
        for chunk in chunks {
            for committed in &chunk.commits {
                let recent = inner.aggregates.entry(committed.commit.key.clone()).or_default();
                if let Some(record) = &committed.commit.idempotency {
                    recent.outcomes.insert(record.key.clone(), Arc::clone(committed));
                }
                if !committed.commit.events.is_empty() {
                    recent.with_events.push_back(Arc::clone(committed));
                }
            }
            inner.bytes += chunk.bytes;
            inner.events += chunk.events;
            inner.waiting.push_back(chunk);
        }
        inner.since.get_or_insert_with(Instant::now);
        drop(inner);
        self.changed.notify_all();
    }

    /// Forgets chunks that are in the index by now.
    pub(super) fn remove_before(&self, chunk: u64) {
        let mut inner = self.lock();
        while inner.waiting.front().is_some_and(|waiting| waiting.chunk < chunk) {
            let Some(gone) = inner.waiting.pop_front() else {
                break;
            };
            inner.bytes -= gone.bytes;
            inner.events -= gone.events;
            for committed in gone.commits {
                inner.forget(&committed);
            }
        }
        inner.since = (!inner.waiting.is_empty()).then(Instant::now);
        drop(inner);
        self.changed.notify_all();
    }

    /// Waits until there is room. False when there is none after this time.
    pub(super) fn wait_for_room(&self, bytes_max: usize, patience: Duration) -> bool {
        let give_up = Instant::now() + patience;
        let mut inner = self.lock();
        while inner.bytes >= bytes_max {
            let left = give_up.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner.hurry = true;
            self.changed.notify_all();
            let waited = self.changed.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    /// Whether as much waits as makes a run.
    pub(super) fn is_run(&self, limit: RunLimit) -> bool {
        self.lock().is_run(limit)
    }

    /// Whether the writer has to wait.
    pub(super) fn is_crowded(&self, bytes_max: usize) -> bool {
        self.lock().bytes >= bytes_max
    }

    /// How many chunks wait.
    pub(super) fn waiting(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Where the oldest chunk begins that waits.
    pub(super) fn begins_at(&self) -> Option<Mark> {
        self.lock().waiting.front().map(|oldest| oldest.before)
    }

    /// Waits until there is a run to be made, or for at most so long.
    pub(super) fn wait_for_run(&self, limit: RunLimit, at_most: Duration) {
        let give_up = Instant::now() + at_most;
        let mut inner = self.lock();
        while !inner.is_run(limit) && !inner.hurry {
            let due = inner
                .since
                .map_or(give_up, |since| give_up.min(since + limit.after));
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.changed.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        inner.hurry = false;
    }

    /// Wakes the indexer for something else than commits.
    pub(super) fn nudge(&self) {
        self.lock().hurry = true;
        self.changed.notify_all();
    }

    /// The oldest chunks, up to a size; at least one when there is one.
    pub(super) fn oldest(&self, limit: RunLimit) -> Vec<Fresh> {
        let inner = self.lock();
        let (mut events, mut bytes) = (0, 0);
        let mut run = Vec::new();
        for chunk in &inner.waiting {
            if events >= limit.events || bytes >= limit.bytes {
                break;
            }
            events += chunk.events;
            bytes += chunk.bytes;
            run.push(chunk.clone());
        }
        run
    }

    /// The newest commit with events of an aggregate.
    pub(super) fn newest(&self, key: &AggregateKey) -> Option<Arc<Committed>> {
        let inner = self.lock();
        inner
            .aggregates
            .get(key)
            .and_then(|recent| recent.with_events.back().cloned())
    }

    /// The commits of an aggregate that hold versions from `low` to `high`, at most so many from the end asked for;
    /// with the first version of the aggregate that is here, everything below being in the index.
    pub(super) fn commits(
        &self,
        key: &AggregateKey,
        (low, high): (Version, Version),
        direction: Direction,
        count: usize,
    ) -> Option<(Version, Vec<Arc<Committed>>)> {
        let inner = self.lock();
        let recent = inner.aggregates.get(key)?;
        let first = recent.with_events.front()?.commit.first_version;
        let start = recent
            .with_events
            .partition_point(|committed| committed.commit.last_version() < low);
        let end = recent
            .with_events
            .partition_point(|committed| committed.commit.first_version <= high);
        let range = recent.with_events.range(start..end.max(start)).cloned();
        let commits = match direction {
            Direction::Forward => range.take(count).collect(),
            Direction::Backward => range.rev().take(count).collect(),
        };
        Some((first, commits))
    }

    /// The commit that an idempotency key is bound to.
    pub(super) fn outcome(&self, key: &AggregateKey, idempotency: &IdempotencyKey) -> Option<Arc<Committed>> {
        let inner = self.lock();
        inner
            .aggregates
            .get(key)
            .and_then(|recent| recent.outcomes.get(idempotency).cloned())
    }

    /// The aggregates that have something here, in order, with their newest commit.
    pub(super) fn aggregates(
        &self,
        mut wanted: impl FnMut(&AggregateKey) -> bool,
    ) -> Vec<(AggregateKey, Arc<Committed>)> {
        let inner = self.lock();
        let mut found: Vec<_> = inner
            .aggregates
            .iter()
            .filter(|(key, _)| wanted(key))
            .filter_map(|(key, recent)| Some((key.clone(), recent.with_events.back().cloned()?)))
            .collect();
        drop(inner);
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found
    }
}

impl Inner {
    fn is_run(&self, limit: RunLimit) -> bool {
        self.events >= limit.events
            || self.bytes >= limit.bytes
            || self.since.is_some_and(|since| since.elapsed() >= limit.after)
    }

    fn forget(&mut self, committed: &Arc<Committed>) {
        let key = &committed.commit.key;
        let Some(recent) = self.aggregates.get_mut(key) else {
            return;
        };
        if recent
            .with_events
            .front()
            .is_some_and(|oldest| Arc::ptr_eq(oldest, committed))
        {
            recent.with_events.pop_front();
        }
        if let Some(record) = &committed.commit.idempotency {
            recent.outcomes.remove(&record.key);
        }
        if recent.with_events.is_empty() && recent.outcomes.is_empty() {
            self.aggregates.remove(key);
        }
    }
}
