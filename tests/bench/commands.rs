//! Durable commands over HTTP: one deposit a request, to accounts at random.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::{
    deposits::{Accounts, Check, Requests, Template},
    failed::Failed,
    format,
    ledger::{Acknowledged, Checked, Log},
    load::{Seen, Span, drive},
    numbers::{Latency, mean_and_deviation, median, rate},
    report::Section,
    service::{Bench, End, Service, own_processor_time},
};

/// Connections that open the accounts.
const SET_UP_CONNECTIONS: usize = 64;
/// The number that the first measured run has in a log; smaller ones are for setting up.
const FIRST_RUN: u64 = 100;
/// What is to be reached with two processors, at this number of connections or more.
const TARGET_CONNECTIONS: usize = 512;
const TARGET_PER_SECOND: f64 = 10_000.0;
const TARGET_P99_US: f64 = 200_000.0;

/// All runs at one number of connections.
#[derive(Debug)]
pub(crate) struct Rate {
    pub(crate) connections: usize,
    runs: Vec<f64>,
    /// Of every single second of every run.
    seconds: Vec<f64>,
    latency: Latency,
    refused: BTreeMap<u16, u64>,
    refusal: Option<String>,
    acknowledged: Vec<Acknowledged>,
    /// Processors that were busy on average.
    server_cores: f64,
    generator_cores: f64,
}

impl Rate {
    /// The median of the runs.
    pub(crate) fn per_second(&self) -> f64 {
        median(&self.runs)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.values().sum()
    }

    fn row(&self) -> Vec<String> {
        let range = |pick: fn(f64, f64) -> f64| self.runs.iter().copied().reduce(pick).unwrap_or_default();
        let (mean, deviation) = mean_and_deviation(&self.seconds);
        vec![
            format::connections(self.connections),
            format::rate(self.per_second()),
            format!(
                "{} – {}",
                format::rate(range(f64::min)),
                format::rate(range(f64::max))
            ),
            format!("{:.1} %", 100.0 * deviation / mean.max(f64::MIN_POSITIVE)),
            format::millis(self.latency.p50_us),
            format::millis(self.latency.p99_us),
            format::millis(self.latency.p999_us),
            format::count(self.refused()),
            format!("{:.2}", self.server_cores),
            format!("{:.2}", self.generator_cores),
        ]
    }

    fn json(&self) -> Value {
        let (mean, deviation) = mean_and_deviation(&self.seconds);
        json!({
            "connections": self.connections,
            "per_second": self.per_second(),
            "runs": self.runs,
            "seconds": self.seconds,
            "per_second_mean": mean,
            "per_second_deviation": deviation,
            "latency": self.latency,
            "not_2xx": self.refused,
            "server_cores": self.server_cores,
            "generator_cores": self.generator_cores,
        })
    }
}

/// Several runs at each number of connections.
pub(crate) fn run_all(
    bench: &Bench<'_>,
    service: &Service,
    what: &str,
    scripts: impl Fn(usize, u64) -> Vec<Requests>,
) -> Result<Vec<Rate>, Failed> {
    let span = Span::Timed {
        warm_up: bench.args.warm_up(),
        measured: bench.args.measured(),
    };
    let mut run_number = FIRST_RUN;
    let mut rates = Vec::new();
    for &connections in &bench.args.connections {
        let mut rate = Runs::default();
        for run in 1..=bench.args.runs {
            let (server, own) = (service.processor_time()?, own_processor_time()?);
            let (seen, scripts) = drive(service.address, scripts(connections, run_number), span)?;
            let busy = (service.processor_time()? - server, own_processor_time()? - own);
            run_number += 1;
            eprintln!(
                "{what}, {}, run {run}: {}/s",
                format::connections(connections),
                format::rate(crate::numbers::rate(seen.answered(), seen.time))
            );
            rate.add(seen, scripts, busy, bench.args.warm_up());
        }
        rates.push(rate.finish(connections));
    }
    Ok(rates)
}

/// Runs that are being added up.
#[derive(Debug, Default)]
struct Runs {
    runs: Vec<f64>,
    seconds: Vec<f64>,
    latencies: Vec<u64>,
    refused: BTreeMap<u16, u64>,
    refusal: Option<String>,
    acknowledged: Vec<Acknowledged>,
    time: Duration,
    server: Duration,
    generator: Duration,
}

impl Runs {
    /// `busy` is the processor time of server and generator, in the warm-up too.
    fn add(&mut self, seen: Seen, scripts: Vec<Requests>, busy: (Duration, Duration), warm_up: Duration) {
        self.runs.push(rate(seen.answered(), seen.time));
        self.seconds
            .extend(seen.per_second.iter().map(|count| *count as f64));
        self.latencies.extend(seen.latencies);
        for (status, number) in seen.refused {
            *self.refused.entry(status).or_default() += number;
        }
        self.refusal = self.refusal.take().or(seen.refusal);
        self.acknowledged
            .extend(scripts.into_iter().flat_map(|script| script.acknowledged));
        self.time += seen.time + warm_up;
        self.server += busy.0;
        self.generator += busy.1;
    }

