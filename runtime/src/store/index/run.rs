//! A run: a stretch of the log in the order of its aggregates, in blocks that never change. What it takes to find
//! something in it is in memory: the directory, which says where each block begins and what its checksum is, and a
//! filter each for aggregates and idempotency keys.
//!
//! ```text
//! row of a directory:
//! kind u8: 0 blocks of events, 1 of outcomes | first block number | blocks number
//! each, events:   name bytes | first version number | CRC-32C u32 BE
//!       outcomes: first hash u64 BE | CRC-32C u32 BE
//! ```

use std::sync::Arc;

use super::{filter::Filter, keys::SECOND_HALF};
use crate::store::format::{Malformed, Mark, Reader, Sink as _};

const EVENTS: u8 = 0;
const OUTCOMES: u8 = 1;

/// A place in the log between two chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) chunk: u64,
    pub(super) commit: u64,
    pub(super) position: u64,
}

impl From<Mark> for Edge {
    fn from(mark: Mark) -> Self {
        Self {
            chunk: mark.chunk,
            commit: mark.commit,
            position: mark.position,
        }
    }
}

/// What the manifest says of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct RunRecord {
    pub(super) id: u32,
    /// The stretch of the log.
    pub(super) before: Edge,
    pub(super) behind: Edge,
    /// Blocks of events and of outcomes, and rows of the directory.
    pub(super) blocks: [u32; 2],
    pub(super) rows: u32,
    /// Over the rows.
    pub(super) directory_crc: u32,
    /// Rows of the two filters, and a checksum over all of them.
    pub(super) filter_rows: [u32; 2],
    pub(super) filter_crc: u32,
    /// Keys in the two filters.
    pub(super) keys: [u64; 2],
    /// What its blocks take.
    pub(super) bytes: u64,
}

impl RunRecord {
    /// A run that has nothing yet.
    pub(super) fn new(id: u32, before: Edge, behind: Edge) -> Self {
        Self {
            id,
            before,
            behind,
            blocks: [0; 2],
            rows: 0,
            directory_crc: 0,
            filter_rows: [0; 2],
            filter_crc: 0,
            keys: [0; 2],
            bytes: 0,
        }
    }

    pub(super) fn put(&self, bytes: &mut Vec<u8>) {
        for number in [
            u64::from(self.id),
            self.before.chunk,
            self.before.commit,
            self.before.position,
            self.behind.chunk,
            self.behind.commit,
            self.behind.position,
            u64::from(self.blocks[0]),
            u64::from(self.blocks[1]),
            u64::from(self.rows),
            u64::from(self.directory_crc),
            u64::from(self.filter_rows[0]),
            u64::from(self.filter_rows[1]),
            u64::from(self.filter_crc),
            self.keys[0],
            self.keys[1],
            self.bytes,
        ] {
            bytes.number(number);
        }
    }

    pub(super) fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let edge = |reader: &mut Reader<'_>| {
            Ok(Edge {
                chunk: reader.number()?,
                commit: reader.number()?,
                position: reader.number()?,
            })
        };
        Ok(Self {
            id: small(reader)?,
            before: edge(reader)?,
            behind: edge(reader)?,
            blocks: [small(reader)?, small(reader)?],
            rows: small(reader)?,
            directory_crc: small(reader)?,
            filter_rows: [small(reader)?, small(reader)?],
            filter_crc: small(reader)?,
            keys: [reader.number()?, reader.number()?],
            bytes: reader.number()?,
        })
    }
}

pub(super) fn small(reader: &mut Reader<'_>) -> Result<u32, Malformed> {
    u32::try_from(reader.number()?).map_err(|_| Malformed("number: it is too large"))
}

/// Where a block of events begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fence {
    pub(super) name: Box<[u8]>,
    pub(super) version: u64,
    pub(super) crc: u32,
}

/// One row of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Row {
    Events { first: u32, fences: Vec<Fence> },
    Outcomes { first: u32, fences: Vec<(u64, u32)> },
}

impl Row {
    pub(super) fn put(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Events { first, fences } => {
                bytes.push(EVENTS);
                bytes.number(u64::from(*first));
                bytes.number(fences.len() as u64);
                for fence in fences {
                    bytes.blob(&fence.name);
                    bytes.number(fence.version);
                    bytes.extend_from_slice(&fence.crc.to_be_bytes());
                }
            }
            Self::Outcomes { first, fences } => {
                bytes.push(OUTCOMES);
                bytes.number(u64::from(*first));
                bytes.number(fences.len() as u64);
                for (hash, crc) in fences {
                    bytes.extend_from_slice(&hash.to_be_bytes());
                    bytes.extend_from_slice(&crc.to_be_bytes());
                }
            }
        }
    }

    pub(super) fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let kind = reader.byte()?;
        let first = small(reader)?;
        let count = reader.count()?;
        match kind {
            EVENTS => {
                let mut fences = Vec::new();
                for _ in 0..count {
                    fences.push(Fence {
                        name: reader.blob()?.to_vec().into_boxed_slice(),
                        version: reader.number()?,
                        crc: u32::from_be_bytes(reader.array()?),
                    });
                }
                Ok(Self::Events { first, fences })
            }
            OUTCOMES => {
                let mut fences = Vec::new();
                for _ in 0..count {
                    fences.push((
                        u64::from_be_bytes(reader.array()?),
                        u32::from_be_bytes(reader.array()?),
                    ));
                }
                Ok(Self::Outcomes { first, fences })
            }
            _ => Err(Malformed("directory: its format is not known here")),
        }
    }
}

