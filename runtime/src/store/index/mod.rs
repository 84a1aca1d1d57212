//! The index: derived from the log, disposable, in a file of its own. An aggregate's events lie together, so that a
//! cold read is one walk through a few neighbouring pages.

mod block;
mod history;
mod keys;
mod snapshots;
mod values;
mod write;

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use redb::{ReadTransaction, TableDefinition};

pub(super) use self::history::{Page, Span};
use self::values::Pointer;
use super::{
    Head, LogIdentity, ReadError, Snapshot, StoreOptions,
    file::{Database, Fault, Files, Mode},
    format::{Malformed, Mark},
};
use crate::vocabulary::{AggregateId, AggregateKey, AggregateType, IdempotencyKey, ModuleDigest, Version};

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;
const EVENTS: Table = TableDefinition::new("events");
const HEADS: Table = TableDefinition::new("heads");
const OUTCOMES: Table = TableDefinition::new("outcomes");
const SNAPSHOTS: Table = TableDefinition::new("snapshots");
const REACHED: Table = TableDefinition::new("reached");
const REACHED_KEY: &[u8] = b"reached";

const FILE: &str = "index.redb";
const REBUILT_FILE: &str = "index-rebuilt.redb";

/// Snapshots that wait to be written, bytes: beyond it a snapshot is dropped, which costs only time.
const PENDING_BYTES_MAX: usize = 64 << 20;

/// The index in use.
#[derive(Debug)]
pub(super) struct Index {
    files: Arc<dyn Files>,
    identity: LogIdentity,
    cache_bytes: usize,
    database: RwLock<Arc<Database>>,
    suspect: AtomicBool,
    /// How often it was replaced while it was open.
    rebuilds: AtomicU64,
    pending: Mutex<Pending>,
}

