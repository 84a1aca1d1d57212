//! Measures the choices behind the store's format. `docs/decisions/store-*.md` quote its output.
//!
//! ```text
//! cargo run --release -p annals --example store_measure -- DIRECTORY [WHAT]
//! ```
//! WHAT is one of `groups`, `chunks`, `segments`, `cold`, `hot`, `index`, `kinds`; all of them without it. DIRECTORY must be on the disk that is
//! to be measured; it is emptied.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measurement stops at the first thing that goes wrong"
)]

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use annals::{
    store::{Direction, EventStore, FeedFilter, LocalStore, PageLimit, Proposal, StoreOptions},
    vocabulary::{
        AggregateId, AggregateKey, AggregateType, CommandName, CommandRecord, Commit, ContextRecord,
        EventType, IdempotencyKey, IdempotencyRecord, LaneEpoch, ModuleDigest, NewEvent, Outcome, Position,
        RequestHash, Version,
    },
};
use bytes::Bytes;

const AGGREGATES: u64 = 10_000;

fn key(number: u64) -> AggregateKey {
    AggregateKey::new(
        AggregateType::parse("account").unwrap(),
        AggregateId::parse(&format!("account-{number:06}")).unwrap(),
    )
}

fn uuid(number: u64) -> String {
    format!("0190f3e2-7b5c-7000-8000-{number:012x}")
}

/// A command of 100 bytes that leads to one event of 100 bytes.
fn commit(number: u64, keyed: bool) -> Commit {
    let payload = Bytes::from(format!("{{\"amount\":{number:088}}}"));
    Commit {
        key: key(number % AGGREGATES),
        first_version: Version(number / AGGREGATES + 1),
        command: CommandRecord {
            name: CommandName::parse("deposit").unwrap(),
            payload: Some(payload.clone()),
        },
        context: ContextRecord {
            now: 1_700_000_000_000 + number,
            seed: None,
            actor: None,
            command_id: uuid(number),
            correlation_id: uuid(number),
            causation_id: None,
            traceparent: None,
        },
        idempotency: keyed.then(|| IdempotencyRecord {
            key: IdempotencyKey::parse(&uuid(number)).unwrap(),
            request: RequestHash([7; 32]),
        }),
        outcome: Outcome::Accepted {
            reply: None,
            fuel: 12_345,
        },
        module: ModuleDigest([3; 32]),
        events: vec![NewEvent {
            event_type: EventType::parse("deposited").unwrap(),
            schema: 1,
            payload,
        }],
    }
}

/// Commits in flight, bounded.
#[derive(Default)]
struct Window {
    open: Mutex<u64>,
    changed: Condvar,
}

struct Written {
    seconds: f64,
    p50: Duration,
    p99: Duration,
    worst: Duration,
}

/// Appends commits, so many in flight at a time.
fn write(store: &LocalStore, numbers: std::ops::Range<u64>, in_flight: u64, keyed: bool) -> Written {
    write_over(store, numbers, in_flight, keyed, AGGREGATES)
}

fn write_over(
    store: &LocalStore,
    numbers: std::ops::Range<u64>,
    in_flight: u64,
    keyed: bool,
    aggregates: u64,
) -> Written {
    write_with(store, numbers, in_flight, |number| {
        let mut commit = commit(number, keyed);
        commit.key = key(number % aggregates);
        commit.first_version = Version(number / aggregates + 1);
        commit
    })
}

