//! FAULTS.md rows 8 and 10: the disk refuses, or is full.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use super::{
    crash::quiet,
    disk::{Disk, Fate, Plan},
    engines::tiny,
    ledger::{Ledger, open},
};
use crate::{
    store::{
        AppendError, Direction, EventStore as _, FeedFilter, LocalStore, PageLimit, ReadError, StoreOptions,
        conformance::{commit, event, key, wait_until},
    },
    vocabulary::{Committed, IdempotencyKey, Position, Version},
};

pub(super) const PLENTY: PageLimit = PageLimit {
    events: 10_000,
    bytes: 1 << 30,
};

pub(super) fn next(store: &LocalStore, id: &str, name: &str) -> crate::vocabulary::Commit {
    let target = key("account", id);
    let head = store.head(&target).unwrap().version.0;
    commit(&target, head, Some(name), vec![event(head, 300)])
}

#[test]
fn one_failed_fsync_heals_by_itself_and_claims_nothing_false() {
    let (mut durable, mut lost, mut waited) = (0, 0, 0);
    for seed in 0..40_u64 {
        let options = StoreOptions {
            segment_bytes: 64 << 20,
            ..quiet()
        };
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
        // Every file is open, the indexer rests and no segment is begun, so that it is the log's fsync that fails.
        store.head(&key("account", "nobody")).unwrap();
        disk.plan(Plan {
            failing_fsyncs: 1,
            ..Plan::default()
        });
        let answer = ledger.send(&store, vec![next(&store, "a", "unlucky")]).remove(0);
        assert!(
            matches!(answer, Err(AppendError::Unknown { .. })),
            "seed {seed}: {answer:?}"
        );
        // Until it is known, nobody is told where the aggregate stands or that the key is unknown.
        let unlucky = IdempotencyKey::parse("unlucky").unwrap();
        let early = (
            store.head(&key("account", "a")),
            store.outcome(&key("account", "a"), &unlucky),
        );
        let before = store
            .history(&key("account", "a"), Version(1), Direction::Forward, PLENTY)
            .unwrap();
        assert!(before.len() >= ledger.acked.len(), "reads go on");
        append_once_healed(&store, &mut ledger).unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
        ledger
            .check(&store)
            .unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
        let name = IdempotencyKey::parse("unlucky").unwrap();
        let found = store.outcome(&key("account", "a"), &name).unwrap();
        match early {
            (Err(ReadError::Unavailable { .. }), Err(ReadError::Unavailable { .. })) => waited += 1,
            (head, outcome) => {
                let healed = store.head(&key("account", "a"));
                assert!(
                    head.is_err() || head == healed,
                    "seed {seed}: {head:?}, then {healed:?}"
                );
                assert!(
                    outcome.is_err() || outcome == Ok(found.clone()),
                    "seed {seed}: {outcome:?}"
                );
            }
        }
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
    assert!(waited > 0, "no read came while it was not known");
    println!("of the commits that met a failed fsync {durable} were durable and {lost} lost");
}

/// Tries until the store takes something again.
fn append_once_healed(store: &LocalStore, ledger: &mut Ledger) -> Result<(), String> {
    let started = Instant::now();
    for attempt in 0.. {
        let more = next(store, "b", &format!("after-{attempt}"));
        match ledger.send(store, vec![more]).remove(0) {
            Ok(()) => return Ok(()),
            Err(AppendError::Unavailable { .. }) => std::thread::sleep(Duration::from_millis(5)),
            Err(other) => return Err(other.to_string()),
        }
        if started.elapsed() > Duration::from_secs(5) {
            break;
        }
    }
    Err("it does not heal within five seconds".to_owned())
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
