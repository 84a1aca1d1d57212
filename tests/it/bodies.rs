//! Bodies of JSON: objects where objects should stand, `null` for whatever can be left out, and what is wrong told by the
//! member's name.

use annals::vocabulary::Limits;
use annals_tests::{
    guests,
    server::{Api, TestServer},
};
use serde_json::{Value, json};

/// A server with a consumer, and nothing that a body could do to it.
fn server() -> TestServer {
    let server = TestServer::with_limits(Limits::default());
    server.upload(&guests::counter()).ok();
    put(&server, &json!({})).ok();
    server
}

fn put(server: &TestServer, body: &Value) -> annals_tests::http::Response {
    let headers = [("content-type", "application/json")];
    server.request(
        "PUT",
        "/v1/consumers/there",
        &headers,
        body.to_string().as_bytes(),
    )
}

/// Every path that takes a JSON document, with one that serde would take for its members by their order.
const LISTS: [(&str, &str, &str); 11] = [
    ("PUT", "/v1/consumers/there", r#"[{"types":["account"]},"now",7]"#),
    ("POST", "/v1/consumers/there/fetch", r#"["m",1,0]"#),
    ("POST", "/v1/consumers/there/ack", "[null,[]]"),
    ("POST", "/v1/consumers/there/extend", "[null,[]]"),
    ("POST", "/v1/consumers/there/nack", r#"[null,[],"no",null,false]"#),
    (
        "POST",
        "/v1/consumers/there/skip",
        r#"["counter","a",null,null,"no"]"#,
    ),
    ("POST", "/v1/consumers/there/replay", "[null,null,null,true]"),
    ("POST", "/v1/consumers/there/reset", r#"["now"]"#),
    ("POST", "/v1/consumers/there/pause", "[]"),
    ("POST", "/v1/consumers/there/resume", "[]"),
    ("POST", "/v1/consumers/there/webhook/secret", "[null]"),
];

#[test]
fn a_list_is_no_object() {
    let server = server();
    for (method, path, list) in LISTS {
        for body in [list, "[]"] {
            let problem = server
                .request(method, path, &[], body.as_bytes())
                .problem(400, "malformed-request");
            let detail = problem["detail"].as_str().unwrap();
            assert!(
                detail.contains("found a list where an object should stand"),
                "{path}: {problem}"
            );
        }
    }
    let digest = format!("[\"{}\"]", "0".repeat(64));
    server
        .request("PUT", "/v1/deployments/counter", &[], digest.as_bytes())
        .problem(400, "malformed-request");
    for (body, member) in [
        (json!({ "filter": [["account"]] }), "filter"),
        (json!({ "retry": [2] }), "retry"),
        (
            json!({ "webhook": ["https://a.example/", null, null, null, null] }),
            "webhook",
        ),
    ] {
        let problem = put(&server, &body).problem(400, "malformed-request");
        let detail = problem["detail"].as_str().unwrap();
        let says = format!("`{member}`: found a list where an object should stand");
        assert!(detail.contains(&says), "{problem}");
    }
}

#[test]
fn null_is_as_good_as_nothing() {
    let server = server();
    let before = server.get("/v1/consumers/there").ok();
    let mut body = json!({ "start": null, "webhook": null });
    for member in [
        "filter",
        "batch",
        "ack_deadline_ms",
        "retry",
        "concurrency",
        "ordering",
    ] {
        body[member] = Value::Null;
        assert_eq!(put(&server, &body).ok()["changed_at"], before["changed_at"]);
    }
    body["filter"] = json!({});
    for member in [
        "types",
        "event_types",
        "id_prefix",
        "actor",
        "since",
        "until",
        "include_system",
    ] {
        body["filter"][member] = Value::Null;
    }
    body["retry"] = json!({ "attempts": null, "first_pause_ms": null, "longest_pause_ms": null });
    assert_eq!(put(&server, &body).ok()["changed_at"], before["changed_at"]);
}

#[test]
fn numbers_and_names_are_told_in_words() {
    let server = server();
    for (body, says) in [
        (
            json!({ "batch": -1 }),
            "`batch`: found integer `-1` where a whole number from 1 to 1000 should stand",
        ),
        (
            json!({ "concurrency": 1.5 }),
            "`concurrency`: found floating point `1.5` where a whole number from 1 to 10000 should stand",
        ),
        (
            json!({ "retry": { "attempts": "many" } }),
            "`retry.attempts`: found string \"many\" where a whole number from 1 to 1000 should stand",
        ),
        (
            json!({ "filter": { "types": ["a", 7] } }),
            "`filter.types[1]`: found integer `7` where a string should stand",
        ),
        (json!("all"), "found string \"all\" where an object should stand"),
        (
            json!({ "webhook": { "url": "https://a.example/", "timeout_ms": -1 } }),
            "`webhook.timeout_ms`: found integer `-1` where a whole number from 1 to 120000 should stand",
        ),
        (json!({ "webhook": {} }), "`webhook`: the member `url` is missing"),
        (
            json!({ "webhook": { "url": "https://a.example/", "requests": 5_000_000_000_u64 } }),
            "`webhook.requests` is 5000000000; it must be from 1 to 64",
        ),
        (
            json!({ "start": { "before": "x" } }),
            "`start.before`: `before` is no member; the members are `after` or `time`",
        ),
        (
            json!({ "start": {} }),
            "`start` names neither a cursor nor a time",
        ),
        (
            json!({ "start": 7 }),
            "`start`: found integer `7` where `\"beginning\"`, `\"now\"`, or an object with `after` or `time` should stand",
        ),
    ] {
        let problem = put(&server, &body).problem(400, "malformed-request");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{body}: {problem}");
    }
}

#[test]
fn a_start_that_says_two_things_is_refused() {
    let server = server();
    let twice = br#"{"start":{"after":"2a","after":"2b"}}"#;
    let headers = [("content-type", "application/json")];
    for (method, path) in [
        ("PUT", "/v1/consumers/there"),
        ("POST", "/v1/consumers/there/reset"),
    ] {
        let problem = server
            .request(method, path, &headers, twice)
            .problem(400, "malformed-request");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains("the member `after` is there twice"), "{problem}");
    }
}

#[test]
fn a_problem_shows_the_beginning_of_what_was_sent() {
    let server = server();
    let long = "\u{1}x".repeat(100_000);
    for body in [
        json!({ "leases": long }),
        json!({ "leases": [], long.as_str(): 1 }),
        json!({ "leases": [long] }),
    ] {
        let answer = server.post("/v1/consumers/there/ack", &[], &body);
        assert_eq!(answer.status, 400);
        assert!(answer.text().len() < 3_000, "{}", answer.text().len());
    }
}

#[test]
fn a_query_is_read_as_strictly() {
    let server = server();
    for (path, says) in [
        (
            "stream?max=5000000000",
            "`max` is `5000000000`; it must be a whole number from 1 to 1000",
        ),
        (
            "stream?max=-1",
            "`max` is `-1`; it must be a whole number from 1 to 1000",
        ),
        (
            "parked?after_version=3",
            "`after_type` and `after_id` belong together, and `after_version` to both",
        ),
    ] {
        let path = format!("/v1/consumers/there/{path}");
        let problem = server
            .request("GET", &path, &[("accept", "*/*")], b"")
            .problem(400, "malformed-request");
        assert!(problem["detail"].as_str().unwrap().contains(says), "{problem}");
    }
}

#[test]
fn a_filter_is_the_same_whatever_the_order_of_its_names() {
    let server = server();
    let filter = |types: Value, event_types: Value| json!({ "filter": { "types": types, "event_types": event_types } });
    let first = put(&server, &filter(json!(["b", "a"]), json!(["y", "x"]))).ok();
    assert_eq!(first["filter"]["types"], json!(["a", "b"]));
    let same = put(&server, &filter(json!(["a", "b", "a"]), json!(["x", "y"]))).ok();
    assert_eq!(same["changed_at"], first["changed_at"]);
    let other = put(&server, &filter(json!(["a"]), json!(["x", "y"]))).ok();
    assert_ne!(other["changed_at"], first["changed_at"]);
}

#[test]
fn what_needs_no_body_takes_none_with_a_meaning() {
    let server = server();
    for (name, paused) in [("pause", true), ("resume", false)] {
        let path = format!("/v1/consumers/there/{name}");
        for wrong in ["{\"for_ms\":1000}", "x", "7"] {
            server
                .request("POST", &path, &[], wrong.as_bytes())
                .problem(400, "malformed-request");
        }
        assert_eq!(server.get("/v1/consumers/there").ok()["paused"], !paused);
        for body in ["", "{}", "null"] {
            let shown = server.request("POST", &path, &[], body.as_bytes()).ok();
            assert_eq!(shown["paused"], paused, "{name}");
        }
    }
}

#[test]
fn what_a_member_says_is_read_as_strictly() {
    let server = server();
    for (path, body, says) in [
        (
            "fetch",
            json!({ "max": -1 }),
            "`max`: found integer `-1` where a whole number from 1 to 1000 should stand",
        ),
        (
            "fetch",
            json!({ "wait_ms": "long" }),
            "`wait_ms`: found string \"long\" where a whole number of at least 0 should stand",
        ),
        (
            "nack",
            json!({ "leases": [], "reason": "no", "delay_ms": -1 }),
            "`delay_ms`: found integer `-1` where a whole number from 0 to 86400000 should stand",
        ),
    ] {
        let path = format!("/v1/consumers/there/{path}");
        let problem = server.post(&path, &[], &body).problem(400, "malformed-request");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{path}: {problem}");
    }
    let refusal = json!({ "member": null, "leases": [], "reason": "no", "delay_ms": null, "park": null });
    server.post("/v1/consumers/there/nack", &[], &refusal).ok();
    let fetch = json!({ "member": null, "max": null, "wait_ms": null });
    server.post("/v1/consumers/there/fetch", &[], &fetch).ok();
    let replay = json!({ "type": "counter", "id": "a", "version": null, "all": null });
    server
        .post("/v1/consumers/there/replay", &[], &replay)
        .problem(404, "not-parked");
}
