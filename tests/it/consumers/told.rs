//! What members are told of leases and places that are not theirs, or of what they say again.

use std::{
    str::FromStr,
    time::{Duration, Instant},
};

use annals::vocabulary::{Cursor, Limits};
use annals_tests::server::Api;
use serde_json::{Value, json};

use super::{add, at, counter, leases, place, places, put};

#[test]
fn a_lease_of_another_consumer_is_refused() {
    let server = counter(Limits::default());
    add(&server, &["a", "b"]);
    for name in ["fa", "fb"] {
        put(&server, name, &json!({ "filter": { "types": ["counter"] } })).ok();
    }
    let of_fa = leases(&at(&server, "fa", "fetch", &json!({})).ok());
    let of_fb = leases(&at(&server, "fb", "fetch", &json!({})).ok());
    assert!(of_fa.iter().all(|lease| !of_fb.contains(lease)), "{of_fa:?}");
    at(&server, "fa", "ack", &json!({ "leases": of_fa })).ok();
    for what in ["ack", "nack", "extend"] {
        let mut body = json!({ "leases": of_fa });
        if what == "nack" {
            body["reason"] = "a test".into();
        }
        let problem = at(&server, "fb", what, &body).problem(409, "lease-refused");
        assert_eq!(problem["already"], 0, "{what}: {problem}");
        for refused in problem["refused"].as_array().unwrap() {
            assert_eq!(refused["reason"], "other-consumer", "{what}");
        }
    }
    let acked = at(&server, "fb", "ack", &json!({ "leases": of_fb })).ok();
    assert_eq!(acked, json!({ "acked": 2, "already": 0 }));
    // Nor is one that was never given out.
    let mut text = of_fb[0].as_str().unwrap().to_owned();
    text.replace_range(40..42, "ff");
    at(&server, "fb", "ack", &json!({ "leases": [text] })).problem(400, "bad-lease");
}

#[test]
fn a_refusal_that_is_sent_again_was_taken_already() {
    let server = counter(Limits::default());
    add(&server, &["a", "b"]);
    put(&server, "n", &json!({ "filter": { "types": ["counter"] } })).ok();
    let out = leases(&at(&server, "n", "fetch", &json!({})).ok());
    let refuse = |leases: &[Value], park: bool| {
        let body = json!({ "leases": leases, "reason": "a test", "park": park });
        at(&server, "n", "nack", &body)
    };
    let twice = [out[0].clone(), out[0].clone()];
    assert_eq!(refuse(&twice, false).ok(), json!({ "nacked": 1, "already": 1 }));
    for (nacked, already) in [(1, 0), (0, 1)] {
        let answer = refuse(&out[1..], true).ok();
        assert_eq!(answer, json!({ "nacked": nacked, "already": already }));
    }
    for what in ["ack", "extend"] {
        let problem = at(&server, "n", what, &json!({ "leases": out })).problem(409, "lease-refused");
        for refused in problem["refused"].as_array().unwrap() {
            assert_eq!(refused["reason"], "refused", "{what}: {problem}");
        }
    }
    // Replayed, its attempts begin anew: a refusal is one again.
    at(&server, "n", "replay", &json!({ "all": true })).ok();
    let again = at(&server, "n", "fetch", &json!({ "wait_ms": 5_000 })).ok();
    assert_eq!(places(&again), [place("b", 1)]);
    assert_eq!(refuse(&leases(&again), false).ok()["nacked"], 1);
}

#[test]
fn an_unknown_consumer_is_told_at_once() {
    let server = counter(Limits::default());
    let there = server.get("/readyz").ok()["position"]
        .as_str()
        .unwrap()
        .to_owned();
    let mut cursor = Cursor::from_str(&there).unwrap();
    cursor.position.0 += 1_000;
    let wait = format!("wait_for={cursor}&timeout=30");
    let begun = Instant::now();
    for path in ["nope", "nope/stream", "nope/parked", "nope/parked/counter/a"] {
        server
            .get(&format!("/v1/consumers/{path}?{wait}"))
            .problem(404, "unknown-consumer");
    }
    at(&server, "nope", &format!("fetch?{wait}"), &json!({})).problem(404, "unknown-consumer");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    // What there is waits.
    put(&server, "there", &json!({})).ok();
    let soon = format!("wait_for={cursor}&timeout=0.01");
    for path in ["consumers/there/parked", "aggregates/counter"] {
        server
            .get(&format!("/v1/{path}?{soon}"))
            .problem(504, "not-reached");
        server.get(&format!("/v1/{path}?wait_for={there}")).ok();
    }
}

#[test]
fn what_is_parked_together_or_apart_is_told() {
    let server = counter(Limits::default());
    add(&server, &["a", "a", "b"]);
    for ordering in ["aggregate", "none"] {
        let body = json!({ "filter": { "types": ["counter"] }, "ordering": ordering });
        put(&server, ordering, &body).ok();
        let out = leases(&at(&server, ordering, "fetch", &json!({})).ok());
        let refusal = json!({ "leases": out, "reason": "a test", "park": true });
        at(&server, ordering, "nack", &refusal).ok();
        let status = server.get(&format!("/v1/consumers/{ordering}")).ok();
        assert_eq!(status["parked"]["aggregates"], 2, "{status}");
        let both = json!({ "leases": out, "reason": "a test", "park": true, "delay_ms": 1 });
        at(&server, ordering, "nack", &both).problem(400, "malformed-request");
    }
    let named = json!({ "type": "counter", "id": "a", "version": 1, "through": 1, "reason": "a test" });
    let unnamed = json!({ "type": "counter", "id": "a", "through": 1, "reason": "a test" });
    let without = |body: &Value| {
        let mut body = body.clone();
        for name in ["through", "reason"] {
            body.as_object_mut().unwrap().remove(name);
        }
        body
    };
    for (name, body, query, says) in [
        ("aggregate", &named, "?version=1", "parked together"),
        ("none", &unnamed, "", "parked are `1`, `2`"),
    ] {
        let listed = server.get(&format!("/v1/consumers/{name}/parked/counter/a{query}"));
        let skipped = at(&server, name, "skip", body);
        for answer in [listed, skipped, at(&server, name, "replay", &without(body))] {
            let problem = answer.problem(400, "malformed-request");
            assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
        }
    }
    let mut nothing = unnamed.clone();
    nothing["through"] = 0.into();
    at(&server, "aggregate", "skip", &nothing).problem(400, "malformed-request");
    let replayed = at(&server, "none", "replay", &json!({ "all": true })).ok();
    assert_eq!(replayed, json!({ "replaying_aggregates": 2 }));
    at(&server, "aggregate", "skip", &unnamed).ok();
    let history = server.get("/v1/aggregates/annals-consumer/aggregate/events").ok();
    let filter = &history[0]["data"]["definition"]["filter"];
    assert_eq!(filter["types"], json!(["counter"]), "{history}");
}
