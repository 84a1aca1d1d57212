//! What the indexer writes: a sealed segment of the overlay becomes a run. It is seen once the last of its
//! transactions has put it into the manifest; what an interrupted one has left is deleted.

use std::sync::Arc;

use super::{
    Index,
    block::Builder,
    body::parts,
    core::{
        BLOCKS, Core, DIRECTORIES, FILTERS, KIND_GROUPS, KINDS, MANIFEST, NAMES, SNAPSHOTS, Sizes, State,
        put_manifest,
    },
    filter::Filter,
    keys::{self, numbered},
    manifest::Manifest,
    names::Names,
    outcomes::{Outcome, per_block},
    output::{Output, Slice, gather},
    run::Edge,
    tally::Tally,
    values,
};
use crate::store::{
    LogIdentity, StoreOptions,
    file::{Database, Fault, Files},
    format::Malformed,
    overlay::Segment,
};

/// An empty index file.
pub(super) fn create(
    files: &Arc<dyn Files>,
    name: &str,
    identity: LogIdentity,
    options: &StoreOptions,
) -> Result<(), Fault> {
    Database::create(files, name, |transaction| {
        for table in [BLOCKS, DIRECTORIES, FILTERS, NAMES, KINDS, KIND_GROUPS] {
            transaction.open_table(table)?;
        }
        for table in [MANIFEST, SNAPSHOTS] {
            transaction.open_table(table)?;
        }
        put_manifest(transaction, &Manifest::new(identity, Sizes::of(options).shape))
    })
}

pub(super) fn damaged(error: Malformed) -> Fault {
    Fault::Damaged(error.to_string())
}

impl Index {
    /// Writes a run: a segment that begins where the index ends. One that it has already is left alone.
    pub(in crate::store) fn write_run(&self, segment: &Segment) -> Result<(), Fault> {
        self.noting(|core| {
            let mut state = core.state()?;
            let reached = state.manifest.reached;
            if segment.after.chunk <= reached.chunk {
                return Ok(());
            }
            if segment.before != reached {
                return Err(damaged(Malformed("index: a stretch of the log is missing in it")));
            }
            core.clear_unfinished(&mut state)?;
            core.write_run(&mut state, segment)
        })
    }

    /// Changes the file, and suspects it when its bytes do not check out.
    pub(super) fn noting<T>(&self, call: impl FnOnce(&Core) -> Result<T, Fault>) -> Result<T, Fault> {
        let core = self.core();
        call(&core).inspect_err(|fault| {
            if fault.is_damage() {
                core.database.distrust();
                self.suspect("what is written to it", &fault.to_string());
            }
        })
    }
}

impl Core {
    fn write_run(&self, state: &mut State, segment: &Segment) -> Result<(), Fault> {
        let id = state.manifest.next_run;
        let mut names = (*state.names).clone();
        let mut output = Output::new(
            id,
            Edge::from(segment.before),
            Edge::from(segment.after),
            self.log_id,
        );
        let mut tally = Tally::new(state.kinds.shape, segment.before.position);
        let written = self.write_events(state, segment, (&mut names, &mut tally), &mut output)?;
        let Some(aggregates) = written else {
            self.clear_unfinished(state)?;
            return self.write_run(state, segment);
        };
        let (keys, mut slices) = self.encode_outcomes(segment, &mut output).map_err(damaged)?;
        slices.extend(output.finish(aggregates, keys));
        let mut slices = gather(slices, self.sizes.slice_bytes);
        let last = slices.pop().unwrap_or_default();
        for slice in slices {
            self.write(state, |transaction| slice.write(transaction))?;
        }
        let reached = Edge::from(segment.after);
        let kinds = state.kinds.with(tally.counts(), &tally.chunks(segment), reached);
        let (kinds, rows) = kinds.map_err(damaged)?;
        let mut manifest = state.manifest.clone();
        manifest.next_run += 1;
        manifest.reached = segment.after;
        manifest.names = names.len() as u32;
        manifest.names_crc = names.crc;
        manifest.kinds_crc = kinds.crc();
        manifest.runs.push(output.record);
        let known = state.names.len();
        let log_id = self.log_id;
        self.write(state, |transaction| {
            last.write(transaction)?;
            let mut table = transaction.open_table(NAMES)?;
            for (number, row) in (known as u64 + 1..).zip(names.rows_from(known)) {
                let row = values::seal(row.to_vec(), &number.to_be_bytes(), log_id);
                table.insert(number, row.as_slice())?;
            }
            rows.write(transaction, log_id)?;
            put_manifest(transaction, &manifest)
        })?;
        state.manifest = manifest;
        state.names = Arc::new(names);
        state.kinds = Arc::new(kinds);
        state.runs.push(Arc::new(output.run));
        state.unclean = false;
        self.show(state);
        Ok(())
    }

