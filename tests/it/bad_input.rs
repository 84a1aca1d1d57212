//! Bad input: each kind with its status and its message, and the server unmoved by it. What is wrong is found in every
//! place that takes it, so most tests are tables.

use annals::vocabulary::Limits;
use annals_tests::{
    guests,
    http::Connection,
    server::{Api, TestServer},
};
use serde_json::json;

fn counter(limits: Limits) -> TestServer {
    let server = TestServer::with_limits(limits);
    server.upload(&guests::counter()).ok();
    server
}

#[test]
fn ids_are_taken_whole_or_refused_everywhere() {
    let server = counter(Limits::default());
    let (longest, too_long) = ("x".repeat(255), "x".repeat(256));
    let crab = "%F0%9F%A6%80";
    let (crabs, too_many) = (format!("{}abc", crab.repeat(63)), crab.repeat(64));
    for (segment, id) in [
        ("a%2fb", "a/b"),
        ("a%2F..%2Fb", "a/../b"),
        ("...", "..."),
        ("%2e%2e%2e", "..."),
        (crab, "🦀"),
        ("%20", " "),
        ("a+b", "a+b"),
        ("a%25b", "a%b"),
        ("e%CC%81", "e\u{301}"),
        ("commands", "commands"),
        (longest.as_str(), longest.as_str()),
        (crabs.as_str(), format!("{}abc", "🦀".repeat(63)).as_str()),
    ] {
        let answer = server
            .command(&format!("counter/{segment}"), "add", &json!({ "by": 1 }))
            .ok();
        assert_eq!(answer["id"], id);
        assert_eq!(answer["events"][0]["subject"], id);
        let path = format!("/v1/aggregates/counter/{segment}");
        assert_eq!(server.get(&path).ok()["id"], id);
        assert_eq!(server.get(&format!("{path}/events")).ok()[0]["subject"], id);
    }
    for (segment, found, says) in [
        ("..", "..", "rewrite it in paths"),
        ("%2e%2e", "..", "rewrite it in paths"),
        (".%2E", "..", "rewrite it in paths"),
        (".", ".", "rewrite it in paths"),
        ("%2e", ".", "rewrite it in paths"),
        (too_long.as_str(), "xxx", "has 256 bytes; the limit is 255"),
        (too_many.as_str(), "🦀", "has 256 bytes; the limit is 255"),
        ("a%00b", "a\\0b", "control character"),
        ("a%0Ab", "a\\nb", "control character"),
        ("%7f", "\\u{7f}", "control character"),
        ("%C2%85", "\\u{85}", "control character"),
        ("%ff", "%ff", "UTF-8"),
        ("a%C3", "a%C3", "UTF-8"),
        ("%ED%A0%80", "%ED%A0%80", "UTF-8"),
    ] {
        let path = format!("/v1/aggregates/counter/{segment}");
        for answer in [
            server.command(&format!("counter/{segment}"), "add", &json!({ "by": 1 })),
            server.get(&path),
            server.get(&format!("{path}/events")),
            server.get(&format!("{path}/outcomes/k")),
        ] {
            let problem = answer.problem(400, "malformed-request");
            assert!(
                problem["detail"].as_str().unwrap().contains(says),
                "{segment}: {problem}"
            );
            assert!(
                problem["found"].as_str().unwrap().starts_with(found),
                "{segment}: {problem}"
            );
        }
    }
    assert_eq!(server.whole_feed().len(), 12);
}

#[test]
fn names_in_paths_are_checked() {
    let server = counter(Limits::default());
    let long = "a".repeat(64);
    let post = |path: &str| server.post(path, &[], &json!({ "by": 1 }));
    for bad in ["Counter", "1a", "a_b", "%20", "%ff", "..", &long] {
        for path in [
            format!("/v1/aggregates/{bad}"),
            format!("/v1/aggregates/{bad}/a"),
            format!("/v1/aggregates/{bad}/a/events"),
            format!("/v1/deployments/{bad}"),
            format!("/v1/modules/{bad}0"),
            format!("/v1/events?type={bad}"),
        ] {
            server.get(&path).problem(400, "malformed-request");
        }
        post(&format!("/v1/aggregates/{bad}/a/commands/add")).problem(400, "malformed-request");
    }
    for bad in ["1a", "a%20b", "%00", "%ff", "..", &long] {
        post(&format!("/v1/aggregates/counter/a/commands/{bad}")).problem(400, "malformed-request");
    }
    for bad in ["%00", "%ff", &"k".repeat(256)] {
        server
            .get(&format!("/v1/aggregates/counter/a/outcomes/{bad}"))
            .problem(400, "malformed-request");
    }
    for path in [
        "/nothing",
        "/v1",
        "/v1/",
        "/v1/aggregates/",
        "/v1/aggregates/counter/",
        "/v1/aggregates/counter/a/b",
        "/v1/aggregates/counter/a/b/c/d",
        "//",
        "/V1/events",
        "/v1/events/",
        "/v1/modules/",
        "/favicon.ico",
    ] {
        let problem = server.get(path).problem(404, "not-found");
        assert!(problem["detail"].as_str().unwrap().contains(path), "{problem}");
    }
    for empty in ["/v1/aggregates//a", "/v1/aggregates/counter//events"] {
        let problem = server.get(empty).problem(400, "malformed-request");
        assert!(
            problem["detail"].as_str().unwrap().contains("is empty"),
            "{problem}"
        );
    }
    post("/v1/aggregates/counter//commands/add").problem(400, "malformed-request");
    assert!(server.whole_feed().is_empty());
}

