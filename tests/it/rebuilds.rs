//! Live aggregates with long histories, in process and on one shard: what is being rebuilt keeps nobody else waiting, and
//! whatever happens meanwhile, every answer is right.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, mpsc},
    time::{Duration, Instant},
};

use annals::{
    aggregates::{Answer, CommandError, StateRequest},
    vocabulary::{Limits, Version},
};
use annals_tests::guests;

use crate::{
    one_shard::{Bench, PATIENCE, key, long_histories, sum},
    watched::Page,
};

#[test]
fn a_long_history_keeps_nobody_else_waiting() {
    let bench = Bench::new(long_histories());
    bench.make_long("big", 20);
    let bench = bench.restarted(long_histories());
    let gate = bench.store.hold_reads();
    let order: Arc<Mutex<Vec<String>>> = Arc::default();
    let (done, all) = mpsc::channel();
    let state = StateRequest {
        key: key("big"),
        known: Vec::new(),
    };
    let (told, big_told) = (Arc::clone(&order), done.clone());
    bench.aggregates.state(
        state,
        Box::new(move |view| {
            assert_eq!(sum(&view.unwrap()), (200_000, 200_000));
            told.lock().unwrap().push("big".into());
            big_told.send(()).unwrap();
        }),
    );
    gate.reached();
    let small: Vec<_> = (0..20)
        .map(|number| bench.send(&format!("small-{number}"), "add", "{\"by\":1}"))
        .collect();
    let waiters = {
        let (order, done) = (Arc::clone(&order), done);
        std::thread::spawn(move || {
            for answer in small {
                answer.recv_timeout(PATIENCE).unwrap().unwrap();
                order.lock().unwrap().push("small".into());
            }
            done.send(()).unwrap();
        })
    };
    gate.open();
    all.recv_timeout(PATIENCE).unwrap();
    all.recv_timeout(PATIENCE).unwrap();
    waiters.join().unwrap();
    let order = order.lock().unwrap();
    assert_eq!((order.len(), order.last().map(String::as_str)), (21, Some("big")));
    let pages = bench.store.pages();
    assert!(
        pages.iter().all(|page| page.events <= 1_000),
        "one slice at a time"
    );
}

#[test]
fn what_is_asked_of_an_aggregate_waits_in_its_lane_meanwhile_and_no_more_than_fits() {
    let limits = Limits {
        lane_queue: 4,
        ..long_histories()
    };
    let bench = Bench::new(limits.clone());
    bench.make_long("big", 2);
    let bench = bench.restarted(limits);
    let gate = bench.store.hold_reads();
    let first = bench.send("big", "add", "{\"by\":1}");
    gate.reached();
    let more: Vec<_> = (0..6).map(|_| bench.send("big", "add", "{\"by\":1}")).collect();
    gate.open();
    let version = |answer: &mpsc::Receiver<Result<Answer, CommandError>>| {
        let answer = answer.recv_timeout(PATIENCE).unwrap();
        answer.map(|answer| answer.committed.commit.last_version().0)
    };
    assert_eq!(version(&first).unwrap(), 20_001);
    let answers: Vec<_> = more.iter().map(version).collect();
    let taken: Vec<u64> = answers
        .iter()
        .filter_map(|answer| answer.as_ref().ok())
        .copied()
        .collect();
    let refused = answers
        .iter()
        .filter(|answer| matches!(answer, Err(CommandError::Busy { limit: 4, .. })));
    assert_eq!((taken, refused.count()), (vec![20_002, 20_003, 20_004], 3));
    assert_eq!(bench.sum("big"), (20_004, 20_004));
}

#[test]
fn so_many_are_rebuilt_at_a_time_and_the_others_in_their_order() {
    let limits = Limits {
        rebuilds_per_shard: 4,
        rebuild_slice_events: 500,
        ..long_histories()
    };
    let bench = Bench::new(limits.clone());
    let ids: Vec<String> = (0..40).map(|number| format!("cold-{number}")).collect();
    for id in &ids {
        bench.make_long(id, 1);
    }
    let bench = bench.restarted(limits);
    let gate = bench.store.hold_reads();
    let reads: Vec<_> = ids.iter().map(|id| bench.read(id)).collect();
    gate.reached();
    gate.open();
    for read in reads {
        let view = read.recv_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(sum(&view), (10_000, 10_000));
    }
    let (mut going, mut begun) = (HashSet::new(), Vec::new());
    for page in bench.store.pages() {
        if page.from == Version(1) {
            begun.push(page.id.clone());
        }
        going.insert(page.id.clone());
        assert!(going.len() <= 4, "{going:?}");
        if page.last == Version(10_000) {
            going.remove(&page.id);
        }
    }
    assert_eq!(begun, ids);
    assert!(going.is_empty());
}

