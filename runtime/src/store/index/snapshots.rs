//! Snapshots: kept beside the index, thinned with age, never trusted over the log.

use std::{collections::BTreeMap, sync::PoisonError};

use redb::{ReadableTable as _, WriteTransaction};

use super::{Index, IndexError, core::SNAPSHOTS, keys, values};
use crate::{
    store::{Snapshot, file::Fault, format::Malformed},
    vocabulary::{AggregateKey, ModuleDigest, Version},
};

/// Snapshots that wait to be written, bytes: beyond it a snapshot is dropped, which costs only time.
const PENDING_BYTES_MAX: usize = 64 << 20;

/// Snapshots that wait to be written.
#[derive(Debug, Default)]
pub(in crate::store) struct Pending {
    snapshots: BTreeMap<(AggregateKey, ModuleDigest, Version), Snapshot>,
    bytes: usize,
}

impl Index {
    /// Takes a snapshot to be written later. Too many at a time are dropped.
    pub(in crate::store) fn keep_snapshot(&self, snapshot: Snapshot) -> bool {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let size = snapshot.state.len() + 256;
        if pending.bytes + size > PENDING_BYTES_MAX {
            return false;
        }
        pending.bytes += size;
        let slot = (snapshot.key.clone(), snapshot.module, snapshot.version);
        if let Some(older) = pending.snapshots.insert(slot, snapshot) {
            pending.bytes -= older.state.len() + 256;
        }
        true
    }

    /// Whether snapshots wait to be written.
    pub(in crate::store) fn has_pending(&self) -> bool {
        let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        !pending.snapshots.is_empty()
    }

    /// Writes the snapshots that wait.
    pub(in crate::store) fn write_snapshots(&self) -> Result<(), Fault> {
        let waiting: Vec<Snapshot> = {
            let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            pending.snapshots.values().cloned().collect()
        };
        if waiting.is_empty() {
            return Ok(());
        }
        let result = self.core().database.write(|transaction| {
            for snapshot in &waiting {
                self.write_snapshot(transaction, snapshot)?;
            }
            Ok(())
        });
        // Dropped also when it failed: losing a snapshot costs only time, keeping it for ever costs memory.
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for written in &waiting {
            let slot = (written.key.clone(), written.module, written.version);
            if pending.snapshots.get(&slot) == Some(written) {
                pending.snapshots.remove(&slot);
                pending.bytes -= written.state.len() + 256;
            }
        }
        result.map_err(|failed| failed.fault)
    }

    fn write_snapshot(&self, transaction: &WriteTransaction, snapshot: &Snapshot) -> Result<(), redb::Error> {
        let mut table = transaction.open_table(SNAPSHOTS)?;
        let key = keys::snapshot(&snapshot.key, snapshot.version, &snapshot.module);
        let value = values::seal(values::put_snapshot(snapshot), &key, self.identity.log_id);
        table.insert(key.as_slice(), value.as_slice())?;
        let prefix = keys::aggregate(&snapshot.key);
        let end = keys::snapshot(&snapshot.key, Version(u64::MAX), &ModuleDigest([0xff; 32]));
        let mut versions = Vec::new();
        for row in table.range::<&[u8]>(prefix.as_slice()..=end.as_slice())? {
            let (row_key, _) = row?;
            versions.extend(
                keys::snapshot_of(row_key.value(), &prefix)
                    .filter(|(_, module)| *module == snapshot.module)
                    .map(|(version, _)| version),
            );
        }
        for version in surplus(&versions) {
            let key = keys::snapshot(&snapshot.key, version, &snapshot.module);
            table.remove(key.as_slice())?;
        }
        Ok(())
    }

    /// The newest snapshot of a module at or below a version. Damaged ones are skipped.
    pub(in crate::store) fn snapshot(
        &self,
        key: &AggregateKey,
        module: &ModuleDigest,
        at_most: Version,
    ) -> Result<Option<Snapshot>, IndexError> {
        let waiting = {
            let pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            let slot = |version| (key.clone(), *module, Version(version));
            let mut range = pending.snapshots.range(slot(0)..=slot(at_most.0));
            range.next_back().map(|(_, waiting)| waiting.clone())
        };
        let written = self.written_snapshot(key, module, at_most)?;
        Ok(waiting
            .into_iter()
            .chain(written)
            .max_by_key(|snapshot| snapshot.version))
    }

    fn written_snapshot(
        &self,
        key: &AggregateKey,
        module: &ModuleDigest,
        at_most: Version,
    ) -> Result<Option<Snapshot>, IndexError> {
        let prefix = keys::aggregate(key);
        let end = keys::snapshot(key, at_most, &ModuleDigest([0xff; 32]));
        let what = || format!("the snapshots of `{key}`");
        self.read_with(what, |_, _, transaction| {
            let table = transaction.open_table(SNAPSHOTS)?;
            for row in table.range::<&[u8]>(prefix.as_slice()..=end.as_slice())?.rev() {
                let (row_key, value) = row?;
                let Some((version, owner)) = keys::snapshot_of(row_key.value(), &prefix) else {
                    continue;
                };
                if owner != *module {
                    continue;
                }
                let snapshot: Result<Snapshot, Malformed> =
                    values::unseal(value.value(), row_key.value(), self.identity.log_id)
                        .and_then(|value| values::get_snapshot(&value, key, version, owner));
                match snapshot {
                    Ok(snapshot) => return Ok(Some(snapshot)),
                    Err(error) => {
                        tracing::warn!(%key, %version, %error, "a damaged snapshot is skipped");
                    }
                }
            }
            Ok(None)
        })
    }
}

/// Which snapshots to drop, of versions in ascending order: of those at about the same distance from the newest, to a
/// factor of two, the oldest stays. So the past is covered ever more thinly, with a number that grows as a logarithm.
fn surplus(versions: &[Version]) -> Vec<Version> {
    let Some(newest) = versions.last() else {
        return Vec::new();
    };
    let distance = |version: Version| (newest.0 - version.0).checked_ilog2();
    versions
        .windows(2)
        .filter_map(|pair| match pair {
            [older, version] if distance(*older) == distance(*version) => Some(*version),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_thin_out_with_age() {
        let mut kept: Vec<Version> = Vec::new();
        for version in (100..=10_000).step_by(100) {
            kept.push(Version(version));
            let surplus = surplus(&kept);
            kept.retain(|version| !surplus.contains(version));
        }
        assert_eq!(kept.last(), Some(&Version(10_000)));
        assert!(kept.len() > 4 && kept.len() <= 14, "{kept:?}");
    }
}
