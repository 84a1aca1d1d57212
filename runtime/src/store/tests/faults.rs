//! FAULTS.md rows 8, 10 and 14: the disk refuses, is full, or has other bytes than were written.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{
    disk::{Disk, Fate, Plan},
    engines::tiny,
    ledger::{Ledger, open},
};
use crate::{
    store::{
        AppendError, Direction, EventStore as _, FeedFilter, LocalStore, PageLimit, StoreOptions,
        conformance::{Rng, commit, event, key, observe, wait_until},
    },
    vocabulary::{Committed, IdempotencyKey, Position, Version},
};

const PLENTY: PageLimit = PageLimit {
    events: 10_000,
    bytes: 1 << 30,
};

fn next(store: &LocalStore, id: &str, name: &str) -> crate::vocabulary::Commit {
    let target = key("account", id);
    let head = store.head(&target).unwrap().version.0;
    commit(&target, head, Some(name), vec![event(head, 300)])
}

#[test]
fn one_failed_fsync_heals_by_itself_and_claims_nothing_false() {
    let (mut durable, mut lost) = (0, 0);
    for seed in 0..40_u64 {
        let options = tiny();
        let disk = Disk::new(seed);
        let store = open(&disk, &options).unwrap();
        let heard: Arc<Mutex<Vec<Arc<Committed>>>> = Arc::default();
        let sink = Arc::clone(&heard);
        store.listen(Box::new(move |committed| {
            sink.lock().unwrap().push(Arc::clone(committed))
        }));
        let mut ledger = Ledger::default();
        for round in 0..seed % 7 {
            ledger.send(&store, vec![next(&store, "a", &format!("before-{round}"))]);
        }
        // Let the indexer come to rest and every file be open, so that it is the log's fsync that fails.
        store.head(&key("account", "nobody")).unwrap();
        std::thread::sleep(Duration::from_millis(30));
        disk.plan(Plan {
            failing_fsyncs: 1,
            ..Plan::default()
        });
        let answer = ledger.send(&store, vec![next(&store, "a", "unlucky")]).remove(0);
        assert!(
            matches!(answer, Err(AppendError::Unknown { .. })),
            "seed {seed}: {answer:?}"
        );
        let head = store.head(&key("account", "a")).unwrap();
        assert!(head.version.0 >= ledger.acked.len() as u64, "reads go on");
        let started = Instant::now();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let name = format!("after-{attempt}");
            match ledger.send(&store, vec![next(&store, "b", &name)]).remove(0) {
                Ok(()) => break,
                Err(AppendError::Unavailable { .. }) => std::thread::sleep(Duration::from_millis(5)),
                Err(other) => panic!("seed {seed}: {other:?}"),
            }
            assert!(
                started.elapsed() < Duration::from_secs(5),
                "seed {seed}: it does not heal"
            );
        }
        ledger
            .check(&store)
            .unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
        let name = IdempotencyKey::parse("unlucky").unwrap();
        let found = store.outcome(&key("account", "a"), &name).unwrap();
        let told = heard.lock().unwrap().iter().any(|committed| {
            committed
                .commit
                .idempotency
                .as_ref()
                .is_some_and(|record| record.key == name)
        });
        assert_eq!(
            found.is_some(),
            told,
            "seed {seed}: listeners are told of what turned out to be durable"
        );
        if let Some(found) = found {
            durable += 1;
            // It has been shown, so it must stay.
            ledger.open.clear();
            ledger.acked.push(found);
        } else {
            lost += 1;
            ledger.refused.append(&mut ledger.open);
        }
        drop(store);
        let store = open(&disk.after_power_loss(Fate::Lost), &options).unwrap();
        ledger
            .check(&store)
            .unwrap_or_else(|problem| panic!("seed {seed}, after a crash: {problem}"));
    }
    println!("of the commits that met a failed fsync {durable} were durable and {lost} lost");
}

#[test]
fn while_every_fsync_fails_reads_go_on_and_it_heals_in_the_end() {
    let options = tiny();
    let disk = Disk::new(7);
    let store = open(&disk, &options).unwrap();
    let mut ledger = Ledger::default();
    for round in 0..20 {
        ledger.send(&store, vec![next(&store, "a", &format!("before-{round}"))]);
    }
    disk.plan(Plan {
        failing_fsyncs: u64::MAX,
        ..Plan::default()
    });
    let answer = ledger.send(&store, vec![next(&store, "a", "unlucky")]).remove(0);
    assert!(matches!(answer, Err(AppendError::Unknown { .. })), "{answer:?}");
    for round in 0..10 {
        let name = format!("refused-{round}");
        let refused = commit(&key("account", "c"), 0, Some(&name), vec![event(1, 10)]);
        let answer = ledger.send(&store, vec![refused]).remove(0);
        assert!(
            matches!(answer, Err(AppendError::Unavailable { .. })),
            "{answer:?}"
        );
        let history = store
            .history(&key("account", "a"), Version(1), Direction::Forward, PLENTY)
            .unwrap();
        assert!(history.len() >= 20, "histories are read meanwhile");
        let page = store.feed(Position(0), &FeedFilter::default(), PLENTY).unwrap();
        assert!(!page.events.is_empty(), "the feed is read meanwhile");
        std::thread::sleep(Duration::from_millis(20));
    }
    disk.plan(Plan::default());
    let mut attempt = 0;
    wait_until("it heals", || {
        attempt += 1;
        let name = format!("after-{attempt}");
        ledger
            .send(&store, vec![next(&store, "b", &name)])
            .remove(0)
            .is_ok()
    });
    ledger.check(&store).unwrap();
}

