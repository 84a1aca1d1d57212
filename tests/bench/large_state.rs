//! A large aggregate beside a small one on the same shard: how long the small one gets no answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use annals_tests::{guests, http::Connection};
use serde_json::json;

use crate::{
    cold::NO_SNAPSHOTS,
    deposits::account_id,
    facts::Facts,
    failed::Failed,
    format,
    in_process::{self, Ask, Job, Layer, Plan},
    report::Section,
    service::{Bench, End, Service},
};

/// What the target speaks of.
const TARGET_EVENTS: u32 = 1_000_000;
/// One measurement is written with ten digits and a comma.
const VALUE: &str = "{\"value\":1234567890}";
const NO_VALUE: &[u8] = b"{\"value\":0}";
/// Before and after what is measured, so that the small one is answered all the while.
const BESIDE: Duration = Duration::from_millis(300);
const ONE_SHARD: [&str; 2] = ["--shards", "1"];

/// What happened to the large one, how long that took, and the longest time without an answer of the small one.
struct Wait {
    name: &'static str,
    fact: &'static str,
    took: Duration,
    longest: Duration,
    answers: u64,
}

/// Writes the events past the lanes; then the large one is rebuilt, read, saved and restored, while the small one is read.
pub(crate) fn measure(bench: &Bench<'_>, facts: &mut Facts) -> Result<Section, Failed> {
    let events = bench.args.large_state_events();
    eprintln!("large state: write {} events", format::count(u64::from(events)));
    let data = bench.dir.join("large-state");
    let written = in_process::run(&Job {
        layer: Layer::Log,
        data: data.clone(),
        module: bench.build("tests/guests/series")?,
        ask: Ask {
            aggregate_type: "series".to_owned(),
            command: "measure".to_owned(),
            event_type: "measured".to_owned(),
            payload: VALUE.to_owned(),
        },
        plan: Plan::Rounds {
            aggregates: 1,
            rounds: events,
        },
    })?;
    if let Some(problem) = &written.refusal {
        return Err(Failed::new(format!("writing the events of the state: {problem}")));
    }
    let mut waits = Vec::new();

    let service = bench.server_as("large-state", &ONE_SHARD, &NO_SNAPSHOTS)?;
    service.upload(&guests::counter())?;
    let mut small = service.connect()?;
    expect(200, &mut small, "POST", SMALL_ADD, b"{\"by\":1}")?;
    waits.push(beside(&service, "nothing", "", || {
        std::thread::sleep(BESIDE);
        Ok(())
    })?);
    waits.push(beside(&service, "rebuilt from its events", "rebuild", || {
        refused(&service)
    })?);
    let mut bytes = 0;
    waits.push(beside(&service, "read", "read", || {
        bytes = read(&service, events)?;
        Ok(())
    })?);
    service.end(End::Killed)?;

    // The first read rebuilds it once more; with default settings one event more is then due for a snapshot.
    let service = bench.server_as("large-state", &ONE_SHARD, &[])?;
    read(&service, events)?;
    waits.push(beside(&service, "saved", "save", || command(&service))?);
    service.end(End::Stopped)?;
    let service = bench.server_as("large-state", &ONE_SHARD, &[])?;
    waits.push(beside(&service, "restored", "restore", || refused(&service))?);
    read(&service, events + 1)?;
    service.end(End::Stopped)?;
    in_process::remove(&data)?;

    for wait in waits.iter().filter(|wait| !wait.fact.is_empty()) {
        eprintln!("large state: {}: {}", wait.name, wait.row().join("  "));
        if events >= TARGET_EVENTS {
            let name = format!("large-state-{}", wait.fact);
            facts.put(name, wait.longest.as_secs_f64() * 1e6);
        }
    }
    Ok(section(events, bytes, &waits))
}

const SMALL: &str = "/v1/aggregates/counter/small";
const SMALL_ADD: &str = "/v1/aggregates/counter/small/commands/add";

fn large() -> String {
    format!("/v1/aggregates/series/{}", account_id(0))
}