#[derive(Debug, Default)]
struct Pending {
    snapshots: BTreeMap<(AggregateKey, ModuleDigest, Version), Snapshot>,
    bytes: usize,
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
        let index = Self {
            files: Arc::clone(files),
            identity,
            cache_bytes: options.index_cache_bytes,
            database: RwLock::new(Arc::new(database(files, FILE, options.index_cache_bytes))),
            suspect: AtomicBool::new(false),
            rebuilds: AtomicU64::new(0),
            pending: Mutex::default(),
        };
        match index.check(options.index_check_bytes) {
            Ok(mark) => Ok((index, mark, None)),
            Err(reason) => {
                index.reset()?;
                Ok((index, Mark::START, Some(reason)))
            }
        }
    }

    /// How far the index has got, or why it is of no use.
    fn check(&self, check_bytes: u64) -> Result<Mark, String> {
        let database = self.database();
        if database.file_bytes() == 0 {
            return Err("it is missing".to_owned());
        }
        if database.file_bytes() <= check_bytes && !database.verify().map_err(|fault| fault.to_string())? {
            return Err("it has damaged pages".to_owned());
        }
        let (identity, mark) = self.reached().map_err(|error| match error {
            IndexError::Damaged(what) | IndexError::Unavailable(what) => what,
        })?;
        if identity != self.identity {
            return Err("it is of another log, or of another branch of this one".to_owned());
        }
        Ok(mark)
    }

    fn reached(&self) -> Result<(LogIdentity, Mark), IndexError> {
        self.read("how far it has got", |transaction| {
            let table = transaction.open_table(REACHED)?;
            let found = table
                .get(REACHED_KEY)?
                .map(|found| self.unseal(found.value(), REACHED_KEY));
            Ok(found
                .unwrap_or(Err(Malformed("index: it does not say how far it has got")))
                .and_then(|value| values::get_reached(&value)))
        })
    }

    /// Begins again with an empty index.
    pub(super) fn reset(&self) -> Result<(), Fault> {
        let mut current = self.database.write().unwrap_or_else(PoisonError::into_inner);
        current.close();
        write::create(&self.files, FILE, self.identity)?;
        *current = Arc::new(database(&self.files, FILE, self.cache_bytes));
        self.suspect.store(false, Ordering::Release);
        Ok(())
    }

    /// An empty index beside this one, to be built from the log.
    pub(super) fn begin_rebuild(&self) -> Result<Self, Fault> {
        write::create(&self.files, REBUILT_FILE, self.identity)?;
        Ok(Self {
            files: Arc::clone(&self.files),
            identity: self.identity,
            cache_bytes: self.cache_bytes,
            database: RwLock::new(Arc::new(database(&self.files, REBUILT_FILE, self.cache_bytes))),
            suspect: AtomicBool::new(false),
            rebuilds: AtomicU64::new(0),
            pending: Mutex::default(),
        })
    }

    /// Puts the rebuilt index in the place of this one.
    pub(super) fn replace_with(&self, rebuilt: &Self) -> Result<(), Fault> {
        rebuilt.shut();
        let mut current = self.database.write().unwrap_or_else(PoisonError::into_inner);
        current.close();
        let renamed = self.files.rename(REBUILT_FILE, FILE);
        *current = Arc::new(database(&self.files, FILE, self.cache_bytes));
        renamed.map_err(|error| Fault::from_io(&error))?;
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
        self.database().shut();
    }

    /// Where an aggregate stands. Two tables must agree about it, since a damaged page can hide a row.
    pub(super) fn head(&self, key: &AggregateKey) -> Result<Head, IndexError> {
        self.read(&format!("the head of `{key}`"), |transaction| {
            self.head_in(transaction, key)
        })
    }

    fn head_in(
        &self,
        transaction: &ReadTransaction,
        key: &AggregateKey,
    ) -> Result<Result<Head, Malformed>, redb::Error> {
        let prefix = keys::aggregate(key);
        let heads = transaction.open_table(HEADS)?;
        let head = match heads.get(prefix.as_slice())? {
            None => Head::default(),
            Some(found) => match self
                .unseal(found.value(), &prefix)
                .and_then(|value| values::get_head(&value))
            {
                Ok(head) => head,
                Err(error) => return Ok(Err(error)),
            },
        };
        let events = transaction.open_table(EVENTS)?;
        let end = keys::events(key, Version(u64::MAX));
        let last = events
            .range::<&[u8]>(prefix.as_slice()..=end.as_slice())?
            .next_back();
        let last = match last.transpose()? {
            None => Version(0),
            Some((block_key, value)) => {
                let block = self.unseal(value.value(), block_key.value());
                match block.and_then(|block| block::last_version(&block)) {
                    Ok(last) => last,
                    Err(error) => return Ok(Err(error)),
                }
            }
        };
        Ok(if last == head.version {
            Ok(head)
        } else {
            Err(Malformed("index: head and events do not agree"))
        })
    }

    /// Where the commit lies that an idempotency key is bound to.
    pub(super) fn outcome(
        &self,
        key: &AggregateKey,
        idempotency: &IdempotencyKey,
    ) -> Result<Option<(u64, u32, u64)>, IndexError> {
        let outcome_key = keys::outcome(key, idempotency);
        self.read(&format!("an outcome of `{key}`"), |transaction| {
            let table = transaction.open_table(OUTCOMES)?;
            let found = table
                .get(outcome_key.as_slice())?
                .map(|found| self.unseal(found.value(), &outcome_key));
            let Some(value) = found else { return Ok(Ok(None)) };
            Ok(value
                .and_then(|value| values::get_pointer(&value))
                .map(|pointer| {
                    let Pointer {
                        chunk,
                        ordinal,
                        first_position,
                    } = pointer;
                    Some((chunk, ordinal, first_position))
                }))
        })
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
        self.read(&format!("the aggregates of `{aggregate_type}`"), |transaction| {
            let table = transaction.open_table(HEADS)?;
            let mut found = Vec::new();
            for row in table.range::<&[u8]>(start.as_slice()..)? {
                let (row_key, value) = row?;
                if found.len() >= limit || !row_key.value().starts_with(&of_type) {
                    break;
                }
                let head = self
                    .unseal(value.value(), row_key.value())
                    .and_then(|value| values::get_head(&value));
                let id = keys::id_of(row_key.value(), &of_type).ok_or(Malformed("key"));
                match id.and_then(|id| head.map(|head| (id, head))) {
                    Ok(entry) => found.push(entry),
                    Err(error) => return Ok(Err(error)),
                }
            }
            Ok(Ok(found))
        })
    }

    fn unseal(&self, value: &[u8], key: &[u8]) -> Result<Bytes, Malformed> {
        values::unseal(value, key, self.identity.log_id)
    }

    fn database(&self) -> Arc<Database> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&database)
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

    /// Reads, and suspects the file when its bytes do not check out.
    fn read<T>(
        &self,
        what: &str,
        call: impl FnOnce(&ReadTransaction) -> Result<Result<T, Malformed>, redb::Error>,
    ) -> Result<T, IndexError> {
        // Held during the read, so that the file is not replaced under it.
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let problem = match database.read(call) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(malformed)) => {
                database.distrust();
                malformed.to_string()
            }
            Err(fault) if fault.is_damage() => fault.to_string(),
            Err(fault) => return Err(IndexError::Unavailable(format!("the index: {fault}"))),
        };
        self.suspect(what, &problem);
        Err(IndexError::Damaged(format!("{what}, in the index: {problem}")))
    }
}

fn database(files: &Arc<dyn Files>, name: &str, cache_bytes: usize) -> Database {
    Database::new(Arc::clone(files), name.to_owned(), cache_bytes, Mode::Writable).with_quick_repair()
}
