//! All consumers: creating, changing, deleting, and what is told of them.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use tokio::sync::watch;

use crate::{
    aggregates::UniqueIds,
    bus::Bus,
    store::{AppendError, ConsumerRow, EventStore, ReadError},
    vocabulary::{Clock, ConsumerName, LaneEpoch, Limits, Millis},
};

use super::{
    consumer::Consumer,
    definition::{Definition, Start},
    error::ConsumerError,
    journal::{self, Change, Described, Found, Recording, Skipped},
    keeper::{self, Keeper, Kept},
    lease::Owner,
    progress::{Bounds, EARLIER_FILTERS, LaneKey, Now, Parked, Progress, Record},
    secret::{Secret, Secrets},
};

/// The handle to all consumers.
pub struct Consumers {
    pub(super) store: Arc<dyn EventStore>,
    pub(super) bus: Bus,
    pub(super) limits: Arc<Limits>,
    pub(super) clock: Arc<dyn Clock>,
    ids: UniqueIds,
    attempts: AtomicU64,
    begun: Instant,
    keeper: Keeper,
    /// Changes of definitions, one at a time.
    changing: Mutex<()>,
    pub(super) known: RwLock<BTreeMap<ConsumerName, Arc<Consumer>>>,
    /// Raised with each change of what consumers are.
    pub(super) turns: watch::Sender<u64>,
}

/// What has been kept of a consumer.
#[derive(Default)]
struct Rows {
    record: Option<Record>,
    parked: BTreeMap<LaneKey, Parked>,
    secrets: Option<Secrets>,
}

/// What came of creating or changing a consumer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Put {
    /// True when it is new; none when nothing had to change.
    pub is_new: Option<bool>,
    /// What its webhook signs with, when it was made just now. It is not shown again.
    pub secret: Option<Secret>,
}

impl Consumers {
    /// Reads what is kept of every consumer.
    ///
    /// # Errors
    /// [`ConsumerError::NotRead`] when a row or a definition does not check out, [`ConsumerError::NotWritten`] when the
    /// system gives no thread.
    pub fn open(
        store: &Arc<dyn EventStore>,
        bus: &Bus,
        clock: &Arc<dyn Clock>,
        limits: &Arc<Limits>,
    ) -> Result<Self, ConsumerError> {
        let unavailable = |error: std::io::Error| {
            ConsumerError::from(ReadError::Unavailable {
                reason: error.to_string(),
            })
        };
        let consumers = Self {
            store: Arc::clone(store),
            bus: bus.clone(),
            limits: Arc::clone(limits),
            clock: Arc::clone(clock),
            ids: UniqueIds::new().map_err(unavailable)?,
            attempts: AtomicU64::new(0),
            begun: Instant::now(),
            keeper: Keeper::start(store).map_err(unavailable)?,
            changing: Mutex::default(),
            known: RwLock::default(),
            turns: watch::Sender::new(0),
        };
        let mut rows = consumers.read_rows()?;
        for name in journal::names(&**store)? {
            let found = journal::find(&**store, &name)?;
            if let Some(found) = found.filter(|found| !found.deleted) {
                let kept = rows.remove(&name).unwrap_or_default();
                consumers.take_up(name, found, kept);
            }
        }
        let stale = rows
            .iter()
            .flat_map(|(name, kept)| keeper::removals(name, kept.parked.keys()));
        consumers.forget(&stale.collect::<Vec<_>>());
        Ok(consumers)
    }

    fn read_rows(&self) -> Result<BTreeMap<ConsumerName, Rows>, ReadError> {
        let mut rows: BTreeMap<ConsumerName, Rows> = BTreeMap::new();
        for (key, value) in self.store.consumer_rows()? {
            let (name, kept) = keeper::read_row(&key, &value)?;
            let of_consumer = rows.entry(name).or_default();
            match kept {
                Kept::Progress(record) => of_consumer.record = Some(record),
                Kept::Parked(lane, parked) => drop(of_consumer.parked.insert(lane, parked)),
                Kept::Secrets(secrets) => of_consumer.secrets = Some(secrets),
            }
        }
        Ok(rows)
    }

