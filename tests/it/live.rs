//! Live aggregates by the thousand and with long histories, in process and on one shard: what is being rebuilt keeps nobody
//! else waiting, and whatever happens meanwhile, every answer is right.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use annals::{
    aggregates::{
        Aggregates, Answer, CommandError, CommandRequest, Preconditions, RenderedState, StateRequest,
        StateView,
    },
    modules::Modules,
    store::{EventStore, MemoryStore},
    vocabulary::{AggregateKey, Clock, Limits, SystemClock, Version},
    wasm::{Host, HostOptions},
};
use annals_tests::guests;
use bytes::Bytes;

use crate::watched::Watched;

const PATIENCE: Duration = Duration::from_secs(120);

/// No snapshots, so that a history is applied whole; single commands with ten thousand events, so that one is long.
fn long_histories() -> Limits {
    Limits {
        snapshot_every: 1_000_000,
        snapshot_on_eviction: 1_000_000,
        events_per_command: 10_000,
        ..Limits::default()
    }
}

struct Bench {
    store: Arc<Watched>,
    aggregates: Arc<Aggregates>,
    modules: Modules,
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let bench = Self::on(&Arc::new(Watched::new(MemoryStore::new())), limits);
        bench.modules.upload(&guests::counter(), false).unwrap();
        bench
    }

    fn on(store: &Arc<Watched>, limits: Limits) -> Self {
        let shared: Arc<dyn EventStore> = Arc::<Watched>::clone(store);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let options = HostOptions {
            limits: limits.clone(),
            cache_dir: None,
            cache_key: [0; 32],
        };
        let aggregates = Arc::new(Aggregates::start(&shared, &clock, &Arc::new(limits), 1).unwrap());
        let modules = Modules::open(&shared, Host::new(options).unwrap(), &aggregates, &clock).unwrap();
        Self {
            store: Arc::clone(store),
            aggregates,
            modules,
        }
    }

    /// The same log with everything cold.
    fn restarted(self, limits: Limits) -> Self {
        self.aggregates.stop();
        self.store.forget();
        Self::on(&self.store, limits)
    }

    fn send(&self, id: &str, command: &str, payload: &str) -> mpsc::Receiver<Result<Answer, CommandError>> {
        let (reply, answer) = mpsc::channel();
        let request = CommandRequest {
            key: key(id),
            command: command.parse().unwrap(),
            payload: Bytes::from(payload.to_owned()),
            idempotency: None,
            preconditions: Preconditions::default(),
            actor: None,
            correlation_id: None,
            causation_id: None,
            traceparent: None,
        };
        self.aggregates
            .send(request, Box::new(move |result| drop(reply.send(result))));
        answer
    }

    #[track_caller]
    fn done(&self, id: &str, command: &str, payload: &str) -> Version {
        let answer = self.send(id, command, payload).recv_timeout(PATIENCE).unwrap();
        answer.unwrap().committed.commit.last_version()
    }

    fn read(&self, id: &str) -> mpsc::Receiver<Result<StateView, CommandError>> {
        let (reply, answer) = mpsc::channel();
        let request = StateRequest {
            key: key(id),
            known: Vec::new(),
        };
        self.aggregates
            .state(request, Box::new(move |result| drop(reply.send(result))));
        answer
    }

    #[track_caller]
    fn sum(&self, id: &str) -> (u64, u64) {
        sum(&self.read(id).recv_timeout(PATIENCE).unwrap().unwrap())
    }

    /// An aggregate of so many times ten thousand events.
    fn make_long(&self, id: &str, times: u64) {
        for _ in 0..times {
            self.done(id, "ten-thousand", "{\"by\":1}");
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.store.open_all();
        self.aggregates.stop();
    }
}

fn key(id: &str) -> AggregateKey {
    AggregateKey::new("counter".parse().unwrap(), id.parse().unwrap())
}

/// Version and sum.
fn sum(view: &StateView) -> (u64, u64) {
    match &view.state {
        RenderedState::Json(json) => {
            let digits: String = json.chars().filter(char::is_ascii_digit).collect();
            (view.version.0, digits.parse().unwrap())
        }
        other => panic!("{other:?}"),
    }
}

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
    let limits = Limits {
        live_bytes: 1 << 20,
        aggregates_per_cell: 8,
        snapshot_every: 2,
        snapshot_on_eviction: 1,
        ..Limits::default()
    };
    let bench = Bench::new(limits);
    let ids: Vec<String> = (0..200).map(|number| format!("a{number}")).collect();
    for round in 1..=4_u64 {
        let answers: Vec<_> = ids.iter().map(|id| bench.send(id, "add", "{\"by\":2}")).collect();
        for answer in answers {
            let answer = answer.recv_timeout(PATIENCE).unwrap().unwrap();
            assert_eq!(answer.committed.commit.last_version(), Version(round));
        }
    }
    for id in &ids {
        assert_eq!(bench.sum(id), (4, 8));
    }
    assert!(!bench.store.pages().is_empty(), "some had to be rebuilt");
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