/// One event more.
fn command(service: &Service) -> Result<(), Failed> {
    let path = format!("{}/commands/measure", large());
    expect(200, &mut service.connect()?, "POST", &path, VALUE.as_bytes()).map(drop)
}

/// A command that needs the live object, and that it refuses: nothing is recorded, and no snapshot is due.
fn refused(service: &Service) -> Result<(), Failed> {
    let path = format!("{}/commands/measure", large());
    expect(422, &mut service.connect()?, "POST", &path, NO_VALUE).map(drop)
}

/// Reads the large state, and says how many bytes it has.
fn read(service: &Service, events: u32) -> Result<usize, Failed> {
    let body = expect(200, &mut service.connect()?, "GET", &large(), &[])?;
    let values = body.iter().filter(|byte| **byte == b',').count();
    if values < events as usize {
        return Err(Failed::new(format!(
            "the large state has no {events} values, but at most {values}"
        )));
    }
    Ok(body.len())
}

fn expect(
    status: u16,
    connection: &mut Connection,
    method: &str,
    path: &str,
    body: &[u8],
) -> Result<Vec<u8>, Failed> {
    let answer = connection
        .request(method, path, &[("content-type", "application/json")], body)
        .map_err(|error| Failed::io(&format!("{method} {path}"), &error))?;
    if answer.status == status {
        return Ok(answer.body);
    }
    Err(Failed::new(format!(
        "{method} {path}: {} {}",
        answer.status,
        answer.text()
    )))
}

/// Reads the small one, again and again, while something happens to the large one.
fn beside(
    service: &Service,
    name: &'static str,
    fact: &'static str,
    work: impl FnOnce() -> Result<(), Failed>,
) -> Result<Wait, Failed> {
    let is_over = Arc::new(AtomicBool::new(false));
    let (over, mut connection) = (Arc::clone(&is_over), service.connect()?);
    expect(200, &mut connection, "GET", SMALL, &[])?;
    let reading = std::thread::spawn(move || {
        let (mut longest, mut answers) = (Duration::ZERO, 0);
        while !over.load(Ordering::Acquire) {
            let asked = Instant::now();
            expect(200, &mut connection, "GET", SMALL, &[])?;
            longest = longest.max(asked.elapsed());
            answers += 1;
        }
        Ok((longest, answers))
    });
    std::thread::sleep(BESIDE);
    let started = Instant::now();
    let done = work();
    let took = started.elapsed();
    std::thread::sleep(BESIDE);
    is_over.store(true, Ordering::Release);
    let read: Result<(Duration, u64), Failed> = reading
        .join()
        .map_err(|_| Failed::new("the reader of the small aggregate panicked".to_owned()))?;
    let ((longest, answers), ()) = (read?, done?);
    Ok(Wait {
        name,
        fact,
        took,
        longest,
        answers,
    })
}

impl Wait {
    fn row(&self) -> Vec<String> {
        let millis = |time: Duration| format::millis(time.as_secs_f64() * 1e6);
        vec![
            self.name.to_owned(),
            millis(self.took),
            millis(self.longest),
            format::count(self.answers),
        ]
    }
}

fn section(events: u32, bytes: usize, waits: &[Wait]) -> Section {
    Section {
        key: "large-state",
        title: format!(
            "A large aggregate, {} events and {} of state, beside a small one on the same shard",
            format::count(u64::from(events)),
            format::bytes(bytes as u64)
        ),
        columns: vec!["the large one is", "ms", "longest wait ms", "answers"],
        rows: waits.iter().map(Wait::row).collect(),
        notes: vec![
            "one shard; the small one is read over one connection, one request after the other: the longest wait is the \
             slowest of these reads"
                .to_owned(),
        ],
        json: json!(
            waits
                .iter()
                .map(|wait| {
                    json!({
                        "large": wait.name,
                        "seconds": wait.took.as_secs_f64(),
                        "longest_wait_seconds": wait.longest.as_secs_f64(),
                        "answers": wait.answers,
                    })
                })
                .collect::<Vec<_>>()
        ),
    }
}
