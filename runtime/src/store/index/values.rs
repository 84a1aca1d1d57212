//! The values of the index but for the blocks, whose checksums are in the directories. Each is sealed with its key and the
//! log id.
//!
//! ```text
//! snapshot   recorded at number | state version number | state bytes
//! ```

use bytes::Bytes;

use crate::{
    store::{
        Snapshot,
        format::{self, Malformed, Reader, Sink},
    },
    vocabulary::{AggregateKey, LogId, ModuleDigest, Version},
};

/// Closes a value with its checksum.
pub(super) fn seal(value: Vec<u8>, key: &[u8], log_id: LogId) -> Vec<u8> {
    format::seal(value, &[key, &log_id.0])
}

/// Checks a value and takes its checksum off.
pub(super) fn unseal(value: &[u8], key: &[u8], log_id: LogId) -> Result<Bytes, Malformed> {
    format::unseal(value, &[key, &log_id.0]).map(Bytes::copy_from_slice)
}

pub(super) fn put_snapshot(snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(snapshot.state.len() + 32);
    bytes.number(snapshot.recorded_at);
    bytes.number(u64::from(snapshot.state_version));
    bytes.blob(&snapshot.state);
    bytes
}

pub(super) fn get_snapshot(
    bytes: &Bytes,
    key: &AggregateKey,
    version: Version,
    module: ModuleDigest,
) -> Result<Snapshot, Malformed> {
    let mut reader = Reader::new(bytes);
    let snapshot = Snapshot {
        key: key.clone(),
        version,
        module,
        recorded_at: reader.number()?,
        state_version: u32::try_from(reader.number()?).map_err(|_| Malformed("state version"))?,
        state: reader.blob()?,
    };
    reader.end()?;
    Ok(snapshot)
}
