//! The keys of the index. They sort by type, then id, then what follows.
//!
//! ```text
//! aggregate   type | 0 | id | 0            (neither holds control characters)
//! heads       aggregate
//! events      aggregate | first version u64 BE
//! outcomes    aggregate | idempotency key
//! snapshots   aggregate | version u64 BE | module 32
//! ```

use crate::vocabulary::{AggregateId, AggregateKey, AggregateType, IdempotencyKey, ModuleDigest, Version};

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

/// The id in a key of `heads`, when it is of this type.
pub(super) fn id_of(key: &[u8], of_type: &[u8]) -> Option<AggregateId> {
    let id = key.strip_prefix(of_type)?.strip_suffix(&[0])?;
    AggregateId::parse(std::str::from_utf8(id).ok()?).ok()
}

/// The key of a block of events.
pub(super) fn events(key: &AggregateKey, first: Version) -> Vec<u8> {
    let mut bytes = aggregate(key);
    bytes.extend_from_slice(&first.0.to_be_bytes());
    bytes
}

/// The first version of a block, when the key is of this aggregate.
pub(super) fn version_of(key: &[u8], aggregate: &[u8]) -> Option<Version> {
    let version: [u8; 8] = key.strip_prefix(aggregate)?.try_into().ok()?;
    Some(Version(u64::from_be_bytes(version)))
}

/// The key of an outcome.
pub(super) fn outcome(key: &AggregateKey, idempotency: &IdempotencyKey) -> Vec<u8> {
    let mut bytes = aggregate(key);
    bytes.extend_from_slice(idempotency.as_str().as_bytes());
    bytes
}

/// The key of a snapshot.
pub(super) fn snapshot(key: &AggregateKey, version: Version, module: &ModuleDigest) -> Vec<u8> {
    let mut bytes = events(key, version);
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
