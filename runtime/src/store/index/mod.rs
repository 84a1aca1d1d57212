//! The index: derived from the log, disposable, in a file of its own. It consists of runs, each a stretch of the log in
//! the order of its aggregates, which are merged as they become many. An aggregate's events lie together in each, so
//! that a cold read is one walk through a few neighbouring blocks.
//!
//! No block can be hidden or be another one than was written: the manifest says which runs there are, and that they
//! cover the log without a gap; it holds the checksum of each run's directory, which holds the checksum of each block.
//!
//! Beside the runs there is how many events of which kind each stretch of the log has (`kinds.rs`).

mod block;
mod body;
mod cache;
mod core;
mod cursors;
mod filter;
mod history;
mod keys;
mod kinds;
mod layers;
mod manifest;
mod merge;
mod names;
mod outcomes;
mod output;
mod plan;
mod reads;
mod run;
#[cfg(test)]
mod sizes;
mod snapshots;
mod step;
mod stretches;
mod tally;
mod values;
mod write;

use std::sync::{
    Arc, Mutex, PoisonError, RwLock,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use self::{
    core::{Core, Trouble},
    layers::{Layer, View},
    reads::{Reading, Spot},
};
use redb::ReadTransaction;

pub(super) use self::{
    history::{Page, Span},
    snapshots::Pending,
    stretches::{Part, Seeking, Stretch},
};
use super::{
    Head, LogIdentity, ReadError, StoreOptions,
    file::{Database, Fault, Files, Mode},
    format::Mark,
    overlay::Wanted,
};
use crate::vocabulary::{AggregateId, AggregateKey, AggregateType};

const FILE: &str = "index.redb";
const REBUILT_FILE: &str = "index-rebuilt.redb";

/// The index in use.
#[derive(Debug)]
pub(super) struct Index {
    files: Arc<dyn Files>,
    identity: LogIdentity,
    options: StoreOptions,
    core: RwLock<Arc<Core>>,
    suspect: AtomicBool,
    /// How often it was replaced while it was open.
    rebuilds: AtomicU64,
    pending: Mutex<Pending>,
}

/// Why the index could not answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum IndexError {
    /// Its bytes do not check out: it is to be rebuilt from the log.
    Damaged(String),
    /// It cannot be read now.
    Unavailable(String),
}

impl From<IndexError> for ReadError {
    fn from(error: IndexError) -> Self {
        match error {
            IndexError::Damaged(what) => Self::Damaged { what },
            IndexError::Unavailable(reason) => Self::Unavailable { reason },
        }
    }
}

impl Index {
    /// Opens the index and says how far it has got; when it is missing, damaged or of another log, an empty one takes
    /// its place and the reason is returned as well.
    pub(super) fn open(
        files: &Arc<dyn Files>,
        identity: LogIdentity,
        options: &StoreOptions,
    ) -> Result<(Self, Mark, Option<String>), Fault> {
        for leftover in [
            format!("{FILE}.new"),
            REBUILT_FILE.to_owned(),
            format!("{REBUILT_FILE}.new"),
        ] {
            files.remove(&leftover).map_err(|error| Fault::from_io(&error))?;
        }
        let index = Self::of_file(files, FILE, identity, options);
        match index.check(options.index_check_bytes) {
            Ok(mark) => Ok((index, mark, None)),
            Err(reason) => {
                index.reset()?;
                Ok((index, Mark::START, Some(reason)))
            }
        }
    }

    fn of_file(files: &Arc<dyn Files>, name: &str, identity: LogIdentity, options: &StoreOptions) -> Self {
        Self {
            files: Arc::clone(files),
            identity,
            options: options.clone(),
            core: RwLock::new(Arc::new(core_of(files, name, identity, options))),
            suspect: AtomicBool::new(false),
            rebuilds: AtomicU64::new(0),
            pending: Mutex::default(),
        }
    }

    /// How far the index has got, or why it is of no use.
    fn check(&self, check_bytes: u64) -> Result<Mark, String> {
        let core = self.core();
        let database = &core.database;
        if database.file_bytes() == 0 {
            return Err("it is missing".to_owned());
        }
        if database.file_bytes() <= check_bytes && !database.verify().map_err(|fault| fault.to_string())? {
            return Err("it has damaged pages".to_owned());
        }
        let manifest = core.load().map_err(|fault| fault.to_string())?;
        if manifest.identity != self.identity {
            return Err("it is of another log, or of another branch of this one".to_owned());
        }
        Ok(manifest.reached)
    }

