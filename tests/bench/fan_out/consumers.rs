//! Durable consumers: events that members of one consumer fetch and acknowledge, until all of them are.

use std::{
    borrow::Cow,
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use annals_tests::http::Connection;
use serde::Deserialize;
use serde_json::json;

use crate::{
    facts::Facts,
    failed::Failed,
    format, in_process,
    numbers::{Latency, median, nanos, rate},
    rates::Busy,
    report::Section,
    service::{Bench, End, Service},
};

use super::catch_up::write_log;

const MEMBERS: [usize; 2] = [1, 8];
/// Events that a member fetches at a time.
const BATCH: usize = 100;
/// Aggregates that may be under way at a time.
const CONCURRENCY: usize = 10_000;
/// No run takes longer, unless something hangs.
const LONGEST: Duration = Duration::from_secs(300);
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

#[derive(Debug, Deserialize)]
struct Fetched<'a> {
    #[serde(borrow)]
    events: Vec<Leased<'a>>,
}

#[derive(Debug, Deserialize)]
struct Leased<'a> {
    #[serde(borrow)]
    lease: Cow<'a, str>,
    attempt: u32,
    #[serde(borrow)]
    event: Event<'a>,
}

/// As much of a `CloudEvent` as is looked at.
#[derive(Debug, Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow)]
    sequence: Cow<'a, str>,
}

/// A line that is being measured.
#[derive(Debug, Default)]
struct Line {
    members: usize,
    /// Events per second of each run.
    runs: Vec<f64>,
    fetches: Vec<u64>,
    acks: Vec<u64>,
    time: Duration,
    server: Duration,
    generator: Duration,
}

/// Both numbers of members in turns, each run with a consumer of its own that begins at the beginning.
pub(crate) fn measure(bench: &Bench<'_>, facts: &mut Facts) -> Result<Section, Failed> {
    let (data, events) = write_log(bench, "consumers", bench.args.consumer_events())?;
    let service = bench.server("consumers")?;
    let mut lines = MEMBERS.map(|members| Line {
        members,
        ..Line::default()
    });
    let mut refused = None;
    for (run, line) in (0..bench.args.runs()).flat_map(|run| (0..MEMBERS.len()).map(move |line| (run, line)))
    {
        let Some(line) = lines.get_mut(line) else { continue };
        refused = line.measure(&service, run, events)?;
        if refused.is_some() {
            break;
        }
    }
    service.end(End::Stopped)?;
    in_process::remove(&data)?;
    for line in lines.iter().filter(|line| !line.runs.is_empty()) {
        facts.put(format!("consumers-{}", line.members), median(&line.runs));
    }
    Ok(section(lines, events, refused))
}

impl Line {
    /// One run; the server's words when it knows no consumers.
    fn measure(&mut self, service: &Service, run: usize, events: u64) -> Result<Option<String>, Failed> {
        let path = format!("/v1/consumers/bench-{}-{run}", self.members);
        if let Some(refused) = create(service, &path)? {
            return Ok(Some(refused));
        }
        let consumer = Consumer {
            address: service.address,
            path: &path,
            events,
            started: Instant::now(),
            acknowledged: AtomicU64::new(0),
            last_ack: AtomicU64::new(0),
            versions: Mutex::default(),
        };
        let busy = Busy::start(service)?;
        let shared = &consumer;
        let members = std::thread::scope(|scope| {
            let started: Vec<_> = (0..self.members)
                .map(|member| scope.spawn(move || shared.member(member)))
                .collect();
            let ended = started.into_iter().map(|member| {
                member
                    .join()
                    .map_err(|_| Failed::new("a member of a consumer panicked"))?
            });
            ended.collect::<Result<Vec<Member>, Failed>>()
        })?;
        let (server, generator) = busy.end(service)?;
        let time = Duration::from_nanos(consumer.last_ack.load(Ordering::Acquire));
        consumer.check()?;
        eprintln!(
            "consumer, {} members, run {}: {}/s",
            self.members,
            run + 1,
            format::rate(rate(events, time))
        );
        self.runs.push(rate(events, time));
        for member in members {
            self.fetches.extend(member.fetches);
            self.acks.extend(member.acks);
        }
        self.time += time;
        self.server += server;
        self.generator += generator;
        delete(service, &path)?;
        Ok(None)
    }
}

