//! What a merge takes from its inputs, one after the other.

use super::{
    core::Trouble,
    keys,
    layers::Layer,
    outcomes::{Outcome, OutcomeBlock},
    reads::{Reading, Spot},
    run::Run,
};

/// The next segment of an input.
pub(super) struct Cursor {
    pub(super) layer: Layer,
    pub(super) name: Vec<u8>,
    pub(super) version: u64,
    pub(super) spot: Option<Spot>,
}

impl Cursor {
    pub(super) fn new(layer: Layer, spot: Option<Spot>) -> Result<Self, Trouble> {
        let mut cursor = Self {
            layer,
            name: Vec::new(),
            version: 0,
            spot,
        };
        cursor.look()?;
        Ok(cursor)
    }

    pub(super) fn place(&self) -> (&[u8], u64) {
        (&self.name, self.version)
    }

    fn look(&mut self) -> Result<(), Trouble> {
        if let Some(spot) = &self.spot {
            let head = spot.head()?;
            self.name.clear();
            keys::put_name(head.aggregate, &mut self.name)?;
            self.version = head.first_version;
        }
        Ok(())
    }

    pub(super) fn advance(&mut self, reading: &Reading<'_>) -> Result<(), Trouble> {
        if let Some(spot) = self.spot.take() {
            self.spot = reading.after(&self.layer, spot)?;
        }
        self.look()
    }
}

/// The next outcome of an input.
pub(super) struct OutcomeCursor<'a> {
    pub(super) run: &'a Run,
    pub(super) number: u32,
    block: Option<OutcomeBlock>,
    index: usize,
    pub(super) next: Option<Outcome>,
}

impl<'a> OutcomeCursor<'a> {
    pub(super) fn new(run: &'a Run, reading: &Reading<'_>, from: u64, live: u32) -> Result<Self, Trouble> {
        let mut cursor = Self {
            run,
            number: run.outcome_block_at(from).max(live),
            block: None,
            index: 0,
            next: None,
        };
        if cursor.number < run.blocks()[1] {
            let block = reading.outcomes(run, cursor.number)?;
            cursor.index = block.seek(from);
            cursor.block = Some(block);
        }
        cursor.look(reading)?;
        Ok(cursor)
    }

    fn look(&mut self, reading: &Reading<'_>) -> Result<(), Trouble> {
        self.next = self.block.as_ref().and_then(|block| block.get(self.index));
        if self.next.is_none() && self.number + 1 < self.run.blocks()[1] {
            self.number += 1;
            self.index = 0;
            let block = reading.outcomes(self.run, self.number)?;
            self.next = block.get(0);
            self.block = Some(block);
        }
        Ok(())
    }

    pub(super) fn advance(&mut self, reading: &Reading<'_>) -> Result<(), Trouble> {
        self.index += 1;
        self.look(reading)
    }
}
