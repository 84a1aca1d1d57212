//! Replays commands of `flights.py` through the aggregate, without a server, and prints the totals as JSON:
//!
//! `python3 examples/aircraft/flights.py | cargo run --release -p annals-example-aircraft --example replay`

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::io::BufRead;

use annals_example_aircraft::{Aircraft, AircraftCommand};
use annals_sdk::Value;
use annals_sdk::prelude::*;

fn main() -> Result<(), Box<dyn Error>> {
    let mut aircraft: BTreeMap<String, Aircraft> = BTreeMap::new();
    let mut accepted: BTreeMap<String, u64> = BTreeMap::new();
    let mut rejected: BTreeMap<String, u64> = BTreeMap::new();
    let mut events: BTreeMap<String, u64> = BTreeMap::new();
    let context = Context::builder("replay").build();
    for line in std::io::stdin().lock().lines() {
        let line: Value = line?.parse()?;
        let text = |key: &str| {
            line.get(key)
                .and_then(Value::as_str)
                .ok_or(format!("`{key}` is missing: {line}"))
        };
        let state = aircraft.entry(text("id")?.to_owned()).or_default();
        let payload = line.get("payload").ok_or("`payload` is missing")?.to_string();
        let command = AircraftCommand::decode(text("command")?, payload.as_bytes())?;
        match state.handle(command, &context) {
            Err(rejection) => *rejected.entry(rejection.code().to_owned()).or_default() += 1,
            Ok(decided) => {
                *accepted.entry(text("command")?.to_owned()).or_default() += 1;
                for event in decided {
                    *events.entry(event.event_type().to_owned()).or_default() += 1;
                    state.apply(event);
                }
            }
        }
        let broken = state.invariants();
        if !broken.is_empty() {
            return Err(format!("{line} breaks invariants: {broken:?}").into());
        }
    }
    println!(
        "{:#}",
        json!({ "aircraft": aircraft.len(), "accepted": accepted, "rejected": rejected, "events": events })
    );
    Ok(())
}
