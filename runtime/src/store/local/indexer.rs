//! The thread that folds the log into the index, behind the writer and at its own pace.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use super::{
    Shared,
    open::{Fold, FoldError, write_oldest},
};
use crate::store::options::Step;

/// Between two looks when nothing is asked of it.
const NAP: Duration = Duration::from_millis(500);
/// After a failure.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) struct Indexer {
    shared: Arc<Shared>,
}

impl Indexer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    pub(super) fn run(self) {
        let shared = &self.shared;
        while !shared.stopping.load(Ordering::Acquire) {
            shared.overlay.wait_for_run(shared.run_limit(), NAP);
            let result = self.round(false);
            self.note(result);
        }
        let result = self.round(true);
        self.note(result);
    }

    /// Does what is due; at the end of the store's life, everything.
    fn round(&self, all: bool) -> Result<(), FoldError> {
        let shared = &self.shared;
        if shared.index.is_suspect() {
            self.rebuild()?;
        }
        let limit = shared.run_limit();
        while shared.overlay.is_run(limit) || all || shared.overlay.is_crowded(shared.options.overlay_bytes) {
            let before = shared.overlay.waiting();
            write_oldest(&shared.index, &shared.overlay, limit)?;
            if before == 0 || shared.overlay.waiting() == 0 {
                break;
            }
        }
        if shared.index.has_pending() {
            shared.index.write_snapshots().map_err(FoldError::Index)?;
        }
        Ok(())
    }

    /// Builds the index again from the log, beside the one in use.
    fn rebuild(&self) -> Result<(), FoldError> {
        let shared = &self.shared;
        let fold = Fold {
            log: &shared.log,
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
