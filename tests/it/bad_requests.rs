//! Requests that ask wrongly: methods, parameters, headers and media types, on every path that there is.

use std::collections::BTreeSet;

use annals::vocabulary::Limits;
use annals_tests::{
    guests,
    server::{Api, TestServer},
};
use serde_json::json;

fn counter(limits: Limits) -> TestServer {
    let server = TestServer::with_limits(limits);
    server.upload(&guests::counter()).ok();
    server
}

/// Every path with the methods that it takes, as a client would fill it in.
const PATHS: [(&str, &str); 14] = [
    ("/", "GET,HEAD"),
    ("/v1/aggregates", "GET,HEAD"),
    ("/v1/aggregates/counter", "GET,HEAD"),
    ("/v1/aggregates/counter/a", "GET,HEAD"),
    ("/v1/aggregates/counter/a/commands/add", "POST"),
    ("/v1/aggregates/counter/a/events", "GET,HEAD"),
    ("/v1/aggregates/counter/a/outcomes/k", "GET,HEAD"),
    ("/v1/events", "GET,HEAD"),
    ("/v1/modules", "GET,HEAD,POST"),
    ("/v1/modules/0000", "GET,HEAD"),
    ("/v1/deployments/counter", "GET,HEAD,PUT"),
    ("/livez", "GET,HEAD"),
    ("/readyz", "GET,HEAD"),
    ("/openapi.json", "GET,HEAD"),
];

#[test]
fn every_path_says_which_methods_it_takes() {
    let server = counter(Limits::default());
    for (path, methods) in PATHS {
        for method in [
            "GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW",
        ] {
            if methods.split(',').any(|taken| taken == method) {
                continue;
            }
            let answer = server.request(method, path, &[], &[]);
            answer.problem(405, "method-not-allowed");
            let allow = answer.header("allow").unwrap_or_default();
            let set = |list: &str| {
                list.split(',')
                    .map(|method| method.trim().to_owned())
                    .collect::<BTreeSet<_>>()
            };
            assert_eq!(set(allow), set(methods), "{method} {path}");
        }
    }
}

#[test]
fn unknown_doubled_and_senseless_parameters_are_refused() {
    let server = counter(Limits::default());
    server.command("counter/a", "add", &json!({ "by": 1 })).ok();
    for (path, methods) in PATHS {
        for method in methods.split(',').filter(|method| *method != "HEAD") {
            let problem = server
                .request(method, &format!("{path}?surprise=1"), &[], b"{}")
                .problem(400, "malformed-request");
            assert!(
                problem["detail"].as_str().unwrap().contains("surprise"),
                "{method} {path}: {problem}"
            );
        }
    }
    let history = "/v1/aggregates/counter/a/events";
    let list = "/v1/aggregates/counter";
    for paged in ["/v1/events", history, list] {
        for limit in [
            "0",
            "1001",
            "abc",
            "",
            "-1",
            "1.5",
            "99999999999999999999",
            "1&limit=2",
        ] {
            server
                .get(&format!("{paged}?limit={limit}"))
                .problem(400, "malformed-request");
        }
        server.get(&format!("{paged}?limit=1000")).ok();
        server
            .get(&format!("{paged}?limit=%ff"))
            .problem(400, "malformed-request");
    }
    for query in [
        "from=0",
        "from=-1",
        "from=x",
        "from=",
        "from=1&from=2",
        "direction=up",
        "direction=Forward",
        "direction=",
    ] {
        server
            .get(&format!("{history}?{query}"))
            .problem(400, "malformed-request");
    }
    for after in ["", "%00", "%ff", "..", &"x".repeat(256), "a&after=b"] {
        server
            .get(&format!("{list}?after={after}"))
            .problem(400, "malformed-request");
    }
    for query in [
        "include_system=yes",
        "type=",
        "type=Counter",
        "after=a&after=b",
        "include_system=true&include_system=true",
    ] {
        server
            .get(&format!("/v1/events?{query}"))
            .problem(400, "malformed-request");
    }
    let sse = [("accept", "text/event-stream")];
    server
        .request("GET", "/v1/events?limit=1", &sse, &[])
        .problem(400, "malformed-request");
    server
        .request("GET", "/v1/events", &[("last-event-id", "x")], &[])
        .problem(400, "malformed-request");
    server
        .request("POST", "/v1/modules?activate=maybe", &[], b"x")
        .problem(400, "malformed-request");
}

