//! The log's chunks as redb gives them, not looked into: what reading the log cannot be faster than.

use std::{
    fs,
    hint::black_box,
    path::Path,
    time::{Duration, Instant},
};

use redb::{Builder, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::failed::Failed;

const CHUNKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("chunks");
/// Where the segments are, below the data.
const FOLDER: &str = "log";
const CACHE_BYTES: usize = 16 << 20;

/// Reads the chunks of a server that has stopped, and takes each byte out of redb once. Gives how many bytes they have, and
/// how long it took.
pub(super) fn read(data: &Path) -> Result<(u64, Duration), Failed> {
    let folder = data.join(FOLDER);
    let started = Instant::now();
    let bytes = read_all(&folder)
        .map_err(|error| Failed::new(format!("read the chunks in {}: {error}", folder.display())))?;
    Ok((bytes, started.elapsed()))
}

fn read_all(folder: &Path) -> Result<u64, Box<dyn std::error::Error>> {
    let (mut bytes, mut chunk) = (0, Vec::new());
    for entry in fs::read_dir(folder)? {
        let segment = entry?.path();
        let database = Builder::new()
            .set_cache_size(CACHE_BYTES)
            .open_read_only(segment)?;
        for row in database.begin_read()?.open_table(CHUNKS)?.iter()? {
            chunk.clear();
            chunk.extend_from_slice(row?.1.value());
            bytes += black_box(&chunk).len() as u64;
        }
    }
    Ok(bytes)
}