fn write_with(
    store: &LocalStore,
    numbers: std::ops::Range<u64>,
    in_flight: u64,
    make: impl Fn(u64) -> Commit,
) -> Written {
    let window: Arc<Window> = Arc::default();
    let failed = Arc::new(AtomicU64::new(0));
    let latencies: Arc<Mutex<Vec<Duration>>> = Arc::default();
    let started = Instant::now();
    for number in numbers {
        let mut open = window.open.lock().unwrap();
        while *open >= in_flight {
            open = window.changed.wait(open).unwrap();
        }
        *open += 1;
        drop(open);
        let commit = make(number);
        let proposal = Proposal {
            lane_epoch: LaneEpoch(1),
            expected: Version(commit.first_version.0 - 1),
            commit,
        };
        let (window, failed, latencies) = (Arc::clone(&window), Arc::clone(&failed), Arc::clone(&latencies));
        let queued = Instant::now();
        let done = move |result: Result<_, _>| {
            failed.fetch_add(u64::from(result.is_err()), Ordering::Relaxed);
            latencies.lock().unwrap().push(queued.elapsed());
            *window.open.lock().unwrap() -= 1;
            window.changed.notify_one();
        };
        store.append(proposal, Box::new(done));
    }
    let mut open = window.open.lock().unwrap();
    while *open > 0 {
        open = window.changed.wait(open).unwrap();
    }
    drop(open);
    assert_eq!(failed.load(Ordering::Relaxed), 0, "every commit is written");
    let mut latencies = latencies.lock().unwrap();
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = ((latencies.len() - 1) as f64 * share) as usize;
        latencies.get(index).copied().unwrap_or_default()
    };
    Written {
        seconds: started.elapsed().as_secs_f64(),
        p50: at(0.5),
        p99: at(0.99),
        worst: at(1.0),
    }
}

/// What files take on the disk. redb doubles the length of a file as it grows, and leaves the rest a hole.
fn size(path: &Path) -> u64 {
    let Ok(found) = fs::metadata(path) else { return 0 };
    if found.is_file() {
        return found.blocks() * 512;
    }
    let entries = fs::read_dir(path).unwrap();
    entries.map(|entry| size(&entry.unwrap().path())).sum()
}

fn fresh(directory: &Path, options: StoreOptions) -> LocalStore {
    if directory.exists() {
        fs::remove_dir_all(directory).unwrap();
    }
    LocalStore::open(directory, options).unwrap()
}

/// One 4 KiB append with fdatasync: the floor.
fn floor(directory: &Path) {
    use std::io::Write as _;
    let path = directory.with_extension("floor");
    let mut file = fs::File::create(&path).unwrap();
    let mut took: Vec<_> = (0..300)
        .map(|_| {
            let started = Instant::now();
            file.write_all(&[7; 4096]).unwrap();
            file.sync_data().unwrap();
            started.elapsed()
        })
        .collect();
    took.sort_unstable();
    println!(
        "floor: 4 KiB append and fdatasync, p50 {:?}",
        took.get(150).unwrap()
    );
    fs::remove_file(path).unwrap();
}

fn groups(directory: &Path) {
    println!("\ncommits in flight | keyed | commits/s | p50 | p99 | worst");
    for (in_flight, keyed, count) in [
        (1, true, 3_000),
        (64, true, 60_000),
        (256, true, 150_000),
        (512, true, 300_000),
        (512, false, 300_000),
        (2_048, true, 300_000),
    ] {
        let store = fresh(directory, StoreOptions::default());
        let written = write(&store, 0..count, in_flight, keyed);
        println!(
            "{in_flight} | {keyed} | {:.0} | {:.2?} | {:.2?} | {:.2?}",
            count as f64 / written.seconds,
            written.p50,
            written.p99,
            written.worst
        );
    }
}

fn chunks(directory: &Path) {
    println!("\nlargest chunk | in flight | commits/s | log, bytes per event | index | all files");
    for chunk_kib in [16, 64, 256] {
        for (in_flight, count) in [(16, 40_000), (64, 100_000), (512, 200_000)] {
            let options = StoreOptions {
                chunk_bytes: chunk_kib << 10,
                ..StoreOptions::default()
            };
            let store = fresh(directory, options);
            let written = write(&store, 0..count, in_flight, false);
            store.close();
            drop(store);
            let per_event = |name: &str| size(&directory.join(name)) as f64 / count as f64;
            println!(
                "{chunk_kib} KiB | {in_flight} | {:.0} | {:.0} | {:.0} | {:.0}",
                count as f64 / written.seconds,
                per_event("log"),
                per_event("index.redb"),
                per_event("")
            );
        }
    }
}

