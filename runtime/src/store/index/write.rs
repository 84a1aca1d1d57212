//! What the indexer writes: sorted runs, each in one transaction with the mark it reaches.

use std::{collections::BTreeMap, sync::Arc};

use redb::WriteTransaction;

use super::{EVENTS, HEADS, Index, OUTCOMES, Pointer, REACHED, REACHED_KEY, SNAPSHOTS, block, keys, values};
use crate::{
    store::{
        Head, LogIdentity,
        file::{Database, Fault, Files},
        format::Mark,
        overlay::Fresh,
    },
    vocabulary::{AggregateKey, Committed, LogId},
};

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
        let parts = sort(run);
        let log_id = self.identity.log_id;
        let database = self.database();
        let result = database.write(|transaction| {
            write_events(transaction, &parts, log_id)?;
            let mut outcomes = transaction.open_table(OUTCOMES)?;
            for part in parts.values() {
                for (key, pointer) in &part.outcomes {
                    let value = values::seal(values::put_pointer(*pointer), key, log_id);
                    outcomes.insert(key.as_slice(), value.as_slice())?;
                }
            }
            put_reached(transaction, self.identity, &last.after)
        });
        result.map_err(|failed| failed.fault)
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
    transaction: &WriteTransaction,
    parts: &BTreeMap<Vec<u8>, Part<'_>>,
    log_id: LogId,
) -> Result<(), redb::Error> {
    let mut events = transaction.open_table(EVENTS)?;
    let mut heads = transaction.open_table(HEADS)?;
    for (prefix, part) in parts {
        let Some(newest) = part.commits.last() else {
            continue;
        };
        for (first, block) in block::encode(&part.commits) {
            let key = keys::events(part.key, first);
            let value = values::seal(block, &key, log_id);
            events.insert(key.as_slice(), value.as_slice())?;
        }
        let head = Head {
            version: newest.commit.last_version(),
            recorded_at: newest.commit.context.now,
            position: newest.last_position(),
        };
        let value = values::seal(values::put_head(head), prefix, log_id);
        heads.insert(prefix.as_slice(), value.as_slice())?;
    }
    Ok(())
}
