//! A chunk: the commits of one group commit, or a part of them.
//!
//! ```text
//! header   format u8 = 1 | flags u8 = 0 | reserved u16 | epoch u32 BE | commits u32 BE | body bytes u32 BE
//!          mark before (56) | chain after 32 | CRC-32C u32 BE over all this and the log id
//! commits  in frames, whose CRC-32C is over canonical bytes, length, log id and first position
//! ```
//!
//! The aggregate is part of the record, so that the CRC of a commit covers it as well: bytes of another
//! place, another log or another aggregate do not pass, and neither does an older copy of the same page, which the
//! chain gives away.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    FORMAT, Frames, Malformed, Mark, Reader, Scan, Stored, checksum, decode_commit, encode_commit,
    frames::{FRAME_BYTES, Modules},
};
use crate::vocabulary::{Commit, Committed, Epoch, LogId, ModuleDigest, Position};

/// What a chunk takes beside its commits.
pub(in crate::store) const CHUNK_HEADER_BYTES: usize = 16 + 56 + 32 + 4;

/// Gathers commits.
#[derive(Debug)]
pub(in crate::store) struct ChunkBuilder {
    log_id: LogId,
    epoch: Epoch,
    before: Mark,
    after: Mark,
    bytes: Vec<u8>,
    modules: Modules,
    commits: u32,
}

impl ChunkBuilder {
    /// An empty chunk that begins at a mark, with room for so many bytes before it has to grow.
    pub(in crate::store) fn new(log_id: LogId, epoch: Epoch, before: Mark, room: usize) -> Self {
        let mut bytes = Vec::with_capacity(room.max(CHUNK_HEADER_BYTES));
        bytes.resize(CHUNK_HEADER_BYTES, 0);
        Self {
            log_id,
            epoch,
            before,
            after: before,
            bytes,
            modules: Modules::default(),
            commits: 0,
        }
    }

    /// Where it begins.
    pub(in crate::store) fn before(&self) -> Mark {
        self.before
    }

    /// How large it would be when it were sealed now.
    pub(in crate::store) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// What a commit would take in it.
    pub(in crate::store) fn framed(&self, stored: Stored<'_>) -> usize {
        self.modules.framed(stored)
    }

    /// Adds a commit.
    pub(in crate::store) fn push(&mut self, stored: Stored<'_>, events: usize) {
        let len = self.modules.framed(stored) - FRAME_BYTES;
        let len = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        let crc = frame_crc(stored, len, self.log_id, self.after.position);
        self.bytes.extend_from_slice(&len);
        self.bytes.extend_from_slice(&crc.to_be_bytes());
        self.modules.put(stored, &mut self.bytes, CHUNK_HEADER_BYTES);
        self.after.pass(stored, events);
        self.commits += 1;
    }

    /// The finished chunk and the mark behind it.
    pub(in crate::store) fn finish(mut self) -> (Vec<u8>, Mark) {
        self.after.chunk += 1;
        let body = self.bytes.len() - CHUNK_HEADER_BYTES;
        let mut header = vec![FORMAT, 0, 0, 0];
        header.extend_from_slice(&self.epoch.0.to_be_bytes());
        header.extend_from_slice(&self.commits.to_be_bytes());
        header.extend_from_slice(&u32::try_from(body).unwrap_or(u32::MAX).to_be_bytes());
        self.before.put(&mut header);
        header.extend_from_slice(&self.after.chain);
        let crc = checksum([&header[..], &self.log_id.0]);
        header.extend_from_slice(&crc.to_be_bytes());
        for (slot, byte) in self.bytes.iter_mut().zip(header) {
            *slot = byte;
        }
        (self.bytes, self.after)
    }
}

fn frame_crc(stored: Stored<'_>, len: [u8; 4], log_id: LogId, position: u64) -> u32 {
    let position = position.to_be_bytes();
    checksum([&stored.module[..], stored.record, &len, &log_id.0, &position])
}

/// A chunk whose header checks out.
#[derive(Debug, Clone)]
pub(in crate::store) struct Chunk {
    /// Where it begins.
    pub(in crate::store) before: Mark,
    /// The branch it was written on.
    pub(in crate::store) epoch: Epoch,
    log_id: LogId,
    commits: u32,
    chain_after: [u8; 32],
    body: Bytes,
}

impl Chunk {
    /// Checks the header.
    pub(in crate::store) fn open(log_id: LogId, bytes: Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(&bytes);
        let [format, flags, ..] = reader.array::<4>()?;
        let epoch = Epoch(u32::from_be_bytes(reader.array()?));
        let commits = u32::from_be_bytes(reader.array()?);
        let body_bytes = u32::from_be_bytes(reader.array()?);
        let before = Mark::get(&mut reader)?;
        let chain_after = reader.array()?;
        let crc = u32::from_be_bytes(reader.array()?);
        let header = bytes.get(..CHUNK_HEADER_BYTES - 4).unwrap_or_default();
        if crc != checksum([header, &log_id.0]) {
            return Err(Malformed("chunk header: its checksum does not match"));
        }
        if format != FORMAT || flags != 0 {
            return Err(Malformed("chunk header: its format is not known here"));
        }
        let body = reader.take(body_bytes as usize)?;
        reader.end()?;
        Ok(Self {
            before,
            epoch,
            log_id,
            commits,
            chain_after,
            body,
        })
    }

