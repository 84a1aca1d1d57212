//! Activations: what serves a type changes only when somebody says so, and the log tells the history.

use annals_tests::{
    guests,
    http::{Connection, Response},
    server::{Api, TestServer},
};
use serde_json::{Value, json};

/// The counter with another version, so with another digest.
fn counter_version(version: &str) -> Vec<u8> {
    assert_eq!(version.len(), 5);
    guests::counter_with(&[("data", &format!("(data (i32.const 1616) \"{version}\")"))])
}

/// The counter under another type name of seven letters.
fn counter_type(name: &str) -> Vec<u8> {
    assert_eq!(name.len(), 7);
    guests::counter_with(&[("data", &format!("(data (i32.const 1600) \"{name}\")"))])
}

fn put(server: &TestServer, aggregate_type: &str, body: &[u8]) -> Response {
    server.request("PUT", &format!("/v1/deployments/{aggregate_type}"), &[], body)
}

/// The activations in the log.
fn activations(server: &TestServer) -> usize {
    let events = server
        .get("/v1/events?include_system=true&type=annals-deployment")
        .ok();
    events.as_array().unwrap().len()
}

#[test]
fn different_uploads_at_once_leave_one_history() {
    let server = TestServer::start();
    let address = server.address();
    std::thread::scope(|scope| {
        for number in 0..8 {
            scope.spawn(move || {
                let module = counter_version(&format!("1.{number}.0"));
                let mut connection = Connection::open(address).unwrap();
                let path = "/v1/modules?activate=true";
                assert_eq!(
                    connection.request("POST", path, &[], &module).unwrap().ok()["activated"],
                    true
                );
            });
        }
    });
    let deployments = server.get("/v1/deployments/counter").ok();
    let history = deployments["history"].as_array().unwrap();
    let versions: Vec<u64> = history
        .iter()
        .map(|entry| entry["version"].as_u64().unwrap())
        .collect();
    assert_eq!(versions, (1..=8).rev().collect::<Vec<u64>>());
    assert_eq!(deployments["active"], history[0]["digest"]);
    let modules = server.get("/v1/modules").ok();
    let active: Vec<&Value> = modules["modules"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|module| module["active"] == true)
        .collect();
    assert_eq!(active.len(), 1);
    assert_eq!(active[0]["digest"], deployments["active"]);
    assert_eq!(
        server.get("/v1/aggregates").ok()["types"][0]["module"],
        deployments["active"]
    );
    // What the log says serves the type is also what decides.
    let answer = server.command("counter/a", "add", &json!({ "by": 1 })).ok();
    let module = answer["events"][0]["module"].as_str().unwrap();
    assert!(
        deployments["active"].as_str().unwrap().starts_with(module),
        "{answer}"
    );
}

#[test]
fn a_different_module_serves_a_type_with_events_only_when_asked_to() {
    let server = TestServer::start();
    let upload =
        |module: &[u8], query: &str| server.request("POST", &format!("/v1/modules{query}"), &[], module);
    let first = upload(&counter_version("1.0.0"), "");
    assert_eq!(
        (first.status, &first.ok()["activated"], &first.ok()["notice"]),
        (201, &json!(true), &Value::Null)
    );
    // Without events nothing speaks against the next one.
    let second = upload(&counter_version("1.0.1"), "");
    assert_eq!(
        (second.status, &second.ok()["activated"], &second.ok()["notice"]),
        (201, &json!(true), &Value::Null)
    );
    server.command("counter/a", "add", &json!({ "by": 3 })).ok();
    let third = upload(&counter_version("1.0.2"), "");
    let answer = third.ok();
    assert_eq!(
        (third.status, &answer["active"], &answer["activated"]),
        (201, &json!(false), &json!(false))
    );
    let notice = answer["notice"].as_str().unwrap();
    assert!(
        notice.contains("?activate=true") && notice.contains("Nothing checks yet"),
        "{notice}"
    );
    let serves = || server.get("/v1/aggregates").ok()["types"][0]["module"].clone();
    assert_eq!(serves(), second.ok()["digest"]);
    let again = upload(&counter_version("1.0.2"), "?activate=false");
    assert_eq!((again.status, &again.ok()["activated"]), (200, &json!(false)));
    assert!(again.ok()["notice"].is_string());
    let asked = upload(&counter_version("1.0.2"), "?activate=true");
    let answer = asked.ok();
    assert_eq!(
        (asked.status, &answer["active"], &answer["activated"]),
        (200, &json!(true), &json!(true))
    );
    assert!(
        answer["notice"]
            .as_str()
            .unwrap()
            .contains("Nothing has checked yet"),
        "{answer}"
    );
    assert_eq!(serves(), answer["digest"]);
    let known = upload(&counter_version("1.0.2"), "?activate=true");
    assert_eq!(
        (known.status, &known.ok()["activated"], &known.ok()["notice"]),
        (200, &json!(false), &Value::Null)
    );
    assert_eq!(activations(&server), 3);
    assert_eq!(
        server.get("/v1/aggregates/counter/a").ok()["state"],
        json!({ "sum": 3 })
    );
}