fn segments(directory: &Path) {
    println!("\nsegment limit | log files | open after an abort | open after closing");
    for segment_mib in [64_u64, 256, 1_024] {
        if directory.exists() {
            fs::remove_dir_all(directory).unwrap();
        }
        // A process that aborts while everything is open.
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([directory.parent().unwrap().to_str().unwrap(), "abort"])
            .env("SEGMENT_MIB", segment_mib.to_string())
            .status()
            .unwrap();
        assert!(!child.success(), "it aborts");
        let open = || {
            let started = Instant::now();
            drop(LocalStore::open(directory, segment_options(segment_mib)).unwrap());
            started.elapsed()
        };
        let files = fs::read_dir(directory.join("log")).unwrap().count();
        println!("{segment_mib} MiB | {files} | {:.2?} | {:.2?}", open(), open());
    }
}

fn segment_options(segment_mib: u64) -> StoreOptions {
    StoreOptions {
        segment_bytes: segment_mib << 20,
        ..StoreOptions::default()
    }
}

fn write_and_abort(directory: &Path) {
    let segment_mib = std::env::var("SEGMENT_MIB").unwrap().parse().unwrap();
    let store = fresh(directory, segment_options(segment_mib));
    write(&store, 0..1_000_000, 2_048, false);
    std::process::abort();
}

/// The index's sizes, some of which can be chosen from outside.
fn index_options() -> StoreOptions {
    let number =
        |name: &str, default: usize| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let options = StoreOptions::default();
    StoreOptions {
        index_block_bytes: number("INDEX_BLOCK_KIB", options.index_block_bytes >> 10) << 10,
        index_merge_runs: number("INDEX_MERGE_RUNS", options.index_merge_runs),
        ..options
    }
}

/// What a thread of this process has used of the processor, seconds.
fn processor_seconds(thread: &str) -> f64 {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let of_thread = tasks.map(|task| task.unwrap().path()).filter(|task| {
        let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
        name.trim() == thread
    });
    let nanoseconds = of_thread.map(|task| {
        let stat = fs::read_to_string(task.join("schedstat")).unwrap_or_default();
        stat.split(' ')
            .next()
            .and_then(|used| used.parse::<f64>().ok())
            .unwrap_or(0.0)
    });
    nanoseconds.sum::<f64>() / 1e9
}

/// The most memory this process has had at a time, and what it has now, MiB.
fn memory_mib() -> (u64, u64) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let of = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1_024
    };
    (of("VmHWM:"), of("VmRSS:"))
}

/// Waits until the indexer has nothing left to do, and says what it has used, seconds.
fn wait_for_indexer() -> f64 {
    let mut used = processor_seconds("store-indexer");
    loop {
        std::thread::sleep(Duration::from_millis(1_500));
        let now = processor_seconds("store-indexer");
        if now - used < 0.003 {
            return now;
        }
        used = now;
    }
}

/// What the index costs: processor time of its thread for runs and merges, memory, and its file.
fn index(directory: &Path) {
    let count: u64 = std::env::var("EVENTS").map_or(1_000_000, |count| count.parse().unwrap());
    println!(
        "\naggregates | commits/s | p99 | worst | indexer, µs/event | writer, µs/event | index B/ev | log B/ev | most memory | memory | open, clean"
    );
    for aggregates in [10_000, 1_000_000] {
        let store = fresh(directory, index_options());
        let before = processor_seconds("store-indexer");
        let written = write_over(&store, 0..count, 512, true, aggregates);
        let writer = processor_seconds("store-writer");
        let used = wait_for_indexer() - before;
        let (most, now) = memory_mib();
        store.close();
        drop(store);
        let per_event = |name: &str| size(&directory.join(name)) as f64 / count as f64;
        let started = Instant::now();
        drop(LocalStore::open(directory, index_options()).unwrap());
        println!(
            "{aggregates} | {:.0} | {:.2?} | {:.2?} | {:.2} | {:.2} | {:.0} | {:.0} | {most} MiB | {now} MiB | {:.2?}",
            count as f64 / written.seconds,
            written.p99,
            written.worst,
            used * 1e6 / count as f64,
            writer * 1e6 / count as f64,
            per_event("index.redb"),
            per_event("log"),
            started.elapsed()
        );
    }
}

