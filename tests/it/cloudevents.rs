//! Events are CloudEvents 1.0, whichever way they leave, as the SDK for Python reads them, which others wrote.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use annals::vocabulary::{Clock, Limits, SystemClock};
use annals_tests::{
    absent::skip,
    artifacts, guests,
    http::{Response, SseStream},
    receiver::{Receiver, wait_until},
    server::{Api, TestServer},
};
use serde_json::{Value, json};

const CHECK: &str = "CloudEvents by their SDK";
const REQUIRED: &str = "ANNALS_CLOUDEVENTS";
const NDJSON: &str = "application/x-ndjson";
/// Needed by the specification, and what we promise beyond it.
const ALWAYS: [&str; 11] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "dataschema",
    "sequence",
    "position",
    "correlationid",
    "module",
];
const EXTENSIONS: [&str; 7] = [
    "sequence",
    "position",
    "correlationid",
    "causationid",
    "actor",
    "module",
    "traceparent",
];
/// No UTF-8, and with a number for the counter.
const BINARY: &[u8] = b"\xff\x00\xfe 7 \x80";

/// An event as it was sent.
struct Sent {
    form: &'static str,
    event: Value,
}

#[test]
fn an_sdk_that_others_wrote_reads_every_event() {
    let Some(python) = artifacts::python_with_cloudevents() else {
        skip(
            CHECK,
            "it is not installed; `cargo xtask test` does that",
            REQUIRED,
        );
        return;
    };
    let begun = SystemClock.now();
    let receiver = Receiver::willing();
    let server = TestServer::with_webhooks(Limits::default(), &[receiver.host()]);
    let mut sent = happenings(&server);
    sent.extend(read_every_way(&server));
    sent.extend(posted(&server, &receiver));
    let range = begun..=SystemClock.now();
    let understood = understand(&python, &sent);
    let mut by_id: BTreeMap<&str, (&Sent, BTreeSet<&str>)> = BTreeMap::new();
    for (sent, understood) in sent.iter().zip(&understood) {
        check(sent, understood);
        let time = understood["time_ms"].as_u64().unwrap();
        assert!(range.contains(&time), "{}: {understood}", sent.form);
        let id = sent.event["id"].as_str().unwrap();
        let (first, forms) = by_id.entry(id).or_insert_with(|| (sent, BTreeSet::new()));
        assert_eq!(first.event, sent.event, "{} and {} differ", first.form, sent.form);
        forms.insert(sent.form);
    }
    assert_eq!(by_id.len(), 5);
    let everywhere = by_id.values().map(|(_, forms)| forms.len()).min().unwrap();
    assert!(everywhere >= 7, "an event was not read in every way");
}

/// Events with and without every optional attribute, of modules that write JSON and of one that does not.
fn happenings(server: &TestServer) -> Vec<Sent> {
    server.upload(&artifacts::module("account")).ok();
    // The counter with another word of the same length for what its payloads are.
    let text = guests::COUNTER.replace("application/json", "application/cbor");
    server
        .upload(&guests::module(&text, &guests::COUNTER_EXPORTS))
        .ok();
    let answers = [
        command(
            server,
            "account/%C3%84%20%2F%20%E8%B4%A6",
            "open",
            &[],
            br#"{"owner":"\u00c4"}"#,
        ),
        command(
            server,
            "account/%C3%84%20%2F%20%E8%B4%A6",
            "deposit",
            &[
                ("correlation-id", "order 17"),
                ("causation-id", "it/happened"),
                (
                    "traceparent",
                    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                ),
            ],
            br#"{"amount": 9007199254740991}"#,
        ),
        command(
            server,
            "account/b",
            "open",
            &[],
            br#"{"owner":"a \"quoted\" one\n"}"#,
        ),
        command(server, "account/b", "close", &[], b""),
        command(
            server,
            "counter/c",
            "add",
            &[("content-type", "application/cbor")],
            BINARY,
        ),
    ];
    let events = answers.iter().flat_map(|answer| {
        let events = answer.ok()["events"].as_array().unwrap().clone();
        events.into_iter().map(|event| Sent {
            form: "answer",
            event,
        })
    });
    events.collect()
}

