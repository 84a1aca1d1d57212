//! What members are told of leases and places that are not theirs, or of what they say again.

use annals::vocabulary::Limits;
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
