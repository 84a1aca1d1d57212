//! One step of a merge: a slice of its output, made of what comes next in its inputs.

use std::sync::Arc;

use super::{
    block::Builder,
    core::{Core, State, Trouble},
    cursors::{Cursor, OutcomeCursor},
    filter::Filter,
    layers::{Layer, Scope},
    manifest::Frontier,
    merge::Merging,
    outcomes::{Outcome, per_block},
    output::{Output, Slice},
    reads::{Reading, Spot},
    run::Run,
    write::slice_of,
};
use crate::store::format::Malformed;

/// What one step has made.
pub(super) struct Step {
    pub(super) slice: Slice,
    pub(super) output: Output,
    pub(super) frontier: Frontier,
    pub(super) live: Vec<[u32; 2]>,
}

impl Core {
    /// Merges what comes next, until the slice is full.
    pub(super) fn step(
        &self,
        state: &State,
        merging: &mut Merging,
        reading: &Reading<'_>,
        filters: &mut [Filter; 2],
    ) -> Result<Step, Trouble> {
        let Some(merge) = state.manifest.merge.as_ref() else {
            return Err(Malformed("merge: there is none").into());
        };
        let inputs = state
            .runs
            .get(merge.first..merge.first + merge.count)
            .unwrap_or_default();
        let mut step = Step {
            slice: Slice::default(),
            output: Output::resumed((*merging.output).clone(), merge.output.clone(), self.log_id),
            frontier: merge.frontier.clone(),
            live: merge.live.clone(),
        };
        let [aggregates, outcomes] = filters;
        let [events, bound] = &mut merging.keys;
        if matches!(step.frontier, Frontier::Events(..)) {
            self.merge_events(inputs, reading, &mut step, |hash| {
                aggregates.add(hash);
                *events += 1;
            })?;
        }
        if let Frontier::Outcomes(from) = step.frontier
            && step.slice.bytes() < self.sizes.slice_bytes
        {
            self.merge_outcomes(inputs, reading, &mut step, from, |hash| {
                outcomes.add(hash);
                *bound += 1;
            })?;
        }
        Ok(step)
    }

    fn merge_events(
        &self,
        inputs: &[Arc<Run>],
        reading: &Reading<'_>,
        step: &mut Step,
        mut add: impl FnMut(u64),
    ) -> Result<(), Trouble> {
        let frontier = Arc::new(step.frontier.clone());
        let mut cursors = Vec::new();
        for (run, live) in inputs.iter().zip(&step.live) {
            let layer = Layer {
                run: Arc::clone(run),
                scope: Scope::Input(Arc::clone(&frontier), *live),
            };
            let spot = reading.seek(&layer, &[], 0)?;
            cursors.push(Cursor::new(layer, spot)?);
        }
        let mut builder = Builder::new(self.sizes.block_bytes);
        let mut last: Vec<u8> = Vec::new();
        step.frontier = loop {
            let open = cursors.iter_mut().filter(|cursor| cursor.spot.is_some());
            let Some(least) = open.min_by(|a, b| a.place().cmp(&b.place())) else {
                break Frontier::Outcomes(0);
            };
            let Some(spot) = least.spot.as_ref() else {
                break Frontier::Outcomes(0);
            };
            let head = spot.head()?;
            if !builder.has_room_for(&head) {
                builder.finish();
                if builder.built_bytes >= self.sizes.slice_bytes {
                    break Frontier::Events(least.name.clone(), least.version);
                }
            }
            builder.push_segment(&least.name, &head)?;
            if last != head.aggregate {
                add(self.hashing.hash(head.aggregate));
                last.clear();
                last.extend_from_slice(head.aggregate);
            }
            least.advance(reading)?;
        };
        builder.finish();
        let slice = slice_of(&mut builder, &mut step.output)?;
        step.slice = slice;
        for (cursor, live) in cursors.iter().zip(&mut step.live) {
            let blocks = cursor.layer.run.blocks()[0];
            live[0] = cursor.spot.as_ref().map_or(blocks, Spot::number);
        }
        Ok(())
    }

    fn merge_outcomes(
        &self,
        inputs: &[Arc<Run>],
        reading: &Reading<'_>,
        step: &mut Step,
        from: u64,
        mut add: impl FnMut(u64),
    ) -> Result<(), Trouble> {
        let before = step.output.record.before;
        let mut cursors = Vec::new();
        for (run, live) in inputs.iter().zip(&step.live) {
            cursors.push(OutcomeCursor::new(run, reading, from, live[1])?);
        }
        let per_block = per_block(self.sizes.block_bytes);
        let most = (self.sizes.slice_bytes / self.sizes.block_bytes).max(1) * per_block;
        let mut merged: Vec<Outcome> = Vec::new();
        step.frontier = loop {
            let open = cursors.iter_mut().filter(|cursor| cursor.next.is_some());
            let Some(least) = open.min_by_key(|cursor| cursor.next.map(|outcome| outcome.hash)) else {
                break Frontier::Done;
            };
            let Some(outcome) = least.next else {
                break Frontier::Done;
            };
            // All of one hash stay together.
            if merged.len() >= most && merged.last().is_some_and(|last| last.hash != outcome.hash) {
                break Frontier::Outcomes(outcome.hash);
            }
            let far = Malformed("run: it is too long");
            let rebase = |base: u64, own: u64, more: u32| u32::try_from(base - own + u64::from(more));
            let run = least.run;
            merged.push(Outcome {
                chunk: rebase(run.before.chunk, before.chunk, outcome.chunk).map_err(|_| far.clone())?,
                position: rebase(run.before.position, before.position, outcome.position).map_err(|_| far)?,
                ..outcome
            });
            add(outcome.hash);
            least.advance(reading)?;
        };
        step.output.add_outcomes(&merged, per_block, &mut step.slice)?;
        for (cursor, live) in cursors.iter().zip(&mut step.live) {
            live[1] = if cursor.next.is_some() {
                cursor.number
            } else {
                cursor.run.blocks()[1]
            };
        }
        Ok(())
    }
}
