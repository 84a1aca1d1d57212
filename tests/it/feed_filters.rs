//! Filters of the feed and of histories: several at once, in every form, give what a plain look at everything gives.

use annals::vocabulary::Limits;
use annals_tests::{
    artifacts, guests,
    http::{LineStream, SseStream},
    server::{Api, TestServer, next_link},
};
use serde_json::{Value, json};

/// Counters and accounts, opened and used in turn.
fn busy() -> TestServer {
    let server = TestServer::with_limits(Limits {
        checkpoint_positions: 3,
        stream_page_events: 4,
        ..Limits::default()
    });
    server.upload(&guests::counter()).ok();
    server.upload(&artifacts::module("account")).ok();
    for number in 0..6 {
        let account = format!("account/eu-{number}");
        server.command(&account, "open", &json!({ "owner": "A" })).ok();
        for id in ["eu-1", "us-1"] {
            let counter = format!("counter/{id}");
            server.command(&counter, "add", &json!({ "by": number })).ok();
        }
        server.command(&account, "deposit", &json!({ "amount": 5 })).ok();
    }
    server.command("counter/us-1", "close", &json!({ "at": 1 })).ok();
    server
}

/// Everything, by pages of a size.
fn pages(server: &TestServer, path: &str, limit: usize) -> Vec<Value> {
    let separator = if path.contains('?') { '&' } else { '?' };
    let mut next = Some(format!("{path}{separator}limit={limit}"));
    let mut all = Vec::new();
    while let Some(path) = next {
        let page = server.get(&path);
        all.extend(page.ok().as_array().unwrap().iter().cloned());
        next = next_link(&page).filter(|_| page.header("caught-up") != Some("true"));
    }
    all
}

/// Everything up to the head, as lines.
fn lines(server: &TestServer, path: &str, follow: bool) -> Vec<Value> {
    let separator = if path.contains('?') { '&' } else { '?' };
    let path = format!("{path}{separator}follow={follow}");
    let mut stream = LineStream::open(server.address(), &path, &[]).unwrap();
    let mut all = Vec::new();
    loop {
        let line = stream.next_value().unwrap().expect("the stream goes on");
        match line["annals"].as_str() {
            None => all.push(line),
            Some("caught-up") => break,
            Some(other) => assert_eq!(other, "checkpoint", "{line}"),
        }
    }
    if !follow {
        assert_eq!(stream.next_line().unwrap(), None);
    }
    all
}

/// Everything up to the head, as server-sent events.
fn sent(server: &TestServer, path: &str) -> Vec<Value> {
    let mut stream = SseStream::open(server.address(), path, &[]).unwrap();
    let mut all = Vec::new();
    loop {
        let event = stream.next_event().unwrap().expect("the stream goes on");
        match event.event.as_str() {
            "" => all.push(serde_json::from_str(&event.data).unwrap()),
            "caught-up" => return all,
            other => assert_eq!(other, "checkpoint"),
        }
    }
}

#[track_caller]
fn check(server: &TestServer, path: &str, expected: &[Value]) {
    for limit in [1, 3, 1000] {
        assert_eq!(pages(server, path, limit), expected, "{path} by {limit}");
    }
    assert_eq!(lines(server, path, false), expected, "{path}");
    assert_eq!(lines(server, path, true), expected, "{path}");
    assert_eq!(sent(server, path), expected, "{path}");
}

fn encoded(time: &Value) -> String {
    time.as_str().unwrap().replace(':', "%3A")
}

#[test]
fn every_filter_of_the_feed_in_every_form() {
    let server = busy();
    let all = pages(&server, "/v1/events", 1000);
    assert_eq!(all.len(), 25);
    let (early, late) = (&all[7]["time"], &all[19]["time"]);
    let since = format!("since={}", encoded(early));
    let between = format!(
        "since={}&until={}&event_type=added",
        encoded(early),
        encoded(late)
    );
    type Wanted<'a> = Box<dyn Fn(&Value) -> bool + 'a>;
    let text = |event: &Value, member: &str| event[member].as_str().unwrap().to_owned();
    let cases: Vec<(&str, Wanted<'_>)> = vec![
        ("", Box::new(|_| true)),
        (
            "type=account",
            Box::new(|event| event["source"] == "/v1/aggregates/account"),
        ),
        ("type=account,counter", Box::new(|_| true)),
        ("type=absent", Box::new(|_| false)),
        ("event_type=closed", Box::new(|event| event["type"] == "closed")),
        (
            "event_type=closed,opened",
            Box::new(|event| event["type"] == "closed" || event["type"] == "opened"),
        ),
        (
            "id_prefix=us-",
            Box::new(|event| text(event, "subject").starts_with("us-")),
        ),
        (
            "id_prefix=eu-1&type=counter",
            Box::new(|event| event["subject"] == "eu-1" && event["type"] == "added"),
        ),
        ("actor=nobody", Box::new(|_| false)),
        (
            &since,
            Box::new(|event| text(event, "time") >= text(&all[7], "time")),
        ),
        (
            &between,
            Box::new(|event| {
                let time = text(event, "time");
                event["type"] == "added" && time >= text(&all[7], "time") && time < text(&all[19], "time")
            }),
        ),
    ];
    for (query, wanted) in cases {
        let expected: Vec<Value> = all.iter().filter(|event| wanted(event)).cloned().collect();
        check(&server, &format!("/v1/events?{query}"), &expected);
        // And from the middle on.
        let middle = text(&all[12], "position");
        let rest: Vec<Value> = all
            .iter()
            .skip(13)
            .filter(|event| wanted(event))
            .cloned()
            .collect();
        check(&server, &format!("/v1/events?{query}&after={middle}"), &rest);
    }
}