    fn finish(self, connections: usize) -> Rate {
        let cores = |busy: Duration| busy.as_secs_f64() / self.time.as_secs_f64();
        Rate {
            connections,
            server_cores: cores(self.server),
            generator_cores: cores(self.generator),
            runs: self.runs,
            seconds: self.seconds,
            latency: Latency::of(self.latencies),
            refused: self.refused,
            refusal: self.refusal,
            acknowledged: self.acknowledged,
        }
    }
}

pub(crate) fn rates_section(key: &'static str, title: &str, rates: &[Rate]) -> Section {
    Section {
        key,
        title: title.to_owned(),
        columns: vec![
            "",
            "per second",
            "runs",
            "deviation",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "not 2xx",
            "server cores",
            "generator cores",
        ],
        rows: rates.iter().map(Rate::row).collect(),
        notes: Vec::new(),
        json: json!(rates.iter().map(Rate::json).collect::<Vec<_>>()),
    }
}

/// Opens accounts, and gives what was acknowledged.
pub(crate) fn open_accounts(service: &Service, count: u32) -> Result<Vec<Acknowledged>, Failed> {
    let template = Template::command("account", "open", "{\"owner\":\"somebody\"}");
    let accounts = Accounts::rounds(count, 1);
    let scripts = Requests::connections(SET_UP_CONNECTIONS, 0, &template, &Check::Acknowledgement, |_| {
        accounts.clone()
    });
    let (seen, scripts) = drive(service.address, scripts, Span::ToTheEnd)?;
    seen.all_answered("opening the accounts")?;
    Ok(scripts
        .into_iter()
        .flat_map(|script| script.acknowledged)
        .collect())
}

/// Measures, then kills the server and looks for every acknowledged command in what it left behind.
pub(crate) fn measure(bench: &Bench<'_>, echo: &[Rate]) -> Result<Section, Failed> {
    let component = bench.component(bench.args.account.as_deref(), "account")?;
    let service = bench.server("commands")?;
    service.upload(&component)?;
    let mut acknowledged = open_accounts(&service, bench.args.accounts)?;
    let template = Template::command("account", "deposit", "{\"amount\":1}");
    let mut rates = run_all(bench, &service, "commands", |connections, run| {
        Requests::connections(connections, run, &template, &Check::Acknowledgement, |seed| {
            Accounts::random(bench.args.accounts, seed)
        })
    })?;
    let memory = service.peak_memory()?;
    for rate in &mut rates {
        acknowledged.append(&mut rate.acknowledged);
    }
    let refused = rates.iter().map(Rate::refused).sum();

    eprintln!(
        "commands: kill -9, start, and look for {} commands in the log",
        acknowledged.len()
    );
    let service = bench.restart(service, End::Killed)?;
    let log = Log::read(&mut service.connect()?, "account")?;
    let checked = log.check(&acknowledged, refused)?;
    let started_in = service.started_in;
    service.end(End::Stopped)?;

    let title = format!(
        "Durable commands over HTTP: one deposit a request, {} accounts, uniformly at random",
        format::count(u64::from(bench.args.accounts))
    );
    let mut section = rates_section("commands", &title, &rates);
    section.json = json!({
        "rates": section.json,
        "log": checked,
        "restart_seconds": started_in.as_secs_f64(),
        "server_peak_memory_bytes": memory,
    });
    section.notes = notes(bench, &rates, echo, &checked);
    section.notes.push(format!(
        "the server had at most {} of memory, and started on this log in {} after the kill",
        format::bytes(memory),
        format::seconds(started_in)
    ));
    Ok(section)
}

fn notes(bench: &Bench<'_>, rates: &[Rate], echo: &[Rate], checked: &Checked) -> Vec<String> {
    let mut notes = Vec::new();
    let ratios: Vec<String> = rates
        .iter()
        .filter_map(|rate| {
            let floor = echo.iter().find(|floor| floor.connections == rate.connections)?;
            Some(format!("{:.2}", rate.per_second() / floor.per_second()))
        })
        .collect();
    if !ratios.is_empty() {
        notes.push(format!("as a share of the echo: {}", ratios.join(" · ")));
    }
    for rate in rates.iter().filter(|rate| rate.connections >= TARGET_CONNECTIONS) {
        let is_met = rate.per_second() >= TARGET_PER_SECOND && rate.latency.p99_us < TARGET_P99_US;
        notes.push(format!(
            "target at {} connections, at least {}/s and p99 under {} ms: {}",
            rate.connections,
            format::rate(TARGET_PER_SECOND),
            format::millis(TARGET_P99_US),
            if is_met { "met" } else { "MISSED" }
        ));
    }
    for rate in rates {
        if let Some(text) = &rate.refusal {
            notes.push(format!(
                "{}, not 2xx: {:?}, such as {text}",
                format::connections(rate.connections),
                rate.refused
            ));
        }
    }
    let how = if bench.args.no_restart {
        "without a restart"
    } else {
        "after kill -9 and a start"
    };
    notes.push(format!(
        "{how}, all of {} acknowledged commands were in the log, once and where their answers said ({} events)",
        format::count(checked.acknowledged),
        format::count(checked.events_in_log)
    ));
    notes
}
