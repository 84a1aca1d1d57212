//! Merging: several runs become one, a slice at a time. Each transaction puts a slice of the output, moves the
//! frontier, and deletes what the inputs no longer need; so hardly any space is taken twice, and after a crash the
//! merge goes on where it was.

use std::sync::Arc;

use redb::WriteTransaction;

use super::{
    Index,
    core::{BLOCKS, Core, DIRECTORIES, FILTERS, State, Trouble, put_manifest},
    filter::Filter,
    keys::{SECOND_HALF, numbered},
    layers::{Layer, Scope},
    manifest::{Frontier, Manifest, MergeRecord},
    output::gather,
    plan::{self, Size},
    reads::Reading,
    run::{Run, RunRecord},
    step::Step,
    write::damaged,
};
use crate::store::{file::Fault, format::Malformed};

/// Halvings that a filter is made for: its inputs may all hold the same aggregates.
const HALVINGS: u32 = 3;
/// Blocks of an output whose filters are made again at a time, after a merge was interrupted.
const REREAD_BLOCKS: u32 = 256;

/// What is known of a merge beside its record.
#[derive(Debug)]
pub(super) struct Merging {
    /// What readers see of the output.
    pub(super) output: Arc<Run>,
    /// Of aggregates and of idempotency keys.
    filters: Option<[Filter; 2]>,
    /// Blocks of the output that are to be read again for the filters.
    reread: [u32; 2],
    pub(super) keys: [u64; 2],
    /// Of each input, the blocks of events and of outcomes below these are deleted.
    deleted: Vec<[u32; 2]>,
}

impl Merging {
    /// Goes on with a merge that was interrupted.
    pub(super) fn resumed(output: Run, merge: &MergeRecord) -> Self {
        Self {
            reread: output.blocks(),
            output: Arc::new(output),
            filters: None,
            keys: [0; 2],
            deleted: vec![[0; 2]; merge.count],
        }
    }
}

impl Index {
    /// Does the next piece of what is to be merged or deleted. False when there is nothing to be done.
    pub(in crate::store) fn merge_step(&self) -> Result<bool, Fault> {
        self.noting(|core| {
            let mut state = core.state()?;
            if !state.manifest.leftovers.is_empty() {
                core.clear_leftovers(&mut state)?;
                return Ok(true);
            }
            if state.merging.is_none() && !core.begin_merge(&mut state)? {
                return Ok(false);
            }
            let Some(mut merging) = state.merging.take() else {
                return Ok(false);
            };
            // On a failure it is read again with everything else.
            core.go_on(&mut state, &mut merging)
                .inspect_err(|_| state.forget())?;
            if state.manifest.merge.is_some() {
                state.merging = Some(merging);
            }
            core.show(&state);
            Ok(true)
        })
    }

    /// How many runs there are.
    pub(in crate::store) fn runs(&self) -> usize {
        self.core().runs()
    }
}

impl Core {
    fn begin_merge(&self, state: &mut State) -> Result<bool, Fault> {
        let sizes: Vec<_> = state.manifest.runs.iter().map(size_of).collect();
        let Some(range) = plan::next(&sizes, self.sizes.merge_runs) else {
            return Ok(false);
        };
        self.clear_unfinished(state)?;
        let inputs = state.manifest.runs.get(range.clone()).unwrap_or_default();
        let (Some(first), Some(last)) = (inputs.first(), inputs.last()) else {
            return Ok(false);
        };
        let id = state.manifest.next_run;
        let record = MergeRecord {
            first: range.start,
            count: range.len(),
            output: RunRecord::new(id, first.before, last.behind),
            frontier: Frontier::Events(Vec::new(), 0),
            live: vec![[0; 2]; range.len()],
        };
        let keys = [0, 1].map(|kind: usize| inputs.iter().filter_map(|input| input.keys.get(kind)).sum());
        let mut merging = Merging::resumed(Run::new(id, first.before), &record);
        merging.filters = Some(keys.map(|keys| self.filter(keys, HALVINGS)));
        state.manifest.next_run += 1;
        state.manifest.merge = Some(record);
        state.merging = Some(merging);
        Ok(true)
    }

