//! An engine that keeps everything in memory: for tests of the other rooms, and as the plainest reading of what the
//! interface promises.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use bytes::Bytes;

use super::{
    AppendError, CommitListener, Completion, ConsumerRow, Direction, EventCount, EventStore, FeedFilter,
    FeedPage, Head, LogIdentity, PageLimit, Proposal, ReadError, Snapshot, StoredModule,
    listeners::{Listeners, complete},
    queue::{BatchLimit, Engine, Queue, Queued},
    rules::{FailedLives, judge},
};
use crate::vocabulary::{
    AggregateId, AggregateKey, AggregateType, Committed, Epoch, IdempotencyKey, LogId, ModuleDigest,
    Position, RecordedEvent, Version,
};

/// Proposals that may wait for the writer.
const QUEUE_MAX: usize = 8_192;
const BATCH: BatchLimit = BatchLimit {
    commits: 1_024,
    bytes: 8 << 20,
};

/// A store without a disk. It forgets everything when it is dropped.
#[derive(Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    queue: Queue<Queued>,
}

#[derive(Debug)]
struct Shared {
    identity: LogIdentity,
    cache_key: [u8; 32],
    state: RwLock<State>,
    listeners: Listeners,
}

#[derive(Debug, Default)]
struct State {
    log: Vec<Arc<Committed>>,
    aggregates: BTreeMap<AggregateKey, Aggregate>,
    modules: BTreeMap<ModuleDigest, (StoredModule, Bytes)>,
    consumers: BTreeMap<Bytes, Bytes>,
}

#[derive(Debug, Default)]
struct Aggregate {
    head: Head,
    commits: Vec<Arc<Committed>>,
    outcomes: HashMap<IdempotencyKey, Arc<Committed>>,
    snapshots: BTreeMap<(Version, ModuleDigest), Snapshot>,
}

impl MemoryStore {
    /// An empty store with a fresh log id.
    ///
    /// # Panics
    /// When the system gives neither randomness nor a thread.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "an engine for tests; without randomness or threads nothing else runs"
    )]
    pub fn new() -> Self {
        let mut log_id = [0; 16];
        let mut cache_key = [0; 32];
        getrandom::fill(&mut log_id).expect("the system gives randomness");
        getrandom::fill(&mut cache_key).expect("the system gives randomness");
        let shared = Arc::new(Shared {
            identity: LogIdentity {
                log_id: LogId(log_id),
                epoch: Epoch(1),
            },
            cache_key,
            state: RwLock::default(),
            listeners: Listeners::default(),
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            lives: FailedLives::default(),
        };
        let queue =
            Queue::start("store-memory", QUEUE_MAX, BATCH, writer).expect("the system gives a thread");
        Self { shared, queue }
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        self.queue.close();
    }
}

struct Writer {
    shared: Arc<Shared>,
    lives: FailedLives,
}

impl Engine for Writer {
    type Item = Queued;

    fn write(&mut self, batch: Vec<Queued>) {
        for (proposal, done) in batch {
            let key = proposal.commit.key.clone();
            let life = proposal.lane_epoch;
            let result = self.shared.write().append(proposal, &self.lives);
            match &result {
                Ok(committed) => self.shared.listeners.publish(std::slice::from_ref(committed)),
                Err(_) => self.lives.failed(&key, life),
            }
            complete(done, result);
        }
    }
}

