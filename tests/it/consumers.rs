//! Durable consumers over HTTP: what every input is answered with, parking and replaying, streams; and competing members
//! whose server is killed again and again.

mod filters;
mod kept;
mod members;
mod reading;
mod told;

use annals::vocabulary::Limits;
use annals_tests::{
    guests,
    http::{Response, SseStream},
    server::{Api, TestServer, next_link},
    shapes::is_rfc3339,
};
use serde_json::{Value, json};

fn counter(limits: Limits) -> TestServer {
    let server = TestServer::with_limits(limits);
    server.upload(&guests::counter()).ok();
    server
}

fn add(server: &impl Api, ids: &[&str]) {
    for id in ids {
        server
            .command(&format!("counter/{id}"), "add", &json!({ "by": 1 }))
            .ok();
    }
}

#[track_caller]
fn put(server: &impl Api, name: &str, body: &Value) -> Response {
    let path = format!("/v1/consumers/{name}");
    let headers = [("content-type", "application/json")];
    server.request("PUT", &path, &headers, body.to_string().as_bytes())
}

fn at(server: &impl Api, name: &str, what: &str, body: &Value) -> Response {
    server.post(&format!("/v1/consumers/{name}/{what}"), &[], body)
}

/// Subject and version of what was delivered.
fn places(delivered: &Value) -> Vec<(String, u64)> {
    let events = delivered["events"].as_array().unwrap().iter();
    events
        .map(|delivered| {
            let event = &delivered["event"];
            let version = event["sequence"].as_str().unwrap().parse().unwrap();
            (event["subject"].as_str().unwrap().to_owned(), version)
        })
        .collect()
}

fn leases(delivered: &Value) -> Vec<Value> {
    let events = delivered["events"].as_array().unwrap().iter();
    events.map(|delivered| delivered["lease"].clone()).collect()
}

fn place(id: &str, version: u64) -> (String, u64) {
    (id.to_owned(), version)
}

#[test]
fn a_consumer_keeps_its_place() {
    let server = counter(Limits::default());
    add(&server, &["a", "a", "b"]);
    let created = put(
        &server,
        "billing",
        &json!({ "filter": { "types": ["counter"] }, "batch": 10 }),
    );
    assert_eq!(created.status, 201);
    let status = created.ok();
    assert_eq!(status["filter"]["types"], json!(["counter"]));
    assert_eq!(
        (&status["batch"], &status["ordering"]),
        (&json!(10), &json!("aggregate"))
    );
    assert_eq!(status["lag"]["events"], 3);
    assert_eq!(status["lag"]["exact"], true);
    is_rfc3339(&status["changed_at"]);
    assert_eq!(
        put(
            &server,
            "billing",
            &json!({ "filter": { "types": ["counter"] }, "batch": 10 })
        )
        .status,
        200
    );

    let first = at(&server, "billing", "fetch", &json!({ "member": "m" })).ok();
    assert_eq!(places(&first), [place("a", 1), place("b", 1)]);
    assert_eq!(first["events"][0]["attempt"], 1);
    assert_eq!(first["events"][0]["event"]["specversion"], "1.0");
    let status = server.get("/v1/consumers/billing").ok();
    assert_eq!(
        (&status["leased"], &status["members"]),
        (&json!(2), &json!({ "m": 2 }))
    );
    let acked = at(
        &server,
        "billing",
        "ack",
        &json!({ "member": "m", "leases": leases(&first) }),
    )
    .ok();
    assert_eq!(acked, json!({ "acked": 2, "already": 0 }));
    let server = server.restart(|_| {});
    let acked = at(&server, "billing", "fetch", &json!({})).ok();
    assert_eq!(places(&acked), [place("a", 2)]);
    at(&server, "billing", "ack", &json!({ "leases": leases(&acked) })).ok();
    let status = server.get("/v1/consumers/billing").ok();
    assert_eq!(status["checkpoint"], server.get("/readyz").ok()["position"]);
    assert_eq!(
        status["lag"],
        json!({ "events": 0, "exact": true, "seconds": null })
    );
    let all = server.get("/v1/consumers").ok();
    assert_eq!(all["consumers"], json!([status]));

    let deleted = server.request("DELETE", "/v1/consumers/billing", &[], b"");
    assert_eq!(deleted.status, 204);
    server
        .get("/v1/consumers/billing")
        .problem(404, "unknown-consumer");
    let history = server.get("/v1/aggregates/annals-consumer/billing/events").ok();
    let happened: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["type"].clone())
        .collect();
    assert_eq!(happened, ["created", "deleted"]);
}

