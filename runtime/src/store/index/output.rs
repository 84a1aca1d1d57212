//! A run while it is written: slice by slice, in transactions so small that the log's commits do not wait for them.

use redb::WriteTransaction;

use super::{
    block::Built,
    core::{BLOCKS, DIRECTORIES, FILTERS, chain},
    filter::Filter,
    keys::{SECOND_HALF, numbered},
    outcomes::{Outcome, encode},
    run::{Edge, Fence, Row, Run, RunRecord},
    values,
};
use crate::{
    store::format::{Malformed, checksum},
    vocabulary::LogId,
};

/// Largest row of a filter, bytes: a power of two of redb's pages.
const FILTER_ROW_BYTES: usize = (128 << 10) - 64;

/// What one transaction puts.
#[derive(Debug, Default)]
pub(super) struct Slice {
    pub(super) blocks: Vec<(u64, Vec<u8>)>,
    directory: Vec<(u64, Vec<u8>)>,
    filters: Vec<(u64, Vec<u8>)>,
}

impl Slice {
    /// How much it is.
    pub(super) fn bytes(&self) -> usize {
        let rows = [&self.blocks, &self.directory, &self.filters];
        rows.iter()
            .flat_map(|rows| rows.iter())
            .map(|(_, bytes)| bytes.len())
            .sum()
    }

    /// Puts it.
    pub(super) fn write(&self, transaction: &WriteTransaction) -> Result<(), redb::Error> {
        for (table, rows) in [
            (BLOCKS, &self.blocks),
            (DIRECTORIES, &self.directory),
            (FILTERS, &self.filters),
        ] {
            if rows.is_empty() {
                continue;
            }
            let mut table = transaction.open_table(table)?;
            for (key, bytes) in rows {
                table.insert(key, bytes.as_slice())?;
            }
        }
        Ok(())
    }
}

/// A run that is being written.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) record: RunRecord,
    pub(super) run: Run,
    log_id: LogId,
}

impl Output {
    /// A new run.
    pub(super) fn new(id: u32, before: Edge, behind: Edge, log_id: LogId) -> Self {
        Self::resumed(Run::new(id, before), RunRecord::new(id, before, behind), log_id)
    }

    /// A run that has something already.
    pub(super) fn resumed(run: Run, record: RunRecord, log_id: LogId) -> Self {
        Self { record, run, log_id }
    }

    /// Adds blocks of events.
    pub(super) fn add_events(&mut self, built: Vec<Built>, slice: &mut Slice) -> Result<(), Malformed> {
        let first = self.record.blocks[0];
        let mut fences = Vec::with_capacity(built.len());
        for block in built {
            let (name, version) = block.first;
            let crc = self.add_block(self.record.blocks[0], block.bytes, slice);
            self.record.blocks[0] += 1;
            fences.push(Fence {
                name: name.into_boxed_slice(),
                version,
                crc,
            });
        }
        self.add_row(Row::Events { first, fences }, slice)
    }

    /// Adds blocks of outcomes.
    pub(super) fn add_outcomes(
        &mut self,
        outcomes: &[Outcome],
        per_block: usize,
        slice: &mut Slice,
    ) -> Result<(), Malformed> {
        let first = self.record.blocks[1];
        let mut fences = Vec::new();
        for block in outcomes.chunks(per_block) {
            let crc = self.add_block(SECOND_HALF + self.record.blocks[1], encode(block), slice);
            self.record.blocks[1] += 1;
            fences.extend(block.first().map(|outcome| (outcome.hash, crc)));
        }
        self.add_row(Row::Outcomes { first, fences }, slice)
    }

    fn add_block(&mut self, number: u32, bytes: Vec<u8>, slice: &mut Slice) -> u32 {
        let key = numbered(self.record.id, number);
        let crc = checksum([&bytes, &key.to_be_bytes()[..], &self.log_id.0]);
        self.record.bytes += bytes.len() as u64;
        slice.blocks.push((key, bytes));
        crc
    }

    fn add_row(&mut self, row: Row, slice: &mut Slice) -> Result<(), Malformed> {
        let is_empty = match &row {
            Row::Events { fences, .. } => fences.is_empty(),
            Row::Outcomes { fences, .. } => fences.is_empty(),
        };
        if is_empty {
            return Ok(());
        }
        let mut bytes = Vec::new();
        row.put(&mut bytes);
        self.record.directory_crc = chain(self.record.directory_crc, &bytes);
        let key = numbered(self.record.id, self.record.rows);
        slice
            .directory
            .push((key, values::seal(bytes, &key.to_be_bytes(), self.log_id)));
        self.record.rows += 1;
        self.run.add(row)
    }

    /// Ends the run with its filters; says how they are written.
    pub(super) fn finish(&mut self, aggregates: Filter, keys: Filter) -> Vec<Slice> {
        let mut slices = Vec::new();
        for (index, filter) in [&aggregates, &keys].into_iter().enumerate() {
            let half = if index == 0 { 0 } else { SECOND_HALF };
            for (number, piece) in (0..).zip(filter.pieces(FILTER_ROW_BYTES)) {
                self.record.filter_crc = chain(self.record.filter_crc, &piece);
                if let Some(rows) = self.record.filter_rows.get_mut(index) {
                    *rows += 1;
                }
                let key = numbered(self.record.id, half + number);
                slices.push(Slice {
                    filters: vec![(key, values::seal(piece, &key.to_be_bytes(), self.log_id))],
                    ..Slice::default()
                });
            }
        }
        self.run.aggregates = std::sync::Arc::new(aggregates);
        self.run.keys = std::sync::Arc::new(keys);
        slices
    }
}

/// Puts slices together to ones of about a size.
pub(super) fn gather(slices: Vec<Slice>, bytes_max: usize) -> Vec<Slice> {
    let mut gathered: Vec<Slice> = Vec::new();
    for slice in slices {
        match gathered
            .last_mut()
            .filter(|last| last.bytes() + slice.bytes() <= bytes_max)
        {
            Some(last) => {
                last.blocks.extend(slice.blocks);
                last.directory.extend(slice.directory);
                last.filters.extend(slice.filters);
            }
            None => gathered.push(slice),
        }
    }
    gathered
}
