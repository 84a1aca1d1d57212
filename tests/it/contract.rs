//! The contract on the wire: the shape of every good answer, its headers, conditions, paging, and what a busy server says.

use annals::vocabulary::Limits;
use annals_tests::{
    guests,
    http::{Connection, Response},
    server::{Api, TestServer},
    shapes::{is_rfc3339, members},
};
use serde_json::{Value, json};

fn counter(limits: Limits) -> TestServer {
    let server = TestServer::with_limits(limits);
    server.upload(&guests::counter()).ok();
    server
}

#[track_caller]
fn is_digest(value: &Value) {
    let text = value.as_str().unwrap_or_default();
    assert!(
        text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')),
        "{value}"
    );
}

fn array(page: &Response) -> Vec<Value> {
    page.ok().as_array().unwrap().clone()
}

#[test]
fn a_command_answers_with_version_events_and_headers() {
    let server = counter(Limits::default());
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [
        ("correlation-id", "order 7/é"),
        ("causation-id", "cause"),
        ("traceparent", traceparent),
        ("idempotency-key", "first"),
    ];
    let answer = server.post(
        "/v1/aggregates/counter/a%2F%F0%9F%A6%80/commands/add",
        &headers,
        &json!({ "by": 2 }),
    );
    let body = answer.ok();
    assert_eq!(answer.header("content-type"), Some("application/json"));
    members(
        &body,
        &["type", "id", "version", "position", "events", "reply", "fuel"],
    );
    assert_eq!(
        (&body["type"], &body["id"], &body["version"]),
        (&json!("counter"), &json!("a/🦀"), &json!(1))
    );
    assert_eq!(body["reply"], Value::Null);
    assert!(body["fuel"].as_u64().unwrap() > 0);
    let active = server.get("/v1/aggregates").ok()["types"][0].clone();
    let event = &body["events"][0];
    members(
        event,
        &[
            "specversion",
            "id",
            "source",
            "subject",
            "type",
            "time",
            "dataschema",
            "data",
            "sequence",
            "position",
            "correlationid",
            "causationid",
            "module",
            "traceparent",
        ],
    );
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["source"], "/v1/aggregates/counter");
    assert_eq!(event["subject"], "a/🦀");
    assert_eq!(event["type"], "added");
    assert_eq!(event["dataschema"], "urn:annals:schema:counter:added:1");
    assert_eq!(event["data"], json!({ "by": 2 }));
    assert_eq!(event["sequence"], "00000000000000000001");
    assert_eq!(event["position"], body["position"]);
    assert_eq!(
        (&event["correlationid"], &event["causationid"]),
        (&json!("order 7/é"), &json!("cause"))
    );
    assert_eq!(event["traceparent"], traceparent);
    is_rfc3339(&event["time"]);
    is_digest(&active["module"]);
    assert_eq!(event["module"], active["module"].as_str().unwrap()[..32]);
    let log_id = server.get("/readyz").ok()["log_id"].as_str().unwrap().to_owned();
    let log = &log_id[..log_id.len() / 2];
    assert_eq!(event["id"], format!("{log}/counter/a%2F%F0%9F%A6%80/1"));
    let short = &event["module"].as_str().unwrap()[..8];
    let by_event = server.get(&format!("/v1/modules/{}", event["module"].as_str().unwrap()));
    assert_eq!(by_event.ok()["digest"], active["module"]);
    assert_eq!(answer.header("etag"), Some(format!("\"1-{short}\"").as_str()));
    assert_eq!(answer.header("aggregate-version"), Some("1"));
    // The history and the feed give the same event.
    assert_eq!(
        array(&server.get("/v1/aggregates/counter/a%2F%F0%9F%A6%80/events")),
        std::slice::from_ref(event)
    );
    assert_eq!(server.whole_feed(), std::slice::from_ref(event));
    // Without the headers: the command's own id is what correlates, and nothing is made up.
    let plain = server.command("counter/b", "add", &json!({ "by": 2 })).ok();
    let event = &plain["events"][0];
    assert!(
        event["correlationid"].is_string()
            && event.get("causationid").is_none()
            && event.get("traceparent").is_none(),
        "{event}"
    );
    // A traceparent that is none, or two, is left out, as its specification demands.
    for headers in [
        vec![("traceparent", "nonsense")],
        vec![("traceparent", traceparent), ("traceparent", traceparent)],
    ] {
        let answer = server
            .post(
                "/v1/aggregates/counter/b/commands/add",
                &headers,
                &json!({ "by": 2 }),
            )
            .ok();
        assert!(answer["events"][0].get("traceparent").is_none(), "{answer}");
    }
    // A decision without events.
    let nothing = server.command("counter/b", "spam", &json!({}));
    assert_eq!(
        (&nothing.ok()["version"], &nothing.ok()["events"]),
        (&json!(3), &json!([]))
    );
    assert_eq!(nothing.header("aggregate-version"), Some("3"));
    let current = server.get("/v1/aggregates/counter/b");
    assert_eq!(nothing.header("etag"), current.header("etag"));
}

