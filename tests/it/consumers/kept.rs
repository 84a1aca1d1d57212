//! What was answered with a 2xx stands after `kill -9`: one server is killed right behind each answer.

use std::path::Path;

use annals_tests::{
    guests,
    server::{Api, Process},
};
use serde_json::{Value, json};

use super::{at, leases, places, put};

/// A consumer of the events of `a` (two) and `b` (one), with what it was delivered first.
struct Ground<'a> {
    server: &'a Process,
    name: &'a str,
    first: Value,
}

impl Ground<'_> {
    fn ask(&self, what: &str, body: &Value) {
        at(self.server, self.name, what, body).ok();
    }

    fn ack(&self, which: &[usize]) {
        self.ask("ack", &json!({ "leases": self.leases(which) }));
    }

    fn refuse(&self, which: &[usize], park: bool) {
        let mut body = json!({ "leases": self.leases(which), "reason": "a test", "park": park });
        if !park {
            body["delay_ms"] = 0.into();
        }
        self.ask("nack", &body);
    }

    fn leases(&self, which: &[usize]) -> Vec<Value> {
        let all = leases(&self.first);
        which.iter().map(|index| all[*index].clone()).collect()
    }

    fn of_a(&self, what: &str, more: &Value) {
        let mut body = json!({ "type": "counter", "id": "a" });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        self.ask(what, &body);
    }
}

/// How a consumer stands after a restart: what it delivers, and what of its document is to be as it was answered.
struct Expected {
    delivered: &'static [(&'static str, u64, u64)],
    stands: Value,
}

struct Row {
    what: &'static str,
    act: fn(&Ground<'_>),
    expected: Expected,
}

fn row(
    what: &'static str,
    act: fn(&Ground<'_>),
    delivered: &'static [(&'static str, u64, u64)],
    stands: Value,
) -> Row {
    Row {
        what,
        act,
        expected: Expected { delivered, stands },
    }
}

/// What is done, and then the events that come, each with its version and attempt, and the rest.
fn rows() -> Vec<Row> {
    let nothing = json!({ "aggregates": 0, "events": 0 });
    let of_a = |events: u64| json!({ "aggregates": 1, "events": events });
    vec![
        row(
            "ack",
            |ground| ground.ack(&[0, 1]),
            &[("a", 2, 1)],
            json!({ "parked": nothing }),
        ),
        row(
            "nack",
            |ground| {
                ground.ack(&[1]);
                ground.refuse(&[0], false);
            },
            &[("a", 1, 2)],
            json!({ "parked": nothing }),
        ),
        row(
            "park",
            |ground| ground.refuse(&[0], true),
            &[("b", 1, 1)],
            json!({ "parked": of_a(2) }),
        ),
        row(
            "replay",
            |ground| {
                ground.refuse(&[0], true);
                ground.of_a("replay", &json!({}));
            },
            &[("a", 1, 1), ("b", 1, 1)],
            json!({ "parked": of_a(2) }),
        ),
        row(
            "skip",
            |ground| {
                ground.refuse(&[0], true);
                ground.of_a("skip", &json!({ "through": 1, "reason": "a test" }));
                ground.of_a("replay", &json!({}));
            },
            &[("a", 2, 1), ("b", 1, 1)],
            json!({ "parked": of_a(1) }),
        ),
        row(
            "reset",
            |ground| {
                ground.ack(&[0, 1]);
                ground.ask("reset", &json!({ "start": "beginning" }));
            },
            &[("a", 1, 1), ("b", 1, 1)],
            json!({ "parked": nothing }),
        ),
        row(
            "pause",
            |ground| ground.ask("pause", &Value::Null),
            &[],
            json!({ "paused": true }),
        ),
        row(
            "put",
            |ground| {
                put(
                    ground.server,
                    ground.name,
                    &json!({ "batch": 1, "ack_deadline_ms": 5_000 }),
                )
                .ok();
            },
            &[("a", 1, 1)],
            json!({ "batch": 1, "ack_deadline_ms": 5_000 }),
        ),
    ]
}

fn delivered(server: &Process, name: &str) -> Vec<(String, u64, u64)> {
    let fetched = at(server, name, "fetch", &json!({})).ok();
    let attempts = fetched["events"].as_array().unwrap().iter();
    let attempts = attempts.map(|event| event["attempt"].as_u64().unwrap());
    let places = places(&fetched).into_iter().zip(attempts);
    places
        .map(|((id, version), attempt)| (id, version, attempt))
        .collect()
}

fn one(data: &Path, row: &Row) {
    let server = Process::start(data);
    put(&server, row.what, &json!({ "filter": { "types": ["counter"] } })).ok();
    let first = at(&server, row.what, "fetch", &json!({})).ok();
    (row.act)(&Ground {
        server: &server,
        name: row.what,
        first,
    });
    server.kill();
    let server = Process::start(data);
    let path = format!("/v1/consumers/{}", row.what);
    let stands = server.get(&path).ok();
    for (name, value) in row.expected.stands.as_object().unwrap() {
        assert_eq!(stands[name], *value, "{}: {name}", row.what);
    }
    let expected = row.expected.delivered.iter();
    let expected: Vec<_> = expected
        .map(|(id, version, attempt)| ((*id).to_owned(), *version, *attempt))
        .collect();
    assert_eq!(delivered(&server, row.what), expected, "{}", row.what);
    // And it stays deleted.
    let deleted = server.request("DELETE", &path, &[], b"");
    assert_eq!(deleted.status, 204, "{}", row.what);
    server.kill();
    let server = Process::start(data);
    server.get(&path).problem(404, "unknown-consumer");
    server.kill();
}

#[test]
fn what_was_answered_stands_after_a_kill() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("data");
    let server = Process::start(&data);
    server.upload(&guests::counter()).ok();
    for id in ["a", "a", "b"] {
        server
            .command(&format!("counter/{id}"), "add", &json!({ "by": 1 }))
            .ok();
    }
    server.kill();
    for row in rows() {
        one(&data, &row);
    }
}
