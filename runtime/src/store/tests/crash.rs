//! FAULTS.md rows 1–3 and 9: the machine stops at every operation of a fixed script, un-fsynced writes are lost, kept
//! or torn, recovery is cut off as well. Nothing that was acknowledged is lost, nothing is there in part. The same with
//! an fsync that does nothing must be seen to lose.

use std::time::Duration;

use super::{
    disk::{Disk, Fate, Plan},
    engines::tiny,
    ledger::{Ledger, open},
};
use crate::store::{
    AppendError, EventStore as _, StoreOptions,
    conformance::{Rng, commit, event, key},
};

/// The indexer stands still until the store closes, so that the operations come in one order.
pub(super) fn quiet() -> StoreOptions {
    StoreOptions {
        segment_bytes: 24 << 10,
        overlay_bytes: 64 << 20,
        run_events: 1_000_000,
        run_bytes: 64 << 20,
        run_after: Duration::from_secs(3_600),
        ..tiny()
    }
}

/// Creates a log, appends over two segments, and saves rows of consumers in between; closes, opens, goes on. Ends early when
/// the machine stops.
fn script(disk: &Disk, options: &StoreOptions, ledger: &mut Ledger) {
    let mut versions = [0; 3];
    for part in 0..2_u64 {
        let Ok(store) = open(disk, options) else { return };
        for group in 0..6_u64 {
            let mut commits = Vec::new();
            for (index, version) in versions.iter_mut().enumerate() {
                let events = (0..(group + index as u64) % 3)
                    .map(|salt| event(salt, 900))
                    .collect::<Vec<_>>();
                let count = events.len() as u64;
                let name = format!("{part}-{group}-{index}");
                let target = key("account", &format!("a{index}"));
                commits.push(commit(&target, *version, Some(&name), events));
                *version += count;
            }
            if ledger.send(&store, commits).iter().any(Result::is_err) {
                return;
            }
            // Not after each: the machine stops in every operation of every one.
            if group % 3 == 1 && ledger.save_rows(&store).is_err() {
                return;
            }
        }
        store.close();
    }
}

/// Opens what is left, compares it with the ledger, goes on with it, and compares again.
fn verify(disk: &Disk, options: &StoreOptions, ledger: &Ledger) -> Result<(), String> {
    let mut ledger = ledger.clone();
    let store = open(disk, options).map_err(|error| format!("it does not open: {error}"))?;
    ledger.check(&store)?;
    let target = key("account", "a0");
    let head = store.head(&target).map_err(|error| error.to_string())?.version.0;
    let more = vec![
        commit(&target, head, Some("after-1"), vec![event(1, 700)]),
        commit(&target, head + 1, Some("after-2"), vec![event(2, 700)]),
    ];
    ledger
        .send(&store, more)
        .into_iter()
        .collect::<Result<Vec<_>, AppendError>>()
        .map_err(|error| format!("it does not go on: {error}"))?;
    ledger
        .save_rows(&store)
        .map_err(|error| format!("it does not go on with rows: {error}"))?;
    ledger.check(&store)?;
    store.close();
    drop(store);
    let store = open(disk, options).map_err(|error| format!("it does not open again: {error}"))?;
    ledger.check(&store)
}

fn operations_of_script(options: &StoreOptions) -> u64 {
    let disk = Disk::new(0);
    let mut ledger = Ledger::default();
    script(&disk, options, &mut ledger);
    assert_eq!(
        ledger.acked.len(),
        36,
        "undisturbed, the script is acknowledged whole"
    );
    assert!(ledger.rows.is_some() && ledger.rows_open.is_empty());
    verify(&disk, options, &ledger).unwrap();
    assert!(
        disk.names().iter().any(|name| name == "log/00000002.redb"),
        "the script fills a segment"
    );
    disk.operations()
}

fn fates(seed: u64) -> [Fate; 3] {
    [Fate::Lost, Fate::Kept, Fate::Torn(seed)]
}

