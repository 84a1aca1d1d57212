//! A block of idempotency keys, in the order of their hashes. Whether a commit is the one that was asked for is seen
//! in the commit.
//!
//! ```text
//! each: hash u64 BE | chunk u32 BE | ordinal in it u32 BE | position u32 BE      chunk and position from the run's first
//! ```

use bytes::Bytes;

use crate::store::format::Malformed;

/// What one takes.
const ENTRY_BYTES: usize = 20;

/// Where a commit lies in the log, as its run counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) hash: u64,
    pub(super) chunk: u32,
    pub(super) ordinal: u32,
    pub(super) position: u32,
}

/// How many go into a block of a size.
pub(super) fn per_block(page_bytes: usize) -> usize {
    ((page_bytes - 36) / ENTRY_BYTES).max(1)
}

/// The bytes of a block.
pub(super) fn encode(outcomes: &[Outcome]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(outcomes.len() * ENTRY_BYTES);
    for outcome in outcomes {
        bytes.extend_from_slice(&outcome.hash.to_be_bytes());
        for number in [outcome.chunk, outcome.ordinal, outcome.position] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
    }
    bytes
}

/// A block that was checked.
#[derive(Debug, Clone)]
pub(super) struct OutcomeBlock(Bytes);

impl OutcomeBlock {
    pub(super) fn open(bytes: Bytes) -> Result<Self, Malformed> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(ENTRY_BYTES) {
            return Err(Malformed("block of outcomes: its length"));
        }
        Ok(Self(bytes))
    }

    /// One of them.
    pub(super) fn get(&self, index: usize) -> Option<Outcome> {
        let entry: &[u8; ENTRY_BYTES] = self.entries().get(index)?;
        let (hash, rest) = entry.split_first_chunk::<8>()?;
        let mut numbers = rest
            .as_chunks::<4>()
            .0
            .iter()
            .map(|number| u32::from_be_bytes(*number));
        Some(Outcome {
            hash: u64::from_be_bytes(*hash),
            chunk: numbers.next()?,
            ordinal: numbers.next()?,
            position: numbers.next()?,
        })
    }

    /// The first that is not below a hash.
    pub(super) fn seek(&self, hash: u64) -> usize {
        let hash = hash.to_be_bytes();
        self.entries()
            .partition_point(|entry| entry.first_chunk::<8>().is_some_and(|found| *found < hash))
    }

    fn entries(&self) -> &[[u8; ENTRY_BYTES]] {
        self.0.as_chunks::<ENTRY_BYTES>().0
    }
}