#[test]
fn a_poison_event_stops_only_its_aggregate() {
    let server = counter(Limits::default());
    let retry = json!({ "attempts": 2, "first_pause_ms": 0 });
    put(&server, "billing", &json!({ "retry": retry })).ok();
    add(&server, &["bad", "bad", "good", "good"]);
    let mut good = Vec::new();
    for _ in 0..6 {
        let delivered = at(&server, "billing", "fetch", &json!({ "member": "m" })).ok();
        for delivered in delivered["events"].as_array().unwrap() {
            let body = json!({ "member": "m", "leases": [delivered["lease"]], "reason": "no such customer" });
            if delivered["event"]["subject"] == "bad" {
                assert_eq!(at(&server, "billing", "nack", &body).ok()["nacked"], 1);
            } else {
                good.push(
                    delivered["event"]["sequence"]
                        .as_str()
                        .unwrap()
                        .parse::<u64>()
                        .unwrap(),
                );
                at(
                    &server,
                    "billing",
                    "ack",
                    &json!({ "member": "m", "leases": [delivered["lease"]] }),
                )
                .ok();
            }
        }
    }
    assert_eq!(good, [1, 2]);
    // What comes later stays behind it, also over a restart.
    add(&server, &["bad", "good"]);
    let delivered = at(&server, "billing", "fetch", &json!({ "member": "m" })).ok();
    assert_eq!(places(&delivered), [place("good", 3)]);
    at(
        &server,
        "billing",
        "ack",
        &json!({ "member": "m", "leases": leases(&delivered) }),
    )
    .ok();
    let server = server.restart(|_| {});
    let parked = server.get("/v1/consumers/billing/parked").ok();
    let lane = &parked["parked"][0];
    assert_eq!(
        (&lane["id"], &lane["events"], &lane["attempts"]),
        (&json!("bad"), &json!(3), &json!(2))
    );
    assert_eq!(lane["last_error"], "no such customer");
    let events = server.get("/v1/consumers/billing/parked/counter/bad?limit=2");
    assert_eq!(events.ok()["events"].as_array().unwrap().len(), 2);
    let rest = server.get(&next_link(&events).unwrap()).ok();
    assert_eq!(rest["events"][0]["sequence"], format!("{:020}", 3));

    let skip = json!({ "type": "counter", "id": "bad", "through": 1, "reason": "a test account" });
    assert_eq!(
        at(&server, "billing", "skip", &skip).ok(),
        json!({ "skipped": 1 })
    );
    let replay = json!({ "type": "counter", "id": "bad" });
    assert_eq!(
        at(&server, "billing", "replay", &replay).ok(),
        json!({ "replaying_aggregates": 1 })
    );
    at(&server, "billing", "replay", &replay).problem(409, "replaying");
    for version in [2, 3] {
        let delivered = at(&server, "billing", "fetch", &json!({ "member": "m" })).ok();
        assert_eq!(places(&delivered), [place("bad", version)]);
        at(
            &server,
            "billing",
            "ack",
            &json!({ "member": "m", "leases": leases(&delivered) }),
        )
        .ok();
    }
    assert_eq!(
        server.get("/v1/consumers/billing/parked").ok(),
        json!({ "parked": [] })
    );
    at(&server, "billing", "replay", &replay).problem(404, "not-parked");
}

