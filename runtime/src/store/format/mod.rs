//! The bytes on disk. Everything here is frozen once released: a change is a new format number beside the old one.

mod bytes;
mod chunk;
mod frames;
mod mark;
mod record;
mod scan;
mod sealed;

pub(super) use self::{
    bytes::{Malformed, Reader, Sink},
    chunk::{CHUNK_HEADER_BYTES, Chunk, ChunkBuilder, record_of},
    frames::{Frames, Stored},
    mark::Mark,
    record::{decode_commit, encode_commit},
    scan::{Hashing, Scan, Walk, aggregate_bytes, aggregate_of, put_text_of, text_of},
    sealed::{seal, unseal},
};

/// The newest format of chunks, records and files that this version writes and reads.
pub(super) const FORMAT: u8 = 1;

/// CRC-32C over several pieces.
pub(super) fn checksum<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    pieces.into_iter().fold(0, crc32c::crc32c_append)
}