    /// Begins again with an empty index.
    pub(super) fn reset(&self) -> Result<(), Fault> {
        let mut current = self.core.write().unwrap_or_else(PoisonError::into_inner);
        current.database.close();
        write::create(&self.files, FILE, self.identity, &self.options)?;
        *current = Arc::new(core_of(&self.files, FILE, self.identity, &self.options));
        current.load()?;
        self.suspect.store(false, Ordering::Release);
        Ok(())
    }

    /// An empty index beside this one, to be built from the log.
    pub(super) fn begin_rebuild(&self) -> Result<Self, Fault> {
        write::create(&self.files, REBUILT_FILE, self.identity, &self.options)?;
        let rebuilt = Self::of_file(&self.files, REBUILT_FILE, self.identity, &self.options);
        rebuilt.core().load()?;
        Ok(rebuilt)
    }

    /// Puts the rebuilt index in the place of this one.
    pub(super) fn replace_with(&self, rebuilt: &Self) -> Result<(), Fault> {
        rebuilt.shut();
        let mut current = self.core.write().unwrap_or_else(PoisonError::into_inner);
        current.database.close();
        let renamed = self.files.rename(REBUILT_FILE, FILE);
        *current = Arc::new(core_of(&self.files, FILE, self.identity, &self.options));
        renamed.map_err(|error| Fault::from_io(&error))?;
        current.load()?;
        self.rebuilds.fetch_add(1, Ordering::AcqRel);
        self.suspect.store(false, Ordering::Release);
        Ok(())
    }

    /// Whether damage was found since it was opened.
    pub(super) fn is_suspect(&self) -> bool {
        self.suspect.load(Ordering::Acquire)
    }

    /// How often it was replaced while it was open.
    pub(super) fn rebuilds(&self) -> u64 {
        self.rebuilds.load(Ordering::Acquire)
    }

    /// Closes the file for good.
    pub(super) fn shut(&self) {
        self.core().database.shut();
    }

    /// Where an aggregate stands.
    pub(super) fn head(&self, key: &AggregateKey, wanted: &Wanted) -> Result<Head, IndexError> {
        self.read(
            || format!("the head of `{key}`"),
            |reading| {
                let name = keys::aggregate(key);
                for layer in reading.view.layers.iter().rev() {
                    if layer.may_hold(wanted.hash())
                        && let Some(spot) = reading.at_or_before(layer, &name, u64::MAX)?
                    {
                        return Ok(spot.head()?.head());
                    }
                }
                Ok(Head::default())
            },
        )
    }

    /// Where commits lie that an idempotency key may be bound to: chunk, ordinal, first position.
    pub(super) fn outcomes(&self, key: &AggregateKey, hash: u64) -> Result<Vec<(u64, u32, u64)>, IndexError> {
        // Nearly always, no run has it: that is answered without a transaction.
        if !self.core().view().layers.iter().any(|layer| layer.may_bind(hash)) {
            return Ok(Vec::new());
        }
        self.read(
            || format!("an outcome of `{key}`"),
            |reading| {
                let mut found = Vec::new();
                for layer in reading.view.layers.iter().filter(|layer| layer.may_bind(hash)) {
                    let mut inside = Vec::new();
                    reading.outcomes_of(layer, hash, &mut inside)?;
                    let before = layer.run.before;
                    found.extend(inside.into_iter().map(|outcome| {
                        let chunk = before.chunk + u64::from(outcome.chunk);
                        (
                            chunk,
                            outcome.ordinal,
                            before.position + u64::from(outcome.position),
                        )
                    }));
                }
                Ok(found)
            },
        )
    }

    /// Aggregates of a type after an id.
    pub(super) fn aggregates(
        &self,
        aggregate_type: &AggregateType,
        after: Option<&AggregateId>,
        limit: usize,
    ) -> Result<Vec<(AggregateId, Head)>, IndexError> {
        let of_type = keys::of_type(aggregate_type);
        let mut start = of_type.clone();
        if let Some(after) = after {
            start.extend_from_slice(after.as_str().as_bytes());
            // Behind the separator of this very id, before every longer one.
            start.push(1);
        }
        let what = || format!("the aggregates of `{aggregate_type}`");
        self.read(what, |reading| list(reading, &of_type, &start, limit))
    }

