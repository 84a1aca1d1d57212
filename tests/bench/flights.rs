//! The year of flights: how fast `annals load` brings it in, and whether it comes to what the table says.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Map, Value, json};

use crate::{
    failed::Failed,
    format,
    report::Section,
    service::{Bench, End, Service, checkout},
};

/// Loads the year into a new server.
pub(crate) fn measure(bench: &Bench<'_>, file: &Path) -> Result<Section, Failed> {
    let component = bench.component(bench.args.aircraft.as_deref(), "aircraft")?;
    let service = bench.server("flights")?;
    service.upload(&component)?;
    eprintln!("flights: annals load {}", file.display());
    let before = service.processor_time()?;
    let summary = load(bench, &service, file)?;
    let busy = service.processor_time()? - before;
    service.end(End::Stopped)?;
    eprintln!("flights: count the table");
    let counted = count()?;
    compare(&summary, &counted)?;
    section(&summary, &counted, busy)
}

fn load(bench: &Bench<'_>, service: &Service, file: &Path) -> Result<Value, Failed> {
    let mut command = Command::new(&bench.annals);
    let server = format!("http://{}", service.address);
    command.args(["--json", "--server", &server, "load"]).arg(file);
    json_of("annals load", &mut command)
}

/// What the table comes to without annals: the script that shares no code with it.
fn count() -> Result<Value, Failed> {
    let scripts = checkout().join("examples/aircraft");
    let mut fetch = Command::new("python3");
    fetch.arg(scripts.join("flights.py")).arg("--fetch");
    let table: PathBuf = output("flights.py --fetch", &mut fetch)?.trim().into();
    let mut count = Command::new("python3");
    count.arg(scripts.join("count.py")).arg(table);
    json_of("count.py", &mut count)
}

fn output(what: &str, command: &mut Command) -> Result<String, Failed> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failed::io(&format!("run {what}"), &error))?;
    if !output.status.success() {
        return Err(Failed::new(format!(
            "{what}: {}\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout)
        )));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn json_of(what: &str, command: &mut Command) -> Result<Value, Failed> {
    let text = output(what, command)?;
    serde_json::from_str(&text)
        .map_err(|error| Failed::new(format!("{what} did not print JSON ({error}): {text}")))
}

/// Every total of the load is the one of the table.
fn compare(summary: &Value, counted: &Value) -> Result<(), Failed> {
    let number = |value: &Value, path: &str| value.pointer(path).and_then(Value::as_u64);
    let pairs = [
        ("accepted commands", "/accepted", "/accepted/total"),
        ("rejected commands", "/rejected/total", "/rejected/total"),
        ("events", "/events", "/events/total"),
        ("lines", "/lines", "/commands"),
    ];
    for (what, loaded, expected) in pairs {
        let (loaded, expected) = (number(summary, loaded), number(counted, expected));
        if loaded.is_none() || loaded != expected {
            return Err(Failed::new(format!(
                "flights: {what}: annals load says {loaded:?}, count.py {expected:?}. There is no result"
            )));
        }
    }
    let by_code = by_code(counted);
    if summary.pointer("/rejected/by_code").and_then(Value::as_object) != Some(&by_code) {
        return Err(Failed::new(format!(
            "flights: rejected: annals load says {}, count.py {by_code:?}. There is no result",
            summary.pointer("/rejected/by_code").unwrap_or(&Value::Null)
        )));
    }
    Ok(())
}

/// Rejections of the table by code, without the total.
fn by_code(counted: &Value) -> Map<String, Value> {
    let mut codes = counted
        .get("rejected")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    codes.remove("total");
    codes
}

fn section(summary: &Value, counted: &Value, busy: Duration) -> Result<Section, Failed> {
    let number = |path: &str| summary.pointer(path).and_then(Value::as_u64).unwrap_or_default();
    let seconds = summary
        .get("seconds")
        .and_then(Value::as_f64)
        .filter(|seconds| *seconds > 0.0);
    let seconds = seconds.ok_or_else(|| Failed::new(format!("annals load says no time: {summary}")))?;
    let commands = number("/accepted") + number("/rejected/total");
    let codes: Vec<String> = by_code(counted)
        .iter()
        .map(|(code, number)| format!("{code} {}", format::count(number.as_u64().unwrap_or_default())))
        .collect();
    Ok(Section {
        key: "flights",
        title: "The year of flights from New York, with annals load".to_owned(),
        columns: vec![
            "",
            "commands",
            "accepted",
            "rejected",
            "events",
            "seconds",
            "commands/s",
            "server cores",
        ],
        rows: vec![vec![
            "2013".to_owned(),
            format::count(commands),
            format::count(number("/accepted")),
            format::count(number("/rejected/total")),
            format::count(number("/events")),
            format!("{seconds:.1}"),
            format::rate(commands as f64 / seconds),
            format!("{:.2}", busy.as_secs_f64() / seconds),
        ]],
        notes: vec![
            format!("rejected: {}", codes.join(", ")),
            "each of these totals is the one that examples/aircraft/count.py counts in the table".to_owned(),
        ],
        json: json!({ "load": summary, "count": counted, "server_seconds": busy.as_secs_f64() }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted() -> Value {
        json!({ "commands": 10, "accepted": { "depart": 7, "total": 7 }, "events": { "total": 8 },
                "rejected": { "in-the-air": 2, "another-flight": 1, "total": 3 } })
    }

    fn summary() -> Value {
        json!({ "lines": 10, "accepted": 7, "events": 8, "seconds": 2.0,
                "rejected": { "total": 3, "by_code": { "in-the-air": 2, "another-flight": 1 } } })
    }

    #[test]
    fn totals_are_compared_one_by_one() {
        compare(&summary(), &counted()).unwrap();
        for (path, value) in [
            ("/lines", json!(11)),
            ("/accepted", json!(6)),
            ("/events", Value::Null),
            ("/rejected/total", json!(2)),
            ("/rejected/by_code/in-the-air", json!(1)),
        ] {
            let mut other = summary();
            *other.pointer_mut(path).unwrap() = value;
            let failed = compare(&other, &counted()).unwrap_err().to_string();
            assert!(failed.contains("There is no result"), "{path}: {failed}");
        }
        let section = section(&summary(), &counted(), Duration::from_secs(1)).unwrap();
        assert_eq!(section.rows[0][1..], ["10", "7", "3", "8", "2.0", "5.0", "0.50"]);
    }
}