fn history(store: &LocalStore, key: &AggregateKey, from: u64) -> usize {
    let limit = PageLimit {
        events: 1_000,
        bytes: 8 << 20,
    };
    store
        .history(key, Version(from), Direction::Forward, limit)
        .unwrap()
        .len()
}

fn cold(directory: &Path) {
    println!(
        "\nevents per run | write, commits/s | p99 | first touch, aggregates/s | a keyed miss, ns | log B/ev | index B/ev"
    );
    for run_events in [16_384, 65_536, 262_144] {
        let count = AGGREGATES * 100;
        let options = StoreOptions {
            run_events,
            ..index_options()
        };
        let store = fresh(directory, options.clone());
        let written = write(&store, 0..count, 512, true);
        wait_for_indexer();
        store.close();
        drop(store);
        let store = LocalStore::open(directory, options).unwrap();
        let started = Instant::now();
        for index in 0..AGGREGATES {
            let found = history(&store, &key(index * 7_919 % AGGREGATES), 1);
            assert_eq!(found, 100, "every aggregate has its events");
        }
        let touched = started.elapsed().as_secs_f64();
        let unknown: Vec<_> = (0..100_000)
            .map(|number| {
                (
                    key(number % AGGREGATES),
                    IdempotencyKey::parse(&uuid(u64::MAX >> 20 | number)).unwrap(),
                )
            })
            .collect();
        let started = Instant::now();
        for (key, unknown) in &unknown {
            assert!(store.outcome(key, unknown).unwrap().is_none(), "nobody used it");
        }
        println!(
            "{run_events} | {:.0} | {:.2?} | {:.0} | {:.0} | {:.0} | {:.0}",
            count as f64 / written.seconds,
            written.p99,
            AGGREGATES as f64 / touched,
            started.elapsed().as_nanos() as f64 / unknown.len() as f64,
            size(&directory.join("log")) as f64 / count as f64,
            size(&directory.join("index.redb")) as f64 / count as f64
        );
    }
}

/// One aggregate with a million events, written between as many of others.
fn hot(directory: &Path) {
    println!("\none of 2,000,000 events is another's | read again by 1,000, events/s");
    let store = fresh(directory, index_options());
    write_with(&store, 0..2_000_000, 512, |number| {
        let mut commit = commit(number, false);
        if number % 2 == 0 {
            commit.key = key(u64::MAX >> 44);
            commit.first_version = Version(number / 2 + 1);
        } else {
            commit.key = key(number / 2 % AGGREGATES);
            commit.first_version = Version(number / 2 / AGGREGATES + 1);
        }
        commit
    });
    wait_for_indexer();
    store.close();
    drop(store);
    let store = LocalStore::open(directory, index_options()).unwrap();
    for round in ["first", "again"] {
        let started = Instant::now();
        let mut from = 1;
        while from <= 1_000_000 {
            from += history(&store, &key(u64::MAX >> 44), from) as u64;
        }
        println!("{round} | {:.0}", 1e6 / started.elapsed().as_secs_f64());
    }
}

/// Everything that a filter lets through: how many, and how many calls it took.
fn read_feed(store: &LocalStore, filter: &FeedFilter) -> (usize, u64) {
    let limit = PageLimit {
        events: 1_000,
        bytes: 8 << 20,
    };
    let (mut found, mut calls, mut after) = (0, 0, Position(0));
    loop {
        let page = store.feed(after, filter, limit).unwrap();
        found += page.events.len();
        calls += 1;
        after = page.scanned;
        if page.at_head {
            return (found, calls);
        }
    }
}