fn create(service: &Service, path: &str) -> Result<Option<String>, Failed> {
    let definition = json!({
        "filter": { "types": ["account"] },
        "start": "beginning",
        "batch": BATCH,
        "concurrency": CONCURRENCY,
    });
    let answer = service
        .connect()?
        .request("PUT", path, &JSON, definition.to_string().as_bytes());
    let answer = answer.map_err(|error| Failed::io("create a consumer", &error))?;
    let is_refused = !(200..300).contains(&answer.status);
    Ok(is_refused.then(|| {
        format!(
            "PUT /v1/consumers/… was answered {}, so these lines are not measured: {}",
            answer.status,
            answer.text()
        )
    }))
}

fn delete(service: &Service, path: &str) -> Result<(), Failed> {
    let answer = service.connect()?.request("DELETE", path, &[], &[]);
    let answer = answer.map_err(|error| Failed::io("delete a consumer", &error))?;
    if (200..300).contains(&answer.status) {
        return Ok(());
    }
    Err(Failed::new(format!(
        "DELETE {path}: {} {}",
        answer.status,
        answer.text()
    )))
}

/// What the members of one consumer share.
struct Consumer<'a> {
    address: SocketAddr,
    path: &'a str,
    /// How many there are.
    events: u64,
    started: Instant,
    acknowledged: AtomicU64,
    /// Nanoseconds after the start.
    last_ack: AtomicU64,
    /// The version of each aggregate that was given out last.
    versions: Mutex<HashMap<String, u64>>,
}

/// What one member did, nanoseconds each.
#[derive(Debug, Default)]
struct Member {
    fetches: Vec<u64>,
    acks: Vec<u64>,
}

impl Consumer<'_> {
    /// Fetches and acknowledges until all events are.
    fn member(&self, number: usize) -> Result<Member, Failed> {
        let mut connection =
            Connection::open(self.address).map_err(|error| Failed::io("connect to the server", &error))?;
        let fetch = json!({ "member": format!("m{number}"), "max": BATCH, "wait_ms": 1_000 });
        let mut member = Member::default();
        while self.acknowledged.load(Ordering::Acquire) < self.events {
            if self.started.elapsed() > LONGEST {
                return Err(Failed::new(format!(
                    "{} of {} events were acknowledged within {} s",
                    self.acknowledged.load(Ordering::Acquire),
                    self.events,
                    LONGEST.as_secs()
                )));
            }
            let asked = Instant::now();
            let body = self.post(&mut connection, "fetch", &fetch)?;
            let fetched: Fetched<'_> = serde_json::from_slice(&body).map_err(|error| {
                Failed::new(format!("what was fetched is not what it should be: {error}"))
            })?;
            if fetched.events.is_empty() {
                continue;
            }
            member.fetches.push(nanos(asked.elapsed()));
            self.take(&fetched)?;
            let leases: Vec<&str> = fetched.events.iter().map(|leased| &*leased.lease).collect();
            let ack = json!({ "member": format!("m{number}"), "leases": leases });
            let asked = Instant::now();
            self.post(&mut connection, "ack", &ack)?;
            member.acks.push(nanos(asked.elapsed()));
            self.acknowledged.fetch_add(leases.len() as u64, Ordering::AcqRel);
            self.last_ack
                .fetch_max(nanos(self.started.elapsed()), Ordering::AcqRel);
        }
        Ok(member)
    }

    fn post(
        &self,
        connection: &mut Connection,
        what: &str,
        body: &serde_json::Value,
    ) -> Result<Vec<u8>, Failed> {
        let path = format!("{}/{what}", self.path);
        let answer = connection.request("POST", &path, &JSON, body.to_string().as_bytes());
        let answer = answer.map_err(|error| Failed::io(&format!("{what} as a member"), &error))?;
        if (200..300).contains(&answer.status) {
            return Ok(answer.body);
        }
        Err(Failed::new(format!(
            "POST {path}: {} {}",
            answer.status,
            answer.text()
        )))
    }

    /// Holds what was fetched, before any of it is acknowledged, against what was fetched before by any member.
    fn take(&self, fetched: &Fetched<'_>) -> Result<(), Failed> {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        for Leased { attempt, event, .. } in &fetched.events {
            let version: u64 = event.sequence.parse().unwrap_or_default();
            let before = match versions.get_mut(&*event.subject) {
                Some(known) => std::mem::replace(known, version),
                None => versions
                    .insert(event.subject.to_string(), version)
                    .unwrap_or_default(),
            };
            if version != before + 1 || *attempt != 1 {
                return Err(Failed::new(format!(
                    "version {version} of {} was given out in attempt {attempt}, after version {before}. There is no result",
                    event.subject
                )));
            }
        }
        Ok(())
    }

    /// Every event was given out: since each was the next of its aggregate, none twice and none before another.
    fn check(&self) -> Result<(), Failed> {
        let versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        let given: u64 = versions.values().sum();
        let acknowledged = self.acknowledged.load(Ordering::Acquire);
        if given == self.events && acknowledged == self.events {
            return Ok(());
        }
        Err(Failed::new(format!(
            "of {} events {given} were given out and {acknowledged} acknowledged. There is no result",
            self.events
        )))
    }
}

