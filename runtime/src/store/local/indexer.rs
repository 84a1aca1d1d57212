//! The thread that folds the log into the index, behind the writer and at its own pace. Fresh runs come first; between
//! them the index's runs are merged, a slice at a time, with pauses in which the disk belongs to the log.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use super::{
    Shared,
    open::{Fold, FoldError},
};
use crate::store::{format::Hashing, options::Step};

/// Between two looks when nothing is asked of it.
const NAP: Duration = Duration::from_millis(500);
/// After a failure.
const PAUSE: Duration = Duration::from_millis(200);
/// So many runs mean that merging is behind: it goes on without pauses; with twice as many it comes before fresh runs.
const RUNS_BEHIND: usize = 24;
/// How many times as long as a slice of a merge took it rests, while there are fewer runs than this. A large merge that works
/// half of the time slows the log's own commits for as long as it takes; over an hour, merging needs a tenth of the time.
const RESTS: [(usize, u32); 3] = [(12, 4), (18, 2), (RUNS_BEHIND, 1)];
/// The longest rest: after a slice that a slow disk made long.
const LONGEST_REST: Duration = Duration::from_secs(1);

pub(super) struct Indexer {
    shared: Arc<Shared>,
}

impl Indexer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(super) fn run(self) {
        let shared = &self.shared;
        let mut pause = NAP;
        let mut merge_at = Instant::now();
        while !shared.stopping.load(Ordering::Acquire) {
            shared.overlay.wait_for_run(pause);
            let result = self.round(&mut merge_at);
            pause = *result.as_ref().unwrap_or(&NAP);
            self.note(result.map(drop));
        }
        let result = self.write_runs(true).and_then(|()| self.write_snapshots());
        self.note(result);
    }

    /// Does what is due, and a step of what can wait when it has rested; says when to come again.
    fn round(&self, merge_at: &mut Instant) -> Result<Duration, FoldError> {
        let shared = &self.shared;
        if shared.index.is_suspect() {
            self.rebuild()?;
        }
        self.write_runs(false)?;
        self.write_snapshots()?;
        let started = Instant::now();
        let left = merge_at.saturating_duration_since(started);
        if !left.is_zero() {
            // It was woken for something else.
            return Ok(left);
        }
        if !shared.index.merge_step().map_err(FoldError::Index)? {
            return Ok(NAP);
        }
        let rest = rest(shared.index.runs(), started.elapsed());
        *merge_at = Instant::now() + rest;
        Ok(rest)
    }

    /// Writes the runs that are due; at the end of the store's life, everything.
    fn write_runs(&self, all: bool) -> Result<(), FoldError> {
        let shared = &self.shared;
        while let Some(run) = shared.overlay.oldest(all) {
            while !all && shared.index.runs() >= 2 * RUNS_BEHIND {
                if !shared.index.merge_step().map_err(FoldError::Index)? {
                    break;
                }
            }
            shared.index.write_run(&run).map_err(FoldError::Index)?;
            shared.overlay.remove(&run);
        }
        Ok(())
    }

    fn write_snapshots(&self) -> Result<(), FoldError> {
        let index = &self.shared.index;
        if index.has_pending() {
            index.write_snapshots().map_err(FoldError::Index)?;
        }
        Ok(())
    }

    /// Builds the index again from the log, beside the one in use.
    fn rebuild(&self) -> Result<(), FoldError> {
        let shared = &self.shared;
        let fold = Fold {
            log: &shared.log,
            hashing: Hashing::of(shared.identity.log_id),
            options: &shared.options,
            step: Step::Rebuilding,
        };
        // What waits in the overlay is folded in afterwards, as always.
        let end = shared.overlay.begins_at().unwrap_or_else(|| shared.log.end());
        let rebuilt = shared.index.begin_rebuild().map_err(FoldError::Index)?;
        fold.build(&rebuilt, end)?;
        shared.index.replace_with(&rebuilt).map_err(FoldError::Index)?;
        tracing::info!("the index was rebuilt from the log");
        Ok(())
    }

    fn note(&self, result: Result<(), FoldError>) {
        let Err(error) = result else { return };
        let error = error.into_open();
        tracing::error!(%error, "the indexer failed and will try again");
        if !self.shared.stopping.load(Ordering::Acquire) {
            std::thread::sleep(PAUSE);
        }
    }
}

/// How long to rest after a slice, by how far merging is behind.
fn rest(runs: usize, slice: Duration) -> Duration {
    let found = RESTS.iter().find(|(fewer, _)| runs < *fewer);
    let times = found.map_or(0, |(_, times)| *times);
    slice.saturating_mul(times).min(LONGEST_REST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_rests_less_the_further_it_is_behind() {
        for (runs, slice, expected) in [
            (0, 20, 80),
            (11, 20, 80),
            (12, 20, 40),
            (18, 20, 20),
            (24, 20, 0),
            (60, 20, 0),
            (3, 400, 1_000),
        ] {
            let rest = rest(runs, Duration::from_millis(slice));
            assert_eq!(rest, Duration::from_millis(expected), "{runs} runs, {slice} ms");
        }
    }
}
