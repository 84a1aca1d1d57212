//! Commands as fast as they are answered, with none to a hundred who follow.

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
    push::Pushed,
};

/// Sockets that the floor writes to: as many as the target has subscribers.
pub(super) const SUBSCRIBERS_MAX: usize = 100;

/// All numbers of subscribers in turns.
pub(super) fn measure(
    bench: &Bench<'_>,
    service: &Service,
    books: &mut Books,
    facts: &mut Facts,
) -> Result<Section, Failed> {
    let counts = &bench.args.subscribers;
    let lines = counts
        .iter()
        .map(|count| Line::new(&title(*count), *count, 0, Pace::Closed));
    let mut lines: Vec<_> = lines.collect();
    let mut floor = Pushed::default();
    for _ in 0..bench.args.runs() {
        for line in &mut lines {
            line.measure(bench, service, books)?;
        }
        floor.measure(bench, service)?;
    }
    let lines: Vec<_> = lines.into_iter().map(Line::finish).collect();
    for (count, (rate, followed)) in counts.iter().zip(&lines) {
        facts.put_rate(&format!("fan-out-{count}"), rate);
        facts.put(
            format!("fan-out-{count}.delivered"),
            followed.delivered_per_second(),
        );
    }
    facts.put("fan-out-floor.delivered", floor.per_second());
    Ok(section(&lines, &floor))
}

fn title(count: usize) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} subscriber{plural}")
}

fn section(lines: &[(Rate, Followed)], floor: &Pushed) -> Section {
    let mut notes = vec![
        "each subscriber was given every event of its run, once and in order; `behind s` is how long that took after the \
         last command, `fell behind` how often they were told so, in all runs"
            .to_owned(),
        "`us each` is processor time of the server for each event that it gives one subscriber: what remains of it when \
         the commands have taken what they take alone; `writer us` is that of the thread that commits, for each command"
            .to_owned(),
        "the floor has no commands and no server: two threads write pieces of 32 KiB of the same events to the sockets, and \
         the same readers read; its `server cores` are those two threads'"
            .to_owned(),
    ];
    notes.extend(lines.iter().filter_map(|(rate, _)| rate.refusal_note()));
    let row_of = |alone: &(Rate, Followed)| lines.iter().map(|line| row(line, alone, floor)).collect();
    let mut rows: Vec<Vec<String>> = lines.first().map(row_of).unwrap_or_default();
    rows.push(floor_row(floor));
    Section {
        key: "fan_out",
        title: format!(
            "Fan-out: deposits over {CONNECTIONS} connections, with subscribers of all events beside them"
        ),
        columns: vec![
            "",
            "commands/s",
            "runs",
            "of none",
            "p50 ms",
            "p99 ms",
            "delivered/s",
            "of floor",
            "us each",
            "writer us",
            "behind s",
            "fell behind",
            "server cores",
            "reader cores",
            "generator cores",
        ],
        rows,
        notes,
        json: json!({ "lines": lines.iter().map(json).collect::<Vec<_>>(), "floor": floor.json() }),
    }
}

fn row((rate, followed): &(Rate, Followed), (none, alone): &(Rate, Followed), floor: &Pushed) -> Vec<String> {
    let share = rate.per_second() / none.per_second().max(f64::MIN_POSITIVE);
    let each = followed.us_per_delivery(alone);
    let mut row = vec![
        rate.name.clone(),
        format::rate(rate.per_second()),
        rate.range(),
        format!("{share:.2}"),
        format::millis(rate.latency.p50_us),
        format::millis(rate.latency.p99_us),
        format::rate(followed.delivered_per_second()),
        // With fewer subscribers it is the commands that there are no more of.
        format!(
            "{:.2}",
            followed.delivered_per_second() / floor.per_second().max(f64::MIN_POSITIVE)
        ),
        each.map_or_else(|| "–".to_owned(), |each| format!("{each:.2}")),
        format!("{:.1}", followed.writer_us_per_command()),
        format!("{:.1}", followed.behind.as_secs_f64()),
        format::count(followed.fell_behind),
    ];
    row.extend(followed.cores().map(|cores| format!("{cores:.2}")));
    row
}

fn floor_row(floor: &Pushed) -> Vec<String> {
    let [writers, readers] = floor.cores();
    let none = || "–".to_owned();
    vec![
        format!("floor: writing to {SUBSCRIBERS_MAX} sockets"),
        none(),
        none(),
        none(),
        none(),
        none(),
        format::rate(floor.per_second()),
        "1.00".to_owned(),
        format!("{:.2}", floor.us_each()),
        none(),
        none(),
        none(),
        format!("{writers:.2}"),
        format!("{readers:.2}"),
        none(),
    ]
}

/// The numbers of a line.
pub(super) fn json((rate, followed): &(Rate, Followed)) -> serde_json::Value {
    let [server, readers, generator] = followed.cores();
    json!({
        "commands": rate.json(),
        "delivered": followed.delivered,
        "delivered_per_second": followed.delivered_per_second(),
        "server_us_per_command": followed.us_per_command(),
        "writer_us_per_command": followed.writer_us_per_command(),
        "behind_seconds": followed.behind.as_secs_f64(),
        "fell_behind": followed.fell_behind,
        "server_cores": server,
        "reader_cores": readers,
        "generator_cores": generator,
        "server_memory_bytes": followed.memory,
    })
}
