//! Catching up: a log read from its beginning by one client, in each of the forms that a feed has, beside its floors.

use annals_tests::follow::{Plan, Subscribers, Which};
use serde_json::json;

use crate::{
    facts::Facts,
    failed::Failed,
    format,
    in_process::{self, Ask, Job, Layer, Plan as Written},
    numbers::{median, rate},
    report::Section,
    service::{Bench, End, Service},
};

use super::{chunks, floors, pages, position};

const AGGREGATES: u32 = 10_000;
/// What the target speaks of.
const TARGET_EVENTS: u32 = 1_000_000;
/// As much of what the server sends as is written to a socket again and again.
const SAMPLE_BYTES: usize = 16 << 20;
/// How lines are asked for, which come until the log ends; and pages.
const NDJSON: (&str, &str) = ("application/x-ndjson", "/v1/events");
const PAGES: (&str, &str) = ("application/cloudevents-batch+json", "/v1/events?limit=1000");
/// No reading takes longer, unless something hangs.
const LONGEST: std::time::Duration = std::time::Duration::from_secs(300);

/// One way to read.
#[derive(Debug, Default)]
struct Line {
    name: &'static str,
    key: &'static str,
    /// Events per second of each run.
    runs: Vec<f64>,
    /// Bytes of content of an event; where they are known.
    event_bytes: Option<f64>,
    requests: Option<u64>,
    refused: Option<String>,
}

impl Line {
    fn new(key: &'static str, name: &'static str) -> Self {
        Self {
            name,
            key,
            ..Self::default()
        }
    }

    fn per_second(&self) -> f64 {
        median(&self.runs)
    }

    /// Reads the whole feed in one form.
    fn read(
        &mut self,
        service: &Service,
        form: (&str, &str),
        events: u64,
    ) -> Result<Option<pages::Reading>, Failed> {
        if self.refused.is_some() {
            return Ok(None);
        }
        match pages::read(service.address, form, events, SAMPLE_BYTES)? {
            pages::Outcome::Read(reading) => {
                self.add(rate(reading.events, reading.time));
                self.event_bytes = Some(reading.bytes as f64 / reading.events.max(1) as f64);
                self.requests = Some(reading.requests);
                Ok(Some(reading))
            }
            pages::Outcome::Refused(status, text) => {
                self.refused = Some(format!(
                    "GET {} as {} was answered {status}, so this line is not measured: {text}",
                    form.1, form.0
                ));
                Ok(None)
            }
        }
    }

    fn add(&mut self, per_second: f64) {
        eprintln!("catch up, {}: {}/s", self.name, format::rate(per_second));
        self.runs.push(per_second);
    }
}

/// All lines.
struct Lines {
    ndjson: Line,
    json: Line,
    sse: Line,
    chunks: Line,
    store: Line,
    write: Line,
    encode: Line,
}

/// Writes a log without HTTP; reads it from its beginning in each form, and measures the floors, in turns.
pub(crate) fn measure(bench: &Bench<'_>, facts: &mut Facts) -> Result<Section, Failed> {
    let (data, events) = write_log(bench, "catch-up", bench.args.catch_up_events())?;
    let mut lines = Lines {
        ndjson: Line::new("ndjson", "NDJSON"),
        json: Line::new("json", "pages of JSON"),
        sse: Line::new("sse", "server-sent events"),
        chunks: Line::new("chunks_floor", "floor: reading the chunks from redb"),
        store: Line::new("store_floor", "floor: reading the log in process"),
        write: Line::new("write_floor", "floor: writing the same bytes to a socket"),
        encode: Line::new(
            "encode_floor",
            "floor: encoding the same events, and writing them",
        ),
    };
    for _ in 0..bench.args.runs() {
        let service = bench.server("catch-up")?;
        let ndjson = lines.ndjson.read(&service, NDJSON, events)?;
        let json = lines.json.read(&service, PAGES, events)?;
        lines.sse.add(stream(&service, events)?);
        service.end(End::Stopped)?;
        if let Some(sent) = ndjson.or(json) {
            let log = floors::Log::open(&data)?;
            lines.store.add(log.read(events)?);
            lines.encode.add(log.encode_and_write(events, &sent.sample)?);
            log.close();
            let (bytes, time) = chunks::read(&data)?;
            lines.chunks.add(rate(events, time));
            lines.chunks.event_bytes = Some(bytes as f64 / events as f64);
            lines.write.add(floors::write(&sent.sample, sent.bytes, events)?);
        }
    }
    in_process::remove(&data)?;
    if events >= u64::from(TARGET_EVENTS) {
        let measured = [("catch-up", &lines.ndjson), ("catch-up-floor", &lines.encode)];
        for (name, line) in measured.into_iter().filter(|(_, line)| !line.runs.is_empty()) {
            facts.put(name, line.per_second());
        }
    }
    Ok(lines.section(events))
}