#[test]
fn what_does_not_exist_is_named() {
    let server = counter(Limits::default());
    let add = json!({ "by": 1 });
    for path in ["absent/a", "annals-deployment/counter"] {
        let problem = server.command(path, "add", &add).problem(404, "unknown-type");
        assert_eq!(problem["aggregate_type"], path.split('/').next().unwrap());
        server
            .get(&format!("/v1/aggregates/{path}"))
            .problem(404, "unknown-type");
    }
    for path in [
        "/v1/aggregates/absent",
        "/v1/aggregates/absent/a/events",
        "/v1/deployments/absent",
    ] {
        server.get(path).problem(404, "unknown-type");
    }
    let problem = server
        .command("counter/a", "subtract", &add)
        .problem(404, "unknown-command");
    assert!(
        problem["commands"].as_array().unwrap().contains(&json!("add")),
        "{problem}"
    );
    for path in ["/v1/aggregates/counter/a", "/v1/aggregates/counter/a/events"] {
        server.get(path).problem(404, "unknown-aggregate");
    }
    server
        .get("/v1/aggregates/counter/a/outcomes/k")
        .problem(404, "unknown-outcome");
    let digest = "0".repeat(64);
    let problem = server
        .get(&format!("/v1/modules/{digest}"))
        .problem(404, "unknown-module");
    assert!(problem["detail"].as_str().unwrap().contains(&digest), "{problem}");
}

#[test]
fn payloads_that_are_not_json_or_do_not_decode() {
    let server = counter(Limits::default());
    let deep = format!(
        "{{\"by\":1,\"x\":{}1{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let not_json: [&[u8]; 16] = [
        b"{",
        b"{\"by\":1",
        b"{\"by\":1}}",
        b"{'by':1}",
        b"by=1",
        b"{\"by\":01}",
        b"{\"by\":1,}",
        b"nul",
        b" ",
        b"\xff",
        b"\"\xc3\"",
        b"\xef\xbb\xbf{\"by\":1}",
        b"{\"by\":1,\"x\":\"\\ud800\"}",
        b"{\"by\":1,\"x\":1e999}",
        b"{\"by\":1}\0",
        deep.as_bytes(),
    ];
    let path = "/v1/aggregates/counter/a/commands/add";
    for body in not_json {
        let problem = server
            .request("POST", path, &[], body)
            .problem(400, "malformed-request");
        assert!(
            problem["detail"].as_str().unwrap().contains("not JSON"),
            "{problem}"
        );
        assert!(problem["found"].is_string(), "{problem}");
    }
    let undecoded: [&[u8]; 5] = [b"", b"{}", b"null", b"{\"by\":\"one\"}", b"[]"];
    for body in undecoded {
        let problem = server
            .request("POST", path, &[], body)
            .problem(400, "malformed-command");
        assert_eq!(
            (&problem["command"], &problem["problem"]),
            (&json!("add"), &json!("the payload has no number")),
            "{problem}"
        );
        assert!(problem["pointer"].is_string(), "{problem}");
    }
    assert!(server.whole_feed().is_empty());
}

#[test]
fn bodies_at_the_limit_are_taken_and_one_byte_more_is_not() {
    let limit = 1 << 20;
    let server = counter(Limits::default());
    let path = "/v1/aggregates/counter/a/commands/add";
    let body = |size: usize| [&b"{\"by\":1}"[..], &vec![b' '; size - 8]].concat();
    let chunked = |body: &[u8]| {
        let mut connection = Connection::open(server.address()).unwrap();
        let mut bytes =
            format!("POST {path} HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n").into_bytes();
        for chunk in body.chunks(50_000) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        connection.send(&bytes).unwrap();
        connection.response(false).unwrap()
    };
    let plain = |body: &[u8]| server.request("POST", path, &[], body);
    assert_eq!(plain(&body(limit)).ok()["version"], 1);
    assert_eq!(chunked(&body(limit)).ok()["version"], 2);
    for answer in [
        plain(&body(limit + 1)),
        chunked(&body(limit + 1)),
        plain(&body(4 * limit)),
        chunked(&body(4 * limit)),
    ] {
        assert_eq!(answer.problem(413, "too-large")["limit_bytes"], limit);
    }
    let activation = format!("{:<5000}", "{}");
    server
        .request("PUT", "/v1/deployments/counter", &[], activation.as_bytes())
        .problem(413, "too-large");
    assert_eq!(server.get("/v1/aggregates/counter/a").ok()["version"], 2);
}