#[test]
fn a_rebuild_survives_its_neighbours() {
    let limits = Limits {
        live_per_shard: 2,
        ..long_histories()
    };
    let bench = Bench::new(limits.clone());
    bench.make_long("big", 5);
    let bench = bench.restarted(limits);
    let gate = bench.store.hold_reads();
    let big = bench.read("big");
    gate.reached();
    // They live in the same cell, which goes with the first of them; later ones evict each other.
    let traps: Vec<_> = (0..3)
        .map(|number| bench.send(&format!("bad-{number}"), "trap", ""))
        .collect();
    let adds: Vec<_> = (0..10)
        .map(|number| bench.send(&format!("good-{number}"), "add", "{\"by\":1}"))
        .collect();
    gate.open();
    for trap in traps {
        let error = trap.recv_timeout(PATIENCE).unwrap().unwrap_err();
        assert!(matches!(error, CommandError::Fault { .. }), "{error}");
    }
    for add in adds {
        add.recv_timeout(PATIENCE).unwrap().unwrap();
    }
    assert_eq!(
        sum(&big.recv_timeout(PATIENCE).unwrap().unwrap()),
        (50_000, 50_000)
    );
    let starts = bench
        .store
        .pages()
        .iter()
        .filter(|page| page.id == "big" && page.from == Version(1))
        .count();
    assert!(starts >= 2, "it began again: {starts}");
}

#[test]
fn another_module_in_the_middle_of_a_rebuild_takes_over() {
    let bench = Bench::new(long_histories());
    bench.make_long("big", 3);
    let bench = bench.restarted(long_histories());
    let gate = bench.store.hold_reads();
    let big = bench.read("big");
    gate.reached();
    let other = guests::counter_with(&[("data", "(data (i32.const 1616) \"1.0.1\")")]);
    let uploaded = std::thread::scope(|scope| {
        let upload = scope.spawn(|| bench.modules.upload(&other, true).unwrap());
        gate.open();
        upload.join().unwrap()
    });
    assert!(uploaded.activated);
    assert_eq!(
        sum(&big.recv_timeout(PATIENCE).unwrap().unwrap()),
        (30_000, 30_000)
    );
    assert_eq!(bench.done("big", "add", "{\"by\":1}"), Version(30_001));
    let view = bench.read("big").recv_timeout(PATIENCE).unwrap().unwrap();
    assert_eq!(
        (sum(&view), view.module),
        ((30_001, 30_001), uploaded.module.digest)
    );
}

#[test]
fn shutting_down_answers_what_waits_for_a_rebuild() {
    let bench = Bench::new(long_histories());
    bench.make_long("big", 3);
    let bench = bench.restarted(long_histories());
    let gate = bench.store.hold_reads();
    let (read, add) = (bench.read("big"), bench.send("big", "add", "{\"by\":1}"));
    gate.reached();
    std::thread::scope(|scope| {
        let stop = scope.spawn(|| bench.aggregates.stop());
        gate.open();
        stop.join().unwrap();
    });
    assert_eq!(sum(&read.recv().unwrap().unwrap()), (30_000, 30_000));
    assert_eq!(
        add.recv().unwrap().unwrap().committed.commit.last_version(),
        Version(30_001)
    );
}

#[test]
fn a_rebuild_that_fails_is_told_to_each_who_asked() {
    let bench = Bench::new(long_histories());
    bench.make_long("big", 3);
    let bench = bench.restarted(Limits {
        replay_wall: Duration::from_millis(1),
        ..long_histories()
    });
    let answers: Vec<_> = (0..3).map(|_| bench.read("big")).collect();
    for answer in answers {
        let error = answer.recv_timeout(PATIENCE).unwrap().unwrap_err();
        assert!(matches!(error, CommandError::Unavailable { .. }), "{error}");
    }
    bench.done("other", "add", "{\"by\":1}");
}

