//! One index file: what is known of it in memory, and how it is read and changed.
//!
//! Readers take a view and then a transaction, which is at least as new. A merge deletes blocks only one transaction
//! after the first view that does without them; so a reader that misses a block while its view is still the newest has
//! found damage, and any other one looks again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use bytes::Bytes;
use redb::{ReadTransaction, ReadableTable, TableDefinition};

use super::{
    cache::BlockCache,
    filter::Filter,
    keys::{SECOND_HALF, numbered},
    kinds::{Kinds, Shape},
    layers::{Layer, Scope, View},
    manifest::Manifest,
    merge::Merging,
    names::Names,
    run::{Row, Run, RunRecord},
    values,
};
use crate::{
    store::{
        LogIdentity, StoreOptions,
        file::{Database, Fault, WriteFault},
        format::{Hashing, Malformed, Reader, checksum},
    },
    vocabulary::LogId,
};

type Numbered = TableDefinition<'static, u64, &'static [u8]>;
type Named = TableDefinition<'static, &'static [u8], &'static [u8]>;
pub(super) const BLOCKS: Numbered = TableDefinition::new("blocks");
pub(super) const DIRECTORIES: Numbered = TableDefinition::new("directories");
pub(super) const FILTERS: Numbered = TableDefinition::new("filters");
pub(super) const NAMES: Numbered = TableDefinition::new("names");
pub(super) const KINDS: Numbered = TableDefinition::new("kinds");
pub(super) const KIND_GROUPS: Numbered = TableDefinition::new("kind-groups");
pub(super) const MANIFEST: Named = TableDefinition::new("manifest");
pub(super) const SNAPSHOTS: Named = TableDefinition::new("snapshots");
pub(super) const MANIFEST_KEY: &[u8] = b"manifest";

/// Sizes that an index is written and read with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    pub(super) block_bytes: usize,
    pub(super) slice_bytes: usize,
    pub(super) merge_runs: usize,
    pub(super) filter_bits: usize,
    pub(super) filter_bytes: usize,
    pub(super) shape: Shape,
}

impl Sizes {
    pub(super) fn of(options: &StoreOptions) -> Self {
        Self {
            block_bytes: options.index_block_bytes.next_power_of_two().max(4 << 10),
            slice_bytes: options.index_slice_bytes.max(1),
            merge_runs: options.index_merge_runs.max(2),
            filter_bits: options.index_filter_bits,
            filter_bytes: options.index_filter_bytes,
            shape: Shape::of(options.index_stretch_events, options.index_group_stretches),
        }
    }
}

/// Why a read did not come to an end.
#[derive(Debug)]
pub(super) enum Trouble {
    /// Bytes do not check out.
    Bytes(Malformed),
    /// redb.
    Redb(redb::Error),
}

impl From<Malformed> for Trouble {
    fn from(error: Malformed) -> Self {
        Self::Bytes(error)
    }
}

impl From<redb::StorageError> for Trouble {
    fn from(error: redb::StorageError) -> Self {
        Self::Redb(error.into())
    }
}

impl From<redb::TableError> for Trouble {
    fn from(error: redb::TableError) -> Self {
        Self::Redb(error.into())
    }
}

/// What the indexer's thread knows.
#[derive(Debug)]
pub(super) struct State {
    pub(super) manifest: Manifest,
    /// The runs of the manifest.
    pub(super) runs: Vec<Arc<Run>>,
    pub(super) names: Arc<Names>,
    pub(super) kinds: Arc<Kinds>,
    /// The merge of the manifest.
    pub(super) merging: Option<Merging>,
    /// A write failed, and what is on the disk is to be looked at again.
    stale: bool,
    /// An interrupted run may have left blocks under the next number.
    pub(super) unclean: bool,
}

/// One index file.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) database: Database,
    pub(super) log_id: LogId,
    pub(super) hashing: Hashing,
    pub(super) sizes: Sizes,
    pub(super) cache: BlockCache,
    view: RwLock<Arc<View>>,
    state: Mutex<State>,
}