#[test]
fn states_have_etags_and_are_not_sent_twice() {
    let server = counter(Limits::default());
    let path = "/v1/aggregates/counter/a";
    let sent = server.command("counter/a", "add", &json!({ "by": 4 }));
    let state = server.get(path);
    let body = state.ok();
    members(&body, &["type", "id", "version", "module", "state"]);
    assert_eq!(
        (&body["type"], &body["id"], &body["version"], &body["state"]),
        (&json!("counter"), &json!("a"), &json!(1), &json!({ "sum": 4 }))
    );
    is_digest(&body["module"]);
    assert_eq!(state.header("content-type"), Some("application/json"));
    assert_eq!(state.header("aggregate-version"), Some("1"));
    let etag = state.header("etag").unwrap().to_owned();
    assert_eq!(sent.header("etag"), Some(etag.as_str()));
    let head = server.request("HEAD", path, &[], &[]);
    assert_eq!(
        (head.status, head.header("etag"), head.body.len()),
        (200, Some(etag.as_str()), 0)
    );
    assert_eq!(head.header("content-length"), state.header("content-length"));
    let read = |tags: &str| server.request("GET", path, &[("if-none-match", tags)], &[]);
    for known in [
        etag.clone(),
        format!("W/{etag}"),
        format!("\"x\", {etag}"),
        format!("{etag},"),
        "*".to_owned(),
    ] {
        let answer = read(&known);
        assert_eq!((answer.status, answer.text().as_str()), (304, ""), "{known}");
        assert_eq!(answer.header("etag"), Some(etag.as_str()), "{known}");
        assert_eq!(answer.header("aggregate-version"), Some("1"), "{known}");
    }
    let head = server.request("HEAD", path, &[("if-none-match", &etag)], &[]);
    assert_eq!(head.status, 304);
    for unknown in [
        "\"1\"",
        "\"1-\"",
        "\"1-0\"",
        "\"1-00000000\"",
        "\"2\"",
        "\"x\"",
        "\"0-ffffffff\"",
        &etag[..6],
        &etag[..8],
    ] {
        let unknown = format!("\"{}\"", unknown.trim_matches('"'));
        assert_eq!(read(&unknown).ok()["version"], 1, "{unknown}");
    }
    server.command("counter/a", "add", &json!({ "by": 4 })).ok();
    assert_eq!(read(&etag).ok()["state"], json!({ "sum": 8 }));
    // Another module may render the same version differently.
    let etag = server.get(path).header("etag").unwrap().to_owned();
    let other = guests::counter_with(&[("data", "(data (i32.const 1616) \"1.0.1\")")]);
    server
        .request("POST", "/v1/modules?activate=true", &[], &other)
        .ok();
    let rendered = read(&etag);
    assert_eq!(rendered.ok()["state"], json!({ "sum": 8 }));
    assert_ne!(rendered.header("etag"), Some(etag.as_str()));
    assert_eq!(rendered.header("aggregate-version"), Some("2"));
}

#[test]
fn what_has_ended_is_gone_but_its_history_stays() {
    let server = counter(Limits::default());
    server.command("counter/a", "add", &json!({ "by": 4 })).ok();
    let closed = server.command("counter/a", "close", &json!({ "at": 1 }));
    assert_eq!(closed.ok()["version"], 2);
    let path = "/v1/aggregates/counter/a";
    let ended = server.get(path).problem(410, "ended");
    assert_eq!(ended["version"], 2);
    assert!(
        ended["fix"]
            .as_str()
            .unwrap()
            .contains("/v1/aggregates/counter/a/events"),
        "{ended}"
    );
    assert_eq!(server.request("HEAD", path, &[], &[]).status, 410);
    // Also for one who has the ETag of the command that ended it.
    for known in [closed.header("etag").unwrap(), "*"] {
        server
            .request("GET", path, &[("if-none-match", known)], &[])
            .problem(410, "ended");
    }
    assert_eq!(array(&server.get(&format!("{path}/events"))).len(), 2);
    server
        .command("counter/a", "add", &json!({ "by": 4 }))
        .problem(422, "rejected");
    assert_eq!(
        server.get("/v1/aggregates/counter").ok()["aggregates"][0]["version"],
        2
    );
}