#[test]
fn a_lease_that_is_not_out_is_refused_with_the_reason() {
    let server = counter(Limits::default());
    put(
        &server,
        "quick",
        &json!({ "ack_deadline_ms": 200, "retry": { "attempts": 2 } }),
    )
    .ok();
    add(&server, &["a", "b"]);
    let delivered = at(&server, "quick", "fetch", &json!({ "member": "m" })).ok();
    let first = leases(&delivered);
    let refused = |member: &str, leases: &[Value]| {
        let answer = at(
            &server,
            "quick",
            "ack",
            &json!({ "member": member, "leases": leases }),
        );
        let problem = answer.problem(409, "lease-refused");
        (problem["refused"][0]["reason"].clone(), problem["acked"].clone())
    };
    assert_eq!(refused("n", &first[..1]), (json!("other-member"), json!(0)));
    assert_eq!(
        at(
            &server,
            "quick",
            "extend",
            &json!({ "member": "m", "leases": first })
        )
        .ok()["extended"],
        2
    );
    at(
        &server,
        "quick",
        "ack",
        &json!({ "member": "m", "leases": first[..1] }),
    )
    .ok();
    let again = at(
        &server,
        "quick",
        "ack",
        &json!({ "member": "m", "leases": first[..1] }),
    )
    .ok();
    assert_eq!(again, json!({ "acked": 0, "already": 1 }));
    // Its time runs out: it is delivered again, and after the last attempt it is parked.
    let wait = json!({ "member": "n", "wait_ms": 5_000 });
    let second = at(&server, "quick", "fetch", &wait).ok();
    assert_eq!(second["events"][0]["attempt"], 2);
    assert_eq!(
        second["events"][0]["last_error"],
        "member `m` did not acknowledge it within 200 ms"
    );
    assert_eq!(refused("m", &first[1..]), (json!("expired"), json!(0)));
    assert_eq!(
        at(&server, "quick", "fetch", &json!({ "wait_ms": 400 })).ok()["events"],
        json!([])
    );
    let last = leases(&second);
    assert_eq!(refused("n", &last), (json!("parked"), json!(0)));
    let reset = at(&server, "quick", "reset", &json!({ "start": "beginning" })).ok();
    assert_eq!(reset["parked"], json!({ "aggregates": 0, "events": 0 }));
    assert_eq!(refused("n", &last), (json!("other-generation"), json!(0)));
}