impl Shared {
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn append(&mut self, proposal: Proposal, lives: &FailedLives) -> Result<Arc<Committed>, AppendError> {
        let aggregate = self.aggregates.get(&proposal.commit.key);
        let head = aggregate.map_or(Head::default(), |aggregate| aggregate.head);
        let recorded = aggregate
            .zip(proposal.commit.idempotency.as_ref())
            .and_then(|(aggregate, record)| aggregate.outcomes.get(&record.key).cloned());
        judge(&proposal, head.version, recorded, lives)?;
        let first_position = Position(self.log.last().map_or(0, |committed| committed.last_position().0) + 1);
        let committed = Arc::new(Committed {
            commit: proposal.commit,
            first_position,
        });
        self.log.push(Arc::clone(&committed));
        let aggregate = self.aggregates.entry(committed.commit.key.clone()).or_default();
        if let Some(record) = &committed.commit.idempotency {
            aggregate
                .outcomes
                .insert(record.key.clone(), Arc::clone(&committed));
        }
        if !committed.commit.events.is_empty() {
            aggregate.head = Head {
                version: committed.commit.last_version(),
                recorded_at: committed.commit.context.now,
                position: committed.last_position(),
            };
            aggregate.commits.push(Arc::clone(&committed));
        }
        Ok(committed)
    }

    fn events(&self, key: &AggregateKey) -> &[Arc<Committed>] {
        self.aggregates
            .get(key)
            .map_or(&[], |aggregate| &aggregate.commits)
    }
}

/// Takes events until the page is full; at least one.
fn fill_page(events: impl Iterator<Item = RecordedEvent>, limit: PageLimit) -> Vec<RecordedEvent> {
    let mut page = Vec::new();
    let mut bytes = 0;
    for event in events.take(limit.events.max(1)) {
        bytes += event.payload.len();
        if !page.is_empty() && bytes > limit.bytes {
            break;
        }
        page.push(event);
    }
    page
}

impl EventStore for MemoryStore {
    fn identity(&self) -> LogIdentity {
        self.shared.identity
    }

    fn last_position(&self) -> Position {
        self.shared.listeners.last_position()
    }

    fn append(&self, proposal: Proposal, done: Completion) {
        self.queue.push((proposal, done));
    }

    fn append_here(&self, proposal: Proposal, done: Completion) {
        self.queue.write_here((proposal, done));
    }

    fn listen(&self, listener: CommitListener) -> Position {
        self.shared.listeners.add(listener)
    }

    fn head(&self, key: &AggregateKey) -> Result<Head, ReadError> {
        let state = self.shared.read();
        Ok(state
            .aggregates
            .get(key)
            .map_or(Head::default(), |found| found.head))
    }

    fn outcome(
        &self,
        key: &AggregateKey,
        idempotency: &IdempotencyKey,
    ) -> Result<Option<Arc<Committed>>, ReadError> {
        let state = self.shared.read();
        Ok(state
            .aggregates
            .get(key)
            .and_then(|found| found.outcomes.get(idempotency).cloned()))
    }

    fn history(
        &self,
        key: &AggregateKey,
        from: Version,
        direction: Direction,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let state = self.shared.read();
        let commits = state.events(key);
        Ok(match direction {
            Direction::Forward => {
                let skip = commits.partition_point(|found| found.commit.last_version() < from);
                let events = commits
                    .iter()
                    .skip(skip)
                    .flat_map(|found| found.recorded_events());
                fill_page(events.skip_while(|event| event.version < from), limit)
            }
            Direction::Backward => {
                let take = commits.partition_point(|found| found.commit.first_version <= from);
                let events = commits.iter().take(take).rev().flat_map(|found| {
                    let events: Vec<_> = found.recorded_events().collect();
                    events.into_iter().rev()
                });
                fill_page(events.skip_while(|event| event.version > from), limit)
            }
        })
    }

    fn feed(&self, after: Position, filter: &FeedFilter, limit: PageLimit) -> Result<FeedPage, ReadError> {
        let head = self.last_position();
        let state = self.shared.read();
        let skip = state
            .log
            .partition_point(|committed| committed.last_position() <= after);
        let mut page = FeedPage {
            events: Vec::new(),
            scanned: after,
            at_head: false,
        };
        let mut bytes = 0;
        for event in state
            .log
            .iter()
            .skip(skip)
            .flat_map(|found| found.recorded_events())
        {
            if event.position <= after {
                continue;
            }
            if event.position > head {
                break;
            }
            if filter.wants(&event) {
                bytes += event.payload.len();
                let full = page.events.len() >= limit.events.max(1)
                    || (!page.events.is_empty() && bytes > limit.bytes);
                if full {
                    return Ok(page);
                }
                page.scanned = event.position;
                page.events.push(event);
            } else {
                page.scanned = event.position;
            }
        }
        page.at_head = true;
        Ok(page)
    }

