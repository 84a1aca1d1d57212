//! One aggregate with very many events, written among as many of others: its first read, without a snapshot and with one.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::{
    cold::NO_SNAPSHOTS,
    commands::deposits,
    deposits::{Accounts, account_id},
    facts::Facts,
    failed::Failed,
    format,
    in_process::{self, Ask, Job, Layer, Plan},
    load::{Span, drive},
    report::Section,
    service::{Bench, End, Service},
};

/// Accounts that the other events belong to.
const OTHERS: u32 = 10_000;
/// What the target speaks of.
const TARGET_EVENTS: u32 = 1_000_000;
/// A snapshot is saved behind the answer.
const SNAPSHOT_SAVED: Duration = Duration::from_secs(2);

/// Writes the events past the lanes, as the lanes would; starts a server on them; and reads the aggregate once.
pub(crate) fn measure(bench: &Bench<'_>, facts: &mut Facts) -> Result<Section, Failed> {
    let events = bench.args.rebuild_events();
    eprintln!("rebuild: write 2 × {} events", format::count(u64::from(events)));
    let data = bench.dir.join("rebuild");
    let written = in_process::run(&Job {
        layer: Layer::Log,
        data: data.clone(),
        module: bench.component_path(bench.args.account.as_deref(), "account")?,
        ask: Ask::deposit(),
        plan: Plan::Interleaved {
            events,
            others: OTHERS,
        },
    })?;
    if let Some(problem) = &written.refusal {
        return Err(Failed::new(format!(
            "writing the events of the rebuild: {problem}"
        )));
    }
    let service = bench.server_with("rebuild", &NO_SNAPSHOTS)?;
    let replayed = read(&service, u64::from(events))?;
    eprintln!("rebuild: without a snapshot {}", format::seconds(replayed));
    service.end(End::Killed)?;

    // With default settings one event more is due for a snapshot.
    let service = bench.server("rebuild")?;
    let (seen, _) = drive(service.address, deposit_once(), Span::ToTheEnd)?;
    seen.all_answered("one deposit more")?;
    std::thread::sleep(SNAPSHOT_SAVED);
    let service = bench.restart(service, End::Stopped)?;
    let restored = read(&service, u64::from(events) + 1)?;
    eprintln!("rebuild: with a snapshot {}", format::seconds(restored));
    service.end(End::Stopped)?;
    in_process::remove(&data)?;

    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    if events >= TARGET_EVENTS {
        facts.put("rebuild-replayed", micros(replayed));
        facts.put("rebuild-restored", micros(restored));
    }
    let row = |name: &str, time: Duration, applied: u64| {
        vec![
            name.to_owned(),
            format::millis(micros(time)),
            format::rate(applied as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE)),
        ]
    };
    Ok(Section {
        key: "rebuild",
        title: format!(
            "One aggregate with {} events among as many of {} others: its first read after a start",
            format::count(u64::from(events)),
            format::count(u64::from(OTHERS))
        ),
        columns: vec!["", "ms", "events/s"],
        rows: vec![
            row("no snapshot", replayed, u64::from(events)),
            row("with snapshot", restored, 1),
        ],
        notes: vec![format!(
            "one read each; the files are in the page cache; the events were written at {}/s past the lanes",
            format::rate(written.accepted as f64 / written.time.as_secs_f64().max(f64::MIN_POSITIVE))
        )],
        json: json!({
            "events": events,
            "no_snapshot_seconds": replayed.as_secs_f64(),
            "with_snapshot_seconds": restored.as_secs_f64(),
        }),
    })
}

fn deposit_once() -> Vec<crate::deposits::Requests> {
    deposits(1, 1, |_| Accounts::rounds(1, 1))
}

/// The time of one GET, whose answer is checked.
fn read(service: &Service, events: u64) -> Result<Duration, Failed> {
    let mut connection = service.connect()?;
    let path = format!("/v1/aggregates/account/{}", account_id(0));
    let started = Instant::now();
    let answer = connection
        .request("GET", &path, &[], &[])
        .map_err(|error| Failed::io("read the state", &error))?;
    let time = started.elapsed();
    let balance = format!("\"balance\":{}", events - 1);
    let version = events.to_string();
    if answer.status != 200
        || answer.header("aggregate-version") != Some(version.as_str())
        || !answer.text().contains(&balance)
    {
        return Err(Failed::new(format!(
            "GET {path}: expected version {version} and {balance}, answered {} {}",
            answer.status,
            answer.text()
        )));
    }
    Ok(time)
}