#[test]
fn a_full_disk_is_named_reads_go_on_and_writing_resumes() {
    let options = StoreOptions {
        segment_bytes: 64 << 20,
        run_after: Duration::from_secs(3_600),
        run_events: 1_000_000,
        ..tiny()
    };
    let options = StoreOptions {
        run_bytes: 64 << 20,
        overlay_bytes: 64 << 20,
        ..options
    };
    let disk = Disk::new(3);
    let store = open(&disk, &options).unwrap();
    let mut ledger = Ledger::default();
    let used: u64 = disk
        .names()
        .iter()
        .map(|name| disk.bytes(name).len() as u64)
        .sum();
    disk.plan(Plan {
        space: Some(used + (1 << 20)),
        ..Plan::default()
    });
    let mut full = 0;
    for round in 0..400_u64 {
        let target = key("account", &format!("a{}", round % 5));
        let head = store.head(&target).unwrap().version.0;
        let large = commit(
            &target,
            head,
            Some(&format!("k-{round}")),
            vec![event(round, 20_000)],
        );
        match ledger.send(&store, vec![large]).remove(0) {
            Ok(()) => {}
            Err(AppendError::Full { .. }) => {
                full += 1;
                if full == 20 {
                    break;
                }
            }
            Err(other) => panic!("round {round}: {other:?}"),
        }
    }
    assert!(
        full == 20 && !ledger.acked.is_empty(),
        "the disk was full {full} times"
    );
    ledger.check(&store).expect("reads go on");
    disk.plan(Plan::default());
    let freed = Instant::now();
    let mut attempt = 0;
    wait_until("writing resumes", || {
        attempt += 1;
        std::thread::sleep(Duration::from_millis(20));
        ledger
            .send(&store, vec![next(&store, "b", &format!("after-{attempt}"))])
            .remove(0)
            .is_ok()
    });
    assert!(freed.elapsed() < Duration::from_secs(5), "within five seconds");
    ledger.check(&store).unwrap();
    drop(store);
    ledger
        .check(&open(&disk.after_power_loss(Fate::Lost), &options).unwrap())
        .unwrap();
}

/// A log of three segments with its index, closed properly.
fn closed_disk(options: &StoreOptions) -> (Disk, Ledger) {
    let disk = Disk::new(1);
    let store = open(&disk, options).unwrap();
    let mut ledger = Ledger::default();
    for round in 0..40_u64 {
        let target = key("account", &format!("a{}", round % 4));
        let head = store.head(&target).unwrap().version.0;
        let events = (0..round % 3 + 1).map(|salt| event(salt + round, 700)).collect();
        ledger.send(
            &store,
            vec![commit(&target, head, Some(&format!("k-{round}")), events)],
        );
    }
    assert_eq!(ledger.acked.len(), 40);
    store.close();
    drop(store);
    assert!(
        disk.names().iter().any(|name| name == "log/00000003.redb"),
        "{:?}",
        disk.names()
    );
    (disk, ledger)
}

/// Reads everything one by one: each answer is right, or an error.
fn right_or_error(store: &LocalStore, ledger: &Ledger) -> Result<u32, String> {
    let mut errors = 0;
    let mut events = Vec::new();
    for committed in &ledger.acked {
        let commit = &committed.commit;
        events.extend(committed.recorded_events());
        let record = commit.idempotency.as_ref().unwrap();
        match store.outcome(&commit.key, &record.key) {
            Ok(found) if found.as_ref() == Some(committed) => {}
            Ok(found) => return Err(format!("a wrong outcome: {found:?}")),
            Err(_) => errors += 1,
        }
    }
    let keys: BTreeSet<_> = ledger
        .acked
        .iter()
        .map(|committed| &committed.commit.key)
        .collect();
    for key in keys {
        let expected: Vec<_> = events.iter().filter(|event| event.key == *key).cloned().collect();
        match store.head(key) {
            Ok(head) if head.version.0 == expected.len() as u64 => {}
            Ok(head) => return Err(format!("a wrong head: {head:?}")),
            Err(_) => errors += 1,
        }
        for from in [1, 3] {
            match store.history(key, Version(from), Direction::Forward, PLENTY) {
                Ok(found) if found[..] == expected[from as usize - 1..] => {}
                Ok(_) => return Err(format!("a wrong history of {key}")),
                Err(_) => errors += 1,
            }
        }
    }
    let mut after = Position(0);
    let small = PageLimit {
        events: 5,
        bytes: 1 << 20,
    };
    while after.0 < events.len() as u64 {
        match store.feed(after, &FeedFilter::default(), small) {
            Ok(page) => {
                let expected = &events[after.0 as usize..page.scanned.0 as usize];
                if page.events != expected || page.scanned <= after {
                    return Err(format!("a wrong feed after {after}"));
                }
                after = page.scanned;
            }
            Err(_) => {
                errors += 1;
                after = Position(after.0 + 1);
            }
        }
    }
    Ok(errors)
}

