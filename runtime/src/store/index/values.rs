//! The values of the index. Each ends with a CRC-32C over itself, its key and the log id, so that no value passes for
//! another one's.
//!
//! ```text
//! head       version number | recorded at number | position number
//! outcome    chunk number | ordinal number | first position number
//! reached    format u8 | log id 16 | epoch u32 BE | mark (56)
//! snapshot   recorded at number | state version number | state bytes
//! ```

use bytes::Bytes;

use crate::{
    store::{
        Head, LogIdentity, Snapshot,
        format::{FORMAT, Malformed, Mark, Reader, Sink, checksum},
    },
    vocabulary::{AggregateKey, Epoch, LogId, ModuleDigest, Position, Version},
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

/// Where a commit lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) chunk: u64,
    pub(super) ordinal: u32,
    pub(super) first_position: u64,
}

pub(super) fn put_head(head: Head) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    bytes.number(head.version.0);
    bytes.number(head.recorded_at);
    bytes.number(head.position.0);
    bytes
}

pub(super) fn get_head(bytes: &Bytes) -> Result<Head, Malformed> {
    let mut reader = Reader::new(bytes);
    let head = Head {
        version: Version(reader.number()?),
        recorded_at: reader.number()?,
        position: Position(reader.number()?),
    };
    reader.end()?;
    Ok(head)
}

pub(super) fn put_pointer(pointer: Pointer) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(24);
    bytes.number(pointer.chunk);
    bytes.number(u64::from(pointer.ordinal));
    bytes.number(pointer.first_position);
    bytes
}

pub(super) fn get_pointer(bytes: &Bytes) -> Result<Pointer, Malformed> {
    let mut reader = Reader::new(bytes);
    let pointer = Pointer {
        chunk: reader.number()?,
        ordinal: u32::try_from(reader.number()?).map_err(|_| Malformed("ordinal"))?,
        first_position: reader.number()?,
    };
    reader.end()?;
    Ok(pointer)
}

pub(super) fn put_reached(identity: LogIdentity, mark: &Mark) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    bytes.extend_from_slice(&identity.log_id.0);
    bytes.extend_from_slice(&identity.epoch.0.to_be_bytes());
    mark.put(&mut bytes);
    bytes
}

pub(super) fn get_reached(bytes: &Bytes) -> Result<(LogIdentity, Mark), Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != FORMAT {
        return Err(Malformed("index: its format is not known here"));
    }
    let identity = LogIdentity {
        log_id: LogId(reader.array()?),
        epoch: Epoch(u32::from_be_bytes(reader.array()?)),
    };
    let mark = Mark::get(&mut reader)?;
    reader.end()?;
    Ok((identity, mark))
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
