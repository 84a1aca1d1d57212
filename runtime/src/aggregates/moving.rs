//! Moving a live object out of a cell whose memory has reached its high-water mark: saved there, restored elsewhere, without
//! the log. It also works while decisions are in flight, since the object is in the same state afterwards.

use crate::wasm::Fault;

use super::{
    cells::Placed,
    work::{Entry, Worker},
};

impl Worker {
    /// False when the object has to be dropped, to be built from the log.
    pub(super) fn move_away(&mut self, entry: &mut Entry) -> bool {
        let Ok(serving) = self.serving(entry) else {
            return false;
        };
        let module = &serving.module;
        let Some(placed) = entry.lane.live().filter(|_| module.has_snapshots()) else {
            return false;
        };
        let from = placed.cell;
        let saved = match self.cells.get(from) {
            Some(cell) => cell.save(&placed.live),
            None => Err(Fault::Retired),
        };
        let state = match saved {
            Ok(Ok(state)) => state,
            Ok(Err(reason)) => {
                tracing::debug!(aggregate = %entry.key, reason, "not saved for a move");
                return false;
            }
            Err(fault) => {
                tracing::warn!(aggregate = %entry.key, %fault, "not saved for a move");
                self.cells.retire(from);
                return false;
            }
        };
        let Ok(to) = self.cells.room_for(module, entry.wants_own_cell) else {
            // It stays until there is another cell, as long as its own has room.
            return self.cells.holds(from);
        };
        let restored = match self.cells.get(to) {
            Some(cell) => cell.restore(&entry.key.aggregate_id, &state),
            None => Err(Fault::Retired),
        };
        match restored {
            Ok(Ok(live)) => {
                let module = module.digest();
                let placed = Placed {
                    cell: to,
                    live,
                    module,
                };
                entry.wants_own_cell = !self.cells.settles_in(to);
                if let Some(old) = entry.lane.move_live(placed) {
                    self.cells.release(old);
                }
                true
            }
            Ok(Err(reason)) => {
                tracing::warn!(aggregate = %entry.key, reason, "a state that was just saved is refused");
                false
            }
            Err(fault) => {
                tracing::warn!(aggregate = %entry.key, %fault, "a state that was just saved is not restored");
                self.cells.retire(to);
                false
            }
        }
    }
}
