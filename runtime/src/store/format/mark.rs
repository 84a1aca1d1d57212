//! A place in the log between two commits.

use sha2::{Digest, Sha256};

use super::{Malformed, Reader, Stored};

/// The log up to a place: what comes next, and the hash of everything before.
///
/// ```text
/// chunk u64 BE | commit u64 BE | position u64 BE | chain 32
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Mark {
    /// Number of the next chunk.
    pub(in crate::store) chunk: u64,
    /// Number of the next commit.
    pub(in crate::store) commit: u64,
    /// Position of the next event.
    pub(in crate::store) position: u64,
    /// SHA-256 over the chain before and the canonical bytes of the last commit, which are its module's digest and its
    /// record. It begins with zeros, not with the log id, so that an export into another log has the same hashes.
    pub(in crate::store) chain: [u8; 32],
}

impl Mark {
    /// The beginning of every log.
    pub(in crate::store) const START: Self = Self {
        chunk: 1,
        commit: 1,
        position: 1,
        chain: [0; 32],
    };

    /// Goes past one commit.
    pub(in crate::store) fn pass(&mut self, stored: Stored<'_>, events: usize) {
        let mut hash = Sha256::new();
        hash.update(self.chain);
        hash.update(stored.module);
        hash.update(stored.record);
        self.chain = hash.finalize().into();
        self.commit += 1;
        self.position += events as u64;
    }

    /// As bytes.
    pub(in crate::store) fn put(&self, bytes: &mut Vec<u8>) {
        for number in [self.chunk, self.commit, self.position] {
            bytes.extend_from_slice(&number.to_be_bytes());
        }
        bytes.extend_from_slice(&self.chain);
    }

    /// From bytes.
    pub(in crate::store) fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            chunk: u64::from_be_bytes(reader.array()?),
            commit: u64::from_be_bytes(reader.array()?),
            position: u64::from_be_bytes(reader.array()?),
            chain: reader.array()?,
        })
    }
}
