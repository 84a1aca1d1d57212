//! What the indexer writes: sorted runs, in a few transactions, the last of which carries the mark that is reached.
//!
//! A page that a transaction has touched is free again only after the next one, so one transaction for a whole run
//! would make the file as large as two indexes. When only some of them are written, the next run finds their events
//! there already, and leaves them out.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use redb::{ReadableTable as _, Table, WriteTransaction};

use super::{EVENTS, HEADS, Index, OUTCOMES, Pointer, REACHED, REACHED_KEY, SNAPSHOTS, block, keys, values};
use crate::{
    store::{
        Head, LogIdentity,
        file::{Database, Fault, Files},
        format::{Malformed, Mark},
        overlay::Fresh,
    },
    vocabulary::{AggregateKey, Committed, LogId, Version},
};

/// Aggregates in one transaction.
const PARTS_MAX: usize = 2_048;

type Rows<'t> = Table<'t, &'static [u8], &'static [u8]>;

/// An empty index file.
pub(super) fn create(files: &Arc<dyn Files>, name: &str, identity: LogIdentity) -> Result<(), Fault> {
    Database::create(files, name, |transaction| {
        for table in [EVENTS, HEADS, OUTCOMES, SNAPSHOTS] {
            transaction.open_table(table)?;
        }
        put_reached(transaction, identity, &Mark::START)
    })
}

fn put_reached(
    transaction: &WriteTransaction,
    identity: LogIdentity,
    mark: &Mark,
) -> Result<(), redb::Error> {
    let value = values::seal(values::put_reached(identity, mark), REACHED_KEY, identity.log_id);
    transaction
        .open_table(REACHED)?
        .insert(REACHED_KEY, value.as_slice())?;
    Ok(())
}

/// What a run holds of one aggregate.
struct Part<'a> {
    key: &'a AggregateKey,
    commits: Vec<Arc<Committed>>,
    outcomes: Vec<(Vec<u8>, Pointer)>,
}

impl Index {
    /// Writes a run: consecutive chunks that begin where the index ends.
    pub(in crate::store) fn write_run(&self, run: &[Fresh]) -> Result<(), Fault> {
        let Some(last) = run.last() else { return Ok(()) };
        let parts: Vec<_> = sort(run).into_iter().collect();
        let log_id = self.identity.log_id;
        let mut groups = parts.chunks(PARTS_MAX).peekable();
        while let Some(group) = groups.next() {
            let is_last = groups.peek().is_none();
            let result = self.database().write(|transaction| {
                let mut events = transaction.open_table(EVENTS)?;
                let mut heads = transaction.open_table(HEADS)?;
                let mut outcomes = transaction.open_table(OUTCOMES)?;
                for (prefix, part) in group {
                    write_events(&mut events, &mut heads, prefix, part, log_id)?;
                    for (key, pointer) in &part.outcomes {
                        let value = values::seal(values::put_pointer(*pointer), key, log_id);
                        outcomes.insert(key.as_slice(), value.as_slice())?;
                    }
                }
                if is_last {
                    put_reached(transaction, self.identity, &last.after)?;
                }
                Ok(())
            });
            if let Err(failed) = result {
                if failed.fault.is_damage() {
                    self.suspect("what is written to it", &failed.fault.to_string());
                }
                return Err(failed.fault);
            }
        }
        Ok(())
    }
}

fn sort(run: &[Fresh]) -> BTreeMap<Vec<u8>, Part<'_>> {
    let mut parts = BTreeMap::new();
    for chunk in run {
        for (ordinal, committed) in chunk.commits.iter().enumerate() {
            let key = &committed.commit.key;
            let part = parts.entry(keys::aggregate(key)).or_insert_with(|| Part {
                key,
                commits: Vec::new(),
                outcomes: Vec::new(),
            });
            if let Some(record) = &committed.commit.idempotency {
                let pointer = Pointer {
                    chunk: chunk.chunk,
                    ordinal: ordinal as u32,
                    first_position: committed.first_position.0,
                };
                part.outcomes.push((keys::outcome(key, &record.key), pointer));
            }
            if !committed.commit.events.is_empty() {
                part.commits.push(Arc::clone(committed));
            }
        }
    }
    parts
}

fn write_events(
    events: &mut Rows<'_>,
    heads: &mut Rows<'_>,
    prefix: &[u8],
    part: &Part<'_>,
    log_id: LogId,
) -> Result<(), redb::Error> {
    let damaged = |error: Malformed| redb::Error::Corrupted(format!("the events of `{}`: {error}", part.key));
    let newest = newest_block(events, prefix, part.key, log_id)?.map_err(damaged)?;
    let indexed = match &newest {
        Some((_, block)) => block::last_version(block).map_err(damaged)?,
        None => Version(0),
    };
    let known = part
        .commits
        .partition_point(|committed| committed.commit.last_version() <= indexed);
    let fresh = part.commits.get(known..).unwrap_or_default();
    let (Some(first), Some(last)) = (fresh.first(), fresh.last()) else {
        return Ok(());
    };
    if first.commit.first_version != indexed.plus(1) {
        return Err(damaged(Malformed("index: a version is missing")));
    }
    let blocks = block::encode(fresh, newest, prefix.len() + 8).map_err(damaged)?;
    for (first, block) in blocks {
        let key = keys::events(part.key, first);
        let value = values::seal(block, &key, log_id);
        events.insert(key.as_slice(), value.as_slice())?;
    }
    let head = Head {
        version: last.commit.last_version(),
        recorded_at: last.commit.context.now,
        position: last.last_position(),
    };
    let value = values::seal(values::put_head(head), prefix, log_id);
    heads.insert(prefix, value.as_slice())?;
    Ok(())
}

type Block = Option<(Version, Bytes)>;

/// The last block of an aggregate, with its first version.
fn newest_block(
    events: &Rows<'_>,
    prefix: &[u8],
    key: &AggregateKey,
    log_id: LogId,
) -> Result<Result<Block, Malformed>, redb::Error> {
    let end = keys::events(key, Version(u64::MAX));
    let last = events
        .range::<&[u8]>(prefix..=end.as_slice())?
        .next_back()
        .transpose()?;
    let Some((block_key, value)) = last else {
        return Ok(Ok(None));
    };
    let first = keys::version_of(block_key.value(), prefix).ok_or(Malformed("key of a block"));
    let block = values::unseal(value.value(), block_key.value(), log_id);
    Ok(first.and_then(|first| Ok(Some((first, block?)))))
}
