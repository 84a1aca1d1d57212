//! A command with an idempotency key is decided once, and every retry gets the first answer. What was not decided is not
//! recorded, and is decided anew.

use std::{
    sync::Barrier,
    time::{Duration, Instant},
};

use annals::vocabulary::Limits;
use annals_tests::{
    guests,
    http::{Connection, Response},
    server::{Api, TestServer},
};
use serde_json::{Value, json};

fn counter(limits: Limits) -> TestServer {
    let server = TestServer::with_limits(limits);
    server.upload(&guests::counter()).ok();
    server
}

/// Sends a command to `counter/{id}` with a key.
#[track_caller]
fn send(server: &TestServer, id: &str, command: &str, key: &str, body: &Value) -> Response {
    let path = format!("/v1/aggregates/counter/{id}/commands/{command}");
    server.post(&path, &[("idempotency-key", key)], body)
}

fn replayed(response: &Response) -> bool {
    match response.header("idempotency-replayed") {
        None => false,
        Some(value) => {
            assert_eq!(value, "true");
            true
        }
    }
}

/// Checks that a retry got what the first answer was, to the byte.
#[track_caller]
fn assert_repeats(first: &Response, again: &Response) {
    assert!(!replayed(first) && replayed(again));
    assert_eq!(first.text(), again.text());
    assert_eq!(first.status, again.status);
    for header in ["etag", "aggregate-version", "content-type"] {
        assert_eq!(first.header(header), again.header(header), "{header}");
    }
}

/// Checks that the outcome under a key is the answer, to the byte.
#[track_caller]
fn assert_recorded(server: &TestServer, id: &str, key: &str, answer: &Response) {
    let outcome = server.get(&format!("/v1/aggregates/counter/{id}/outcomes/{key}"));
    let document = outcome.ok();
    assert_eq!(document["status"], answer.status);
    assert!(
        document["recorded_at"].as_str().unwrap().ends_with('Z'),
        "{document}"
    );
    let text = outcome.text();
    let (_, body) = text.split_once("\"body\":").unwrap();
    assert_eq!(body.strip_suffix('}').unwrap(), answer.text());
}

#[test]
fn a_retry_gets_the_first_answer() {
    let server = counter(Limits::default());
    let long = "k".repeat(255);
    for (number, key) in ["k", "a key / with, everything?", "🦀", &long, "..", "%41"]
        .into_iter()
        .enumerate()
    {
        let first = send(&server, "a", "add", key, &json!({ "by": 2 }));
        assert_eq!(first.ok()["version"], number + 1);
        server.command("counter/b", "add", &json!({ "by": 1 })).ok();
        assert_repeats(&first, &send(&server, "a", "add", key, &json!({ "by": 2 })));
        if key != ".." {
            let encoded: String = key.bytes().map(|byte| format!("%{byte:02x}")).collect();
            assert_recorded(&server, "a", &encoded, &first);
        }
    }
    assert_eq!(
        server.get("/v1/aggregates/counter/a").ok()["state"],
        json!({ "sum": 12 })
    );
}

#[test]
fn a_hundred_retries_at_once_are_decided_once() {
    let server = counter(Limits::default());
    let address = server.address();
    let start = Barrier::new(100);
    let answers: Vec<Response> = std::thread::scope(|scope| {
        let retries: Vec<_> = (0..100)
            .map(|_| {
                scope.spawn(|| {
                    let mut connection = Connection::open(address).unwrap();
                    start.wait();
                    let path = "/v1/aggregates/counter/a/commands/add";
                    connection
                        .request("POST", path, &[("idempotency-key", "k")], b"{\"by\":7}")
                        .unwrap()
                })
            })
            .collect();
        retries.into_iter().map(|retry| retry.join().unwrap()).collect()
    });
    assert_eq!(answers.iter().filter(|answer| !replayed(answer)).count(), 1);
    for answer in &answers {
        assert_eq!(answer.ok()["version"], 1);
        assert_eq!(answer.text(), answers[0].text());
    }
    assert_eq!(server.whole_feed().len(), 1);
}

#[test]
fn a_key_is_bound_to_its_request_and_its_aggregate() {
    let server = counter(Limits::default());
    let first = send(&server, "a", "add", "k", &json!({ "by": 1 }));
    first.ok();
    for (command, body) in [
        ("add", json!({ "by": 2 })),
        ("arm", json!({ "by": 1 })),
        ("close", json!({})),
        ("absent", json!({})),
    ] {
        let problem = send(&server, "a", command, "k", &body).problem(422, "key-reused");
        assert_eq!(
            (&problem["key"], &problem["first_command"]),
            (&json!("k"), &json!("add")),
            "{problem}"
        );
    }
    // Preconditions are not part of the request: the first answer comes first, whatever has become of the version.
    server.command("counter/a", "add", &json!({ "by": 1 })).ok();
    for precondition in [
        ("if-match", "\"0\""),
        ("if-match", "\"99\""),
        ("if-none-match", "*"),
    ] {
        let headers = [("idempotency-key", "k"), precondition];
        let again = server.post(
            "/v1/aggregates/counter/a/commands/add",
            &headers,
            &json!({ "by": 1 }),
        );
        assert_repeats(&first, &again);
    }
    // Neither are tracing and correlation.
    let headers = [
        ("idempotency-key", "k"),
        ("correlation-id", "other"),
        ("causation-id", "other"),
    ];
    let again = server.post(
        "/v1/aggregates/counter/a/commands/add",
        &headers,
        &json!({ "by": 1 }),
    );
    assert_repeats(&first, &again);
    // The same key on another aggregate is another key.
    let elsewhere = send(&server, "b", "add", "k", &json!({ "by": 9 }));
    assert!(!replayed(&elsewhere));
    assert_eq!(elsewhere.ok()["version"], 1);
    assert_eq!(server.whole_feed().len(), 3);
}

