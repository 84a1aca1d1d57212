//! Hostile modules: whatever a module does, its caller gets the documented error, nothing is appended, and the same
//! module's other aggregates answer afterwards with the right state.

use std::time::Duration;

use annals::vocabulary::Limits;
use annals_tests::{
    guests,
    server::{Api, TestServer},
};
use serde_json::{Value, json};

/// Small budgets, so that what runs for ever ends soon; one shard's worth of neighbours in few cells.
fn limits() -> Limits {
    Limits {
        handle_wall: Duration::from_millis(500),
        replay_wall: Duration::from_millis(500),
        ..Limits::default()
    }
}

struct Hostile {
    server: TestServer,
    events: usize,
}

impl Hostile {
    fn start(limits: Limits) -> Self {
        let server = TestServer::with_limits(limits);
        server.upload(&guests::counter()).ok();
        let mut hostile = Self { server, events: 0 };
        for neighbour in 0..8 {
            for _ in 0..=neighbour {
                hostile.accepted(&format!("n{neighbour}"), "add", json!({ "by": 5 }));
            }
        }
        hostile
    }

    fn accepted(&mut self, id: &str, command: &str, body: Value) {
        let answer = self.server.command(&format!("counter/{id}"), command, &body).ok();
        self.events += answer["events"].as_array().unwrap().len();
    }

    /// The neighbours are as they were, and nothing was appended.
    #[track_caller]
    fn unharmed(&self) {
        for neighbour in 0..8_u64 {
            let state = self
                .server
                .get(&format!("/v1/aggregates/counter/n{neighbour}"))
                .ok();
            assert_eq!(state["state"], json!({ "sum": 5 * (neighbour + 1) }), "{state}");
        }
        assert_eq!(self.server.whole_feed().len(), self.events);
    }
}

#[test]
fn what_goes_wrong_in_a_decision_is_named_and_appends_nothing() {
    let mut hostile = Hostile::start(limits());
    for (command, status, slug, fault, says) in [
        ("loop", 422, "out-of-fuel", "out-of-fuel", "used up its fuel"),
        ("recurse", 500, "module-trapped", "stack-overflow", "recursion"),
        ("bomb", 500, "module-trapped", "memory-limit", "67108864 bytes"),
        ("trap", 500, "module-trapped", "trapped", "unreachable"),
        (
            "panic",
            500,
            "module-trapped",
            "panicked",
            "src/lib.rs:7:9: a test panic",
        ),
        ("bad-utf8", 500, "module-trapped", "bad-output", "utf-8"),
        ("oob", 500, "module-trapped", "bad-output", "not usable"),
        ("giant", 422, "answer-too-large", "too-large", "the limit is"),
        ("ten-thousand", 422, "answer-too-large", "too-large", "1000"),
        ("undeclared", 500, "module-trapped", "bad-output", "manifest"),
        ("bad-json", 500, "module-trapped", "bad-output", "not JSON"),
    ] {
        for id in ["n3", "fresh"] {
            let response = hostile
                .server
                .command(&format!("counter/{id}"), command, &json!({ "by": 1 }));
            let problem = response.problem(status, slug);
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(says), "{command}: {problem}");
            assert!(detail.ends_with("Nothing was appended"), "{command}: {problem}");
            assert_eq!(problem["fault"], fault, "{command}: {problem}");
            assert_eq!(
                problem["diagnosis"].as_str().unwrap().len(),
                32,
                "{command}: {problem}"
            );
        }
        hostile.unharmed();
    }
    hostile
        .server
        .get("/v1/aggregates/counter/fresh")
        .problem(404, "unknown-aggregate");
    hostile.accepted("fresh", "spam", json!({}));
    hostile.accepted("fresh", "add", json!({ "by": 2 }));
    hostile.unharmed();
}

#[test]
fn a_decision_that_cannot_be_applied_is_not_appended() {
    let mut hostile = Hostile::start(limits());
    for (how, status, slug) in [
        (1, 500, "module-trapped"),
        (2, 422, "out-of-fuel"),
        (3, 500, "module-trapped"),
    ] {
        hostile
            .server
            .command("counter/n5", "hurt", &json!({ "how": how }))
            .problem(status, slug);
        hostile.unharmed();
    }
    // A broken invariant is refused, a trap in the check is a trap.
    let broken = hostile.server.command("counter/n5", "arm", &json!({ "mode": 5 }));
    assert_eq!(
        broken.problem(422, "invariant-broken")["invariants"],
        json!(["as armed"])
    );
    hostile
        .server
        .command("counter/n5", "arm", &json!({ "mode": 3 }))
        .problem(500, "module-trapped");
    hostile.unharmed();
    hostile.accepted("n9", "add", json!({ "by": 1 }));
    hostile.unharmed();
}

