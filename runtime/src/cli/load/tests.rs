//! A whole load against a fake server.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::client::fake::{FakeRequest, FakeServer, Reply};

const ACCEPTED: &str = r#"{"type":"a","id":"x","version":1,"events":[],"reply":null}"#;

/// The line that was sent.
fn sent(request: &FakeRequest) -> serde_json::Value {
    serde_json::from_str(&request.body).unwrap()
}

async fn load_into(
    server: &FakeServer,
    input: &str,
    connections: usize,
    retry_for: u64,
) -> serde_json::Value {
    let args = LoadArgs {
        file: "-".into(),
        connections,
        keys: false,
        retry_for,
    };
    let source = Source::of(std::io::Cursor::new(input.to_owned().into_bytes()), None);
    let progress = Progress::new(None, true);
    let summary = load(server.client(), &args, source, &progress).await.unwrap();
    let mut json: serde_json::Value = serde_json::from_str(&summary.json()).unwrap();
    json["exit"] = (summary.exit() as u8).into();
    json
}

fn line(id: usize, payload: usize, key: &str) -> String {
    format!("{{\"type\":\"a\",\"id\":\"x{id}\",\"command\":\"go\",\"payload\":{payload}{key}}}\n")
}

#[tokio::test]
async fn each_aggregate_gets_its_commands_in_order_over_several_connections() {
    let turn = AtomicUsize::new(0);
    let server = FakeServer::start(move |_| {
        // Every fifth answer asks to come again, which must not let the next command past.
        match turn.fetch_add(1, Ordering::SeqCst) % 5 {
            4 => Reply::problem(429, "busy"),
            _ => Reply::json(ACCEPTED),
        }
    })
    .await;
    let input: String = (0..300).map(|place| line(place % 20, place, "")).collect();
    let summary = load_into(&server, &input, 8, 30).await;
    assert_eq!((&summary["accepted"], &summary["exit"]), (&300.into(), &0.into()));
    assert!(summary["retries"].as_u64().unwrap() >= 60, "{summary}");

    let mut last: HashMap<String, u64> = HashMap::new();
    let mut connections = std::collections::HashSet::new();
    for request in server.requests() {
        connections.insert(request.connection);
        let line = sent(&request);
        let place = line["payload"].as_u64().unwrap();
        let before = last.insert(line["id"].to_string(), place);
        assert!(
            before.is_none_or(|before| before <= place),
            "{line} {before:?} {place}"
        );
    }
    assert_eq!(last.len(), 20);
    assert!((2..=8).contains(&connections.len()), "{connections:?}");
}

#[tokio::test]
async fn every_kind_of_answer_is_counted() {
    let server = FakeServer::start(|request| match sent(request)["payload"].as_u64().unwrap() {
        1 => Reply::text(422, r#"{"type":"urn:annals:problem:rejected","code":"no-way"}"#),
        2 => Reply::problem(404, "unknown-command"),
        3 => Reply::json(ACCEPTED).header("Idempotency-Replayed", "true"),
        4 => Reply::problem(503, "outcome-unknown"),
        _ => Reply::json(ACCEPTED),
    })
    .await;
    let mut input: String = (0..5).map(|place| line(place, place, "")).collect();
    input.push_str("nonsense\n");
    let summary = load_into(&server, &input, 2, 30).await;
    assert_eq!(summary["accepted"], 2);
    assert_eq!(summary["replayed"], 1);
    assert_eq!(summary["rejected"]["by_code"]["no-way"], 1);
    assert_eq!(
        summary["failed"]["by_reason"]["404 unknown-command"]["first_line"],
        3
    );
    assert_eq!(summary["failed"]["by_reason"]["503 outcome-unknown"]["count"], 1);
    assert_eq!(summary["malformed"]["first"][0]["line"], 6);
    assert_eq!((&summary["lines"], &summary["exit"]), (&6.into(), &9.into()));
}

#[tokio::test]
async fn a_lost_connection_is_tried_again_only_with_a_key() {
    let turn = AtomicUsize::new(0);
    let server = FakeServer::start(move |_| match turn.fetch_add(1, Ordering::SeqCst) {
        0 | 2 => Reply::hang_up(),
        _ => Reply::json(ACCEPTED),
    })
    .await;
    let input = line(1, 1, ",\"key\":\"k\"") + &line(1, 2, "");
    let summary = load_into(&server, &input, 1, 30).await;
    assert_eq!(
        (&summary["accepted"], &summary["retries"]),
        (&1.into(), &1.into())
    );
    assert_eq!(
        summary["failed"]["by_reason"]["connection lost, outcome unknown"]["first_line"],
        2
    );
    let keys: Vec<_> = server
        .requests()
        .iter()
        .map(|request| sent(request)["key"].is_string())
        .collect();
    assert_eq!(keys, [true, true, false]);
}

#[tokio::test]
async fn a_server_that_stays_away_ends_the_load() {
    let server = FakeServer::start(|_| Reply::json(ACCEPTED)).await;
    let client = server.client();
    drop(server);
    tokio::task::yield_now().await;
    let args = LoadArgs {
        file: "-".into(),
        connections: 2,
        keys: false,
        retry_for: 1,
    };
    let input: String = (0..500).map(|place| line(place, place, "")).collect();
    let source = Source::of(std::io::Cursor::new(input.into_bytes()), None);
    let summary = load(client, &args, source, &Progress::new(None, true))
        .await
        .unwrap();
    assert_eq!(summary.exit(), Exit::Unreachable);
    let json: serde_json::Value = serde_json::from_str(&summary.json()).unwrap();
    assert_eq!(
        (&json["accepted"], &json["stopped"]),
        (&0.into(), &"unreachable".into())
    );
    let failed = json["failed"]["total"].as_u64().unwrap();
    assert!((1..=2).contains(&failed), "{json}");
    assert!(json["not_sent"].as_u64().unwrap() > 0, "{json}");
}

#[tokio::test]
async fn many_commands_are_under_way_and_one_of_an_aggregate() {
    let server = FakeServer::start(|_| Reply::json(ACCEPTED)).await;
    let input: String = (0..20_000).map(|place| line(place % 3_000, place, "")).collect();
    let summary = load_into(&server, &input, 1, 30).await;
    assert_eq!(
        (&summary["accepted"], &summary["exit"]),
        (&20_000.into(), &0.into())
    );
    let requests = server.requests();
    assert!(requests.iter().all(|request| request.connection == 0));
    let mut last = HashMap::new();
    for request in requests {
        let line = sent(&request);
        let place = line["payload"].as_u64();
        assert!(last.insert(line["id"].to_string(), place) < Some(place), "{line}");
    }
}

#[tokio::test]
async fn an_older_server_is_named_as_such() {
    let server = FakeServer::start(|_| Reply::problem(404, "not-found")).await;
    let args = LoadArgs {
        file: "-".into(),
        connections: 2,
        keys: false,
        retry_for: 30,
    };
    let source = Source::of(std::io::Cursor::new(line(1, 1, "").into_bytes()), None);
    let client = server.client();
    server.knows_no_streams();
    let error = load(client, &args, source, &Progress::new(None, true))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("older than this annals"), "{error}");
    assert_eq!(error.exit(), Exit::Failed);
}
