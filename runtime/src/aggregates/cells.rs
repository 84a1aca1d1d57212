//! The cells of one shard: where live objects are placed, and what happens when a cell is lost.

use std::{collections::HashMap, sync::Arc};

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

/// What a live object can expect of its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It can be called.
    Good,
    /// It can be called, and is to move: the cell's memory, which never shrinks, is near its limit.
    Draining,
    /// The cell is gone.
    Gone,
}

#[derive(Debug)]
struct Slot {
    generation: u64,
    module: ModuleDigest,
    cell: Cell,
    /// Objects that are being built here, over several turns: the cell does not give way meanwhile.
    reserved: usize,
    /// Whether it is among those with room.
    is_listed: bool,
    /// The one object that lives here needs that much memory: moving it would win nothing.
    is_filled_by_one: bool,
    /// Bytes of its memory in the sum of all.
    counted: usize,
}

/// The cells of one shard.
#[derive(Debug)]
pub(crate) struct Cells {
    slots: Vec<Option<Slot>>,
    /// Cells that may have room, by module, the one to be filled first last.
    roomy: HashMap<ModuleDigest, Vec<CellId>>,
    generation: u64,
    /// How often something was let go that another object may have waited for.
    freed: u64,
    limit: usize,
    /// Linear memory of all cells, and how much it may be.
    bytes: usize,
    bytes_limit: usize,
}

impl Cells {
    /// No cells yet; at most `limit`, which together should have at most `bytes_limit` of memory.
    pub(crate) fn new(limit: usize, bytes_limit: usize) -> Self {
        Self {
            slots: Vec::new(),
            roomy: HashMap::new(),
            generation: 0,
            freed: 0,
            limit,
            bytes: 0,
            bytes_limit,
        }
    }

    /// A cell of the module with room for one more live object; a new one where there is none, or where a fresh one is
    /// asked for.
    pub(crate) fn room_for(&mut self, module: &Arc<Module>, fresh: bool) -> Result<CellId, Fault> {
        if !fresh && let Some(id) = self.with_room(module.digest()) {
            return Ok(id);
        }
        self.open(module)
    }

    /// Drops from the list whatever was filled or lost since it was put there.
    fn with_room(&mut self, module: ModuleDigest) -> Option<CellId> {
        let roomy = self.roomy.get_mut(&module)?;
        while let Some(id) = roomy.last().copied() {
            let slot = self.slots.get_mut(id.slot).and_then(Option::as_mut);
            if let Some(slot) = slot.filter(|slot| slot.generation == id.generation) {
                if slot.cell.has_room() {
                    return Some(id);
                }
                slot.is_listed = false;
            }
            roomy.pop();
        }
        self.roomy.remove(&module);
        None
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
                reserved: 0,
                is_listed: true,
                is_filled_by_one: false,
                counted: 0,
            });
        }
        self.roomy.entry(module.digest()).or_default().push(id);
        self.count(id);
        Ok(id)
    }

    /// Drops the cell with the fewest live objects, and says which slot is free now. Its lanes go cold and come back from
    /// the log when they are asked for: a live object is a cache of it and nothing else.
    fn give_way(&mut self) -> Option<usize> {
        let occupied = self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let slot = slot.as_ref().filter(|slot| slot.reserved == 0)?;
            Some((slot.cell.live(), index))
        });
        let (_, index) = occupied.min()?;
        self.clear(index);
        Some(index)
    }

    fn clear(&mut self, index: usize) {
        self.freed += 1;
        if let Some(slot) = self.slots.get_mut(index).and_then(Option::take) {
            self.bytes -= slot.counted;
        }
    }

    fn slot(&self, id: CellId) -> Option<&Slot> {
        let slot = self.slots.get(id.slot)?.as_ref()?;
        (slot.generation == id.generation).then_some(slot)
    }

    fn slot_mut(&mut self, id: CellId) -> Option<&mut Slot> {
        let slot = self.slots.get_mut(id.slot)?.as_mut()?;
        (slot.generation == id.generation).then_some(slot)
    }

    /// The cell, unless it has been retired.
    pub(crate) fn get(&mut self, id: CellId) -> Option<&mut Cell> {
        self.slot_mut(id).map(|slot| &mut slot.cell)
    }

    /// Whether the cell is there.
    pub(crate) fn holds(&self, id: CellId) -> bool {
        self.standing(id) != Standing::Gone
    }

    /// What an object that was placed there can expect.
    pub(crate) fn standing(&self, id: CellId) -> Standing {
        match self.slot(id) {
            Some(slot) if slot.cell.is_retired() => Standing::Gone,
            Some(slot) if slot.cell.is_draining() && !slot.is_filled_by_one => Standing::Draining,
            Some(_) => Standing::Good,
            None => Standing::Gone,
        }
    }

    /// Keeps the cell while an object is being built in it over several turns.
    pub(crate) fn reserve(&mut self, id: CellId) {
        if let Some(slot) = self.slot_mut(id) {
            slot.reserved += 1;
        }
    }

    /// The object is built, or will not be.
    pub(crate) fn unreserve(&mut self, id: CellId) {
        self.freed += 1;
        if let Some(slot) = self.slot_mut(id) {
            slot.reserved = slot.reserved.saturating_sub(1);
        }
    }

    /// Changes whenever there may be room that was not there before.
    pub(crate) fn freed(&self) -> u64 {
        self.freed
    }

    /// Whether an object is being built in one of the cells.
    pub(crate) fn has_reserved(&self) -> bool {
        self.slots.iter().flatten().any(|slot| slot.reserved > 0)
    }

    /// Says of an object that has just come that it stays, although its cell is draining, when it is alone there: it
    /// needs that much. False when the cell drains because of its neighbours as well.
    pub(crate) fn settles_in(&mut self, id: CellId) -> bool {
        let Some(slot) = self.slot_mut(id) else {
            return true;
        };
        slot.is_filled_by_one |= slot.cell.is_draining() && slot.cell.live() == 1;
        slot.is_filled_by_one || !slot.cell.is_draining()
    }

    /// Drops the cell with everything in it. Its neighbours find out lazily, by [`Cells::standing`].
    pub(crate) fn retire(&mut self, id: CellId) {
        if self.slot(id).is_some() {
            self.clear(id.slot);
        }
    }

    /// Whether cells should be emptied. The last one may stay, however large.
    pub(crate) fn are_too_large(&self) -> bool {
        self.bytes > self.bytes_limit && self.slots.iter().flatten().count() > 1
    }

    /// Drops the cell with everything in it, unless something is being built there.
    pub(crate) fn empty(&mut self, id: CellId) {
        if self.slot(id).is_some_and(|slot| slot.reserved == 0) {
            self.clear(id.slot);
        }
    }

    /// Lets a live object go. A cell whose last object went is dropped, so that memory returns.
    pub(crate) fn release(&mut self, placed: Placed) {
        let id = placed.cell;
        let Some(slot) = self.slot_mut(id) else { return };
        let released = slot.cell.release(placed.live);
        if released.is_err() || slot.cell.live() == 0 {
            return self.retire(id);
        }
        if !slot.is_listed && slot.cell.has_room() {
            slot.is_listed = true;
            let module = slot.module;
            self.roomy.entry(module).or_default().push(id);
        }
    }

    /// Takes note of how much memory the cell has by now.
    pub(crate) fn count(&mut self, id: CellId) {
        if let Some(slot) = self.slot_mut(id) {
            let (before, now) = (slot.counted, slot.cell.resident_bytes());
            slot.counted = now;
            self.bytes = self.bytes - before + now;
        }
    }
}