#[test]
fn activations_name_a_module_that_serves_the_type() {
    let server = TestServer::start();
    let first = server.upload(&counter_version("1.0.0")).ok()["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    server.command("counter/a", "add", &json!({ "by": 3 })).ok();
    let second = server.upload(&counter_version("1.0.1")).ok()["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let other = server.upload(&counter_type("odliers")).ok()["digest"]
        .as_str()
        .unwrap()
        .to_owned();
    let body = |digest: &str| json!({ "digest": digest }).to_string().into_bytes();
    for bad in [
        &b""[..],
        b"{",
        b"[]",
        b"{}",
        b"null",
        b"\xff",
        b"{\"digest\":1}",
        b"{\"digest\":\"\"}",
        b"{\"digest\":\"abc\"}",
        b"{\"digest\":null}",
        b"\"digest\"",
    ] {
        put(&server, "counter", bad).problem(400, "malformed-request");
    }
    let extra = format!("{{\"digest\":\"{second}\",\"force\":true}}");
    put(&server, "counter", extra.as_bytes()).problem(400, "malformed-request");
    let twice = format!("{{\"digest\":\"{second}\",\"digest\":\"{first}\"}}");
    put(&server, "counter", twice.as_bytes()).problem(400, "malformed-request");
    put(&server, "counter", &body(&"0".repeat(64))).problem(404, "unknown-module");
    let problem = put(&server, "counter", &body(&other)).problem(422, "module-refused");
    assert_eq!(problem["reason"], "other-type");
    assert!(
        problem["fix"]
            .as_str()
            .unwrap()
            .contains("/v1/deployments/odliers"),
        "{problem}"
    );
    for aggregate_type in ["absent", "annals-deployment"] {
        put(&server, aggregate_type, &body(&first)).problem(422, "module-refused");
    }
    assert_eq!(activations(&server), 2);

    let answer = put(&server, "counter", &body(&second)).ok();
    assert_eq!(
        (&answer["type"], &answer["digest"], &answer["previous"]),
        (&json!("counter"), &json!(second), &json!(first))
    );
    assert!(
        answer["notice"]
            .as_str()
            .unwrap()
            .contains("Nothing has checked yet"),
        "{answer}"
    );
    // The same again changes nothing and adds nothing to the history.
    let again = put(&server, "counter", &body(&second.to_uppercase())).ok();
    assert_eq!(
        (&again["digest"], &again["deployed_at"], &again["notice"]),
        (&answer["digest"], &answer["deployed_at"], &Value::Null)
    );
    put(&server, "counter", &body(&first)).ok();
    let deployments = server.get("/v1/deployments/counter").ok();
    let digests: Vec<&str> = deployments["history"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["digest"].as_str().unwrap())
        .collect();
    assert_eq!(digests, [&first, &second, &first]);
    assert_eq!(
        (&deployments["type"], &deployments["active"]),
        (&json!("counter"), &json!(first))
    );
}
