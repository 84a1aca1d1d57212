//! A long run: throughput of every second, memory and latency minute by minute, and the longest silence.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    commands::{check_log, checked_note, deposits, open_accounts},
    deposits::Accounts,
    disk::Files,
    facts::Facts,
    failed::Failed,
    format,
    load::{Pace, Script, Seen, Span, drive_at},
    numbers::{Latency, rate},
    rates::FIRST_RUN,
    report::Section,
    service::{Bench, End, Memory},
};

const CONNECTIONS: usize = 64;
/// What the target speaks of.
const TARGET_SECONDS: u64 = 600;
const MINUTE_SECONDS: u64 = 60;

/// A minute, or what is left of one.
struct Minute {
    per_second: Vec<u64>,
    rate: f64,
    latency: Latency,
    stall: Duration,
    /// Processor time of the server.
    processors: Duration,
    memory: Memory,
    /// Lengths of all its files at the end, bytes.
    files: u64,
    refused: u64,
}

/// Deposits over some connections for the whole time, and checks the log. The throughput of its first seconds is for the
/// picture.
pub(crate) fn measure(bench: &Bench<'_>, facts: &mut Facts) -> Result<(Section, Vec<u64>), Failed> {
    let component = bench.component(bench.args.account.as_deref(), "account")?;
    let service = bench.server("soak")?;
    service.upload(&component)?;
    let accounts = bench.args.accounts;
    let mut acknowledged = open_accounts(&service, accounts)?;
    let pace = bench.args.soak_rate.map_or(Pace::Closed, Pace::PerSecond);
    let mut left = bench.args.soak_seconds();
    let (mut minutes, mut refusal) = (Vec::new(), None);
    while left > 0 {
        let seconds = left.min(MINUTE_SECONDS);
        left -= seconds;
        let span = Span::Timed {
            warm_up: Duration::ZERO,
            measured: Duration::from_secs(seconds),
        };
        let run = FIRST_RUN + minutes.len() as u64;
        let scripts = deposits(CONNECTIONS, run, |seed| Accounts::random(accounts, seed));
        let before = service.processor_time()?;
        let (mut seen, scripts) = drive_at(pace, service.address, scripts, span)?;
        let processors = service.processor_time()?.saturating_sub(before);
        acknowledged.extend(scripts.into_iter().flat_map(Script::into_acknowledged));
        refusal = refusal.or(seen.refusal.take());
        let files = Files::below(&bench.dir.join("soak"))?.total().0;
        let minute = Minute::of(seen, processors, service.memory()?, files);
        eprintln!("soak: {}", minute.row(minutes.len() + 1).join("  "));
        minutes.push(minute);
    }
    let refused = minutes.iter().map(|minute| minute.refused).sum();
    let (service, checked) = check_log(bench, service, "account", &acknowledged, refused)?;
    service.end(End::Stopped)?;

    let stall = minutes
        .iter()
        .map(|minute| minute.stall)
        .max()
        .unwrap_or_default();
    if bench.args.soak_seconds() >= TARGET_SECONDS {
        facts.put("stall", stall.as_secs_f64() * 1e6);
    }
    let mut notes = vec![format!(
        "the longest silence, in which none of the {CONNECTIONS} connections had an answer, was {} ms",
        format::millis(stall.as_secs_f64() * 1e6)
    )];
    notes.extend(
        refusal.map(|text| format!("{} answers were not 2xx, such as {text}", format::count(refused))),
    );
    notes.push(checked_note(bench, &checked));
    let first = minutes.first().map(|minute| minute.per_second.clone());
    let section = Section {
        key: "soak",
        title: format!(
            "A long run: {} seconds of deposits over {CONNECTIONS} connections{}",
            bench.args.soak_seconds(),
            bench.args.soak_rate.map_or_else(String::new, |rate| format!(
                ", {} each second",
                format::count(rate.into())
            ))
        ),
        columns: vec![
            "minute",
            "per second",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "max ms",
            "silence ms",
            "not 2xx",
            "us each",
            "memory",
            "files",
        ],
        rows: minutes
            .iter()
            .zip(1..)
            .map(|(minute, number)| minute.row(number))
            .collect(),
        notes,
        json: json!({ "minutes": minutes.iter().map(Minute::json).collect::<Vec<_>>(), "log": checked }),
    };
    Ok((section, first.unwrap_or_default()))
}

impl Minute {
    fn of(seen: Seen, processors: Duration, memory: Memory, files: u64) -> Self {
        Self {
            rate: rate(seen.answered(), seen.time),
            refused: seen.refused_total(),
            per_second: seen.per_second,
            latency: Latency::of(seen.latencies),
            stall: seen.stall,
            processors,
            memory,
            files,
        }
    }

    fn row(&self, number: usize) -> Vec<String> {
        let Latency {
            p50_us,
            p99_us,
            p999_us,
            max_us,
        } = self.latency;
        let stall_us = self.stall.as_secs_f64() * 1e6;
        let mut row = vec![number.to_string(), format::rate(self.rate)];
        row.extend([p50_us, p99_us, p999_us, max_us, stall_us].map(format::millis));
        row.push(format::count(self.refused));
        row.push(format!("{:.1}", self.microseconds_each()));
        row.extend([self.memory.resident, self.files].map(format::bytes));
        row
    }

    /// Processor time of the server for each command.
    fn microseconds_each(&self) -> f64 {
        let answered: u64 = self.per_second.iter().sum();
        self.processors.as_secs_f64() * 1e6 / answered.max(1) as f64
    }

    fn json(&self) -> Value {
        json!({
            "per_second": self.rate,
            "processor_us_each": self.microseconds_each(),
            "files_bytes": self.files,
            "seconds": self.per_second,
            "latency": self.latency,
            "longest_silence_us": self.stall.as_secs_f64() * 1e6,
            "memory_bytes": self.memory,
            "not_2xx": self.refused,
        })
    }
}
