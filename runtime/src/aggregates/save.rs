//! When a state is saved as a snapshot, and letting idle lanes go.

use crate::{
    store::{Head, Snapshot},
    vocabulary::Version,
    wasm::Fault,
};

use super::work::{Entry, Worker};

/// What is known of the newest snapshot of an aggregate.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Saved {
    /// Its version; 0 for none.
    pub(crate) version: Version,
    /// Its size.
    pub(crate) bytes: usize,
}

impl Worker {
    /// The state after a decision that is about to be proposed, when enough has happened since the last snapshot. It is
    /// kept once the decision is durable.
    pub(super) fn snapshot_when_due(&mut self, entry: &mut Entry, head: Head) -> Option<Snapshot> {
        let every = self.serving(entry).ok()?.snapshot_every;
        let is_due = every > 0 && head.version.0.saturating_sub(entry.saved.version.0) >= every;
        if is_due { self.snapshot(entry, head) } else { None }
    }

    /// The state as bytes. That there is none costs only time later; when the guest faults, its cell goes, and the live
    /// object with it.
    fn snapshot(&mut self, entry: &mut Entry, head: Head) -> Option<Snapshot> {
        let serving = self.serving(entry).ok()?;
        let module = &serving.module;
        let placed = entry.lane.live()?;
        if placed.module != module.digest() || !module.has_snapshots() || head.version == Version(0) {
            return None;
        }
        let cell_id = placed.cell;
        let saved = self.cells.get(cell_id)?.save(&placed.live);
        // Also after a failure: the next attempt comes after as many events again.
        entry.saved.version = head.version;
        match saved {
            Ok(Ok(state)) => {
                entry.saved.bytes = state.len();
                Some(Snapshot {
                    key: entry.key.clone(),
                    version: head.version,
                    recorded_at: head.recorded_at,
                    module: module.digest(),
                    state_version: module.manifest().state_version,
                    state: state.into(),
                })
            }
            Ok(Err(reason)) => {
                tracing::warn!(aggregate = %entry.key, version = %head.version, reason, "the module saved no snapshot");
                None
            }
            Err(fault) => {
                self.lose_to(entry, head, &fault);
                None
            }
        }
    }

    fn lose_to(&mut self, entry: &mut Entry, head: Head, fault: &Fault) {
        tracing::warn!(aggregate = %entry.key, version = %head.version, %fault, "no snapshot");
        if let Some(cell) = entry.lane.live().map(|placed| placed.cell) {
            self.cells.retire(cell);
        }
        self.drop_live(entry);
    }

    /// Lets an idle lane go, with a snapshot when enough has happened since the last one.
    pub(crate) fn evict(&mut self, mut entry: Entry) {
        if let Some(head) = entry.lane.tip() {
            let since = head.version.0.saturating_sub(entry.saved.version.0);
            if since >= self.equipment.limits.snapshot_on_eviction
                && let Some(snapshot) = self.snapshot(&mut entry, head)
            {
                self.equipment.store.save_snapshot(snapshot);
            }
        }
        if let Some(rebuild) = entry.rebuild.take() {
            rebuild.abandon(&mut self.cells);
        }
        self.drop_live(&mut entry);
    }
}