#[test]
fn what_is_wrong_is_named() {
    let server = counter(Limits {
        consumers: 1,
        ..Limits::default()
    });
    put(&server, "there", &json!({})).ok();
    let cursor = server.get("/readyz").ok()["position"].clone();
    for (body, says) in [
        (json!({ "batch": 0 }), "`batch` is 0; it must be from 1 to 1000"),
        (json!({ "batch": "many" }), "found string \"many\""),
        (json!({ "concurrency": 1_000_000 }), "`concurrency` is 1000000"),
        (json!({ "ack_deadline_ms": 0 }), "`ack_deadline_ms` is 0"),
        (json!({ "retry": { "attempts": 0 } }), "`retry.attempts` is 0"),
        (
            json!({ "retry": { "first_pause_ms": 10, "longest_pause_ms": 5 } }),
            "`retry.longest_pause_ms` is 5",
        ),
        (
            json!({ "ordering": "none at all" }),
            "`ordering` is `none at all`",
        ),
        (json!({ "start": "somewhere" }), "`start` is \"somewhere\""),
        (
            json!({ "start": { "after": cursor, "time": "2026-01-01T00:00:00Z" } }),
            "contradict",
        ),
        (json!({ "start": { "after": "0000" } }), "is not a cursor"),
        (json!({ "start": { "after": "now" } }), "`now` is not a cursor"),
        (
            json!({ "start": { "time": "yesterday" } }),
            "`start.time` is `yesterday`",
        ),
        (
            json!({ "filter": { "types": ["Counter"] } }),
            "aggregate type `Counter`",
        ),
        (
            json!({ "filter": { "since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z" } }),
            "`since`",
        ),
        (json!({ "filter": { "types": vec!["a"; 65] } }), "65"),
        (json!({ "filters": {} }), "`filters` is no member"),
    ] {
        let answer = put(&server, "there", &body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        let text = answer.text().replace("\\\"", "\"");
        assert!(text.contains(says), "{body}: {text}");
    }
    let long = put(&server, "there", &json!({ "start": "x".repeat(60_000) }));
    assert!(long.text().len() < 2_000, "{}", long.text().len());
    long.problem(400, "malformed-request");
    put(&server, "Upper", &json!({})).problem(400, "malformed-request");
    put(&server, "second", &json!({})).problem(429, "busy");
    put(&server, "there", &json!({ "ordering": "none" })).problem(409, "ordering-fixed");
    for (what, body) in [
        ("fetch", json!({})),
        ("ack", json!({ "leases": [] })),
        ("nack", json!({ "leases": [], "reason": "r" })),
        ("extend", json!({ "leases": [] })),
        ("replay", json!({ "all": true })),
        ("reset", json!({ "start": "now" })),
        ("pause", json!(null)),
    ] {
        at(&server, "nobody", what, &body).problem(404, "unknown-consumer");
    }
    for (what, body, says) in [
        ("fetch", json!({ "max": 0 }), "`max` is 0"),
        (
            "fetch",
            json!({ "wait_ms": 60_001 }),
            "`wait_ms` is 60001; the limit is 60000",
        ),
        ("fetch", json!({ "member": "" }), "`member`"),
        ("ack", json!({}), "the member `leases` is missing"),
        ("ack", json!({ "leases": ["zz"] }), "`zz` is not a lease"),
        ("nack", json!({ "leases": [] }), "the member `reason` is missing"),
        (
            "nack",
            json!({ "leases": [], "reason": "r", "delay_ms": 86_400_001 }),
            "`delay_ms` is 86400001",
        ),
        ("replay", json!({ "type": "counter" }), "one aggregate, or of all"),
        (
            "skip",
            json!({ "type": "counter", "id": "a", "reason": " " }),
            "`reason` is empty",
        ),
        ("reset", json!({}), "the member `start` is missing"),
    ] {
        let answer = at(&server, "there", what, &body);
        assert_eq!(answer.status, 400, "{what} {body}: {}", answer.text());
        assert!(answer.text().contains(says), "{what} {body}: {}", answer.text());
    }
    let made_up = "0".repeat(66);
    at(&server, "there", "ack", &json!({ "leases": [made_up] })).problem(400, "bad-lease");
}

#[test]
fn a_stream_leases_as_it_sends() {
    let server = counter(Limits::default());
    put(&server, "live", &json!({ "concurrency": 2 })).ok();
    add(&server, &["a", "b", "c"]);
    let mut stream = SseStream::open(server.address(), "/v1/consumers/live/stream?member=m", &[]).unwrap();
    let mut leases = Vec::new();
    for id in ["a", "b"] {
        let event = stream.next_event().unwrap().unwrap();
        let data: Value = serde_json::from_str(&event.data).unwrap();
        assert_eq!(
            (&data["event"]["subject"], &data["lease"]),
            (&json!(id), &json!(event.id))
        );
        leases.push(data["lease"].clone());
    }
    assert_eq!(server.get("/v1/consumers/live").ok()["leased"], 2);
    at(
        &server,
        "live",
        "ack",
        &json!({ "member": "m", "leases": leases }),
    )
    .ok();
    let event = stream.next_event().unwrap().unwrap();
    let data: Value = serde_json::from_str(&event.data).unwrap();
    assert_eq!(data["event"]["subject"], "c");
    SseStream::open(server.address(), "/v1/consumers/live/stream", &[]).unwrap();
    server
        .get("/v1/consumers/nobody/stream")
        .problem(404, "unknown-consumer");
    let accept = [("accept", "application/json")];
    server
        .request("GET", "/v1/consumers/live/stream", &accept, b"")
        .problem(406, "not-acceptable");
}

#[test]
fn filters_and_starts_choose() {
    let server = counter(Limits::default());
    add(&server, &["aa", "ab", "b"]);
    let feed = server.whole_feed();
    let after = feed[0]["position"].clone();
    for (body, expected) in [
        (
            json!({ "filter": { "id_prefix": "a" } }),
            vec![place("aa", 1), place("ab", 1)],
        ),
        (
            json!({ "start": { "after": after } }),
            vec![place("ab", 1), place("b", 1)],
        ),
        (
            json!({ "filter": { "id_prefix": "a" }, "start": { "after": after } }),
            vec![place("ab", 1)],
        ),
        (json!({ "filter": { "event_types": ["never"] } }), vec![]),
        (json!({ "start": "now" }), vec![]),
        (
            json!({ "filter": { "types": ["annals-deployment"] } }),
            vec![place("counter", 1)],
        ),
    ] {
        let status = put(&server, "chosen", &body).ok();
        let exact = body["filter"]["id_prefix"].is_null();
        assert_eq!(status["lag"]["exact"], exact, "{body}");
        if exact {
            assert_eq!(status["lag"]["events"], expected.len(), "{body}");
        }
        let delivered = at(&server, "chosen", "fetch", &json!({})).ok();
        assert_eq!(places(&delivered), expected, "{body}");
        assert_eq!(
            server.request("DELETE", "/v1/consumers/chosen", &[], b"").status,
            204
        );
    }
}
