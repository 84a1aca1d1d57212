//! How a group commit is cut into chunks.

use std::sync::Arc;

use crate::{
    store::{
        LogIdentity,
        format::{CHUNK_HEADER_BYTES, ChunkBuilder, Mark, Stored},
    },
    vocabulary::Committed,
};

/// redb's page, and what a leaf page with one chunk takes of it: header, key and length.
const PAGE_BYTES: usize = 4096;
const LEAF_BYTES: usize = 32;
/// What a commit takes beside its record in most chunks.
const FRAME_BYTES: usize = 10;

/// What a chunk of a size takes in redb's pages: small ones share a page, large ones have a power of two of them.
pub(super) fn stored_bytes(chunk: usize) -> usize {
    let bytes = chunk + LEAF_BYTES;
    if bytes <= PAGE_BYTES / 2 {
        bytes
    } else {
        bytes.next_power_of_two().max(PAGE_BYTES)
    }
}

/// What a chunk takes beside its commits as `pack` counts them: its header, and the digests of a module or two.
const ROOM_BESIDE_COMMITS: usize = CHUNK_HEADER_BYTES + 64;

/// A chunk that is ready to be written.
#[derive(Debug)]
pub(in crate::store) struct Packed {
    /// The log before it, and so its number.
    pub(in crate::store) before: Mark,
    /// Its bytes.
    pub(in crate::store) bytes: Vec<u8>,
    /// The log behind it.
    pub(in crate::store) after: Mark,
}

/// Cuts commits, each with its record, into chunks.
///
/// A large value takes a power of two of redb's pages. So a group is cut where a page of that size is full, as long as
/// the rest would leave more than a quarter of its page empty.
pub(in crate::store) fn pack(
    identity: LogIdentity,
    mut before: Mark,
    commits: Vec<(Vec<u8>, Arc<Committed>)>,
    chunk_bytes: usize,
) -> Vec<Packed> {
    let mut rest: usize = commits.iter().map(|(record, _)| FRAME_BYTES + record.len()).sum();
    let mut packed = Vec::new();
    let mut target = target_bytes(rest, chunk_bytes);
    let begin = |before, rest: usize, target: usize| {
        let room = target.min(rest + ROOM_BESIDE_COMMITS);
        ChunkBuilder::new(identity.log_id, identity.epoch, before, room)
    };
    let mut builder = begin(before, rest, target);
    let mut inside = 0;
    for (record, committed) in commits {
        let stored = Stored::of(&committed.commit, &record);
        if inside > 0 && builder.len() + builder.framed(stored) > target {
            packed.push(finish(builder));
            before = packed.last().map_or(before, |chunk| chunk.after);
            inside = 0;
            target = target_bytes(rest, chunk_bytes);
            builder = begin(before, rest, target);
        }
        builder.push(stored, committed.commit.events.len());
        inside += 1;
        rest -= FRAME_BYTES + record.len();
    }
    if inside > 0 {
        packed.push(finish(builder));
    }
    packed
}

fn finish(builder: ChunkBuilder) -> Packed {
    let before = builder.before();
    let (bytes, after) = builder.finish();
    Packed { before, bytes, after }
}

/// How large the next chunk should be when so many bytes are left.
fn target_bytes(rest: usize, chunk_bytes: usize) -> usize {
    let whole = rest + CHUNK_HEADER_BYTES + LEAF_BYTES;
    let page = whole.next_power_of_two().max(PAGE_BYTES);
    let fitting = if page <= PAGE_BYTES || whole >= page / 4 * 3 {
        page
    } else {
        page / 2
    };
    fitting.min(chunk_bytes.max(PAGE_BYTES)) - LEAF_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_of_a_page_is_left_empty() {
        for rest in (5_000..60_000).step_by(137) {
            let target = target_bytes(rest, 64 << 10);
            let whole = rest + CHUNK_HEADER_BYTES;
            let page = (target + LEAF_BYTES).next_power_of_two();
            assert!(
                whole >= target || whole + LEAF_BYTES >= page / 4 * 3,
                "{rest}: {target}"
            );
        }
        assert_eq!(target_bytes(1 << 20, 64 << 10), (64 << 10) - LEAF_BYTES);
        assert_eq!(target_bytes(100, 64 << 10), PAGE_BYTES - LEAF_BYTES);
    }
}
