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
        let is_due = every > 0 && self.is_worth_saving(entry, head, every);
        if is_due { self.snapshot(entry, head) } else { None }
    }

    /// Whether enough has happened since the last snapshot. A large state is saved less often, so that what is saved stays
    /// in proportion to what has happened.
    fn is_worth_saving(&self, entry: &Entry, head: Head, every: u64) -> bool {
        let Saved { version, bytes } = entry.saved;
        let for_size = bytes / self.limits().snapshot_bytes_per_event.max(1);
        let wanted = every.max(u64::try_from(for_size).unwrap_or(u64::MAX));
        head.version.0.saturating_sub(version.0) >= wanted
    }

    /// The module saved nothing: the next attempt comes after twice as many events.
    fn save_later(&self, saved: Saved, every: u64) -> usize {
        let limits = self.limits();
        let least = usize::try_from(every).unwrap_or(usize::MAX);
        let waited = saved
            .bytes
            .max(least.saturating_mul(limits.snapshot_bytes_per_event));
        waited.saturating_mul(2).min(limits.snapshot_bytes)
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
        // Also after a failure: the next attempt comes only after more events.
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
                entry.saved.bytes = self.save_later(entry.saved, serving.snapshot_every);
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
            let least = self.limits().snapshot_on_eviction;
            if self.is_worth_saving(&entry, head, least)
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

    pub(crate) fn cells_are_too_large(&self) -> bool {
        self.cells.are_too_large()
    }

    /// Lets an idle lane go, and with it the cell that its object lives in. The neighbours, most of which have been unused
    /// for as long, are rebuilt when they are asked for.
    pub(crate) fn evict_with_cell(&mut self, entry: Entry) {
        let cell = entry.lane.live().map(|placed| placed.cell);
        self.evict(entry);
        if let Some(cell) = cell {
            self.cells.empty(cell);
        }
    }
}