/// A run, as it is read.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) id: u32,
    pub(super) before: Edge,
    /// In the order of the blocks; shared with the run as it was before the last rows came.
    events: Vec<Arc<Vec<Fence>>>,
    event_firsts: Vec<u32>,
    outcomes: Vec<Arc<Vec<(u64, u32)>>>,
    outcome_firsts: Vec<u32>,
    blocks: [u32; 2],
    pub(super) aggregates: Arc<Filter>,
    pub(super) keys: Arc<Filter>,
}

impl Run {
    /// A run without blocks.
    pub(super) fn new(id: u32, before: Edge) -> Self {
        Self {
            id,
            before,
            events: Vec::new(),
            event_firsts: Vec::new(),
            outcomes: Vec::new(),
            outcome_firsts: Vec::new(),
            blocks: [0; 2],
            aggregates: Arc::new(Filter::unread()),
            keys: Arc::new(Filter::unread()),
        }
    }

    /// Adds the next row. Block numbers are dense: one that is missing is damage.
    pub(super) fn add(&mut self, row: Row) -> Result<(), Malformed> {
        let wrong = Malformed("directory: a block is missing");
        match row {
            Row::Events { first, fences } => {
                if first != self.blocks[0] || fences.is_empty() {
                    return Err(wrong);
                }
                self.blocks[0] += fences.len() as u32;
                self.event_firsts.push(first);
                self.events.push(Arc::new(fences));
            }
            Row::Outcomes { first, fences } => {
                if first != self.blocks[1] || fences.is_empty() {
                    return Err(wrong);
                }
                self.blocks[1] += fences.len() as u32;
                self.outcome_firsts.push(first);
                self.outcomes.push(Arc::new(fences));
            }
        }
        Ok(())
    }

    /// How many blocks it has, of events and of outcomes.
    pub(super) fn blocks(&self) -> [u32; 2] {
        self.blocks
    }

    /// Where a block of events begins.
    pub(super) fn fence(&self, number: u32) -> Option<&Fence> {
        let row = self
            .event_firsts
            .partition_point(|first| *first <= number)
            .checked_sub(1)?;
        let first = self.event_firsts.get(row)?;
        self.events.get(row)?.get((number - first) as usize)
    }

    /// The last block of events that begins at or before a name and version.
    pub(super) fn block_at(&self, name: &[u8], version: u64) -> Option<u32> {
        let begins = |fence: &Fence| (&*fence.name, fence.version) <= (name, version);
        let rows = self
            .events
            .partition_point(|fences| fences.first().is_some_and(begins));
        let row = rows.checked_sub(1)?;
        let inside = self.events.get(row)?.partition_point(begins).checked_sub(1)?;
        Some(self.event_firsts.get(row)? + inside as u32)
    }

    /// The first hash of a block of outcomes, and its checksum.
    pub(super) fn outcome_fence(&self, number: u32) -> Option<(u64, u32)> {
        let row = self
            .outcome_firsts
            .partition_point(|first| *first <= number)
            .checked_sub(1)?;
        let first = self.outcome_firsts.get(row)?;
        self.outcomes.get(row)?.get((number - first) as usize).copied()
    }

    /// The last block of outcomes that begins below a hash, or else the first one.
    pub(super) fn outcome_block_at(&self, hash: u64) -> u32 {
        let begins = |fence: &(u64, u32)| fence.0 < hash;
        let rows = self
            .outcomes
            .partition_point(|fences| fences.first().is_some_and(begins));
        let found = rows.checked_sub(1).and_then(|row| {
            let inside = self.outcomes.get(row)?.partition_point(begins).checked_sub(1)?;
            Some(self.outcome_firsts.get(row)? + inside as u32)
        });
        found.unwrap_or(0)
    }

    /// The checksum of a block, by its number among all blocks.
    pub(super) fn crc(&self, number: u32) -> Option<u32> {
        match number.checked_sub(SECOND_HALF) {
            Some(number) => self.outcome_fence(number).map(|(_, crc)| crc),
            None => self.fence(number).map(|fence| fence.crc),
        }
    }
}