    fn core(&self) -> Arc<Core> {
        let core = self.core.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&core)
    }

    fn suspect(&self, what: &str, problem: &str) {
        if !self.suspect.swap(true, Ordering::AcqRel) {
            tracing::error!(
                problem,
                what,
                "the index is damaged and will be rebuilt from the log"
            );
        }
    }

    /// Reads in the runs.
    fn read<T>(
        &self,
        what: impl Fn() -> String,
        call: impl Fn(&Reading<'_>) -> Result<T, Trouble>,
    ) -> Result<T, IndexError> {
        self.read_with(what, |core, view, transaction| {
            call(&Reading::new(core, Arc::clone(view), transaction, true)?)
        })
    }

    /// Reads, and suspects the file when its bytes do not check out.
    fn read_with<T>(
        &self,
        what: impl Fn() -> String,
        call: impl Fn(&Core, &Arc<View>, &ReadTransaction) -> Result<T, Trouble>,
    ) -> Result<T, IndexError> {
        // Held during the read, so that the file is not replaced under it.
        let core = self.core.read().unwrap_or_else(PoisonError::into_inner);
        loop {
            let view = core.view();
            let result = core
                .database
                .read(|transaction| match call(&core, &view, transaction) {
                    Ok(value) => Ok(Ok(value)),
                    Err(Trouble::Bytes(error)) => Ok(Err(error)),
                    Err(Trouble::Redb(error)) => Err(error),
                });
            let problem = match result {
                Ok(Ok(value)) => return Ok(value),
                // A merge has gone on meanwhile, and deleted what this view needs.
                Ok(Err(_)) if !Arc::ptr_eq(&view, &core.view()) => continue,
                Ok(Err(malformed)) => {
                    core.database.distrust();
                    malformed.to_string()
                }
                Err(fault) if fault.is_damage() => fault.to_string(),
                Err(fault) => return Err(IndexError::Unavailable(format!("the index: {fault}"))),
            };
            let what = what();
            self.suspect(&what, &problem);
            return Err(IndexError::Damaged(format!("{what}, in the index: {problem}")));
        }
    }
}

/// The aggregates of a type from a name on: the layers together, each aggregate where its newest layer has it.
fn list(
    reading: &Reading<'_>,
    of_type: &[u8],
    start: &[u8],
    limit: usize,
) -> Result<Vec<(AggregateId, Head)>, Trouble> {
    let layers = &reading.view.layers;
    let mut nexts: Vec<Option<(Vec<u8>, Spot)>> = Vec::new();
    let named = |spot: Option<Spot>| -> Result<_, Trouble> {
        let spot = spot
            .map(|spot| Ok::<_, Trouble>((spot.name()?, spot)))
            .transpose()?;
        Ok(spot.filter(|(name, _)| name.starts_with(of_type)))
    };
    for layer in layers {
        nexts.push(named(reading.seek(layer, start, 0)?)?);
    }
    let mut found = Vec::new();
    while found.len() < limit {
        let least = nexts.iter().flatten().map(|(name, _)| name).min().cloned();
        let Some(name) = least else { break };
        let mut head = None;
        for (layer, next) in layers.iter().zip(&mut nexts) {
            if let Some((_, spot)) = next.take_if(|(found, _)| *found == name) {
                let last = last_of(reading, layer, &name, spot)?;
                head = Some(last.head()?.head());
                *next = named(reading.after(layer, last)?)?;
            }
        }
        let id = keys::id_of(&name, of_type).ok_or(super::format::Malformed("aggregate id"))?;
        found.extend(head.map(|head| (id, head)));
    }
    Ok(found)
}

/// The last segment of an aggregate in a layer, given its first one.
fn last_of(reading: &Reading<'_>, layer: &Layer, name: &[u8], first: Spot) -> Result<Spot, Trouble> {
    let next = reading.after(layer, first.clone())?;
    let is_one = match &next {
        None => true,
        Some(next) => next.name()? != name,
    };
    if is_one {
        return Ok(first);
    }
    Ok(reading.at_or_before(layer, name, u64::MAX)?.unwrap_or(first))
}

fn core_of(files: &Arc<dyn Files>, name: &str, identity: LogIdentity, options: &StoreOptions) -> Core {
    let database = Database::new(
        Arc::clone(files),
        name.to_owned(),
        options.index_cache_bytes,
        Mode::Writable,
    );
    Core::new(database.with_quick_repair(), identity, options)
}