    /// Its commits as they are encoded.
    pub(in crate::store) fn body(&self) -> &Bytes {
        &self.body
    }

    /// Checks every commit and the chain over all of them, and says where the log is behind it.
    pub(in crate::store) fn check_all(&self) -> Result<Mark, Malformed> {
        self.pass_all(|_, stored| Ok(Scan::new(stored)?.events))
    }

    /// The same, and shows each commit, as it is encoded, with its position.
    pub(in crate::store) fn look(
        &self,
        mut look: impl FnMut(u64, &Scan<'_>) -> Result<(), Malformed>,
    ) -> Result<Mark, Malformed> {
        self.pass_all(|position, stored| {
            let scan = Scan::new(stored)?;
            look(position, &scan)?;
            Ok(scan.events)
        })
    }

    /// The same, and reads the commits that are wanted.
    pub(in crate::store) fn read_wanted(
        &self,
        mut wants: impl FnMut(&Scan<'_>) -> Result<bool, Malformed>,
    ) -> Result<(Vec<Committed>, Mark), Malformed> {
        let mut commits = Vec::new();
        let after = self.pass_all(|position, stored| {
            let scan = Scan::new(stored)?;
            if wants(&scan)? {
                commits.push(self.read(stored, position)?);
            }
            Ok(scan.events)
        })?;
        Ok((commits, after))
    }

    /// Checks commits one by one, with the chain over all of them. `take` gets each with its position, and says how
    /// many events it has.
    fn pass_all(
        &self,
        mut take: impl FnMut(u64, Stored<'_>) -> Result<usize, Malformed>,
    ) -> Result<Mark, Malformed> {
        let mut after = self.before;
        let mut commits = 0;
        for frame in Frames::of_body(&self.body) {
            let (at, stored) = frame?;
            self.check(at, stored, after.position)?;
            let events = take(after.position, stored)?;
            after.pass(stored, events);
            commits += 1;
        }
        if commits != self.commits || after.chain != self.chain_after {
            return Err(Malformed("chunk: its commits do not match the hash chain"));
        }
        after.chunk += 1;
        Ok(after)
    }

    fn check(&self, at: usize, stored: Stored<'_>, position: u64) -> Result<(), Malformed> {
        let head = self.body.get(at..).and_then(<[u8]>::first_chunk::<FRAME_BYTES>);
        let [l0, l1, l2, l3, crc @ ..] = *head.ok_or(Malformed("record: it is too short"))?;
        if u32::from_be_bytes(crc) != frame_crc(stored, [l0, l1, l2, l3], self.log_id, position) {
            return Err(Malformed("commit: its checksum does not match"));
        }
        Ok(())
    }

    /// How many bytes its commits take.
    pub(in crate::store) fn body_bytes(&self) -> usize {
        self.body.len()
    }

    /// Checks and reads every commit, with the chain over all of them.
    pub(in crate::store) fn read_all(&self) -> Result<(Vec<Arc<Committed>>, Mark), Malformed> {
        let mut commits = Vec::new();
        let after = self.pass_all(|position, stored| {
            let committed = self.read(stored, position)?;
            let events = committed.commit.events.len();
            commits.push(Arc::new(committed));
            Ok(events)
        })?;
        Ok((commits, after))
    }

    /// Checks and reads one commit. Those before it are only counted, so that damage stays theirs.
    pub(in crate::store) fn read_one(
        &self,
        ordinal: u32,
        position: u64,
    ) -> Result<Arc<Committed>, Malformed> {
        let mut frames = Frames::of_body(&self.body);
        frames.pass(ordinal)?;
        let (at, stored) = frames.next().ok_or(Malformed("record: it is too short"))??;
        self.check(at, stored, position)?;
        self.read(stored, position).map(Arc::new)
    }

    fn read(&self, stored: Stored<'_>, position: u64) -> Result<Committed, Malformed> {
        let record = self.body.slice_ref(stored.record);
        Ok(Committed {
            commit: decode_commit(ModuleDigest(*stored.module), &record)?,
            first_position: Position(position),
        })
    }
}

/// The record of a commit.
pub(in crate::store) fn record_of(commit: &Commit) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512);
    encode_commit(commit, &mut bytes);
    bytes
}

impl<'a> Stored<'a> {
    /// A commit with its record.
    pub(in crate::store) fn of(commit: &'a Commit, record: &'a [u8]) -> Self {
        Self {
            module: &commit.module.0,
            record,
        }
    }
}