impl Core {
    /// A file, of which nothing is known before it is loaded.
    pub(super) fn new(database: Database, identity: LogIdentity, options: &StoreOptions) -> Self {
        let sizes = Sizes::of(options);
        let state = State {
            manifest: Manifest::new(identity, sizes.shape),
            runs: Vec::new(),
            names: Arc::default(),
            kinds: Arc::new(Kinds::new(sizes.shape)),
            merging: None,
            stale: false,
            unclean: true,
        };
        Self {
            database,
            log_id: identity.log_id,
            hashing: Hashing::of(identity.log_id),
            sizes,
            cache: BlockCache::new(
                options.index_block_cache_bytes / sizes.block_bytes,
                sizes.block_bytes,
            ),
            view: RwLock::new(Arc::new(state.view())),
            state: Mutex::new(state),
        }
    }

    /// What readers read now.
    pub(super) fn view(&self) -> Arc<View> {
        let view = self.view.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&view)
    }

    /// What is known, for somebody who changes it. After a failure it is read again.
    pub(super) fn state(&self) -> Result<MutexGuard<'_, State>, Fault> {
        let mut state = self.lock();
        if state.stale {
            *state = self.read_state()?;
            self.show(&state);
        }
        Ok(state)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many runs there are.
    pub(super) fn runs(&self) -> usize {
        self.lock().runs.len()
    }

    /// Reads what the file says of itself.
    pub(super) fn load(&self) -> Result<Manifest, Fault> {
        let mut state = self.lock();
        *state = self.read_state()?;
        self.show(&state);
        Ok(state.manifest.clone())
    }

    /// Lets readers see the state.
    pub(super) fn show(&self, state: &State) {
        let view = Arc::new(state.view());
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = view;
    }

    /// Writes, and remembers when it failed.
    pub(super) fn write(
        &self,
        state: &mut State,
        call: impl FnOnce(&redb::WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), Fault> {
        state.stale = true;
        self.database
            .write(call)
            .map_err(|WriteFault { fault, .. }| fault)?;
        state.stale = false;
        Ok(())
    }

    fn read_state(&self) -> Result<State, Fault> {
        let found = self
            .database
            .read(|transaction| match self.read_state_in(transaction) {
                Ok(state) => Ok(Ok(state)),
                Err(Trouble::Bytes(error)) => Ok(Err(error)),
                Err(Trouble::Redb(error)) => Err(error),
            })?;
        found.map_err(|error| {
            self.database.distrust();
            Fault::Damaged(error.to_string())
        })
    }

    fn read_state_in(&self, transaction: &ReadTransaction) -> Result<State, Trouble> {
        let table = transaction.open_table(MANIFEST)?;
        let found = table.get(MANIFEST_KEY)?;
        let found = found.ok_or(Malformed("index: it does not say what it consists of"))?;
        let manifest = Manifest::get(&values::unseal(found.value(), MANIFEST_KEY, self.log_id)?)?;
        let names = self.read_names(transaction, &manifest)?;
        let kinds = self.read_kinds(transaction, &manifest)?;
        let mut runs = Vec::new();
        for record in &manifest.runs {
            runs.push(Arc::new(self.read_run(transaction, record, true)?));
        }
        let merging = match &manifest.merge {
            None => None,
            Some(merge) => {
                let output = self.read_run(transaction, &merge.output, false)?;
                Some(Merging::resumed(output, merge))
            }
        };
        Ok(State {
            manifest,
            runs,
            names: Arc::new(names),
            kinds: Arc::new(kinds),
            merging,
            stale: false,
            unclean: true,
        })
    }

    fn read_names(&self, transaction: &ReadTransaction, manifest: &Manifest) -> Result<Names, Trouble> {
        let table = transaction.open_table(NAMES)?;
        let mut names = Names::default();
        for number in 1..=u64::from(manifest.names) {
            names.add(&self.row(&table, number, "name")?)?;
        }
        if names.crc != manifest.names_crc {
            return Err(Malformed("index: its names are not those it was written with").into());
        }
        Ok(names)
    }

    /// A row that is sealed.
    pub(super) fn row(
        &self,
        table: &impl ReadableTable<u64, &'static [u8]>,
        key: u64,
        what: &'static str,
    ) -> Result<Bytes, Trouble> {
        let found = table.get(key)?.ok_or(Malformed(what))?;
        Ok(values::unseal(found.value(), &key.to_be_bytes(), self.log_id)?)
    }

    fn read_run(
        &self,
        transaction: &ReadTransaction,
        record: &RunRecord,
        filters: bool,
    ) -> Result<Run, Trouble> {
        let mut run = Run::new(record.id, record.before);
        let table = transaction.open_table(DIRECTORIES)?;
        let mut crc = 0;
        for number in 0..record.rows {
            let row = self.row(&table, numbered(record.id, number), "directory: a row is missing")?;
            crc = chain(crc, &row);
            let mut reader = Reader::new(&row);
            run.add(Row::get(&mut reader)?)?;
            reader.end()?;
        }
        if crc != record.directory_crc || run.blocks() != record.blocks {
            return Err(Malformed("directory: it is not the one of its run").into());
        }
        if filters {
            let table = transaction.open_table(FILTERS)?;
            let mut crc = 0;
            let mut both = [Filter::unread(), Filter::unread()];
            for ((half, rows), filter) in [0, SECOND_HALF]
                .into_iter()
                .zip(record.filter_rows)
                .zip(&mut both)
            {
                for number in 0..rows {
                    let row = self.row(
                        &table,
                        numbered(record.id, half + number),
                        "filter: a row is missing",
                    )?;
                    crc = chain(crc, &row);
                    filter.read_piece(&row)?;
                }
            }
            if crc != record.filter_crc {
                return Err(Malformed("filter: it is not the one of its run").into());
            }
            let [aggregates, keys] = both;
            run.aggregates = Arc::new(aggregates);
            run.keys = Arc::new(keys);
        }
        Ok(run)
    }
}

