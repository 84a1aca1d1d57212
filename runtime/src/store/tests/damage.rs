//! FAULTS.md rows 14 and 15: files have other bytes than were written. Every read is right, or an error.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
};

use super::{
    disk::Disk,
    engines::tiny,
    faults::{PLENTY, next},
    ledger::{Ledger, open},
};
use crate::{
    store::{
        Direction, EventStore as _, FeedFilter, LocalStore, PageLimit, StoreOptions,
        conformance::{Rng, commit, event, key, observe},
    },
    vocabulary::{EventType, Position, RecordedEvent, Version},
};

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
        if round % 10 == 9 {
            ledger.save_rows(&store).unwrap();
        }
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
    errors += right_by_kind(store, &events)?;
    match store.consumer_rows() {
        Ok(rows) => ledger.check_rows(&rows)?,
        Err(_) => errors += 1,
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

/// The same for feeds of one event type, and for their number.
fn right_by_kind(store: &LocalStore, events: &[RecordedEvent]) -> Result<u32, String> {
    let mut errors = 0;
    for name in ["deposited", "withdrawn", "Closed.v2"] {
        let filter = FeedFilter {
            event_types: vec![EventType::parse(name).unwrap()],
            ..FeedFilter::default()
        };
        let expected: Vec<_> = events
            .iter()
            .filter(|event| filter.wants(event))
            .cloned()
            .collect();
        match store.count(Position(0), &filter) {
            Ok(found) if found.is_exact && found.events == expected.len() as u64 => {}
            Ok(found) => return Err(format!("{found:?} are {name}")),
            Err(_) => errors += 1,
        }
        match store.feed(Position(0), &filter, PLENTY) {
            Ok(page) if page.events == expected && page.at_head => {}
            Ok(_) => return Err(format!("a wrong feed of {name}")),
            Err(_) => errors += 1,
        }
    }
    Ok(errors)
}

/// A place in a file, mostly one where something is written: the files are largely empty.
fn written_byte(bytes: &[u8], rng: &mut Rng) -> usize {
    let anywhere = rng.one_in(8);
    loop {
        let at = rng.below(bytes.len() as u64) as usize;
        if anywhere || bytes[at] != 0 {
            return at;
        }
    }
}

/// An older copy of a page has a good checksum, and must not pass all the same.
#[test]
fn stale_pages_are_never_served() {
    let options = StoreOptions {
        segment_bytes: 64 << 20,
        ..tiny()
    };
    let disk = Disk::new(1);
    let mut ledger = Ledger::default();
    let mut older = None;
    for part in 0..3 {
        let store = open(&disk, &options).unwrap();
        for round in 0..4 {
            let one = next(&store, &format!("a{}", round % 3), &format!("{part}-{round}"));
            ledger.send(&store, vec![one]);
        }
        ledger.save_rows(&store).unwrap();
        store.close();
        if part == 1 {
            let names = ["log/00000001.redb", "index.redb", "meta.redb"];
            older = Some(names.map(|name| (name, disk.bytes(name))));
        }
    }
    let (mut pages, mut refused, mut errors) = (0, 0, 0);
    for (name, older) in older.unwrap() {
        let bytes = disk.bytes(name);
        for start in (0..bytes.len().min(older.len())).step_by(4096) {
            let page = start..(start + 4096).min(bytes.len());
            // The first page of `meta.redb` says which rows there are, and nothing beside it knows better: an older one leads
            // to rows as they were, all of one call, from which events are delivered once more.
            let is_root = name == "meta.redb" && start == 0;
            if is_root || bytes[page.clone()] == older[page.clone()] {
                continue;
            }
            let mut stale = bytes.clone();
            stale[page.clone()].copy_from_slice(&older[page]);
            pages += 1;
            match open(&disk.copy_with(name, Some(stale)), &options) {
                Err(_) => refused += 1,
                Ok(store) => {
                    errors += right_or_error(&store, &ledger)
                        .unwrap_or_else(|problem| panic!("`{name}`, page at {start}: {problem}"));
                }
            }
        }
    }
    println!("{pages} stale pages: {refused} did not open, {errors} reads refused, the rest was right");
    assert!(pages > 5 && refused > 0);
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
            let at = written_byte(&bytes, &mut rng);
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

/// The other way round than an older index: what the index has seen was acknowledged, so the log has lost something.
#[test]
fn an_older_log_under_a_newer_index_is_refused() {
    let options = StoreOptions {
        segment_bytes: 64 << 20,
        ..tiny()
    };
    let disk = Disk::new(1);
    let mut ledger = Ledger::default();
    let mut older = None;
    for part in 0..2 {
        let store = open(&disk, &options).unwrap();
        for round in 0..4 {
            let one = next(&store, "a", &format!("{part}-{round}"));
            ledger.send(&store, vec![one]);
        }
        store.close();
        older.get_or_insert_with(|| disk.bytes("log/00000001.redb"));
    }
    let error = open(&disk.copy_with("log/00000001.redb", older), &options).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("commit 9") && message.contains("backup"),
        "{message}"
    );
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
        let at = written_byte(&bytes, &mut rng);
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
            let record = committed.commit.idempotency.as_ref().unwrap();
            let outcome = store.outcome(&committed.commit.key, &record.key);
            assert!(outcome.is_ok(), "seed {seed}: {outcome:?}");
        }
        rebuilt += store.index_rebuilds();
    }
    println!("of 40 damaged indexes {rebuilt} were rebuilt while they were open");
    assert!(rebuilt > 0, "reads meet the damage");
}
