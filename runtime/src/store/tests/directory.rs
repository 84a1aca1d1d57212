//! Data directories that are in use, of somebody else, of another version, or incomplete: each is refused with a
//! message that says what to do.

use std::fs;

use super::{
    disk::Disk,
    engines::tiny,
    faults::next,
    ledger::{Ledger, open},
};
use crate::store::{EventStore as _, LocalStore, OpenError, StoreOptions};

#[test]
fn a_second_opening_is_told_who_has_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open(directory.path(), tiny()).unwrap();
    let error = LocalStore::open(directory.path(), tiny()).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    let message = error.to_string();
    assert!(
        message.contains(&format!("process {}", std::process::id())),
        "{message}"
    );
    store.close();
    LocalStore::open(directory.path(), tiny()).expect("a closed store lets go of its directory");
}

#[test]
fn a_foreign_directory_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.tex"), "dear").unwrap();
    let error = LocalStore::open(directory.path(), tiny()).unwrap_err();
    assert!(matches!(error, OpenError::NotOurs { .. }), "{error}");
    assert!(error.to_string().contains("thesis.tex"), "{error}");
    assert_eq!(
        fs::read_dir(directory.path()).unwrap().count(),
        1,
        "nothing was put into it"
    );
    fs::create_dir(directory.path().join("data")).unwrap();
    LocalStore::open(&directory.path().join("data"), tiny()).expect("an empty one is taken");
    LocalStore::open(&directory.path().join("new/deep"), tiny()).expect("a new one is made");
}

#[test]
fn a_file_in_the_place_of_the_directory_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    fs::write(&path, "text").unwrap();
    let error = LocalStore::open(&path, tiny()).unwrap_err();
    assert!(error.to_string().contains("data"), "{error}");
}

fn some_log(options: &StoreOptions) -> Disk {
    let disk = Disk::new(1);
    let store = open(&disk, options).unwrap();
    let mut ledger = Ledger::default();
    for round in 0..40 {
        ledger.send(&store, vec![next(&store, "a", &format!("k-{round}"))]);
    }
    store.close();
    disk
}

#[test]
fn a_missing_part_of_the_log_is_named() {
    let options = tiny();
    let disk = Disk::new(1);
    for part in 0..3 {
        let store = open(&disk, &options).unwrap();
        let mut ledger = Ledger::default();
        for round in 0..10 {
            ledger.send(&store, vec![next(&store, "a", &format!("{part}-{round}"))]);
        }
        store.close();
    }
    for name in ["meta.redb", "log/00000001.redb", "log/00000002.redb"] {
        let error = open(&disk.copy_with(name, None), &options).unwrap_err();
        assert!(matches!(error, OpenError::Damaged { .. }), "{name}: {error}");
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
    let two = disk.bytes("log/00000002.redb");
    let error = open(&disk.copy_with("log/00000001.redb", Some(two)), &options).unwrap_err();
    assert!(
        error.to_string().contains("segment 2 under another name"),
        "{error}"
    );
}

#[test]
fn files_of_two_logs_do_not_mix() {
    let options = StoreOptions {
        segment_bytes: 64 << 20,
        ..tiny()
    };
    let (mine, other) = (some_log(&options), some_log(&options));
    for name in ["meta.redb", "log/00000001.redb"] {
        let mixed = mine.copy_with(name, Some(other.bytes(name)));
        let error = open(&mixed, &options).unwrap_err();
        assert!(error.to_string().contains("another log"), "{name}: {error}");
    }
}