fn command(
    server: &TestServer,
    aggregate: &str,
    name: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Response {
    let path = format!("/v1/aggregates/{aggregate}/commands/{name}");
    let mut all = vec![("content-type", "application/json")];
    if headers.iter().any(|(name, _)| *name == "content-type") {
        all.clear();
    }
    all.extend_from_slice(headers);
    server.request("POST", &path, &all, body)
}

fn read_every_way(server: &TestServer) -> Vec<Sent> {
    let mut sent = Vec::new();
    let mut note =
        |form, events: Vec<Value>| sent.extend(events.into_iter().map(|event| Sent { form, event }));
    let page = server.get("/v1/events");
    assert_eq!(
        page.header("content-type"),
        Some("application/cloudevents-batch+json")
    );
    let page = page.ok().as_array().unwrap().clone();
    let count = page.len();
    note("batch", page);
    for aggregate in ["account/%C3%84%20%2F%20%E8%B4%A6", "account/b", "counter/c"] {
        let history = server.get(&format!("/v1/aggregates/{aggregate}/events")).ok();
        note("history", history.as_array().unwrap().clone());
    }
    let lines = server.request("GET", "/v1/events", &[("accept", NDJSON)], &[]);
    assert_eq!(lines.status, 200, "{}", lines.text());
    let lines: Vec<Value> = lines
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // Lines without an id are not events: they tell how far the feed has been read.
    note(
        "line",
        lines.into_iter().filter(|line| line["id"].is_string()).collect(),
    );
    let mut stream = SseStream::open(server.address(), "/v1/events", &[]).unwrap();
    let mut followed = Vec::new();
    while followed.len() < count {
        let event = stream.next_event().unwrap().unwrap();
        if event.event.is_empty() {
            followed.push(serde_json::from_str(&event.data).unwrap());
        }
    }
    note("stream", followed);
    note("delivery", delivered(server, count));
    sent
}

/// What a durable consumer is given, an aggregate's events one after the other.
fn delivered(server: &TestServer, count: usize) -> Vec<Value> {
    let created = server.request(
        "PUT",
        "/v1/consumers/reader",
        &[("content-type", "application/json")],
        b"{}",
    );
    assert_eq!(created.status, 201, "{}", created.text());
    let mut events = Vec::new();
    while events.len() < count {
        let batch = server
            .post("/v1/consumers/reader/fetch", &[], &json!({ "wait_ms": 5_000 }))
            .ok();
        let batch = batch["events"].as_array().unwrap().clone();
        assert!(!batch.is_empty(), "{} of {count}", events.len());
        let leases: Vec<Value> = batch.iter().map(|delivered| delivered["lease"].clone()).collect();
        server
            .post("/v1/consumers/reader/ack", &[], &json!({ "leases": leases }))
            .ok();
        events.extend(batch.into_iter().map(|delivered| delivered["event"].clone()));
    }
    events
}

/// What receivers are posted, alone and in batches.
fn posted(server: &TestServer, receiver: &Receiver) -> Vec<Sent> {
    let mut sent = Vec::new();
    for (form, mode, media_type) in [
        ("webhook", "event", "application/cloudevents+json"),
        ("webhook batch", "batch", "application/cloudevents-batch+json"),
    ] {
        let before = receiver.requests().len();
        let definition = json!({ "webhook": { "url": receiver.url("/"), "mode": mode } }).to_string();
        let path = format!("/v1/consumers/{mode}");
        let headers = [("content-type", "application/json")];
        let created = server.request("PUT", &path, &headers, definition.as_bytes());
        assert_eq!(created.status, 201, "{}", created.text());
        wait_until("all to be posted", || {
            server.get(&path).ok()["lag"]["events"] == 0
        });
        for posted in receiver.requests().split_off(before) {
            assert_eq!(posted.header("content-type"), media_type);
            sent.extend(posted.events().into_iter().map(|event| Sent { form, event }));
        }
    }
    sent
}

/// What the SDK makes of them.
fn understand(python: &Path, sent: &[Sent]) -> Vec<Value> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("cloudevents/read.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: String = sent.iter().map(|sent| format!("{}\n", sent.event)).collect();
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let printed = String::from_utf8(output.stdout).unwrap();
    let understood: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(understood.len(), sent.len());
    understood
}

/// Holds what was sent against what the SDK understood. Some of it the SDK would make up when it is missing.
fn check(sent: &Sent, understood: &Value) {
    let Sent { form, event } = sent;
    let members = event.as_object().unwrap();
    for name in ALWAYS {
        let text = members.get(name).and_then(Value::as_str).unwrap_or_default();
        assert!(!text.is_empty(), "{form}: `{name}` is missing: {event}");
    }
    for name in ["specversion", "id", "source", "type", "subject", "dataschema"] {
        assert_eq!(understood[name], event[name], "{form}: {event}");
    }
    assert_eq!(event["specversion"], "1.0");
    let extensions = understood["extensions"].as_object().unwrap();
    for (name, value) in extensions {
        assert!(
            EXTENSIONS.contains(&name.as_str()),
            "{form}: `{name}` is none of ours"
        );
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        assert!(name.len() <= 20 && name.bytes().all(plain), "{form}: `{name}`");
        assert_eq!(*value, event[name], "{form}: {event}");
    }
    assert_eq!(understood["same_written_and_read"], true, "{form}: {event}");
    assert_eq!(understood["same_by_former"], true, "{form}: {event}");
    check_data(sent, understood);
}

fn check_data(sent: &Sent, understood: &Value) {
    let Sent { form, event } = sent;
    let expected = match (event["source"].as_str().unwrap(), event["type"].as_str().unwrap()) {
        ("/v1/aggregates/counter", _) => {
            let hex: String = BINARY.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(understood["data_hex"], hex, "{form}: {event}");
            assert!(event.get("data").is_none(), "{form}: {event}");
            return;
        }
        (_, "opened") if event["subject"] == "b" => json!({ "owner": "a \"quoted\" one\n" }),
        (_, "opened") => json!({ "owner": "Ä" }),
        (_, "deposited") => {
            assert_eq!(event["subject"], "Ä / 账");
            assert_eq!(event["correlationid"], "order 17");
            assert_eq!(event["causationid"], "it/happened");
            assert_eq!(
                event["traceparent"],
                "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            );
            json!({ "amount": 9_007_199_254_740_991_u64 })
        }
        (_, "closed") => event["data"].clone(),
        other => panic!("{form}: {other:?}"),
    };
    assert_eq!(understood["data"], expected, "{form}: {event}");
}