#[test]
fn traps_outside_of_decisions_stay_with_their_caller() {
    let mut hostile = Hostile::start(Limits {
        snapshot_every: 2,
        snapshot_on_eviction: 1,
        ..limits()
    });
    hostile
        .server
        .command("counter/trapped", "add", &json!({ "by": 1 }))
        .problem(500, "module-trapped");
    hostile.unharmed();
    // Armed aggregates trap when saved (1), rendered (2), destroyed (4); refuse to be saved (6), trap or refuse when
    // restored (7, 8), render what is not JSON (9), or answer with 40 MiB (10, 11).
    for mode in [1, 4, 6, 7, 8, 10] {
        let id = format!("armed-{mode}");
        hostile.accepted(&id, "arm", json!({ "mode": mode }));
        for _ in 0..5 {
            hostile.accepted(&id, "add", json!({ "by": 2 }));
        }
        let state = hostile.server.get(&format!("/v1/aggregates/counter/{id}")).ok();
        assert_eq!(state["state"], json!({ "sum": 10 }), "mode {mode}: {state}");
        hostile.unharmed();
    }
    for (mode, status, slug) in [
        (2, 500, "module-trapped"),
        (9, 500, "module-trapped"),
        (11, 422, "answer-too-large"),
    ] {
        let id = format!("armed-{mode}");
        hostile.accepted(&id, "arm", json!({ "mode": mode }));
        for _ in 0..2 {
            hostile
                .server
                .get(&format!("/v1/aggregates/counter/{id}"))
                .problem(status, slug);
        }
        hostile.accepted(&id, "add", json!({ "by": 2 }));
        hostile.unharmed();
    }
}

#[test]
fn a_history_that_the_module_cannot_follow_is_named() {
    let mut server = TestServer::with_limits(limits());
    server.upload(&guests::counter()).ok();
    for _ in 0..3 {
        server.command("counter/a", "add", &json!({ "by": 1 })).ok();
    }
    server.command("counter/b", "add", &json!({ "by": 1 })).ok();
    // Another module for the type knows no `added`.
    let stranger = guests::counter_with(&[("data", "(data (i32.const 1536) \"aided\")")]);
    let uploaded = server
        .request("POST", "/v1/modules?activate=true", &[], &stranger)
        .ok();
    assert_eq!(uploaded["activated"], true, "{uploaded}");
    assert!(
        uploaded["notice"]
            .as_str()
            .unwrap()
            .contains("Nothing has checked"),
        "{uploaded}"
    );
    let problem = server
        .command("counter/a", "add", &json!({ "by": 1 }))
        .problem(500, "history-not-applicable");
    assert_eq!(
        (&problem["aggregate_id"], &problem["version"]),
        (&json!("a"), &json!(1)),
        "{problem}"
    );
    // Nothing is lost: the first module serves again.
    let first = server.get("/v1/deployments/counter").ok()["history"][1]["digest"].clone();
    let body = json!({ "digest": first }).to_string();
    server
        .request("PUT", "/v1/deployments/counter", &[], body.as_bytes())
        .ok();
    assert_eq!(
        server.get("/v1/aggregates/counter/a").ok()["state"],
        json!({ "sum": 3 })
    );
    server.stop();
}

#[test]
fn the_same_commands_give_the_same_events_and_states() {
    let run = || {
        let server = TestServer::start();
        server.upload(&guests::counter()).ok();
        for number in 0..50 {
            let id = format!("counter/c{}", number % 7);
            let headers = [("idempotency-key", format!("k{number}"))];
            let headers: Vec<(&str, &str)> = headers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let path = format!("/v1/aggregates/{id}/commands/add");
            server.post(&path, &headers, &json!({ "by": number })).ok();
        }
        let events: Vec<String> = server.whole_feed().iter().map(without_time_and_ids).collect();
        let states: Vec<Value> = (0..7)
            .map(|n| server.get(&format!("/v1/aggregates/counter/c{n}")).ok())
            .collect();
        (events, states)
    };
    assert_eq!(run(), run());
}

/// An event as bytes, apart from what differs between two logs: time, log id and cursor.
pub(crate) fn without_time_and_ids(event: &Value) -> String {
    let mut event = event.clone();
    for member in ["time", "id", "position"] {
        event.as_object_mut().unwrap().remove(member);
    }
    event.to_string()
}
