//! The values of the index but for the blocks, whose checksums are in the directories. Each ends with a CRC-32C over
//! itself, its key and the log id, so that no value passes for another one's.
//!
//! ```text
//! snapshot   recorded at number | state version number | state bytes
//! ```

use bytes::Bytes;

use crate::{
    store::{
        Snapshot,
        format::{Malformed, Reader, Sink, checksum},
    },
    vocabulary::{AggregateKey, LogId, ModuleDigest, Version},
};

/// Closes a value with its checksum.
pub(super) fn seal(mut value: Vec<u8>, key: &[u8], log_id: LogId) -> Vec<u8> {
    let crc = checksum([&value[..], key, &log_id.0]);
    value.extend_from_slice(&crc.to_be_bytes());
    value
}

/// Checks a value and takes its checksum off.
pub(super) fn unseal(value: &[u8], key: &[u8], log_id: LogId) -> Result<Bytes, Malformed> {
    let (value, crc) = value
        .split_last_chunk::<4>()
        .ok_or(Malformed("value: it is too short"))?;
    if u32::from_be_bytes(*crc) != checksum([value, key, &log_id.0]) {
        return Err(Malformed("value: its checksum does not match"));
    }
    Ok(Bytes::copy_from_slice(value))
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