#[test]
fn every_filter_of_a_history_in_every_form() {
    let server = busy();
    let path = "/v1/aggregates/counter/us-1/events";
    let all = pages(&server, path, 1000);
    assert_eq!(all.len(), 7);
    let since = format!("since={}", encoded(&all[3]["time"]));
    let until = format!("until={}&event_type=added", encoded(&all[5]["time"]));
    let time = |event: &Value| event["time"].as_str().unwrap().to_owned();
    type Wanted<'a> = Box<dyn Fn(&Value) -> bool + 'a>;
    let cases: Vec<(&str, Wanted<'_>)> = vec![
        ("", Box::new(|_| true)),
        ("event_type=closed", Box::new(|event| event["type"] == "closed")),
        ("event_type=armed", Box::new(|_| false)),
        ("actor=nobody", Box::new(|_| false)),
        (&since, Box::new(|event| time(event) >= time(&all[3]))),
        (
            &until,
            Box::new(|event| event["type"] == "added" && time(event) < time(&all[5])),
        ),
    ];
    for (query, wanted) in cases {
        let expected: Vec<Value> = all.iter().filter(|event| wanted(event)).cloned().collect();
        check(&server, &format!("{path}?{query}"), &expected);
        let mut backward = pages(&server, &format!("{path}?{query}&direction=backward"), 2);
        backward.reverse();
        assert_eq!(backward, expected, "{query}");
        let rest: Vec<Value> = all
            .iter()
            .skip(4)
            .filter(|event| wanted(event))
            .cloned()
            .collect();
        check(&server, &format!("{path}?{query}&from=5"), &rest);
        let place = all[3]["position"].as_str().unwrap();
        assert_eq!(
            lines(&server, &format!("{path}?{query}&after={place}"), false),
            rest,
            "{query}"
        );
        assert_eq!(
            sent(&server, &format!("{path}?{query}&after={place}")),
            rest,
            "{query}"
        );
    }
}

#[test]
fn what_is_too_large_or_contradicts_itself_is_told() {
    let server = busy();
    let history = "/v1/aggregates/counter/us-1/events";
    let many = vec!["a"; 65].join(",");
    let long = "x".repeat(5_000);
    for (path, slug, says) in [
        (
            format!("/v1/events?type={many}"),
            "oversized-filter",
            "65 types; the limit is 64",
        ),
        (
            format!("/v1/events?event_type={many}"),
            "oversized-filter",
            "65 types; the limit is 64",
        ),
        (
            format!("{history}?event_type={many}"),
            "oversized-filter",
            "65 types; the limit is 64",
        ),
        (
            format!("/v1/events?actor={long}"),
            "oversized-filter",
            "5000 bytes; the limit is 4096",
        ),
        (
            format!("{history}?actor={long}"),
            "oversized-filter",
            "5000 bytes; the limit is 4096",
        ),
        (
            "/v1/events?since=yesterday".into(),
            "malformed-request",
            "yesterday",
        ),
        (
            "/v1/events?until=2026-01-01T00:00:00+01:00".into(),
            "malformed-request",
            "00:00:00 01:00",
        ),
        (
            format!("{history}?since=2026-01-02T00:00:00Z&until=2026-01-01T00:00:00Z"),
            "malformed-request",
            "not before",
        ),
        (
            "/v1/events?type=account,".into(),
            "malformed-request",
            "aggregate type",
        ),
        (
            "/v1/events?event_type=a,,b".into(),
            "malformed-request",
            "event type",
        ),
        ("/v1/events?from=1".into(), "malformed-request", "from"),
        (format!("{history}?type=counter"), "malformed-request", "type"),
        (format!("{history}?id_prefix=a"), "malformed-request", "id_prefix"),
        (
            format!("{history}?after=now"),
            "malformed-request",
            "`after` is for streams",
        ),
        (
            "/v1/events?follow=true".into(),
            "malformed-request",
            "a page does not go on",
        ),
        ("/v1/events?timeout=3".into(), "malformed-request", "wait_for"),
    ] {
        let problem = server.get(&path).problem(400, slug);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{path}: {problem}");
    }
    for (accept, path, says) in [
        (
            "text/event-stream",
            "/v1/events?follow=false".to_owned(),
            "follow=false",
        ),
        (
            "text/event-stream",
            format!("{history}?direction=backward"),
            "backward",
        ),
        (
            "application/x-ndjson",
            format!("{history}?direction=backward"),
            "backward",
        ),
        (
            "application/x-ndjson",
            "/v1/events?follow=true&limit=3".to_owned(),
            "limit",
        ),
        ("application/x-ndjson", "/v1/events?limit=0".to_owned(), "limit=0"),
        (
            "application/x-ndjson",
            format!("{history}?from=1&after=now"),
            "where to begin",
        ),
        ("application/x-ndjson", format!("{history}?from=0"), "from=0"),
    ] {
        let problem = server.request("GET", &path, &[("accept", accept)], &[]);
        let problem = problem.problem(400, "malformed-request");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{path}: {problem}");
    }
}