/// Writes so many events of accounts past the lanes, round by round. Gives the folder, and how many they are.
pub(super) fn write_log(
    bench: &Bench<'_>,
    name: &str,
    events: u32,
) -> Result<(std::path::PathBuf, u64), Failed> {
    let aggregates = events.min(AGGREGATES);
    let rounds = events / aggregates;
    let events = u64::from(aggregates) * u64::from(rounds);
    eprintln!("{name}: write {} events", format::count(events));
    let data = bench.dir.join(name);
    let written = in_process::run(&Job {
        layer: Layer::Log,
        data: data.clone(),
        module: bench.component_path(bench.args.account.as_deref(), "account")?,
        ask: Ask::deposit(),
        plan: Written::Rounds { aggregates, rounds },
    })?;
    if written.accepted != events {
        return Err(Failed::new(format!(
            "{} of {events} events were written; a refusal: {:?}",
            written.accepted, written.refusal
        )));
    }
    Ok((data, events))
}

/// Events per second that one subscriber is given, from the first to the last.
fn stream(service: &Service, events: u64) -> Result<f64, Failed> {
    let failed = |error| Failed::io("follow the feed from its beginning", &error);
    let plan = Plan {
        path: "/v1/events".to_owned(),
        fast: 1,
        slow: 0,
        after: None,
    };
    let last = position(service)?;
    let started = std::time::Instant::now();
    let subscriber = Subscribers::start(service.address, &plan).map_err(failed)?;
    subscriber.wait_for(Which::All, last, LONGEST).map_err(failed)?;
    let time = started.elapsed();
    let told = subscriber.end().map_err(failed)?;
    let given: u64 = told.iter().map(|told| told.events).sum();
    if given != events {
        return Err(Failed::new(format!(
            "a subscriber was given {given} of {events} events"
        )));
    }
    Ok(rate(events, time))
}

impl Lines {
    fn all(&self) -> [&Line; 7] {
        [
            &self.ndjson,
            &self.json,
            &self.sse,
            &self.chunks,
            &self.store,
            &self.write,
            &self.encode,
        ]
    }

    fn section(&self, events: u64) -> Section {
        let mut notes = vec![
            "each event was at the position after the one before; the files are in the page cache; the floors encode with \
             serde what the server sends, byte by byte, and are read by the same client"
                .to_owned(),
        ];
        notes.extend(self.all().iter().filter_map(|line| line.refused.clone()));
        let per_second = |line: &Line| format::rate(line.per_second());
        let row = |line: &Line| {
            let bytes = line.event_bytes;
            vec![
                line.name.to_owned(),
                per_second(line),
                format::range(&line.runs),
                bytes.map_or_else(
                    || "–".to_owned(),
                    |bytes| format!("{:.0}", bytes * line.per_second() / 1e6),
                ),
                line.requests.map_or_else(|| "–".to_owned(), format::count),
                format!(
                    "{:.2}",
                    line.per_second() / self.encode.per_second().max(f64::MIN_POSITIVE)
                ),
            ]
        };
        let measured = self.all().into_iter().filter(|line| !line.runs.is_empty());
        let json = measured.clone().map(|line| {
            let numbers = json!({
                "per_second": line.per_second(),
                "runs": line.runs,
                "event_bytes": line.event_bytes,
                "requests": line.requests,
            });
            (line.key.to_owned(), numbers)
        });
        Section {
            key: "catch_up",
            title: format!(
                "Catching up: {} events read from the beginning by one client",
                format::count(events)
            ),
            columns: vec![
                "",
                "events/s",
                "runs",
                "MB/s",
                "requests",
                "of encoding and writing",
            ],
            rows: measured.map(row).collect(),
            notes,
            json: json!({ "events": events, "lines": json.collect::<serde_json::Map<_, _>>() }),
        }
    }
}
