//! Memory of the server: idle, and with many live accounts.

use serde_json::json;

use crate::{
    commands::{check_log, checked_note, open_accounts},
    facts::Facts,
    failed::Failed,
    format,
    report::Section,
    service::{Bench, End, Memory},
};

const LIVE_ACCOUNTS: u32 = 100_000;
/// So that all of them stay: the default evicts the longest idle ones before that, and has fewer cells.
const LIMITS: [&str; 3] = ["live-per-shard=100000", "lane-idle=3600000", "cells=1024"];
/// What a start has left behind is given back by then.
const SETTLED: std::time::Duration = std::time::Duration::from_secs(2);

/// Reads resident memory after a start, and with an open account in each of many live objects.
pub(crate) fn measure(bench: &Bench<'_>, facts: &mut Facts) -> Result<Section, Failed> {
    eprintln!("memory: idle");
    let component = bench.component(bench.args.account.as_deref(), "account")?;
    let service = bench.server("memory-idle")?;
    service.upload(&component)?;
    let service = bench.restart(service, End::Stopped)?;
    std::thread::sleep(SETTLED);
    let idle = service.memory()?;
    service.end(End::Stopped)?;

    eprintln!(
        "memory: {} live accounts",
        format::count(u64::from(LIVE_ACCOUNTS))
    );
    let service = bench.server_with("memory-live", &LIMITS)?;
    service.upload(&component)?;
    let acknowledged = open_accounts(&service, LIVE_ACCOUNTS)?;
    let live = service.memory()?;
    let (service, checked) = check_log(bench, service, "account", &acknowledged, 0)?;
    service.end(End::Stopped)?;

    facts.put("memory-idle", idle.resident as f64);
    facts.put("memory-live", live.resident as f64);
    let row =
        |name: String, memory: Memory| vec![name, format::bytes(memory.resident), format::bytes(memory.peak)];
    Ok(Section {
        key: "memory",
        title: "Memory of the server".to_owned(),
        columns: vec!["", "resident", "peak"],
        rows: vec![
            row("idle, one module".to_owned(), idle),
            row(
                format!("{} live accounts", format::count(u64::from(LIVE_ACCOUNTS))),
                live,
            ),
        ],
        notes: vec![
            format!("the second with --limit {}", LIMITS.join(" --limit ")),
            checked_note(bench, &checked),
        ],
        json: json!({ "idle": idle, "live": live, "live_accounts": LIVE_ACCOUNTS }),
    })
}
