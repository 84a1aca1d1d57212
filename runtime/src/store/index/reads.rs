//! Finding segments in the runs.

use std::sync::Arc;

use bytes::Bytes;
use redb::{ReadOnlyTable, ReadTransaction};

use super::{
    block::{Block, SegmentHead},
    core::{BLOCKS, Core, Trouble},
    keys::{self, SECOND_HALF, numbered},
    layers::{Layer, Scope, View},
    manifest::Frontier,
    outcomes::{Outcome, OutcomeBlock},
    run::Run,
};
use crate::store::format::{Malformed, checksum};

/// One read: a view, and a transaction that is at least as new.
pub(super) struct Reading<'a> {
    pub(super) core: &'a Core,
    pub(super) view: Arc<View>,
    table: ReadOnlyTable<u64, &'static [u8]>,
    /// Whether what is read will be read again soon.
    keeps: bool,
}

/// A segment's place in a run.
#[derive(Debug, Clone)]
pub(super) struct Spot {
    number: u32,
    block: Block,
    index: usize,
}

impl Spot {
    /// The number of its block.
    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// The block it is in.
    pub(super) fn block(&self) -> &Block {
        &self.block
    }

    /// What it says of itself.
    pub(super) fn head(&self) -> Result<SegmentHead<'_>, Malformed> {
        self.block.head(self.index)
    }

    /// Its aggregate's name.
    pub(super) fn name(&self) -> Result<Vec<u8>, Malformed> {
        let mut name = Vec::with_capacity(96);
        keys::put_name(self.head()?.aggregate, &mut name)?;
        Ok(name)
    }
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        core: &'a Core,
        view: Arc<View>,
        transaction: &ReadTransaction,
        keeps: bool,
    ) -> Result<Self, Trouble> {
        Ok(Self {
            core,
            view,
            table: transaction.open_table(BLOCKS)?,
            keeps,
        })
    }

    /// A block that checks out: its checksum is in the directory.
    fn bytes(&self, run: &Run, number: u32) -> Result<Bytes, Trouble> {
        let key = numbered(run.id, number);
        if let Some(found) = self.core.cache.get(key) {
            return Ok(found);
        }
        let crc = run.crc(number).ok_or(Malformed("directory: it lacks a block"))?;
        let found = self.table.get(key)?.ok_or(Malformed("block: it is missing"))?;
        let bytes = Bytes::copy_from_slice(found.value());
        if crc != checksum([&bytes, &key.to_be_bytes()[..], &self.core.log_id.0]) {
            return Err(Malformed("block: its checksum does not match").into());
        }
        if self.keeps {
            self.core.cache.put(key, &bytes);
        }
        Ok(bytes)
    }

    /// A block of events.
    pub(super) fn block(&self, run: &Run, number: u32) -> Result<Block, Trouble> {
        Ok(Block::open(self.bytes(run, number)?)?)
    }

    /// The first segment of a layer that is not before a name and version.
    pub(super) fn seek(&self, layer: &Layer, name: &[u8], version: u64) -> Result<Option<Spot>, Trouble> {
        let (name, version) = match &layer.scope {
            Scope::Whole | Scope::Output(..) => (name, version),
            Scope::Input(frontier, _) => match &**frontier {
                Frontier::Events(from, first) => (from.as_slice(), *first).max((name, version)),
                Frontier::Outcomes(_) | Frontier::Done => return Ok(None),
            },
        };
        let run = &*layer.run;
        let number = run.block_at(name, version).unwrap_or(0).max(layer.live()[0]);
        if number >= run.blocks()[0] {
            return Ok(None);
        }
        let block = self.block(run, number)?;
        let index = block.seek(name, version)?;
        if index < block.segments() {
            return Ok(Some(Spot { number, block, index }));
        }
        self.first_of(run, number + 1)
    }

    /// The last segment of an aggregate in a layer that begins at or before a version.
    pub(super) fn at_or_before(
        &self,
        layer: &Layer,
        name: &[u8],
        version: u64,
    ) -> Result<Option<Spot>, Trouble> {
        let run = &*layer.run;
        let live = layer.live()[0];
        let Some(number) = run.block_at(name, version).filter(|number| *number >= live) else {
            return Ok(None);
        };
        let block = self.block(run, number)?;
        let index = block.seek(name, version.saturating_add(1))?;
        let index = index
            .checked_sub(1)
            .ok_or(Malformed("block: it does not begin where its directory says"))?;
        let spot = Spot { number, block, index };
        let is_it = spot.name()? == name && layer.shows(name, spot.head()?.first_version);
        Ok(is_it.then_some(spot))
    }

    /// The segment after one.
    pub(super) fn after(&self, layer: &Layer, spot: Spot) -> Result<Option<Spot>, Trouble> {
        let index = spot.index + 1;
        if index < spot.block.segments() {
            return Ok(Some(Spot { index, ..spot }));
        }
        self.first_of(&layer.run, spot.number + 1)
    }

    /// The segment before one, as far as it is to be read in this layer.
    pub(super) fn before(&self, layer: &Layer, spot: Spot) -> Result<Option<Spot>, Trouble> {
        let spot = match (spot.index.checked_sub(1), spot.number.checked_sub(1)) {
            (Some(index), _) => Spot { index, ..spot },
            (None, Some(number)) if number >= layer.live()[0] => {
                let block = self.block(&layer.run, number)?;
                let index = block.segments() - 1;
                Spot { number, block, index }
            }
            (None, _) => return Ok(None),
        };
        let shows = matches!(layer.scope, Scope::Whole | Scope::Output(..))
            || layer.shows(&spot.name()?, spot.head()?.first_version);
        Ok(shows.then_some(spot))
    }

    fn first_of(&self, run: &Run, number: u32) -> Result<Option<Spot>, Trouble> {
        if number >= run.blocks()[0] {
            return Ok(None);
        }
        let block = self.block(run, number)?;
        Ok(Some(Spot {
            number,
            block,
            index: 0,
        }))
    }

    /// A block of outcomes.
    pub(super) fn outcomes(&self, run: &Run, number: u32) -> Result<OutcomeBlock, Trouble> {
        Ok(OutcomeBlock::open(self.bytes(run, SECOND_HALF + number)?)?)
    }

    /// The outcomes of a hash in a layer.
    pub(super) fn outcomes_of(
        &self,
        layer: &Layer,
        hash: u64,
        into: &mut Vec<Outcome>,
    ) -> Result<(), Trouble> {
        let run = &*layer.run;
        let mut number = run.outcome_block_at(hash).max(layer.live()[1]);
        while number < run.blocks()[1] {
            let block = self.outcomes(run, number)?;
            let mut index = block.seek(hash);
            while let Some(outcome) = block.get(index) {
                if outcome.hash != hash {
                    return Ok(());
                }
                into.push(outcome);
                index += 1;
            }
            number += 1;
        }
        Ok(())
    }
}