    /// Writes all blocks of events and counts them; their filter is returned. None when it turned out on the way that aggregates share
    /// hashes, which the segment knows from now on.
    fn write_events(
        &self,
        state: &mut State,
        segment: &Segment,
        (names, tally): (&mut Names, &mut Tally),
        output: &mut Output,
    ) -> Result<Option<Filter>, Fault> {
        let groups = sorted(segment).map_err(damaged)?;
        let mut filter = self.filter(groups.len() as u64, 0);
        let mut builder = Builder::new(self.sizes.block_bytes);
        let mut members = Vec::new();
        state.unclean = true;
        for (name, hash, newest) in groups.iter() {
            filter.add(hash);
            if !segment.members(newest, &mut members).map_err(damaged)? {
                return Ok(None);
            }
            for member in &members {
                tally.add(member, names).map_err(damaged)?;
                for part in parts(member, builder.part_bytes()).map_err(damaged)? {
                    builder.push(name, member, &part, names).map_err(damaged)?;
                }
            }
            if builder.built_bytes >= self.sizes.slice_bytes {
                let slice = slice_of(&mut builder, output).map_err(damaged)?;
                self.write(state, |transaction| slice.write(transaction))?;
            }
        }
        builder.finish();
        let slice = slice_of(&mut builder, output).map_err(damaged)?;
        output.record.keys[0] = groups.len() as u64;
        if !slice.blocks.is_empty() {
            self.write(state, |transaction| slice.write(transaction))?;
        }
        Ok(Some(filter))
    }

    fn encode_outcomes(
        &self,
        segment: &Segment,
        output: &mut Output,
    ) -> Result<(Filter, Vec<Slice>), Malformed> {
        let before = segment.before;
        let mut outcomes = Vec::new();
        for bound in segment.bound() {
            let far = Malformed("run: it is too long");
            outcomes.push(Outcome {
                hash: bound.hash,
                chunk: u32::try_from(bound.chunk - before.chunk).map_err(|_| far.clone())?,
                ordinal: bound.ordinal,
                position: u32::try_from(bound.first_position - before.position).map_err(|_| far)?,
            });
        }
        outcomes.sort_unstable_by_key(|outcome| outcome.hash);
        let mut filter = self.filter(outcomes.len() as u64, 0);
        outcomes.iter().for_each(|outcome| filter.add(outcome.hash));
        let per_block = per_block(self.sizes.block_bytes);
        let per_slice = (self.sizes.slice_bytes / self.sizes.block_bytes).max(1) * per_block;
        let mut slices = Vec::new();
        for some in outcomes.chunks(per_slice) {
            let mut slice = Slice::default();
            output.add_outcomes(some, per_block, &mut slice)?;
            slices.push(slice);
        }
        output.record.keys[1] = outcomes.len() as u64;
        Ok((filter, slices))
    }

    /// A filter for so many keys.
    pub(super) fn filter(&self, keys: u64, halvings: u32) -> Filter {
        Filter::new(keys, self.sizes.filter_bits, self.sizes.filter_bytes, halvings)
    }

    /// Deletes what runs that came to nothing have left: nothing may stand under the next number.
    pub(super) fn clear_unfinished(&self, state: &mut State) -> Result<(), Fault> {
        if !state.unclean {
            return Ok(());
        }
        let next = numbered(state.manifest.next_run, 0);
        let found = self.database.read(|transaction| {
            let mut found = false;
            for table in [BLOCKS, DIRECTORIES, FILTERS] {
                found |= transaction.open_table(table)?.range(next..)?.next().is_some();
            }
            Ok(found)
        })?;
        if found {
            self.write(state, |transaction| {
                for table in [BLOCKS, DIRECTORIES, FILTERS] {
                    transaction.open_table(table)?.retain_in(next.., |_, _| false)?;
                }
                Ok(())
            })?;
        }
        state.unclean = false;
        Ok(())
    }
}

/// What has been built, as a slice.
pub(super) fn slice_of(builder: &mut Builder, output: &mut Output) -> Result<Slice, Malformed> {
    let mut slice = Slice::default();
    builder.built_bytes = 0;
    output.add_events(std::mem::take(&mut builder.built), &mut slice)?;
    Ok(slice)
}

/// Aggregates in the order of their names.
struct Sorted {
    names: Vec<u8>,
    /// Where the name lies, its hash, its newest entry.
    places: Vec<(usize, usize, u64, u32)>,
}

impl Sorted {
    fn len(&self) -> usize {
        self.places.len()
    }

    fn iter(&self) -> impl Iterator<Item = (&[u8], u64, u32)> {
        self.places.iter().map(|(start, end, hash, newest)| {
            (self.names.get(*start..*end).unwrap_or_default(), *hash, *newest)
        })
    }
}

fn sorted(segment: &Segment) -> Result<Sorted, Malformed> {
    let mut names = Vec::new();
    let mut places = Vec::new();
    for (hash, encoded, newest) in segment.aggregates() {
        let start = names.len();
        keys::put_name(encoded, &mut names)?;
        places.push((start, names.len(), hash, newest));
    }
    let name = |start: usize, end: usize| names.get(start..end).unwrap_or_default();
    places.sort_unstable_by(|a, b| name(a.0, a.1).cmp(name(b.0, b.1)));
    Ok(Sorted { names, places })
}
