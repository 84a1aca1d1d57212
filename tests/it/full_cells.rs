//! Cells that are full, and states that are large: live objects move, give way and are saved, and every answer stays right.

use std::time::Duration;

use annals::vocabulary::{Limits, Version};

use crate::one_shard::{Bench, PATIENCE, long_histories, sum};

/// A payload that makes the counter's memory grow beyond three quarters of [`small_cells`]; it adds 1.
fn large() -> String {
    format!("{{\"by\":1{}}}", " ".repeat(700 << 10))
}

fn small_cells() -> Limits {
    Limits {
        cell_memory_bytes: 1 << 20,
        ..long_histories()
    }
}

#[test]
fn what_lives_in_a_full_cell_moves_without_the_log() {
    let bench = Bench::new(small_cells());
    let ids: Vec<String> = (0..20).map(|number| format!("a{number}")).collect();
    for id in &ids {
        bench.done(id, "add", "{\"by\":1}");
    }
    for round in 0..5_u64 {
        bench.done("a0", "add", &large());
        for id in &ids {
            bench.done(id, "add", "{\"by\":1}");
        }
        for id in ids.iter().skip(1) {
            assert_eq!(bench.sum(id), (round + 2, round + 2));
        }
    }
    assert_eq!(bench.sum("a0"), (11, 11));
    assert!(bench.store.pages().is_empty(), "{:?}", bench.store.pages());
}

#[test]
fn what_moves_goes_on_while_its_decisions_are_in_flight() {
    let bench = Bench::new(small_cells());
    bench.done("a", "add", "{\"by\":1}");
    bench.done("b", "add", "{\"by\":1}");
    bench.store.hold_commits();
    let big = large();
    let answers: Vec<_> = ["{\"by\":1}", big.as_str(), "{\"by\":1}", "{\"by\":1}"]
        .iter()
        .map(|payload| bench.send("a", "add", payload))
        .collect();
    let read = bench.read("a");
    // All four are decided, on an object that moved after the second, and nothing has left.
    let is_there = (0..60_000).any(|_| {
        std::thread::sleep(Duration::from_millis(1));
        bench.store.held_commits() == 4
    });
    assert!(is_there, "decided: {}", bench.store.held_commits());
    assert!(answers.iter().all(|answer| answer.try_recv().is_err()) && read.try_recv().is_err());
    bench.store.let_commits_go();
    for (version, answer) in (2..).zip(answers) {
        let answer = answer.recv_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(answer.committed.commit.last_version(), Version(version));
    }
    assert_eq!(sum(&read.recv_timeout(PATIENCE).unwrap().unwrap()), (5, 5));
    assert!(bench.store.pages().is_empty());
}

#[test]
fn a_state_that_cannot_be_saved_is_rebuilt_instead_of_moved() {
    let bench = Bench::new(small_cells());
    // Modes 6 and 7: `save` refuses, `restore` traps.
    for mode in [6, 7] {
        let id = format!("a{mode}");
        bench.done(&id, "add", "{\"by\":1}");
        bench.done(&id, "arm", &format!("{{\"mode\":{mode}}}"));
        bench.done("other", "add", &large());
        assert_eq!(bench.sum(&id), (2, 1));
        assert_eq!(bench.done(&id, "add", "{\"by\":1}"), Version(3));
    }
    assert_eq!(bench.sum("other"), (2, 2));
}

#[test]
fn with_too_much_memory_cells_are_emptied_and_answers_stay_right() {
    // Saved when it gives way, a state is restored from its snapshot; else what came since the last one is read again.
    for snapshot_on_eviction in [1, 100] {
        let bench = Bench::new(Limits {
            live_bytes: 1 << 20,
            aggregates_per_cell: 8,
            snapshot_every: 2,
            snapshot_on_eviction,
            ..Limits::default()
        });
        let ids: Vec<String> = (0..200).map(|number| format!("a{number}")).collect();
        // The last event of each comes after its last snapshot.
        for round in 1..=5_u64 {
            let answers: Vec<_> = ids.iter().map(|id| bench.send(id, "add", "{\"by\":2}")).collect();
            for answer in answers {
                let answer = answer.recv_timeout(PATIENCE).unwrap().unwrap();
                assert_eq!(answer.committed.commit.last_version(), Version(round));
            }
        }
        for id in &ids {
            assert_eq!(bench.sum(id), (5, 10));
        }
        let is_read_again = !bench.store.pages().is_empty();
        assert!(
            is_read_again || snapshot_on_eviction == 1,
            "some had to be rebuilt"
        );
    }
}

#[test]
fn a_large_state_is_saved_less_often() {
    // The counter's state has 24 bytes: with a byte for each event, it is saved every 24 events and not every 10.
    let limits = Limits {
        snapshot_every: 10,
        snapshot_bytes_per_event: 1,
        ..Limits::default()
    };
    let bench = Bench::new(limits);
    for _ in 0..70 {
        bench.done("a", "add", "{\"by\":1}");
    }
    assert_eq!(bench.sum("a"), (70, 70));
    assert_eq!(bench.store.snapshots(), [Version(10), Version(34), Version(58)]);
}