    /// Goes on where the last process was. What belongs to an earlier generation is none of this one's business.
    fn take_up(&self, name: ConsumerName, found: Found, kept: Rows) {
        let Rows {
            record,
            mut parked,
            secrets,
        } = kept;
        let described = found.described;
        let stale: Vec<LaneKey> = parked
            .extract_if(.., |_, parked| parked.generation != described.generation)
            .map(|(lane, _)| lane)
            .collect();
        let rules = described.definition.clone();
        let end = self.store.last_position();
        let record = record.filter(|record| record.generation == described.generation);
        let progress = match record {
            Some(record) => Progress::restore(record, parked, rules, self.bounds(), end),
            None => Progress::new(described.generation, described.start, rules, self.bounds()),
        };
        let mut progress = progress
            .after_filter_changes(described.filter_changes, end)
            .owned_by(Owner::of(&name));
        progress.parked_again(stale);
        let secrets = secrets.filter(|_| described.definition.webhook.is_some());
        let consumer = Consumer::new(name.clone(), progress, described, found.changed_at);
        consumer.lock().secrets = secrets;
        self.write_known().insert(name, Arc::new(consumer));
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            events: self.limits.consumer_events,
            bytes: self.limits.consumer_bytes,
            parked: self.limits.parked_aggregates,
        }
    }

    /// The times.
    pub(super) fn now(&self) -> Now {
        Now {
            steady: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            wall: self.clock.now(),
        }
    }

    pub(super) fn find(&self, name: &ConsumerName) -> Result<Arc<Consumer>, ConsumerError> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known
            .get(name)
            .cloned()
            .ok_or_else(|| ConsumerError::Unknown(name.clone()))
    }

    fn count(&self) -> usize {
        self.known.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    fn write_known(&self) -> std::sync::RwLockWriteGuard<'_, BTreeMap<ConsumerName, Arc<Consumer>>> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// One change of a definition at a time.
    pub(super) fn change(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a change down, now or after a while.
    pub(super) fn keep(&self, consumer: &Arc<Consumer>) {
        self.keeper.want(consumer);
    }

    pub(super) fn record(
        &self,
        name: &ConsumerName,
        change: Change,
        described: &Described,
    ) -> Result<Millis, AppendError> {
        self.record_with(name, change, described, None)
    }

    pub(super) fn record_with(
        &self,
        name: &ConsumerName,
        change: Change,
        described: &Described,
        skipped: Option<Skipped>,
    ) -> Result<Millis, AppendError> {
        let now = self.clock.now();
        let recording = Recording {
            name,
            change,
            described,
            skipped,
            now,
            command_id: self.ids.draw(),
            attempt: LaneEpoch(self.attempts.fetch_add(1, Ordering::Relaxed)),
        };
        journal::record(&self.store, recording)?;
        tracing::info!(consumer = %name, ?change, "consumer");
        Ok(now)
    }

    /// Creates a consumer that begins there, or changes the one there is, which goes on behind its checkpoint. It blocks;
    /// [`Self::written_down`] completes once a change is all there after a restart. True when it is new; none when
    /// nothing had to change.
    ///
    /// # Errors
    /// [`ConsumerError`].
    pub fn put(
        &self,
        name: &ConsumerName,
        definition: Definition,
        start: Start,
    ) -> Result<Option<bool>, ConsumerError> {
        self.put_with(name, definition, start, None).map(|put| put.is_new)
    }

    /// The same, with what its webhook is to sign with; none for the secret there is, or else a new one. It blocks.
    ///
    /// # Errors
    /// [`ConsumerError`].
    pub fn put_with(
        &self,
        name: &ConsumerName,
        definition: Definition,
        start: Start,
        given: Option<Secret>,
    ) -> Result<Put, ConsumerError> {
        definition.check()?;
        let _changing = self.change();
        let known = self.find(name).ok();
        // Whatever can be refused is, before anything is kept.
        self.check_put(known.as_deref(), &definition)?;
        let (secrets, secret) = self.secrets_for(name, known.as_deref(), &definition, given)?;
        let is_new = match &known {
            Some(consumer) => self.change_definition(consumer, definition),
            None => self.create(name, definition, start).map(Some),
        };
        let is_new = is_new.inspect_err(|_| self.put_back(name, known.as_deref(), secrets.as_ref()))?;
        self.put_in_force(name, secrets)?;
        self.turned();
        Ok(Put { is_new, secret })
    }

    fn check_put(&self, known: Option<&Consumer>, definition: &Definition) -> Result<(), ConsumerError> {
        let limit = self.limits.consumers;
        match known {
            Some(consumer) if consumer.lock().described.definition.ordering != definition.ordering => {
                Err(ConsumerError::OrderingFixed(consumer.name.clone()))
            }
            None if self.count() >= limit => Err(ConsumerError::TooMany { limit }),
            _ => Ok(()),
        }
    }

    fn create(
        &self,
        name: &ConsumerName,
        definition: Definition,
        start: Start,
    ) -> Result<bool, ConsumerError> {
        // Its name may have been used before: versions, and so generations, go on.
        let before = journal::find(&*self.store, name)?;
        let described = Described {
            definition: definition.clone(),
            paused: false,
            paused_because: None,
            generation: before.map_or(0, |found| found.version.0) + 1,
            start: self.position_of(start)?,
            filter_changes: 0,
        };
        let changed_at = self.record(name, Change::Created, &described)?;
        let progress = Progress::new(described.generation, described.start, definition, self.bounds());
        let progress = progress.owned_by(Owner::of(name));
        let consumer = Arc::new(Consumer::new(name.clone(), progress, described, changed_at));
        self.write_known().insert(name.clone(), consumer);
        Ok(true)
    }

    fn change_definition(
        &self,
        consumer: &Arc<Consumer>,
        definition: Definition,
    ) -> Result<Option<bool>, ConsumerError> {
        let name = &consumer.name;
        let mut described = consumer.lock().described.clone();
        if definition == described.definition {
            return Ok(None);
        }
        if !consumer.lock().progress.takes_filter(&definition.filter) {
            return Err(ConsumerError::TooManyFilters {
                limit: EARLIER_FILTERS,
            });
        }
        if definition.filter != described.definition.filter {
            described.filter_changes += 1;
        }
        described.definition = definition;
        let changed_at = self.record(name, Change::Changed, &described)?;
        let mut state = consumer.lock();
        let rules = described.definition.clone();
        state.progress.set_rules(rules, self.store.last_position());
        state.described = described;
        state.changed_at = changed_at;
        // From which place on another filter judges is to outlive the process as well.
        state.changed();
        drop(state);
        consumer.wake();
        self.keep(consumer);
        Ok(Some(false))
    }

    /// Deletes a consumer with everything that is kept of it. It blocks.
    ///
    /// # Errors
    /// [`ConsumerError`].
    pub fn delete(&self, name: &ConsumerName) -> Result<(), ConsumerError> {
        let _changing = self.change();
        let consumer = self.find(name)?;
        let described = consumer.lock().described.clone();
        self.record(name, Change::Deleted, &described)?;
        self.write_known().remove(name);
        let mut state = consumer.lock();
        state.deleted = true;
        let lanes: Vec<LaneKey> = state.progress.parked().map(|(lane, _)| lane.clone()).collect();
        drop(state);
        consumer.wake();
        consumer.never_saved(None);
        self.turned();
        self.forget(&keeper::removals(name, lanes.iter()));
        Ok(())
    }

    /// Takes away what is kept of consumers that are no more. What stays behind is of generations that are over.
    fn forget(&self, removals: &[ConsumerRow]) {
        if removals.is_empty() {
            return;
        }
        if let Err(error) = self.store.save_consumers(removals) {
            tracing::warn!(%error, "what was kept of deleted consumers stays until the next start");
        }
    }

    /// Begins anew elsewhere: leases and parked events of before are void. It blocks.
    ///
    /// # Errors
    /// [`ConsumerError`].
    pub fn reset(&self, name: &ConsumerName, start: Start) -> Result<(), ConsumerError> {
        let _changing = self.change();
        let consumer = self.find(name)?;
        let before = journal::find(&*self.store, name)?;
        let mut described = consumer.lock().described.clone();
        described.start = self.position_of(start)?;
        described.generation = before.map_or(described.generation, |found| found.version.0) + 1;
        described.filter_changes = 0;
        let changed_at = self.record(name, Change::Reset, &described)?;
        let rules = described.definition.clone();
        let mut state = consumer.lock();
        let lanes: Vec<LaneKey> = state.progress.parked().map(|(lane, _)| lane.clone()).collect();
        let progress = Progress::new(described.generation, described.start, rules, self.bounds());
        state.progress = progress.owned_by(Owner::of(name));
        state.progress.parked_again(lanes);
        state.described = described;
        state.changed_at = changed_at;
        state.changed();
        drop(state);
        consumer.wake();
        self.keep(&consumer);
        Ok(())
    }

    /// Writes down what is not yet, also how far each has only read on, and ends the thread that does. Call it before the
    /// store is closed.
    pub fn stop(&self) {
        for consumer in self.names().iter().filter_map(|name| self.find(name).ok()) {
            // What could not be written down has been told so: it is written when it is asked for again, and not else.
            if consumer.has_failed() || !consumer.lock().has_come_by(0) {
                continue;
            }
            consumer.lock().changed();
            self.keep(&consumer);
        }
        self.keeper.stop();
    }
}

impl fmt::Debug for Consumers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumers")
            .field("known", &self.names())
            .finish_non_exhaustive()
    }
}