    fn count(&self, after: Position, filter: &FeedFilter) -> Result<EventCount, ReadError> {
        let head = self.last_position();
        let state = self.shared.read();
        let events = state.log.iter().flat_map(|found| found.recorded_events());
        let wanted = events.filter(|event| {
            event.position > after
                && event.position <= head
                && filter.wants_kind(&event.key.aggregate_type, &event.event_type)
        });
        Ok(EventCount {
            events: wanted.count() as u64,
            is_exact: filter.is_by_kind_alone(),
        })
    }

    fn aggregates(
        &self,
        aggregate_type: &AggregateType,
        after: Option<&AggregateId>,
        limit: usize,
    ) -> Result<Vec<(AggregateId, Head)>, ReadError> {
        let state = self.shared.read();
        Ok(state
            .aggregates
            .iter()
            .filter(|(key, found)| key.aggregate_type == *aggregate_type && found.head.version.0 > 0)
            .filter(|(key, _)| after.is_none_or(|after| key.aggregate_id > *after))
            .take(limit)
            .map(|(key, found)| (key.aggregate_id.clone(), found.head))
            .collect())
    }

    fn save_snapshot(&self, snapshot: Snapshot) {
        let mut state = self.shared.write();
        let aggregate = state.aggregates.entry(snapshot.key.clone()).or_default();
        aggregate
            .snapshots
            .insert((snapshot.version, snapshot.module), snapshot);
    }

    fn snapshot(
        &self,
        key: &AggregateKey,
        module: &ModuleDigest,
        at_most: Version,
    ) -> Result<Option<Snapshot>, ReadError> {
        let state = self.shared.read();
        let Some(aggregate) = state.aggregates.get(key) else {
            return Ok(None);
        };
        let highest = at_most.min(aggregate.head.version);
        let up_to = (
            Bound::Unbounded,
            Bound::Included((highest, ModuleDigest([0xff; 32]))),
        );
        Ok(aggregate
            .snapshots
            .range(up_to)
            .rev()
            .map(|(_, snapshot)| snapshot)
            .find(|snapshot| snapshot.module == *module)
            .cloned())
    }

    fn put_module(&self, module: &StoredModule, bytes: &[u8]) -> Result<(), AppendError> {
        let mut state = self.shared.write();
        state
            .modules
            .entry(module.digest)
            .or_insert_with(|| (module.clone(), Bytes::copy_from_slice(bytes)));
        Ok(())
    }

    fn modules(&self) -> Result<Vec<StoredModule>, ReadError> {
        let state = self.shared.read();
        Ok(state.modules.values().map(|(module, _)| module.clone()).collect())
    }

    fn module_bytes(&self, digest: &ModuleDigest) -> Result<Option<Bytes>, ReadError> {
        let state = self.shared.read();
        Ok(state.modules.get(digest).map(|(_, bytes)| bytes.clone()))
    }

    fn save_consumers(&self, rows: &[ConsumerRow]) -> Result<(), AppendError> {
        let mut state = self.shared.write();
        for ConsumerRow { key, value } in rows {
            match value {
                Some(value) => drop(state.consumers.insert(key.clone(), value.clone())),
                None => drop(state.consumers.remove(key)),
            }
        }
        Ok(())
    }

    fn consumer_rows(&self) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let state = self.shared.read();
        let rows = state.consumers.iter();
        Ok(rows.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn cache_key(&self) -> [u8; 32] {
        self.shared.cache_key
    }

    fn close(&self) {
        self.queue.close();
    }
}
