//! What bounds those who follow and those who wait, and what is told before anybody waits.

use std::time::{Duration, Instant};

use annals::vocabulary::Limits;
use annals_tests::{
    cursors::later,
    guests,
    http::{LineStream, SseStream},
    server::{Api, TestServer},
};
use serde_json::json;

const HISTORY: &str = "/v1/aggregates/counter/a/events";
const PATIENCE: Duration = Duration::from_secs(60);

fn counter(limits: Limits) -> TestServer {
    let server = TestServer::with_limits(limits);
    server.upload(&guests::counter()).ok();
    server
}

/// The position of an event that is added.
fn added(server: &TestServer) -> String {
    let answer = server.command("counter/a", "add", &json!({ "by": 1 })).ok();
    answer["position"].as_str().unwrap().to_owned()
}

#[test]
fn whoever_follows_or_waits_takes_one_of_so_many_places() {
    let server = counter(Limits {
        subscribers: 1,
        ..Limits::default()
    });
    let later = later(&added(&server), 5);
    server
        .request(
            "PUT",
            "/v1/consumers/mail",
            &[("content-type", "application/json")],
            b"{}",
        )
        .ok();
    let mut only = SseStream::open(server.address(), "/v1/events", &[]).unwrap();
    assert_eq!(only.next_event().unwrap().unwrap().event, "");
    for (path, accept) in [
        ("/v1/events".to_owned(), "text/event-stream"),
        ("/v1/events?follow=true".to_owned(), "application/x-ndjson"),
        (HISTORY.to_owned(), "text/event-stream"),
        ("/v1/consumers/mail/stream".to_owned(), "text/event-stream"),
        (format!("/v1/events?wait_for={later}"), "application/json"),
        (format!("{HISTORY}?wait_for={later}"), "application/json"),
        (
            format!("/v1/aggregates/counter/a?wait_for={later}"),
            "application/json",
        ),
    ] {
        let refused = server.request("GET", &path, &[("accept", accept)], &[]);
        let problem = refused.problem(429, "busy");
        assert_eq!(problem["limit"], 1, "{path}: {problem}");
        assert!(refused.header("retry-after").is_some(), "{path}");
    }
    // A preference cannot be heeded, and so it is not.
    for path in ["/v1/events?after=now", "/v1/aggregates/counter/a/events?from=2"] {
        let page = server.request("GET", path, &[("prefer", "wait=5")], &[]);
        assert_eq!(
            (page.ok(), page.header("preference-applied")),
            (json!([]), None),
            "{path}"
        );
    }
    drop(only);
    let begun = Instant::now();
    let accept = [("accept", "application/x-ndjson")];
    while server.request("GET", "/v1/events", &accept, &[]).status != 200 {
        assert!(begun.elapsed() < PATIENCE, "the place is not given back");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_is_wrong_with_a_request_is_told_before_it_waits() {
    let server = counter(Limits::default());
    let later = later(&added(&server), 5);
    let begun = Instant::now();
    for (path, accept, says) in [
        ("/v1/events?limit=0", "application/json", "limit=0"),
        ("/v1/events?limit=0", "application/x-ndjson", "limit=0"),
        ("/v1/events?limit=5", "text/event-stream", "`limit`"),
        (
            "/v1/aggregates/counter/a/events?limit=0",
            "application/json",
            "limit=0",
        ),
        (
            "/v1/aggregates/counter/a/events?limit=0",
            "application/x-ndjson",
            "limit=0",
        ),
    ] {
        let path = format!("{path}&wait_for={later}&timeout=60");
        let refused = server.request("GET", &path, &[("accept", accept)], &[]);
        let problem = refused.problem(400, "malformed-request");
        assert!(
            problem["detail"].as_str().unwrap().contains(says),
            "{path}: {problem}"
        );
    }
    assert!(begun.elapsed() < Duration::from_secs(30), "it was waited for");
}

#[test]
fn only_an_address_begins_at_the_head() {
    let server = counter(Limits::default());
    added(&server);
    for accept in ["text/event-stream", "application/x-ndjson"] {
        let headers = [("accept", accept), ("last-event-id", "now")];
        let problem = server
            .request("GET", "/v1/events", &headers, &[])
            .problem(400, "bad-cursor");
        assert!(problem["detail"].as_str().unwrap().contains("`now`"), "{problem}");
    }
}

/// Those who follow alike are sent the same bytes, whenever they came and however many they are.
#[test]
fn all_who_follow_are_told_the_same() {
    let server = counter(Limits::default());
    added(&server);
    for path in [
        "/v1/events",
        "/v1/events?type=counter",
        "/v1/events?type=counter&event_type=added&id_prefix=a",
    ] {
        let separator = if path.contains('?') { '&' } else { '?' };
        let lines = format!("{path}{separator}follow=true");
        let mut sse = Vec::new();
        let mut ndjson = Vec::new();
        for _ in 0..4 {
            sse.push(SseStream::open(server.address(), path, &[]).unwrap());
            ndjson.push(LineStream::open(server.address(), &lines, &[]).unwrap());
            added(&server);
        }
        let expected = server.whole_feed();
        for stream in &mut sse {
            for expected in &expected {
                let mut found = stream.next_event().unwrap().unwrap();
                while !found.event.is_empty() {
                    found = stream.next_event().unwrap().unwrap();
                }
                let data: serde_json::Value = serde_json::from_str(&found.data).unwrap();
                assert_eq!(data, *expected, "{path}");
                assert_eq!(found.id, expected["position"].as_str().unwrap(), "{path}");
            }
        }
        for stream in &mut ndjson {
            for expected in &expected {
                let mut found = stream.next_value().unwrap().unwrap();
                while found.get("specversion").is_none() {
                    found = stream.next_value().unwrap().unwrap();
                }
                assert_eq!(found, *expected, "{path}");
            }
        }
    }
}
