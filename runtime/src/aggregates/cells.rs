//! The cells of one shard: where live objects are placed, and what happens when a cell is lost.

use std::sync::Arc;

use crate::{
    vocabulary::ModuleDigest,
    wasm::{Cell, Fault, Live, Module},
};

/// A live object and the cell that it lives in.
#[derive(Debug)]
pub(crate) struct Placed {
    /// Where it lives.
    pub(crate) cell: CellId,
    /// The handle within the cell.
    pub(crate) live: Live,
    /// The module that it is an instance of.
    pub(crate) module: ModuleDigest,
}

/// A cell, in one life of its slot: a later cell in the same slot has another generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CellId {
    slot: usize,
    generation: u64,
}

#[derive(Debug)]
struct Slot {
    generation: u64,
    module: ModuleDigest,
    cell: Cell,
}

/// The cells of one shard.
#[derive(Debug)]
pub(crate) struct Cells {
    slots: Vec<Option<Slot>>,
    generation: u64,
    limit: usize,
}

impl Cells {
    /// No cells yet; at most `limit`.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            slots: Vec::new(),
            generation: 0,
            limit,
        }
    }

    /// A cell of the module with room for one more live object; a new one where there is none, or where a fresh one is
    /// asked for.
    pub(crate) fn room_for(&mut self, module: &Arc<Module>, fresh: bool) -> Result<CellId, Fault> {
        let fits =
            |slot: &Slot| slot.module == module.digest() && slot.cell.has_room() && !slot.cell.is_draining();
        let found = self.slots.iter().enumerate().find_map(|(index, slot)| {
            let slot = slot.as_ref().filter(|slot| fits(slot))?;
            Some(CellId {
                slot: index,
                generation: slot.generation,
            })
        });
        match found {
            Some(id) if !fresh => Ok(id),
            _ => self.open(module),
        }
    }

    fn open(&mut self, module: &Arc<Module>) -> Result<CellId, Fault> {
        let slot = match self.slots.iter().position(Option::is_none) {
            Some(slot) => slot,
            None if self.slots.len() < self.limit => {
                self.slots.push(None);
                self.slots.len() - 1
            }
            None => self.give_way().ok_or(Fault::CellLimit { limit: self.limit })?,
        };
        let cell = match Cell::new(module) {
            // The process has no room either: what other shards do not use is theirs, so one of ours gives way.
            Err(Fault::CellLimit { limit }) => {
                self.give_way().ok_or(Fault::CellLimit { limit })?;
                Cell::new(module)?
            }
            cell => cell?,
        };
        self.generation += 1;
        let id = CellId {
            slot,
            generation: self.generation,
        };
        if let Some(place) = self.slots.get_mut(slot) {
            *place = Some(Slot {
                generation: self.generation,
                module: module.digest(),
                cell,
            });
        }
        Ok(id)
    }

    /// Drops the cell with the fewest live objects, and says which slot is free now. Its lanes go cold and come back from
    /// the log when they are asked for: a live object is a cache of it and nothing else.
    fn give_way(&mut self) -> Option<usize> {
        let live = |slot: &Option<Slot>| slot.as_ref().map(|slot| slot.cell.live());
        let occupied = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| Some((live(slot)?, index)));
        let (_, index) = occupied.min()?;
        *self.slots.get_mut(index)? = None;
        Some(index)
    }

    /// The cell, unless it has been retired.
    pub(crate) fn get(&mut self, id: CellId) -> Option<&mut Cell> {
        let slot = self.slots.get_mut(id.slot)?.as_mut()?;
        (slot.generation == id.generation).then_some(&mut slot.cell)
    }

    /// Whether a live object placed there can still be called: the cell is alive, and its memory has not grown so far
    /// that what lives in it has to move.
    pub(crate) fn takes_calls(&self, id: CellId) -> bool {
        let slot = self.slots.get(id.slot).and_then(Option::as_ref);
        slot.is_some_and(|slot| {
            slot.generation == id.generation && !slot.cell.is_retired() && !slot.cell.is_draining()
        })
    }

    /// Drops the cell with everything in it. Its neighbours find out lazily, by [`Cells::takes_calls`].
    pub(crate) fn retire(&mut self, id: CellId) {
        if let Some(place) = self.slots.get_mut(id.slot)
            && place
                .as_ref()
                .is_some_and(|slot| slot.generation == id.generation)
        {
            *place = None;
        }
    }

    /// Lets a live object go. A cell whose last object went is dropped, so that memory returns.
    pub(crate) fn release(&mut self, placed: Placed) {
        let Some(cell) = self.get(placed.cell) else { return };
        let released = cell.release(placed.live);
        if released.is_err() || cell.live() == 0 {
            self.retire(placed.cell);
        }
    }
}