#[test]
fn nothing_acknowledged_is_lost_wherever_the_machine_stops() {
    let options = quiet();
    let operations = operations_of_script(&options);
    let (mut images, mut acked) = (0, 0);
    for stop in 1..=operations {
        let disk = Disk::new(stop);
        disk.plan(Plan {
            stop_at: Some(stop),
            ..Plan::default()
        });
        let mut ledger = Ledger::default();
        script(&disk, &options, &mut ledger);
        for fate in fates(stop) {
            let image = disk.after_power_loss(fate);
            if let Err(problem) = verify(&image, &options, &ledger) {
                panic!("stopped at operation {stop} of {operations}, {fate:?}: {problem}");
            }
            images += 1;
            acked += ledger.acked.len();
        }
    }
    println!("{operations} operations, {images} images, {acked} acknowledged commits, none lost");
}

#[test]
fn a_crash_in_the_middle_of_recovery_loses_nothing_either() {
    let options = quiet();
    let operations = operations_of_script(&options);
    let mut images = 0;
    for seed in 0..100_u64 {
        let mut rng = Rng::new(seed);
        let disk = Disk::new(seed);
        disk.plan(Plan {
            stop_at: Some(1 + rng.below(operations)),
            ..Plan::default()
        });
        let mut ledger = Ledger::default();
        script(&disk, &options, &mut ledger);
        let mut image = disk.after_power_loss(Fate::Torn(rng.number()));
        for _ in 0..3 {
            image.plan(Plan {
                stop_at: Some(1 + rng.below(12)),
                ..Plan::default()
            });
            drop(open(&image, &options));
            image = image.after_power_loss(Fate::Torn(rng.number()));
        }
        verify(&image, &options, &ledger).unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
        images += 1;
    }
    println!("{images} images after four crashes each, none lost anything");
}

#[test]
fn writers_and_indexer_together_lose_nothing() {
    let options = tiny();
    for seed in 0..40_u64 {
        let mut rng = Rng::new(seed);
        let disk = Disk::new(seed);
        let store = open(&disk, &options).unwrap();
        disk.plan(Plan {
            stop_at: Some(1 + rng.below(900)),
            ..Plan::default()
        });
        let ledgers: Vec<Ledger> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..4_u64)
                .map(|writer| {
                    let store = &store;
                    scope.spawn(move || write_until_it_fails(store, writer))
                })
                .collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).collect()
        });
        store.close();
        let mut all = Ledger::default();
        for ledger in ledgers {
            all.acked.extend(ledger.acked);
            all.open.extend(ledger.open);
            all.refused.extend(ledger.refused);
        }
        let image = disk.after_power_loss(Fate::Torn(rng.number()));
        verify(&image, &options, &all).unwrap_or_else(|problem| panic!("seed {seed}: {problem}"));
    }
}

fn write_until_it_fails(store: &crate::store::LocalStore, writer: u64) -> Ledger {
    let mut ledger = Ledger::default();
    let mut versions = [0; 5];
    for round in 0..60_u64 {
        let mut commits = Vec::new();
        for (index, version) in versions.iter_mut().enumerate() {
            let target = key("account", &format!("w{writer}-{index}"));
            let name = format!("{writer}-{round}-{index}");
            commits.push(commit(&target, *version, Some(&name), vec![event(round, 200)]));
            *version += 1;
        }
        if ledger.send(store, commits).iter().any(Result::is_err) {
            break;
        }
    }
    ledger
}

/// The control: were this not to fail, the tests above would show nothing.
#[test]
fn an_fsync_that_lies_is_seen_to_lose() {
    let options = quiet();
    let operations = operations_of_script(&options);
    let (mut bad, mut images) = (0, 0);
    for stop in (1..=operations).step_by(5) {
        let disk = Disk::new(stop);
        disk.plan(Plan {
            stop_at: Some(stop),
            lying_fsync: true,
            ..Plan::default()
        });
        let mut ledger = Ledger::default();
        script(&disk, &options, &mut ledger);
        for fate in fates(stop) {
            images += 1;
            bad += u32::from(verify(&disk.after_power_loss(fate), &options, &ledger).is_err());
        }
    }
    println!("with an fsync that does nothing, {bad} of {images} images are bad");
    assert!(bad > images / 4, "only {bad} of {images} images are bad");
}
