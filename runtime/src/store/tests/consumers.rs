//! The consumers' rows when the disk refuses, is full, or has other bytes than were written. Crashes are in `crash.rs`.

use bytes::Bytes;

use super::{
    crash::quiet,
    disk::{Disk, Fate, Plan},
    engines::tiny,
    ledger::{Ledger, open},
};
use crate::store::{
    AppendError, ConsumerRow, EventStore as _, LocalStore, ReadError,
    conformance::wait_until,
    format::{FORMAT, seal},
};

/// A store in which only the file of the rows is written.
fn store_with_rows(disk: &Disk) -> (LocalStore, Ledger) {
    let store = open(disk, &quiet()).unwrap();
    let mut ledger = Ledger::default();
    ledger.save_rows(&store).unwrap();
    (store, ledger)
}

fn saves_again(store: &LocalStore, ledger: &mut Ledger) {
    wait_until("it saves again", || match ledger.save_rows(store) {
        Ok(()) => true,
        Err(AppendError::Unavailable { .. }) => false,
        Err(other) => panic!("{other}"),
    });
    ledger.check(store).unwrap();
}

#[test]
fn one_failed_fsync_leaves_open_which_rows_there_are_and_tears_none() {
    let (mut written, mut lost) = (0, 0);
    for seed in 0..40 {
        let disk = Disk::new(seed);
        let (store, mut ledger) = store_with_rows(&disk);
        disk.plan(Plan {
            failing_fsyncs: 1,
            ..Plan::default()
        });
        let before = ledger.clone();
        let answer = ledger.save_rows(&store);
        assert!(
            matches!(answer, Err(AppendError::Unknown { .. })),
            "seed {seed}: {answer:?}"
        );
        let rows = store.consumer_rows().unwrap();
        ledger
            .check_rows(&rows)
            .unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
        if before.check_rows(&rows).is_ok() {
            lost += 1;
        } else {
            written += 1;
        }
        saves_again(&store, &mut ledger);
        drop(store);
        let store = open(&disk.after_power_loss(Fate::Lost), &quiet()).unwrap();
        ledger
            .check(&store)
            .unwrap_or_else(|problem| panic!("seed {seed}, after a crash: {problem}"));
    }
    println!("of the rows that met a failed fsync {written} were written and {lost} were not");
}

#[test]
fn while_every_fsync_fails_rows_are_read_and_none_is_said_to_be_saved() {
    let disk = Disk::new(7);
    let (store, mut ledger) = store_with_rows(&disk);
    disk.plan(Plan {
        failing_fsyncs: u64::MAX,
        ..Plan::default()
    });
    let answer = ledger.save_rows(&store);
    assert!(matches!(answer, Err(AppendError::Unknown { .. })), "{answer:?}");
    for _ in 0..5 {
        let answer = ledger.save_rows(&store);
        assert!(
            matches!(answer, Err(AppendError::Unavailable { .. })),
            "the file cannot be opened for writing: {answer:?}"
        );
        ledger.check_rows(&store.consumer_rows().unwrap()).unwrap();
    }
    disk.plan(Plan::default());
    saves_again(&store, &mut ledger);
}

#[test]
fn a_full_disk_is_named_and_leaves_the_rows_as_they_were() {
    let disk = Disk::new(3);
    let (store, mut ledger) = store_with_rows(&disk);
    let lengths = disk
        .names()
        .into_iter()
        .map(|name| disk.bytes(&name).len() as u64);
    disk.plan(Plan {
        space: Some(lengths.sum()),
        ..Plan::default()
    });
    let large = ConsumerRow {
        key: Bytes::from_static(b"billing\0progress"),
        value: Some(Bytes::from(vec![1; 4 << 20])),
    };
    for _ in 0..3 {
        let answer = store.save_consumers(std::slice::from_ref(&large));
        assert!(matches!(answer, Err(AppendError::Full { .. })), "{answer:?}");
        ledger.check(&store).unwrap();
    }
    disk.plan(Plan::default());
    saves_again(&store, &mut ledger);
    drop(store);
    let store = open(&disk.after_power_loss(Fate::Lost), &quiet()).unwrap();
    ledger.check(&store).unwrap();
}

/// Bytes that are wrong although redb's own checksums are right: they are refused, and it is said of which row.
#[test]
fn a_row_that_is_not_the_one_that_was_written_is_refused_by_name() {
    const KEY: &[u8] = b"billing\0progress";
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open(directory.path(), tiny()).unwrap();
    let row = |key: &'static [u8]| ConsumerRow {
        key: Bytes::from_static(key),
        value: Some(Bytes::from_static(b"content")),
    };
    store.save_consumers(&[row(KEY), row(b"mail\0progress")]).unwrap();
    let log_id = store.identity().log_id;
    store.close();
    drop(store);
    let good = stored(directory.path(), KEY);
    let others = stored(directory.path(), b"mail\0progress");
    let mut flipped = good.clone();
    flipped[2] ^= 1;
    let mut newer = good[..good.len() - 4].to_vec();
    newer[0] = FORMAT + 1;
    let newer = seal(newer, &[KEY, &log_id.0]);
    let cases = [
        (flipped, "checksum"),
        (others, "checksum"),
        (Vec::new(), "too short"),
        (newer, "format"),
    ];
    for (value, problem) in cases {
        store_row(directory.path(), KEY, &value);
        let store = LocalStore::open(directory.path(), tiny()).unwrap();
        let error = store.consumer_rows().unwrap_err();
        assert!(matches!(error, ReadError::Damaged { .. }), "{error:?}");
        let message = error.to_string();
        assert!(
            message.contains(problem) && message.contains(r"`billing\x00progress`"),
            "{message}"
        );
    }
    store_row(directory.path(), KEY, &good);
    let store = LocalStore::open(directory.path(), tiny()).unwrap();
    assert_eq!(store.consumer_rows().unwrap().len(), 2);
}

const TABLE: redb::TableDefinition<'static, &[u8], &[u8]> = redb::TableDefinition::new("consumers");

fn stored(directory: &std::path::Path, key: &[u8]) -> Vec<u8> {
    use redb::ReadableDatabase as _;
    let file = redb::Database::open(directory.join("meta.redb")).unwrap();
    let table = file.begin_read().unwrap().open_table(TABLE).unwrap();
    let found = table.get(key).unwrap().unwrap();
    found.value().to_vec()
}

fn store_row(directory: &std::path::Path, key: &[u8], value: &[u8]) {
    let file = redb::Database::open(directory.join("meta.redb")).unwrap();
    let transaction = file.begin_write().unwrap();
    transaction.open_table(TABLE).unwrap().insert(key, value).unwrap();
    transaction.commit().unwrap();
}
