//! The load against a server that answers as it is told, and what is told of it.

use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::client::fake::{FakeServer, Reply};

fn address(server: &FakeServer) -> std::net::SocketAddr {
    format!("{server:?}")
        .strip_prefix("http://")
        .unwrap()
        .parse()
        .unwrap()
}

fn template() -> Template {
    Template::new("account", &"deposit".parse().unwrap(), Some("{\"amount\":1}"))
}

/// Every third command is rejected.
async fn busy_server() -> FakeServer {
    let asked = AtomicU64::new(0);
    FakeServer::start(move |_| {
        let (status, body) = match asked.fetch_add(1, Ordering::Relaxed) {
            number if number % 3 == 2 => (422, "{\"code\":\"no\"}"),
            _ => (
                200,
                r#"{"type":"account","id":"x","version":1,"events":[{"a":1}],"fuel":1}"#,
            ),
        };
        // As the server does, and unlike the other answers of this fake.
        Reply::text(status, body).header("content-length", &body.len().to_string())
    })
    .await
}

#[tokio::test]
async fn each_aggregate_is_opened_once_and_every_answer_is_counted() {
    let server = busy_server().await;
    let driven = drive(address(&server), &template(), 4, 30, Span::EachOnce, 0)
        .await
        .unwrap();
    assert_eq!(
        (
            driven.acknowledged.len(),
            driven.latencies.len(),
            driven.refused[&422]
        ),
        (20, 20, 10)
    );
    let mut lines: Vec<String> = server
        .requests()
        .iter()
        .map(|request| request.line.clone())
        .collect();
    lines.sort();
    lines.dedup();
    assert_eq!(lines.len(), 30);
    assert_eq!(
        lines[7],
        "POST /v1/aggregates/account/bench-000007/commands/deposit"
    );
    let error = all_accepted(&driven, &"open".parse().unwrap()).unwrap_err();
    assert!(error.to_string().contains("by 10 aggregates"), "{error}");
}

#[tokio::test]
async fn the_warm_up_is_kept_and_not_counted() {
    let server = busy_server().await;
    let span = Span::Timed {
        warm_up: Duration::from_millis(200),
        measured: Duration::from_millis(200),
    };
    let driven = drive(address(&server), &template(), 2, 3, span, 1).await.unwrap();
    assert!(!driven.latencies.is_empty() && driven.latencies.len() < driven.acknowledged.len());
    assert!(
        driven
            .acknowledged
            .iter()
            .all(|ack| ack.aggregate < 3 && ack.command >> 40 == 1)
    );
    assert!(driven.percentile(500) <= driven.percentile(999));
}

#[tokio::test]
async fn a_lost_connection_ends_it() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = drive(address, &template(), 1, 1, Span::EachOnce, 0)
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&address.to_string()), "{error}");
}

fn report() -> Report {
    let mut driven = Driven {
        latencies: (1..=1_000).map(Duration::from_micros).collect(),
        ..Driven::default()
    };
    driven.refused.insert(422, 3);
    driven.refusal = Some("422 \u{1b}[31mno".to_owned());
    Report {
        aggregate_type: "account".to_owned(),
        command: "deposit".parse().unwrap(),
        ids: 10_000,
        connections: 64,
        seconds: 10,
        floor: disk::Flushes {
            per_second: 9_999.6,
            p50: Duration::from_micros(100),
            p99: Duration::from_millis(1),
        },
        driven,
        checked: books::Checked {
            commands: 1_234,
            events: 1_234,
        },
        restart: Duration::from_millis(70),
    }
}

#[test]
fn people_read_a_table() {
    let expected = "\
flush of 4 KiB       10,000/s   p50 0.100 ms, p99 1.000 ms
account, deposit     100/s      64 connections, 10,000 aggregates, 10 s
  p50                0.500 ms
  p99                0.990 ms
  p99.9              0.999 ms
  longest            1.000 ms
  not 2xx            3
    422              3
start after kill -9  70.000 ms  all of 1,234 acknowledged commands were in the log (1,234 events)
an answer that was not 2xx: 422 \\u{1b}[31mno";
    assert_eq!(report().human(), expected);
}

#[test]
fn programs_read_every_number() {
    let value: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
    for (pointer, expected) in [
        ("/per_second", 100.0),
        ("/p99_us", 990.0),
        ("/flush/p50_us", 100.0),
        ("/not_2xx/422", 3.0),
        ("/acknowledged", 1_234.0),
        ("/restart_seconds", 0.07),
    ] {
        let found = value.pointer(pointer).and_then(serde_json::Value::as_f64);
        assert_eq!(found, Some(expected), "{pointer}");
    }
}

#[test]
fn nothing_accepted_is_a_failure_with_the_fix() {
    let report = report();
    let error = nothing_accepted(&report.driven, &report.command);
    let told = error.report(false);
    assert!(
        told.contains("422") && told.contains("--open") && !told.contains('\u{1b}'),
        "{told}"
    );
}