    fn go_on(&self, state: &mut State, merging: &mut Merging) -> Result<(), Fault> {
        if merging.filters.is_none() || merging.reread != [0; 2] {
            return self.reread(state, merging);
        }
        let mut filters = merging.filters.take();
        let step = self.reading(state, |reading| {
            let Some(filters) = filters.as_mut() else {
                return Err(Malformed("merge: its filters are missing").into());
            };
            self.step(state, merging, reading, filters)
        });
        let step = step?;
        merging.filters = filters;
        let is_last = step.frontier == Frontier::Done && step.slice.bytes() < self.sizes.slice_bytes;
        if is_last {
            return self.finish(state, merging, step);
        }
        let Step {
            slice,
            output,
            frontier,
            live,
        } = step;
        let mut manifest = state.manifest.clone();
        let inputs = ids_of(&manifest);
        let Some(merge) = manifest.merge.as_mut() else {
            return Ok(());
        };
        merge.output = output.record;
        merge.frontier = frontier;
        // What the newest view does without already.
        let dead = std::mem::replace(&mut merge.live, live);
        self.write(state, |transaction| {
            slice.write(transaction)?;
            delete(transaction, &inputs, &merging.deleted, &dead)?;
            put_manifest(transaction, &manifest)
        })?;
        merging.deleted = dead;
        state.manifest = manifest;
        merging.output = Arc::new(output.run);
        Ok(())
    }

