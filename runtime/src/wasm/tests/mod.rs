//! The room's promises, tested with guests written as text.

#[path = "../../../../tests/src/guests.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "shared with the integration tests, which use all of it"
)]
pub(crate) mod guests;

mod cached;
mod healthy;
mod hostile;
mod logs;
mod natives;
mod turns;
mod uploads;

use std::sync::Arc;

use super::*;
use crate::vocabulary::{AggregateId, CommandName, Context, GuestCommand, Limits, Version};

/// Time for one call of a replay.
const REPLAY: std::time::Duration = std::time::Duration::from_secs(60);

fn host_with(limits: Limits) -> Host {
    Host::new(HostOptions {
        limits,
        cache_dir: None,
        cache_key: [7; 32],
    })
    .unwrap()
}

/// Few cells, so that many tests at once do not reserve too much address space.
fn limits() -> Limits {
    Limits {
        cells: 8,
        ..Limits::default()
    }
}

fn load(host: &Host, upload: &[u8]) -> Arc<Module> {
    host.load(&host.inspect(upload).unwrap()).unwrap()
}

fn counter() -> Arc<Module> {
    load(&host_with(limits()), &guests::counter())
}

fn id(id: &str) -> AggregateId {
    AggregateId::parse(id).unwrap()
}

fn context(version: u64) -> Context {
    Context {
        aggregate_id: id("a"),
        version: Version(version),
        now: 1_000,
        seed: [1, 2],
        actor: Some("tester".into()),
        command_id: "c-1".into(),
        correlation_id: "k-1".into(),
        causation_id: None,
    }
}

fn command(name: &str, payload: &str) -> GuestCommand {
    GuestCommand {
        name: CommandName::parse(name).unwrap(),
        payload: payload.as_bytes().to_vec().into(),
    }
}

/// Decides and applies; the number of events.
fn send(cell: &mut Cell, live: &Live, version: u64, name: &str, payload: &str) -> Result<u64, Fault> {
    let handled = cell.handle(live, &context(version), &command(name, payload))?;
    let decision = handled
        .outcome
        .unwrap_or_else(|refusal| panic!("{name}: {refusal:?}"));
    let events: Vec<_> = decision
        .events
        .iter()
        .enumerate()
        .map(|(index, event)| AppliedEvent::decided(Version(version + 1).plus(index), 1_000, event))
        .collect();
    cell.apply_decided(live, &events)?
        .unwrap_or_else(|refusal| panic!("{name}: {refusal}"));
    Ok(events.len() as u64)
}

fn state(cell: &mut Cell, live: &Live) -> Rendered {
    cell.render(live).unwrap().unwrap()
}

fn sum(sum: u64) -> Rendered {
    Rendered::State(format!("{{\"sum\":{sum}}}"))
}