#[test]
fn flipped_bits_are_never_served() {
    let options = tiny();
    let (disk, ledger) = closed_disk(&options);
    let (mut flips, mut refused, mut errors) = (0, 0, 0);
    for name in disk.names() {
        let bytes = disk.bytes(&name);
        let mut rng = Rng::new(bytes.len() as u64);
        for _ in 0..80 {
            let at = rng.below(bytes.len() as u64) as usize;
            let bit = rng.below(8);
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let damaged = disk.copy_with(&name, Some(flipped));
            flips += 1;
            let outcome = catch_unwind(AssertUnwindSafe(|| match open(&damaged, &options) {
                Err(_) => None,
                Ok(store) => Some(right_or_error(&store, &ledger)),
            }));
            match outcome {
                Ok(None) => refused += 1,
                Ok(Some(Ok(found))) => errors += found,
                Ok(Some(Err(problem))) => panic!("`{name}`, byte {at}, bit {bit}: {problem}"),
                Err(_) => panic!("`{name}`, byte {at}, bit {bit}: a panic escaped"),
            }
        }
    }
    println!("{flips} flips: {refused} did not open, {errors} reads refused, the rest was right");
    assert!(refused + errors > 0, "flips have an effect");
}

#[test]
fn the_index_is_made_again_from_the_log() {
    let options = tiny();
    let disk = Disk::new(5);
    let mut ledger = Ledger::default();
    let mut older = None;
    for part in 0..2 {
        let store = open(&disk, &options).unwrap();
        for round in 0..30 {
            let id = format!("a{}", round % 4);
            let one = next(&store, &id, &format!("{part}-{round}"));
            ledger.send(&store, vec![one]);
        }
        store.close();
        older.get_or_insert_with(|| disk.bytes("index.redb"));
    }
    let aggregates: BTreeSet<_> = ledger
        .acked
        .iter()
        .map(|committed| committed.commit.key.clone())
        .collect();
    let keys: BTreeSet<_> = ledger
        .acked
        .iter()
        .map(|committed| {
            let record = committed.commit.idempotency.as_ref().unwrap();
            (committed.commit.key.clone(), record.key.clone())
        })
        .collect();
    let whole = disk.bytes("index.redb");
    let other = {
        let (other, _) = closed_disk(&options);
        other.bytes("index.redb")
    };
    let cases = [
        ("as it was", Some(whole.clone())),
        ("missing", None),
        ("empty", Some(Vec::new())),
        ("cut in half", Some(whole[..whole.len() / 2].to_vec())),
        ("an older copy", older),
        ("zeroed", Some(vec![0; whole.len()])),
        ("something else", Some(b"hello".repeat(1_000))),
        ("of another log", Some(other)),
    ];
    let mut expected = None;
    for (case, bytes) in cases {
        let copy = disk.copy_with("index.redb", bytes);
        let store = open(&copy, &options).unwrap_or_else(|error| panic!("{case}: {error}"));
        ledger
            .check(&store)
            .unwrap_or_else(|problem| panic!("{case}: {problem}"));
        let seen = observe(&store, &aggregates, &keys, 3);
        assert_eq!(*expected.get_or_insert_with(|| seen.clone()), seen, "{case}");
        let mut more = ledger.clone();
        more.send(&store, vec![next(&store, "a1", "more")]);
        more.check(&store)
            .unwrap_or_else(|problem| panic!("{case}, going on: {problem}"));
    }
}

#[test]
fn an_index_damaged_while_it_is_open_is_rebuilt() {
    let options = StoreOptions {
        index_check_bytes: 0,
        ..tiny()
    };
    let (disk, ledger) = closed_disk(&options);
    let bytes = disk.bytes("index.redb");
    let mut rebuilt = 0;
    for seed in 0..40 {
        let mut rng = Rng::new(seed);
        let mut damaged = bytes.clone();
        // A stretch, in the part that holds data, so that it is met by reads rather than on opening.
        let at = rng.below(bytes.len() as u64) as usize;
        for byte in damaged.iter_mut().skip(at).take(600) {
            *byte ^= 0x55;
        }
        let copy = disk.copy_with("index.redb", Some(damaged));
        let Ok(store) = open(&copy, &options) else {
            panic!("seed {seed}: a damaged index keeps the store from opening");
        };
        for committed in &ledger.acked {
            let history = store.history(&committed.commit.key, Version(1), Direction::Forward, PLENTY);
            assert!(history.is_ok(), "seed {seed}: {history:?}");
            rebuilt += u32::from(store.is_index_suspect());
        }
        wait_until("the index is rebuilt", || !store.is_index_suspect());
    }
    println!("{rebuilt} reads met an index that was being rebuilt");
}