fn section(lines: [Line; 2], events: u64, refused: Option<String>) -> Section {
    let mut notes = vec![format!(
        "up to {BATCH} events at a time; each was given out once, after the one before it of its aggregate, and acknowledged"
    )];
    notes.extend(refused);
    let lines: Vec<Line> = lines.into_iter().filter(|line| !line.runs.is_empty()).collect();
    let (rows, json) = lines
        .into_iter()
        .map(Line::finish)
        .unzip::<_, _, Vec<_>, Vec<_>>();
    Section {
        key: "consumers",
        title: format!(
            "A durable consumer: {} events fetched and acknowledged over HTTP",
            format::count(events)
        ),
        columns: vec![
            "",
            "events/s",
            "runs",
            "fetch p50 ms",
            "fetch p99 ms",
            "ack p50 ms",
            "ack p99 ms",
            "server cores",
            "generator cores",
        ],
        rows,
        notes,
        json: json!({ "events": events, "lines": json }),
    }
}

impl Line {
    fn finish(self) -> (Vec<String>, serde_json::Value) {
        let plural = if self.members == 1 { "" } else { "s" };
        let (fetch, ack) = (Latency::of(self.fetches), Latency::of(self.acks));
        let time = self.time.as_secs_f64().max(f64::MIN_POSITIVE);
        let cores = [self.server, self.generator].map(|busy| busy.as_secs_f64() / time);
        let mut row = vec![
            format!("{} member{plural}", self.members),
            format::rate(median(&self.runs)),
            format::range(&self.runs),
        ];
        row.extend([fetch.p50_us, fetch.p99_us, ack.p50_us, ack.p99_us].map(format::millis));
        row.extend(cores.map(|cores| format!("{cores:.2}")));
        let json = json!({
            "members": self.members,
            "per_second": median(&self.runs),
            "runs": self.runs,
            "fetch": fetch,
            "ack": ack,
            "server_cores": cores,
        });
        (row, json)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consumer() -> Consumer<'static> {
        Consumer {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            path: "",
            events: 3,
            started: Instant::now(),
            acknowledged: AtomicU64::new(3),
            last_ack: AtomicU64::new(0),
            versions: Mutex::default(),
        }
    }

    fn fetched(events: &[(&str, u64, u32)]) -> String {
        let leased = |(subject, version, attempt): &(&str, u64, u32)| {
            json!({
                "lease": "l",
                "attempt": attempt,
                "deadline": "2026-11-21T00:00:00.000Z",
                "event": { "subject": subject, "sequence": format!("{version:020}") },
            })
        };
        json!({ "events": events.iter().map(leased).collect::<Vec<_>>() }).to_string()
    }

    fn take(consumer: &Consumer<'_>, events: &[(&str, u64, u32)]) -> Result<(), Failed> {
        consumer.take(&serde_json::from_str(&fetched(events)).unwrap())
    }

    #[test]
    fn each_event_is_the_next_of_its_aggregate() {
        let consumer = consumer();
        take(&consumer, &[("a", 1, 1), ("b", 1, 1)]).unwrap();
        assert!(consumer.check().is_err());
        take(&consumer, &[("a", 2, 1)]).unwrap();
        consumer.check().unwrap();
        for wrong in [("a", 2, 1), ("a", 4, 1), ("b", 2, 2), ("c", 2, 1)] {
            let says = take(&consumer, &[wrong]).unwrap_err().to_string();
            assert!(says.contains("There is no result"), "{says}");
        }
    }
}
