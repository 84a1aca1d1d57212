//! A large log: what the process that wrote it needs, what it takes on disk, and how fast a server starts on it.

use std::time::Duration;

use annals_tests::guests;
use serde_json::json;

use crate::{
    deposits::{Accounts, Check, Requests, Template},
    disk::{Files, payload},
    facts::Facts,
    failed::Failed,
    format,
    in_process::{self, Ask, Job, Layer, Plan},
    ledger::Log,
    rates::{FIRST_RUN, Runs},
    report::Section,
    service::{Bench, End, Memory, Service},
};

const AGGREGATES: u32 = 10_000;
const CONNECTIONS: usize = 512;
/// What the targets speak of.
const TARGET_EVENTS: u32 = 10_000_000;

/// Lets lanes decide the events in a process without HTTP; starts a server on them after a stop, lets it serve, kills it,
/// and starts it again.
pub(crate) fn measure(bench: &Bench<'_>, facts: &mut Facts) -> Result<Section, Failed> {
    let events = bench.args.large_events();
    let aggregates = events.min(AGGREGATES);
    let rounds = events / aggregates;
    let events = aggregates * rounds;
    eprintln!("large: write {} events", format::count(u64::from(events)));
    let data = bench.dir.join("large");
    let module = bench.dir.join("counter.wasm");
    std::fs::write(&module, guests::counter()).map_err(|error| Failed::io("write a module", &error))?;
    let written = in_process::run(&Job {
        layer: Layer::Wasm,
        data: data.clone(),
        module,
        ask: Ask {
            aggregate_type: "counter".to_owned(),
            command: "add".to_owned(),
            event_type: "added".to_owned(),
            payload: payload(),
        },
        plan: Plan::Rounds { aggregates, rounds },
    })?;
    if written.accepted != u64::from(events) {
        return Err(Failed::new(format!(
            "{} of {events} commands were accepted; a refusal: {:?}",
            written.accepted, written.refusal
        )));
    }
    let rate = written.accepted as f64 / written.time.as_secs_f64().max(f64::MIN_POSITIVE);
    let files = Files::below(&data)?;
    let clean = bench.server("large")?;
    let clean_start = clean.started_in;
    let served = Served::measure(bench, &clean)?;
    let killed = bench.restart(clean, End::Killed)?;
    let killed_start = killed.started_in;
    served.check(&killed)?;
    killed.end(End::Stopped)?;
    in_process::remove(&data)?;

    let peak = written.memory.resident.max(served.memory.resident);
    if events >= TARGET_EVENTS {
        facts.put("memory-large", peak as f64);
        facts.put("disk-large", files.per_event(events));
        facts.put("start-clean", clean_start.as_secs_f64() * 1e6);
        facts.put("start-killed", killed_start.as_secs_f64() * 1e6);
    }
    Ok(section(
        events,
        rate,
        &written.memory,
        &served,
        &files,
        [clean_start, killed_start],
    ))
}

/// What a server on the large log did.
struct Served {
    memory: Memory,
    per_second: f64,
    /// Where the feed stood before.
    feed: String,
    acknowledged: Vec<crate::ledger::Acknowledged>,
    refused: u64,
}

impl Served {
    fn measure(bench: &Bench<'_>, service: &Service) -> Result<Self, Failed> {
        let feed = Log::end(&mut service.connect()?, "counter")?;
        let template = Template::command("counter", "add", &payload());
        let scripts = Requests::connections(
            CONNECTIONS,
            FIRST_RUN,
            &template,
            &Check::Acknowledgement,
            |seed| Accounts::random(AGGREGATES.min(bench.args.large_events()), seed),
        );
        let mut runs = Runs::new(
            format!("large log, {}", format::connections(CONNECTIONS)),
            CONNECTIONS,
        );
        runs.measure(bench, service, scripts)?;
        let mut rate = runs.finish();
        Ok(Self {
            memory: service.memory()?,
            per_second: rate.per_second(),
            feed,
            refused: rate.refused(),
            acknowledged: std::mem::take(&mut rate.acknowledged),
        })
    }

    /// What was acknowledged must be behind where the feed stood.
    fn check(&self, service: &Service) -> Result<(), Failed> {
        let log = Log::read_from(&mut service.connect()?, &self.feed)?;
        log.check(&self.acknowledged, self.refused).map(|_| ())
    }
}

fn section(
    events: u32,
    rate: f64,
    writer: &Memory,
    served: &Served,
    files: &Files,
    [clean, killed]: [Duration; 2],
) -> Section {
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    let mut rows = vec![
        row("written in process", format!("{}/s", format::rate(rate))),
        row("memory of the writing process", format::bytes(writer.resident)),
        row("  at most", format::bytes(writer.peak)),
        row("start after a stop", format::seconds(clean)),
        row("start after kill -9", format::seconds(killed)),
        row(
            &format!("commands over {}", format::connections(CONNECTIONS)),
            format!("{}/s", format::rate(served.per_second)),
        ),
        row(
            "memory of the server after them",
            format::bytes(served.memory.resident),
        ),
        row("  at most", format::bytes(served.memory.peak)),
    ];
    for file in files.rows("bytes of all files for each event", events) {
        rows.extend(
            file.first()
                .zip(file.get(3))
                .map(|(name, each)| row(name, each.clone())),
        );
    }
    Section {
        key: "large",
        title: format!(
            "A log of {} events with 100 bytes of payload, {} aggregates",
            format::count(u64::from(events)),
            format::count(u64::from(AGGREGATES.min(events)))
        ),
        columns: vec!["", "value"],
        rows,
        notes: vec![
            "the files are in the page cache; memory of the writing process has the generator's in it"
                .to_owned(),
            format!(
                "after the kill, all of {} acknowledged commands of the last run were in the log, once and where their \
                 answers said",
                format::count(served.acknowledged.len() as u64)
            ),
        ],
        json: json!({
            "events": events,
            "written_per_second": rate,
            "writer_memory_bytes": writer,
            "server_memory_bytes": served.memory,
            "start_after_stop_seconds": clean.as_secs_f64(),
            "start_after_kill_seconds": killed.as_secs_f64(),
            "commands_per_second": served.per_second,
            "disk": files.json(0, events),
        }),
    }
}