#[test]
fn preconditions_hold_or_nothing_happens() {
    let server = counter(Limits::default());
    let digest = server.get("/v1/modules").ok()["modules"][0]["digest"]
        .as_str()
        .unwrap()[..8]
        .to_owned();
    let send = |header: (&str, &str)| {
        server.post(
            "/v1/aggregates/counter/a/commands/add",
            &[header],
            &json!({ "by": 1 }),
        )
    };
    let full = |version: u64| format!("\"{version}-{digest}\"");
    for header in [
        ("if-match", "*"),
        ("if-match", "\"1\""),
        ("if-match", "\"other\""),
    ] {
        assert_eq!(send(header).problem(412, "precondition-failed")["version"], 0);
    }
    server
        .get("/v1/aggregates/counter/a")
        .problem(404, "unknown-aggregate");
    assert_eq!(send(("if-none-match", "*")).ok()["version"], 1);
    assert_eq!(
        send(("if-none-match", "*")).problem(412, "already-exists")["version"],
        1
    );
    for (number, holds) in [
        "\"1\"",
        &full(2),
        "*",
        "\"9\", \"4\"",
        "\"5-00000000\"",
        "W/\"6\"",
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(send(("if-match", holds)).ok()["version"], number + 2, "{holds}");
    }
    for fails in [
        "\"6\"",
        "\"8\"",
        "\"0\"",
        &full(6),
        "\"x\"",
        "\"18446744073709551616\"",
        "\"+7\"",
        "\"1\", \"2\"",
    ] {
        assert_eq!(
            send(("if-match", fails)).problem(412, "precondition-failed")["version"],
            7,
            "{fails}"
        );
    }
    // A version of 0 is a version: it does not exist yet.
    let answer = server.post(
        "/v1/aggregates/counter/b/commands/add",
        &[("if-match", "\"0\"")],
        &json!({ "by": 1 }),
    );
    assert_eq!(answer.ok()["version"], 1);
    assert_eq!(server.whole_feed().len(), 8);
}

#[test]
fn one_of_many_conditional_writers_wins_each_version() {
    let server = counter(Limits::default());
    let address = server.address();
    let won: u64 = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(move || {
                    let mut connection = Connection::open(address).unwrap();
                    let path = "/v1/aggregates/counter/a/commands/add";
                    (0..20_u64)
                        .filter(|version| {
                            let tag = format!("\"{version}\"");
                            let answer = connection
                                .request("POST", path, &[("if-match", &tag)], b"{\"by\":1}")
                                .unwrap();
                            if answer.status != 200 {
                                let at = &answer.problem(412, "precondition-failed")["version"];
                                assert_ne!(at, version);
                            }
                            answer.status == 200
                        })
                        .count() as u64
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    assert!(won >= 1, "{won}");
    assert_eq!(server.get("/v1/aggregates/counter/a").ok()["version"], won);
    assert_eq!(server.whole_feed().len() as u64, won);
}

#[test]
fn payloads_that_are_not_json_travel_in_base64() {
    let server = TestServer::start();
    // The counter takes the first digits that it finds, whatever is around them.
    let cbor = guests::counter_with(&[("data", "(data (i32.const 1632) \"application/cbor\")")]);
    server.upload(&cbor).ok();
    let path = "/v1/aggregates/counter/a/commands/add";
    let send = |content_type: &str| {
        let headers = [("content-type", content_type), ("idempotency-key", "k")];
        server.request("POST", path, &headers, b"\xa1\x62by7\xff")
    };
    let problem = send("application/json").problem(415, "unsupported-media-type");
    assert_eq!(problem["supported"], json!(["application/cbor"]));
    let answer = send("application/cbor");
    let event = answer.ok()["events"][0].clone();
    assert_eq!(event["data_base64"], "oWJieTf/");
    assert!(event.get("data").is_none(), "{event}");
    assert_eq!(server.whole_feed(), std::slice::from_ref(&event));
    let outcome = server.get("/v1/aggregates/counter/a/outcomes/k").ok();
    assert_eq!(outcome["body"], answer.ok());
    assert_eq!(
        server.get("/v1/aggregates/counter/a").ok()["state"],
        json!({ "sum": 7 })
    );
    let command = "/v1/aggregates/counter/{id}/commands/add";
    let content = &server.get("/openapi.json").ok()["paths"][command]["post"]["requestBody"]["content"];
    assert!(content["application/cbor"]["schema"].is_object(), "{content}");
    // What was written as it was stays readable as it was, also when a later module writes JSON.
    server
        .request("POST", "/v1/modules?activate=true", &[], &guests::counter())
        .ok();
    server.command("counter/a", "add", &json!({ "by": 1 })).ok();
    let feed = server.whole_feed();
    assert_eq!((&feed[0], &feed[1]["data"]), (&event, &json!({ "by": 1 })));
}