/// Feeds of a few kinds out of many events, and counting. One event type of twenty; of one more, an event in 1,000, in 10,000 and in 100,000.
fn kinds(directory: &Path) {
    let count: u64 = std::env::var("EVENTS").map_or(3_000_000, |count| count.parse().unwrap());
    let named = |number: u64| {
        let rare = [100_000, 10_000, 1_000]
            .into_iter()
            .find(|every| number.is_multiple_of(*every));
        match rare {
            Some(every) => format!("one-in-{every}"),
            None => format!("common-{}", number * 7 / AGGREGATES % 20),
        }
    };
    let name = |name: &str| EventType::parse(name).unwrap();
    let of = |wanted: &str| FeedFilter {
        event_types: vec![name(wanted)],
        ..FeedFilter::default()
    };
    let store = fresh(directory, index_options());
    let before = processor_seconds("store-indexer");
    write_with(&store, 0..count, 512, |number| {
        let mut commit = commit(number, true);
        commit
            .events
            .iter_mut()
            .for_each(|event| event.event_type = name(&named(number)));
        commit
    });
    let took = |what: &str, call: &dyn Fn() -> String| {
        let started = Instant::now();
        let found = call();
        println!("{what} | {found} | {:.2?}", started.elapsed());
    };
    println!("\nof {count} events | found | took");
    let total = || {
        store
            .count(Position(0), &FeedFilter::default())
            .unwrap()
            .events
            .to_string()
    };
    took("count, some not indexed yet", &total);
    // What is less than a run is indexed after a while.
    std::thread::sleep(Duration::from_secs(6));
    let used = wait_for_indexer() - before;
    took("count", &total);
    took("count of one kind", &|| {
        store
            .count(Position(0), &of("one-in-1000"))
            .unwrap()
            .events
            .to_string()
    });
    took("count from the middle", &|| {
        store
            .count(Position(count / 2 + 77), &of("common-3"))
            .unwrap()
            .events
            .to_string()
    });
    for wanted in [
        "one-in-100000",
        "one-in-10000",
        "one-in-1000",
        "common-3",
        "unknown",
    ] {
        took(&format!("feed of {wanted}"), &|| {
            let (found, calls) = read_feed(&store, &of(wanted));
            format!("{found} in {calls} calls")
        });
    }
    took("feed of one actor, which is a scan", &|| {
        let actor = Some("nobody".to_owned());
        let (found, calls) = read_feed(
            &store,
            &FeedFilter {
                actor,
                ..FeedFilter::default()
            },
        );
        format!("{found} in {calls} calls")
    });
    took("feed of everything", &|| {
        format!("{:?}", read_feed(&store, &FeedFilter::everything()))
    });
    println!("indexer, µs per event: {:.2}", used * 1e6 / count as f64);
    store.close();
    drop(store);
    let started = Instant::now();
    drop(LocalStore::open(directory, index_options()).unwrap());
    println!(
        "index, bytes per event: {:.1}; open, clean: {:.2?}",
        size(&directory.join("index.redb")) as f64 / count as f64,
        started.elapsed()
    );
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().expect("the first argument is a directory");
    let directory = Path::new(&directory).join("store-measure");
    fs::create_dir_all(directory.parent().unwrap()).unwrap();
    let what = arguments.next();
    if what.as_deref() == Some("abort") {
        return write_and_abort(&directory);
    }
    let wanted = |name: &str| what.as_deref().is_none_or(|what| what == name);
    floor(&directory);
    for (name, measure) in [
        ("groups", groups as fn(&Path)),
        ("chunks", chunks),
        ("segments", segments),
        ("cold", cold),
        ("hot", hot),
        ("index", index),
        ("kinds", kinds),
    ] {
        if wanted(name) {
            measure(&directory);
        }
    }
    fs::remove_dir_all(directory).unwrap();
}
