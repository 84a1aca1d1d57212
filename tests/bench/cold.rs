//! Cold reads: the first read of each aggregate after a start.

use serde_json::{Value, json};

use crate::{
    commands::open_accounts,
    deposits::{Accounts, Check, Requests, Template},
    facts::Facts,
    failed::Failed,
    format,
    load::{Seen, Span, drive},
    numbers::{Latency, rate},
    report::Section,
    service::{Bench, End, Service},
};

/// Connections that write the events: enough for large group commits.
const WRITERS: usize = 512;
const READERS: usize = 64;

/// What the target speaks of.
const TARGET: (u32, u32) = (10_000, 100);
/// With these no snapshot is taken.
pub(crate) const NO_SNAPSHOTS: [&str; 2] = ["snapshot-every=1000000", "snapshot-on-eviction=1000000"];

/// Writes the events round by round over all aggregates, so that those of one lie far apart; starts the server anew; and
/// reads each once. First without any snapshot, so that all events are applied; then with one of each.
pub(crate) fn measure(bench: &Bench<'_>, facts: &mut Facts) -> Result<Section, Failed> {
    let (aggregates, events) = (bench.args.cold_aggregates(), bench.args.cold_events);
    eprintln!(
        "cold reads: write {} events",
        format::count(u64::from(aggregates) * u64::from(events))
    );
    let component = bench.component(bench.args.account.as_deref(), "account")?;
    let service = bench.server_with("cold", &NO_SNAPSHOTS)?;
    service.upload(&component)?;
    open_accounts(&service, aggregates)?;
    let written = deposit(&service, aggregates, events - 1, 1)?;

    let service = bench.restart(service, End::Killed)?;
    let replayed = Cold::read(&service, aggregates, events, "no snapshots", "after kill -9")?;
    deposit(&service, aggregates, 1, 2)?;
    let service = bench.restart(service, End::Stopped)?;
    let restored = Cold::read(&service, aggregates, events + 1, "a snapshot", "after a stop")?;
    service.end(End::Stopped)?;
    if (aggregates, events) == TARGET {
        facts.put("cold", replayed.aggregates_per_second);
    }

    let all = [replayed, restored];
    Ok(Section {
        key: "cold_reads",
        title: format!(
            "Cold reads: first GET of each of {} interleaved accounts after a start, {READERS} connections",
            format::count(u64::from(aggregates))
        ),
        columns: vec![
            "",
            "aggregates/s",
            "events/s",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "start",
        ],
        rows: all.iter().map(Cold::row).collect(),
        notes: vec![
            "the files are in the page cache of the kernel; the process has read none of them before"
                .to_owned(),
            format!(
                "written with --limit {}; then, with default settings, one event more, after which a snapshot is due",
                NO_SNAPSHOTS.join(" --limit ")
            ),
            format!(
                "the events were written at {}/s over {WRITERS} connections",
                format::rate(rate(written.answered(), written.time))
            ),
        ],
        json: json!(all.iter().map(Cold::json).collect::<Vec<_>>()),
    })
}

fn deposit(service: &Service, aggregates: u32, rounds: u32, run: u64) -> Result<Seen, Failed> {
    let template = Template::command("account", "deposit", "{\"amount\":1}");
    let accounts = Accounts::rounds(aggregates, rounds);
    let scripts = Requests::connections(WRITERS, run, &template, &Check::Acknowledgement, |_| {
        accounts.clone()
    });
    let (seen, _) = drive(service.address, scripts, Span::ToTheEnd)?;
    seen.all_answered("writing the events of the cold reads")?;
    Ok(seen)
}

/// One pass over all aggregates.
struct Cold {
    events: u32,
    with: &'static str,
    aggregates_per_second: f64,
    latency: Latency,
    started: String,
    start_seconds: f64,
}

impl Cold {
    fn read(
        service: &Service,
        aggregates: u32,
        events: u32,
        with: &'static str,
        after: &str,
    ) -> Result<Self, Failed> {
        eprintln!("cold reads: {events} events each, {with}, {after}");
        let accounts = Accounts::rounds(aggregates, 1);
        let check = Check::State {
            version: u64::from(events),
            text: format!("\"balance\":{}", events - 1),
        };
        let scripts = Requests::connections(READERS, 0, &Template::state("account"), &check, |_| {
            accounts.clone()
        });
        let (seen, _) = drive(service.address, scripts, Span::ToTheEnd)?;
        seen.all_answered("cold reads")?;
        Ok(Self {
            events,
            with,
            aggregates_per_second: rate(seen.answered(), seen.time),
            latency: Latency::of(seen.latencies),
            started: format!("{} {after}", format::seconds(service.started_in)),
            start_seconds: service.started_in.as_secs_f64(),
        })
    }

    fn row(&self) -> Vec<String> {
        vec![
            format!("{} events each, {}", self.events, self.with),
            format::rate(self.aggregates_per_second),
            format::rate(self.aggregates_per_second * f64::from(self.events)),
            format::millis(self.latency.p50_us),
            format::millis(self.latency.p99_us),
            format::millis(self.latency.p999_us),
            self.started.clone(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "events_each": self.events,
            "with": self.with,
            "aggregates_per_second": self.aggregates_per_second,
            "latency": self.latency,
            "start_seconds": self.start_seconds,
        })
    }
}