impl State {
    /// What is known is not what is on the disk: it is read again.
    pub(super) fn forget(&mut self) {
        self.stale = true;
    }

    fn view(&self) -> View {
        let merge = self.merging.as_ref().zip(self.manifest.merge.as_ref());
        let inputs = merge.map_or(0..0, |(_, merge)| merge.first..merge.first + merge.count);
        let frontier = merge.map(|(_, merge)| Arc::new(merge.frontier.clone()));
        let mut layers = Vec::new();
        for (index, run) in self.runs.iter().enumerate() {
            let Some((frontier, (merging, _))) =
                frontier.as_ref().zip(merge).filter(|_| inputs.contains(&index))
            else {
                layers.push(Layer {
                    run: Arc::clone(run),
                    scope: Scope::Whole,
                });
                continue;
            };
            let live = merge
                .and_then(|(_, merge)| merge.live.get(index - merge.first))
                .copied();
            if index == inputs.start {
                let inputs = self.runs.get(inputs.clone()).unwrap_or_default().to_vec();
                layers.push(Layer {
                    run: Arc::clone(&merging.output),
                    scope: Scope::Output(inputs, Arc::clone(frontier)),
                });
            }
            layers.push(Layer {
                run: Arc::clone(run),
                scope: Scope::Input(Arc::clone(frontier), live.unwrap_or_default()),
            });
        }
        View {
            layers,
            names: Arc::clone(&self.names),
            kinds: Arc::clone(&self.kinds),
        }
    }
}

/// The next link of a checksum over rows.
pub(super) fn chain(crc: u32, row: &[u8]) -> u32 {
    checksum([&crc.to_be_bytes()[..], row])
}

pub(super) fn put_manifest(
    transaction: &redb::WriteTransaction,
    manifest: &Manifest,
) -> Result<(), redb::Error> {
    let value = values::seal(manifest.put(), MANIFEST_KEY, manifest.identity.log_id);
    transaction
        .open_table(MANIFEST)?
        .insert(MANIFEST_KEY, value.as_slice())?;
    Ok(())
}
