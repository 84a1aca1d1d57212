//! The keys of the index.
//!
//! ```text
//! blocks, directories, filters   run u32, number u32 in one u64; blocks of outcomes begin at number 2^31,
//!                                rows of the filter of idempotency keys as well
//! names                          number u64, from 1
//! snapshots                      name | version u64 BE | module 32
//! name                           type | 0 | id | 0            (neither holds control characters)
//! ```
//!
//! Aggregates are in the order of their names, inside of a run as well.

use crate::{
    store::format::{Malformed, Walk, put_text_of},
    vocabulary::{AggregateId, AggregateKey, AggregateType, ModuleDigest, Version},
};

/// Where the second half of a run's numbers begins.
pub(super) const SECOND_HALF: u32 = 1 << 31;

/// The key of a run's block or row.
pub(super) fn numbered(run: u32, number: u32) -> u64 {
    u64::from(run) << 32 | u64::from(number)
}

/// What every key of an aggregate begins with.
pub(super) fn aggregate(key: &AggregateKey) -> Vec<u8> {
    let mut bytes = of_type(&key.aggregate_type);
    bytes.extend_from_slice(key.aggregate_id.as_str().as_bytes());
    bytes.push(0);
    bytes
}

/// What every key of a type begins with.
pub(super) fn of_type(aggregate_type: &AggregateType) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(96);
    bytes.extend_from_slice(aggregate_type.as_str().as_bytes());
    bytes.push(0);
    bytes
}

/// Puts the name of an aggregate that is given as it is encoded in a commit.
pub(super) fn put_name(encoded: &[u8], name: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut walk = Walk::new(encoded);
    for text in [walk.text()?, walk.text()?] {
        put_text_of(text, name)?;
        name.push(0);
    }
    Ok(())
}

/// The id in a name, when it is of this type.
pub(super) fn id_of(name: &[u8], of_type: &[u8]) -> Option<AggregateId> {
    let id = name.strip_prefix(of_type)?.strip_suffix(&[0])?;
    AggregateId::parse(std::str::from_utf8(id).ok()?).ok()
}

/// The key of a snapshot.
pub(super) fn snapshot(key: &AggregateKey, version: Version, module: &ModuleDigest) -> Vec<u8> {
    let mut bytes = aggregate(key);
    bytes.extend_from_slice(&version.0.to_be_bytes());
    bytes.extend_from_slice(&module.0);
    bytes
}

/// Version and module of a snapshot's key, when it is of this aggregate.
pub(super) fn snapshot_of(key: &[u8], aggregate: &[u8]) -> Option<(Version, ModuleDigest)> {
    let rest: &[u8; 40] = key.strip_prefix(aggregate)?.try_into().ok()?;
    let (version, module) = rest.split_first_chunk::<8>()?;
    Some((
        Version(u64::from_be_bytes(*version)),
        ModuleDigest(module.try_into().ok()?),
    ))
}
