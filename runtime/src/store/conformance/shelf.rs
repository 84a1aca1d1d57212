//! Checks of snapshots and modules.

use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::{Subject, appended, event, key, wait_until};
use crate::{
    store::{ConsumerRow, Snapshot, StoredModule},
    vocabulary::{AggregateType, Manifest, ModuleDigest, Version},
};

pub(super) fn snapshots(subject: &Subject<'_>) {
    let store = subject.store();
    let key = key("account", "alice");
    appended(&*store, &key, (0..60).map(|salt| event(salt, 10)).collect());
    let (mine, other) = (ModuleDigest([1; 32]), ModuleDigest([2; 32]));
    let make = |version, module| Snapshot {
        key: key.clone(),
        version: Version(version),
        recorded_at: 1_000 + version,
        module,
        state_version: 3,
        state: Bytes::from(vec![version as u8; 5_000]),
    };
    assert_eq!(store.snapshot(&key, &mine, Version(60)).unwrap(), None);
    for (version, module) in [(10, mine), (20, other), (40, mine), (61, mine)] {
        store.save_snapshot(make(version, module));
        if version <= 60 {
            wait_until("the snapshot is kept", || {
                store.snapshot(&key, &module, Version(60)).unwrap() == Some(make(version, module))
            });
        }
    }
    let found = |module, at_most| {
        let snapshot = store.snapshot(&key, &module, Version(at_most)).unwrap();
        snapshot.map(|snapshot| snapshot.version.0)
    };
    wait_until("the newest is kept", || found(mine, u64::MAX) == Some(40));
    assert_eq!(found(other, 60), Some(20));
    assert_eq!(found(other, 19), None);
    assert_eq!(found(ModuleDigest([3; 32]), 60), None);
    appended(&*store, &key, vec![event(61, 10)]);
    wait_until("one above the head counts once the head is there", || {
        found(mine, u64::MAX) == Some(61)
    });
}

pub(super) fn modules(subject: &Subject<'_>) {
    let store = subject.store();
    let module = |salt: u8, bytes: &[u8]| StoredModule {
        digest: ModuleDigest(Sha256::digest(bytes).into()),
        manifest: Manifest {
            aggregate_type: AggregateType::parse("account").unwrap(),
            module_version: format!("1.0.{salt}"),
            payload_encoding: "application/json".to_owned(),
            commands: Vec::new(),
            records: Vec::new(),
            reads: Vec::new(),
            state_version: 1,
            attributes: vec![("sdk".to_owned(), "test".to_owned())],
        },
        uploaded_at: 1_000 + u64::from(salt),
        size_bytes: bytes.len() as u64,
    };
    let small = b"a small module".to_vec();
    let large: Vec<u8> = (0..32_u32 << 20)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let (first, second) = (module(1, &small), module(2, &large));
    store.put_module(&first, &small).unwrap();
    store.put_module(&second, &large).unwrap();
    let mut later = first.clone();
    later.uploaded_at = 9_999;
    store.put_module(&later, &small).unwrap();
    let store = subject.again(store);
    let mut expected = vec![first.clone(), second.clone()];
    expected.sort_by_key(|module| module.digest);
    let mut found = store.modules().unwrap();
    found.sort_by_key(|module| module.digest);
    assert_eq!(found, expected, "keeping it again changes nothing");
    assert!(
        store
            .module_bytes(&second.digest)
            .unwrap()
            .is_some_and(|bytes| bytes == large)
    );
    assert_eq!(
        store.module_bytes(&first.digest).unwrap(),
        Some(Bytes::from(small))
    );
    assert_eq!(store.module_bytes(&ModuleDigest([9; 32])).unwrap(), None);
}

/// What consumers have reached is kept row by row, all of a call or nothing of it.
pub(super) fn consumers(subject: &Subject<'_>) {
    let store = subject.store();
    let row = |key: &'static str, value: Option<&'static str>| ConsumerRow {
        key: Bytes::from_static(key.as_bytes()),
        value: value.map(|value| Bytes::from_static(value.as_bytes())),
    };
    assert_eq!(store.consumer_rows().unwrap(), []);
    let rows = [row("b\0p", Some("2")), row("a\0p", Some("1")), row("c", Some(""))];
    store.save_consumers(&rows).unwrap();
    store
        .save_consumers(&[row("b\0p", Some("3")), row("c", None), row("never there", None)])
        .unwrap();
    let store = subject.again(store);
    let expected = [("a\0p", "1"), ("b\0p", "3")].map(|(key, value)| (Bytes::from(key), Bytes::from(value)));
    assert_eq!(store.consumer_rows().unwrap(), expected);
    store.save_consumers(&[]).unwrap();
    assert_eq!(store.consumer_rows().unwrap(), expected);
}
