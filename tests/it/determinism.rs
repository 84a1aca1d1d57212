//! The same commands into two fresh servers give the same bytes: events (apart from time and ids), states, and the
//! snapshots that states come back from. One server has noisy neighbours in the same cells. A guest that lets a
//! `HashMap` decide the order of its data makes the same check fail, so that it is known to see such a thing.

use std::time::Duration;

use annals::vocabulary::Limits;
use annals_tests::{
    artifacts,
    server::{Api, TestServer},
};
use serde_json::{Value, json};

use crate::hostile::without_time_and_ids;

/// One command to one aggregate.
type Sent = (&'static str, &'static str, Value);

/// What can be observed of the subjects: their events as bytes, and their states once before and once after they were
/// evicted and came back from a snapshot.
#[derive(Debug, PartialEq, Eq)]
struct Observed {
    events: Vec<String>,
    states: Vec<String>,
}

fn observe(module: &[u8], aggregate_type: &str, commands: &[Sent], noise: Option<&Sent>) -> Observed {
    let limits = Limits {
        snapshot_every: 2,
        snapshot_on_eviction: 1,
        lane_idle: Duration::from_millis(1),
        ..Limits::default()
    };
    let server = TestServer::with_limits(limits);
    server.upload(module).ok();
    let send = |id: &str, number: usize, command: &str, body: &Value| {
        let key = format!("{id}-{number}");
        let path = format!("/v1/aggregates/{aggregate_type}/{id}/commands/{command}");
        server
            .post(&path, &[("idempotency-key", key.as_str())], body)
            .ok();
    };
    if let Some((_, command, body)) = noise {
        for neighbour in 0..32 {
            send(&format!("neighbour-{neighbour}"), 0, command, body);
        }
    }
    let mut states = Vec::new();
    for (number, (id, command, body)) in commands.iter().enumerate() {
        send(id, number, command, body);
        states.push(state(&server, aggregate_type, id));
    }
    std::thread::sleep(Duration::from_millis(2_500));
    states.extend(
        commands
            .iter()
            .map(|(id, _, _)| state(&server, aggregate_type, id)),
    );
    let subject = |event: &&Value| !event["subject"].as_str().unwrap().starts_with("neighbour");
    let events = server
        .whole_feed()
        .iter()
        .filter(subject)
        .map(without_time_and_ids)
        .collect();
    Observed { events, states }
}

fn state(server: &TestServer, aggregate_type: &str, id: &str) -> String {
    let response = server.get(&format!("/v1/aggregates/{aggregate_type}/{id}"));
    response.ok();
    response.text()
}

#[test]
fn an_honest_guest_is_the_same_everywhere() {
    let commands: Vec<Sent> = vec![
        ("a", "open", json!({ "owner": "A" })),
        ("b", "open", json!({ "owner": "B" })),
        ("a", "deposit", json!({ "amount": 70 })),
        ("b", "deposit", json!({ "amount": 5 })),
        ("a", "withdraw", json!({ "amount": 30 })),
        ("a", "deposit", json!({ "amount": 1 })),
    ];
    let module = artifacts::module("account");
    let alone = observe(&module, "account", &commands, None);
    let noise = ("", "open", json!({ "owner": "noise" }));
    assert_eq!(alone, observe(&module, "account", &commands, Some(&noise)));
    assert_eq!(alone, observe(&module, "account", &commands, None));
}

#[test]
fn a_guest_that_depends_on_its_neighbours_is_seen() {
    let names: Vec<String> = (0..64).map(|number| format!("name-{number}")).collect();
    let commands: Vec<Sent> = vec![
        ("a", "draw", json!({ "names": names })),
        ("b", "draw", json!({ "names": names })),
    ];
    let module = artifacts::module("hasher");
    let alone = observe(&module, "hasher", &commands, None);
    let noise = ("", "draw", json!({ "names": ["noise"] }));
    assert_ne!(
        alone,
        observe(&module, "hasher", &commands, Some(&noise)),
        "the check is blind"
    );
}