#[test]
fn without_a_cell_it_waits_and_asks_nothing_of_the_store_meanwhile() {
    let limits = Limits {
        cells: 1,
        ..long_histories()
    };
    let bench = Bench::new(limits.clone());
    let other = guests::counter_with(&[("data", "(data (i32.const 1600) \"another\")")]);
    bench.modules.upload(&other, false).unwrap();
    bench.make_long("big", 20);
    let ids: Vec<String> = (0..10).map(|number| format!("another/{number}")).collect();
    for id in &ids {
        bench.done(id, "add", "{\"by\":1}");
    }
    let bench = bench.restarted(limits);
    let gate = bench.store.hold_reads();
    let big = bench.read("big");
    gate.reached();
    let others: Vec<_> = ids.iter().map(|id| bench.read(id)).collect();
    gate.open();
    assert_eq!(
        sum(&big.recv_timeout(PATIENCE).unwrap().unwrap()),
        (200_000, 200_000)
    );
    for other in others {
        assert_eq!(sum(&other.recv_timeout(PATIENCE).unwrap().unwrap()), (1, 1));
    }
    let asked = bench.store.asked_snapshots();
    assert_eq!(asked.len(), 11, "once each: {asked:?}");
}

#[test]
fn an_event_that_is_never_applied_holds_up_nobody_but_its_aggregate() {
    let limits = Limits {
        rebuild_slice_wall: Duration::from_millis(100),
        rebuild_event_wall: Duration::from_millis(300),
        rebuild_pause: Duration::from_secs(60),
        ..long_histories()
    };
    let bench = Bench::new(limits);
    bench.make_long("bad", 1);
    bench.done("bad", "add", "{\"by\":666}");
    bench.make_long("bad", 1);
    bench.done("worse", "add", "{\"by\":666}");
    bench.make_long("worse", 1);
    bench.done("good", "add", "{\"by\":1}");
    let healthy = bench.modules.active(&"counter".parse().unwrap()).unwrap();
    let endless = "(if (i64.eq (local.get $number) (i64.const 666)) (then (call $spin)))";
    let endless = guests::counter_with(&[("added", endless)]);
    bench.modules.upload(&endless, true).unwrap();
    bench.store.forget();
    // The first is told after as long as one event may take, all others at once; so is, a little later, who asks for
    // another such one.
    let began = Instant::now();
    for id in ["bad", "bad", "worse", "bad", "worse"] {
        for _ in 0..10 {
            let error = bench.read(id).recv_timeout(PATIENCE).unwrap().unwrap_err();
            let CommandError::Unavailable { reason, retry_after } = error else {
                panic!("{error}")
            };
            let which = if id == "bad" { "event 10001;" } else { "event 1;" };
            assert!(reason.contains(which), "{reason}");
            assert!(retry_after <= Duration::from_secs(60), "{retry_after:?}");
        }
        assert_eq!(bench.sum("good"), (1, 1));
        bench.done("new", "add", "{\"by\":1}");
    }
    let took = began.elapsed();
    assert!(took < PATIENCE, "{took:?}");
    let pages = bench.store.pages();
    let stuck =
        |page: &&Page| page.id == "bad" && page.from <= Version(10_001) && page.last >= Version(10_001);
    let tried = pages.iter().filter(stuck).count();
    assert!((1..=2).contains(&tried), "among others, then alone: {tried}");
    // Another module is another chance.
    let digest = healthy.module.digest();
    bench
        .modules
        .activate(&"counter".parse().unwrap(), &digest)
        .unwrap();
    assert_eq!(bench.sum("bad"), (20_001, 20_666));
    assert_eq!(bench.sum("worse"), (10_001, 10_666));
}

#[test]
fn snapshots_with_a_tail_and_whole_histories_give_the_same() {
    for (every, from) in [(1_000_000, 1), (10_000, 20_001)] {
        let limits = Limits {
            snapshot_every: every,
            ..long_histories()
        };
        let bench = Bench::new(limits.clone());
        bench.make_long("big", 2);
        for _ in 0..5 {
            bench.done("big", "add", "{\"by\":2}");
        }
        let bench = bench.restarted(limits);
        assert_eq!(bench.sum("big"), (20_005, 20_010));
        let pages = bench.store.pages();
        assert_eq!(pages.first().unwrap().from, Version(from));
        let by_id: HashMap<&str, usize> = pages.iter().map(|page| (page.id.as_str(), page.events)).collect();
        assert_eq!(by_id.len(), 1);
    }
}