#[test]
fn headers_that_contradict_or_say_nothing_are_refused() {
    let server = counter(Limits::default());
    server.command("counter/a", "add", &json!({ "by": 1 })).ok();
    let long = "k".repeat(256);
    let tags = ["\"1\""; 33].join(",");
    for headers in [
        vec![("if-match", "1")],
        vec![("if-match", "")],
        vec![("if-match", "\"1")],
        vec![("if-match", "1\"")],
        vec![("if-match", "\"1\" \"2\"")],
        vec![("if-match", "*, \"1\"")],
        vec![("if-match", "\"1\""), ("if-match", "*")],
        vec![("if-match", "w/\"1\"")],
        vec![("if-match", "\u{e9}")],
        vec![("if-match", &tags)],
        vec![("if-none-match", "\"1\"")],
        vec![("if-none-match", "x")],
        vec![("if-match", "\"1\""), ("if-none-match", "*")],
        vec![("if-match", "*"), ("if-none-match", "*")],
        vec![("idempotency-key", "")],
        vec![("idempotency-key", &long)],
        vec![("idempotency-key", "a"), ("idempotency-key", "a")],
        vec![("idempotency-key", "a\u{85}b")],
        vec![("correlation-id", "")],
        vec![("correlation-id", "a"), ("correlation-id", "b")],
        vec![("causation-id", &long)],
        vec![
            ("content-type", "application/json"),
            ("content-type", "application/json"),
        ],
    ] {
        let problem = server
            .request(
                "POST",
                "/v1/aggregates/counter/a/commands/add",
                &headers,
                b"{\"by\":1}",
            )
            .problem(400, "malformed-request");
        let detail = problem["detail"].as_str().unwrap().to_ascii_lowercase();
        assert!(
            detail.replace(' ', "-").contains(headers[0].0),
            "{headers:?}: {problem}"
        );
    }
    for tag in ["1", "\"1", "W/1"] {
        server
            .request("GET", "/v1/aggregates/counter/a", &[("if-none-match", tag)], &[])
            .problem(400, "malformed-request");
    }
    assert_eq!(server.whole_feed().len(), 1);
}

#[test]
fn media_types_that_are_not_spoken_are_refused_with_those_that_are() {
    let server = counter(Limits::default());
    server
        .post(
            "/v1/aggregates/counter/a/commands/add",
            &[("idempotency-key", "k")],
            &json!({ "by": 1 }),
        )
        .ok();
    for (path, methods) in PATHS.iter().filter(|(path, _)| !path.ends_with('z')) {
        for accept in [
            "image/png",
            "application/json;q=0",
            "text/html, application/xml;q=0.9",
            "application/json;q=0, */*;q=0",
        ] {
            for method in methods.split(',').filter(|method| *method != "HEAD") {
                let answer = server.request(method, path, &[("accept", accept)], b"{}");
                let supported = answer.problem(406, "not-acceptable")["supported"].clone();
                assert!(!supported.as_array().unwrap().is_empty(), "{method} {path}");
            }
        }
    }
    // Probes have no opinion about representations.
    for probe in ["/livez", "/readyz"] {
        server
            .request("GET", probe, &[("accept", "text/plain")], &[])
            .ok();
    }
    server
        .request(
            "GET",
            "/v1/aggregates/counter/a",
            &[("accept", "text/event-stream")],
            &[],
        )
        .problem(406, "not-acceptable");
    for (method, path, taken) in [
        (
            "POST",
            "/v1/aggregates/counter/a/commands/add",
            "application/json",
        ),
        ("POST", "/v1/modules", "application/wasm"),
        ("PUT", "/v1/deployments/counter", "application/json"),
    ] {
        for found in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "",
            "json",
            "*/*",
        ] {
            let answer = server.request(method, path, &[("content-type", found)], b"{\"by\":1}");
            let problem = answer.problem(415, "unsupported-media-type");
            assert!(
                problem["supported"].as_array().unwrap().contains(&json!(taken)),
                "{problem}"
            );
        }
    }
    for taken in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/vnd.counter+json",
    ] {
        let headers = [("content-type", taken)];
        server
            .request(
                "POST",
                "/v1/aggregates/counter/b/commands/add",
                &headers,
                b"{\"by\":1}",
            )
            .ok();
    }
    assert_eq!(server.get("/v1/aggregates/counter/b").ok()["version"], 3);
}
