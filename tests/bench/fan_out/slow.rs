//! Commands at a rate that the machine has room for, with a thousand who follow, of whom nine hundred hardly read.

use std::time::Duration;

use serde_json::json;

use crate::{
    facts::Facts,
    failed::Failed,
    format,
    load::Pace,
    rates::Rate,
    report::Section,
    service::{Bench, Service},
};

use super::{
    Books,
    line::{CONNECTIONS, Followed, Line},
    live,
};

const FAST: usize = 100;
const SLOW: usize = 900;
/// So that what a thousand have missed can be given to all of them in the end, within a minute or so.
const COMMANDS_PER_SECOND: u32 = 1_000;
/// By then the slow ones' sockets are full: until then each of them is served as a fast one is.
const SETTLED: Duration = Duration::from_secs(2);

/// Both in turns.
pub(super) fn measure(
    bench: &Bench<'_>,
    service: &Service,
    books: &mut Books,
    facts: &mut Facts,
) -> Result<Section, Failed> {
    let pace = Pace::PerSecond(COMMANDS_PER_SECOND);
    let crowd = format!("{} subscribers, {SLOW} slow", format::count((FAST + SLOW) as u64));
    let mut lines = [
        Line::new("0 subscribers", 0, 0, pace).settle(SETTLED),
        Line::new(&crowd, FAST, SLOW, pace).settle(SETTLED),
    ];
    for _ in 0..bench.args.runs() {
        for line in &mut lines {
            line.measure(bench, service, books)?;
        }
    }
    let lines = lines.map(Line::finish);
    for (name, (rate, _)) in ["fan-out-slow-none", "fan-out-slow"].iter().zip(&lines) {
        facts.put_rate(name, rate);
    }
    Ok(section(&lines))
}

fn section(lines: &[(Rate, Followed)]) -> Section {
    let mut notes = vec![
        "in the end, when the slow ones read like the others, each of them was given every event of its run, once and in \
         order; `behind s` is how long that took"
            .to_owned(),
        "memory is the server's with all of them connected, and at the end of the commands, while the slow ones had read \
         next to nothing"
            .to_owned(),
    ];
    notes.extend(lines.iter().filter_map(|(rate, _)| rate.refusal_note()));
    Section {
        key: "fan_out_slow",
        title: format!(
            "Slow subscribers: {} deposits each second over {CONNECTIONS} connections, and a thousand who follow",
            format::count(COMMANDS_PER_SECOND.into())
        ),
        columns: vec![
            "",
            "commands/s",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "delivered/s",
            "behind s",
            "fell behind",
            "memory before",
            "memory after",
            "server cores",
            "reader cores",
            "generator cores",
        ],
        rows: lines.iter().map(row).collect(),
        notes,
        json: json!(lines.iter().map(live::json).collect::<Vec<_>>()),
    }
}

fn row((rate, followed): &(Rate, Followed)) -> Vec<String> {
    let (before, after) = followed.memory.unzip();
    let resident = |memory: Option<crate::service::Memory>| {
        memory.map_or_else(|| "–".to_owned(), |memory| format::bytes(memory.resident))
    };
    let mut row = vec![rate.name.clone(), format::rate(rate.per_second())];
    row.extend([rate.latency.p50_us, rate.latency.p99_us, rate.latency.p999_us].map(format::millis));
    row.extend([
        format::rate(followed.delivered_per_second()),
        format!("{:.1}", followed.behind.as_secs_f64()),
        format::count(followed.fell_behind),
        resident(before),
        resident(after),
    ]);
    row.extend(followed.cores().map(|cores| format!("{cores:.2}")));
    row
}