    fn reading<T>(
        &self,
        _: &State,
        call: impl FnOnce(&Reading<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Fault> {
        let found = self.database.read(|transaction| {
            match Reading::new(self, self.view(), transaction, false).and_then(|reading| call(&reading)) {
                Ok(value) => Ok(Ok(value)),
                Err(Trouble::Bytes(error)) => Ok(Err(error)),
                Err(Trouble::Redb(error)) => Err(error),
            }
        })?;
        found.map_err(damaged)
    }

    /// Makes the filters of the part of an output that is there already.
    fn reread(&self, state: &State, merging: &mut Merging) -> Result<(), Fault> {
        let mut filters = merging.filters.take().unwrap_or_else(|| {
            let merge = state.manifest.merge.as_ref();
            let range = merge.map_or(0..0, |merge| merge.first..merge.first + merge.count);
            let inputs = state.manifest.runs.get(range).unwrap_or_default();
            let keys = [0, 1].map(|kind: usize| inputs.iter().filter_map(|input| input.keys.get(kind)).sum());
            keys.map(|keys| self.filter(keys, HALVINGS))
        });
        let mut keys = merging.keys;
        let mut left = merging.reread;
        self.reading(state, |reading| {
            let layer = Layer {
                run: Arc::clone(&merging.output),
                scope: Scope::Whole,
            };
            let [aggregates, outcomes] = &mut filters;
            let from = left[0].saturating_sub(REREAD_BLOCKS);
            for number in from..left[0] {
                let block = reading.block(&layer.run, number)?;
                for index in 0..block.segments() {
                    aggregates.add(self.hashing.hash(block.head(index)?.aggregate));
                    keys[0] += 1;
                }
            }
            left[0] = from;
            let from = left[1].saturating_sub(REREAD_BLOCKS);
            for number in from..left[1] {
                let block = reading.outcomes(&layer.run, number)?;
                for outcome in (0..).map_while(|index| block.get(index)) {
                    outcomes.add(outcome.hash);
                    keys[1] += 1;
                }
            }
            left[1] = from;
            Ok(())
        })?;
        merging.filters = Some(filters);
        merging.keys = keys;
        merging.reread = left;
        Ok(())
    }

    /// Puts the output in the place of its inputs.
    fn finish(&self, state: &mut State, merging: &mut Merging, step: Step) -> Result<(), Fault> {
        let Step {
            slice, mut output, ..
        } = step;
        let [mut aggregates, mut keys] = merging
            .filters
            .take()
            .ok_or(Malformed("merge: its filters are missing"))
            .map_err(damaged)?;
        output.record.keys = merging.keys;
        self.shrink(&mut aggregates, merging.keys[0]);
        self.shrink(&mut keys, merging.keys[1]);
        let mut slices = vec![slice];
        slices.extend(output.finish(aggregates, keys));
        let mut slices = gather(slices, self.sizes.slice_bytes);
        let last = slices.pop().unwrap_or_default();
        for slice in slices {
            self.write(state, |transaction| slice.write(transaction))?;
        }
        let mut manifest = state.manifest.clone();
        let inputs = ids_of(&manifest);
        let Some(merge) = manifest.merge.take() else {
            return Ok(());
        };
        let range = merge.first..merge.first + merge.count;
        manifest.leftovers.extend(inputs);
        manifest.runs.splice(range.clone(), [output.record]);
        self.write(state, |transaction| {
            last.write(transaction)?;
            put_manifest(transaction, &manifest)
        })?;
        state.manifest = manifest;
        state.runs.splice(range, [Arc::new(output.run)]);
        Ok(())
    }

    /// Makes a filter as small as its keys allow.
    fn shrink(&self, filter: &mut Filter, keys: u64) {
        for _ in 0..HALVINGS {
            if keys.saturating_mul(self.sizes.filter_bits as u64) > filter.bytes() as u64 * 8 / 2 {
                break;
            }
            filter.halve();
        }
    }

    /// Deletes some of what runs that were merged have left.
    fn clear_leftovers(&self, state: &mut State) -> Result<(), Fault> {
        let Some(run) = state.manifest.leftovers.first().copied() else {
            return Ok(());
        };
        let most = (self.sizes.slice_bytes / self.sizes.block_bytes).max(1) * 4;
        let mut manifest = state.manifest.clone();
        let all = numbered(run, 0)..numbered(run + 1, 0);
        let ends = self.database.read(|transaction| {
            let mut ends = Vec::new();
            for table in [BLOCKS, DIRECTORIES, FILTERS] {
                let table = transaction.open_table(table)?;
                let beyond = table.range(all.clone())?.nth(most).transpose()?;
                ends.push(beyond.map(|(key, _)| key.value()));
            }
            Ok(ends)
        })?;
        if ends.iter().all(Option::is_none) {
            manifest.leftovers.remove(0);
        }
        self.write(state, |transaction| {
            for (table, end) in [BLOCKS, DIRECTORIES, FILTERS].into_iter().zip(ends) {
                let range = all.start..end.unwrap_or(all.end);
                transaction.open_table(table)?.retain_in(range, |_, _| false)?;
            }
            put_manifest(transaction, &manifest)
        })?;
        state.manifest = manifest;
        Ok(())
    }
}

fn size_of(run: &RunRecord) -> Size {
    Size {
        bytes: run.bytes,
        stretch: (run.behind.position - run.before.position).max(run.behind.chunk - run.before.chunk),
    }
}

fn ids_of(manifest: &Manifest) -> Vec<u32> {
    let merge = manifest.merge.as_ref();
    let range = merge.map_or(0..0, |merge| merge.first..merge.first + merge.count);
    let inputs = manifest.runs.get(range).unwrap_or_default();
    inputs.iter().map(|run| run.id).collect()
}

/// Deletes blocks of inputs.
fn delete(
    transaction: &WriteTransaction,
    inputs: &[u32],
    from: &[[u32; 2]],
    to: &[[u32; 2]],
) -> Result<(), redb::Error> {
    let mut table = transaction.open_table(BLOCKS)?;
    for (run, (from, to)) in inputs.iter().zip(from.iter().zip(to)) {
        for (half, (from, to)) in [0, SECOND_HALF].into_iter().zip(from.iter().zip(to)) {
            if from < to {
                let keys = numbered(*run, half + from)..numbered(*run, half + to);
                table.retain_in(keys, |_, _| false)?;
            }
        }
    }
    Ok(())
}