#[test]
fn rejections_and_decisions_without_events_are_recorded() {
    let server = counter(Limits::default());
    server.command("counter/a", "close", &json!({ "at": 1 })).ok();
    let rejected = send(&server, "a", "add", "no", &json!({ "by": 1 }));
    let problem = rejected.problem(422, "rejected");
    assert_eq!(
        (
            &problem["code"],
            &problem["message"],
            &problem["details"],
            &problem["version"]
        ),
        (
            &json!("closed"),
            &json!("the counter is closed"),
            &json!({ "reason": "closed" }),
            &json!(1)
        ),
        "{problem}"
    );
    assert_repeats(&rejected, &send(&server, "a", "add", "no", &json!({ "by": 1 })));
    assert_recorded(&server, "a", "no", &rejected);
    send(&server, "a", "add", "no", &json!({ "by": 2 })).problem(422, "key-reused");
    let nothing = send(&server, "b", "spam", "none", &json!({}));
    assert_eq!(
        (&nothing.ok()["version"], &nothing.ok()["events"]),
        (&json!(0), &json!([]))
    );
    // The first answer stays, also when the aggregate has come into being since.
    send(&server, "b", "add", "one", &json!({ "by": 1 })).ok();
    assert_repeats(&nothing, &send(&server, "b", "spam", "none", &json!({})));
    assert_recorded(&server, "b", "none", &nothing);
    assert_eq!(server.whole_feed().len(), 2);
}

#[test]
fn what_was_not_decided_is_not_recorded_and_is_decided_anew() {
    let server = counter(Limits::default());
    let path = "/v1/aggregates/counter/a/commands/add";
    let key = ("idempotency-key", "k");
    let add = json!({ "by": 1 });
    for _ in 0..2 {
        for (command, body, status, slug) in [
            ("add", json!({}), 400, "malformed-command"),
            ("absent", add.clone(), 404, "unknown-command"),
            ("trap", json!({}), 500, "module-trapped"),
            ("loop", json!({}), 422, "out-of-fuel"),
            ("ten-thousand", json!({}), 422, "answer-too-large"),
            ("bad-json", json!({}), 500, "module-trapped"),
            ("arm", json!({ "mode": 5 }), 422, "invariant-broken"),
        ] {
            let answer = send(&server, "a", command, "k", &body);
            answer.problem(status, slug);
            assert!(!replayed(&answer), "{command}");
        }
        for (headers, status, slug) in [
            ([key, ("if-match", "\"7\"")], 412, "precondition-failed"),
            ([key, ("if-match", "*")], 412, "precondition-failed"),
            ([key, ("if-match", "7")], 400, "malformed-request"),
            (
                [key, ("content-type", "text/plain")],
                415,
                "unsupported-media-type",
            ),
        ] {
            server
                .request("POST", path, &headers, b"{\"by\":1}")
                .problem(status, slug);
        }
        server
            .request("POST", path, &[key], b"{")
            .problem(400, "malformed-request");
        server
            .get("/v1/aggregates/counter/a/outcomes/k")
            .problem(404, "unknown-outcome");
    }
    let first = send(&server, "a", "add", "k", &add);
    assert_eq!(first.ok()["version"], 1);
    assert_repeats(&first, &send(&server, "a", "add", "k", &add));
    assert_eq!(server.whole_feed().len(), 1);
}

#[test]
fn keys_outlive_snapshots_evictions_traps_and_activations() {
    let server = counter(Limits {
        snapshot_every: 3,
        snapshot_on_eviction: 1,
        lane_idle: Duration::from_millis(1),
        live_per_shard: 2,
        ..Limits::default()
    });
    let firsts: Vec<Response> = (0..20)
        .map(|number| {
            send(
                &server,
                &format!("c{}", number % 5),
                "add",
                &format!("k{number}"),
                &json!({ "by": number }),
            )
        })
        .collect();
    let check = || {
        for (number, first) in firsts.iter().enumerate() {
            let id = format!("c{}", number % 5);
            first.ok();
            assert_repeats(
                first,
                &send(
                    &server,
                    &id,
                    "add",
                    &format!("k{number}"),
                    &json!({ "by": number }),
                ),
            );
            assert_recorded(&server, &id, &format!("k{number}"), first);
        }
        assert_eq!(server.whole_feed().len(), 20);
    };
    check();
    // Idle lanes are looked for once a second.
    std::thread::sleep(Duration::from_millis(2_500));
    check();
    server
        .command("counter/c1", "trap", &json!({}))
        .problem(500, "module-trapped");
    check();
    let other = guests::counter_with(&[("data", "(data (i32.const 1616) \"1.0.1\")")]);
    let uploaded = server
        .request("POST", "/v1/modules?activate=true", &[], &other)
        .ok();
    assert_eq!(uploaded["activated"], true, "{uploaded}");
    check();
}

#[test]
fn a_retry_after_the_client_gave_up_finds_the_outcome() {
    let server = counter(Limits::default());
    for number in 0..20 {
        let mut connection = Connection::open(server.address()).unwrap();
        let head = "POST /v1/aggregates/counter/a/commands/add HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n";
        connection
            .send(format!("{head}idempotency-key: k{number}\r\n\r\n{{\"by\":1}}").as_bytes())
            .unwrap();
        drop(connection);
        // Whether the first attempt got through or not, after the retry there is one event.
        let again = send(&server, "a", "add", &format!("k{number}"), &json!({ "by": 1 }));
        assert_eq!(again.ok()["version"], number + 1);
    }
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(300) {
        assert_eq!(server.whole_feed().len(), 20);
    }
}
