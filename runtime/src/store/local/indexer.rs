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
/// The longest pause after a slice of a merge.
const BREATH: Duration = Duration::from_millis(40);
/// So many runs mean that merging is behind: it goes on without pauses, and before fresh runs.
const RUNS_BEHIND: usize = 24;

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
        while !shared.stopping.load(Ordering::Acquire) {
            shared.overlay.wait_for_run(pause);
            let result = self.round();
            pause = *result.as_ref().unwrap_or(&NAP);
            self.note(result.map(drop));
        }
        let result = self.write_runs(true).and_then(|()| self.write_snapshots());
        self.note(result);
    }

    /// Does what is due and a step of what can wait; says when to come again.
    fn round(&self) -> Result<Duration, FoldError> {
        let shared = &self.shared;
        if shared.index.is_suspect() {
            self.rebuild()?;
        }
        self.write_runs(false)?;
        self.write_snapshots()?;
        let started = Instant::now();
        let more = shared.index.merge_step().map_err(FoldError::Index)?;
        let is_behind = shared.index.runs() >= RUNS_BEHIND;
        Ok(match more {
            false => NAP,
            true if is_behind => Duration::ZERO,
            true => started.elapsed().min(BREATH),
        })
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
