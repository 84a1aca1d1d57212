//! Reads that wait for a position, pages of consumers, and what a consumer's own history tells.

use std::time::{Duration, Instant};

use annals::vocabulary::Limits;
use annals_tests::{
    cursors::later,
    http::SseStream,
    server::{Api, next_link},
};
use serde_json::{Value, json};

use super::{add, at, counter, leases, place, places, put};

#[test]
fn a_consumer_waits_for_a_position() {
    let server = counter(Limits::default());
    put(&server, "mails", &json!({})).ok();
    let answer = server.command("counter/a", "add", &json!({ "by": 1 }));
    let now = answer.ok()["position"].as_str().unwrap().to_owned();
    // The position is the last part of a cursor.
    let soon = later(&now, 1);
    let stands = server.get(&format!("/v1/consumers/mails?wait_for={now}")).ok();
    assert_eq!(stands["lag"]["events"], 1);
    let fetched = at(&server, "mails", &format!("fetch?wait_for={now}"), &json!({})).ok();
    assert_eq!(places(&fetched), [place("a", 1)]);
    for path in ["", "/stream"] {
        let path = format!("/v1/consumers/mails{path}?wait_for={soon}&timeout=0.1");
        server.get(&path).problem(504, "not-reached");
        server.get(&path.replace(&soon, "0a")).problem(400, "bad-cursor");
    }
    at(
        &server,
        "mails",
        &format!("fetch?wait_for={soon}&timeout=0.1"),
        &json!({}),
    )
    .problem(504, "not-reached");
    at(&server, "mails", "fetch?timeout=1", &json!({})).problem(400, "malformed-request");
    // What it waits for comes, and is delivered.
    let fetched = std::thread::scope(|scope| {
        let fetching = scope.spawn(|| at(&server, "mails", &format!("fetch?wait_for={soon}"), &json!({})));
        std::thread::sleep(Duration::from_millis(50));
        add(&server, &["b"]);
        fetching.join().unwrap().ok()
    });
    assert_eq!(places(&fetched), [place("b", 1)]);
}

#[test]
fn there_are_so_many_who_wait() {
    let server = counter(Limits {
        subscribers: 1,
        ..Limits::default()
    });
    put(&server, "mails", &json!({})).ok();
    let _stream = SseStream::open(server.address(), "/v1/events", &[]).unwrap();
    at(&server, "mails", "fetch", &json!({ "wait_ms": 1 })).problem(429, "busy");
    at(&server, "mails", "fetch", &json!({})).ok();
}

#[test]
fn consumers_are_listed_in_pages() {
    let server = counter(Limits::default());
    for name in ["d", "a", "c", "b", "e"] {
        put(&server, name, &json!({})).ok();
    }
    let mut names = Vec::new();
    let mut next = Some("/v1/consumers?limit=2".to_owned());
    while let Some(path) = next {
        let page = server.get(&path);
        let consumers = page.ok()["consumers"].as_array().unwrap().clone();
        assert!((1..=2).contains(&consumers.len()), "{path}");
        names.extend(consumers.iter().map(|consumer| consumer["name"].clone()));
        assert!(names.len() <= 5, "paging does not end");
        next = next_link(&page);
    }
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    let behind_all = server.get("/v1/consumers?after=e").ok();
    assert_eq!(behind_all, json!({ "consumers": [] }));
    for wrong in ["limit=0", "limit=101", "after=Upper", "from=a"] {
        server
            .get(&format!("/v1/consumers?{wrong}"))
            .problem(400, "malformed-request");
    }
}

#[test]
fn the_reason_of_a_skip_stays_in_the_history() {
    let server = counter(Limits::default());
    put(&server, "billing", &json!({})).ok();
    add(&server, &["a", "a"]);
    let fetched = at(&server, "billing", "fetch", &json!({})).ok();
    let park = json!({ "leases": leases(&fetched), "reason": "no such customer", "park": true });
    at(&server, "billing", "nack", &park).ok();
    let skip = json!({ "type": "counter", "id": "a", "through": 1, "reason": "a test account" });
    assert_eq!(at(&server, "billing", "skip", &skip).ok()["skipped"], 1);
    let server = server.restart(|_| {});
    let history = server.get("/v1/aggregates/annals-consumer/billing/events").ok();
    let events = history.as_array().unwrap();
    let types: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
    assert_eq!(types, [&json!("created"), &json!("skipped")]);
    let skipped = &events[1]["data"]["skipped"];
    assert_eq!(
        (&skipped["reason"], &skipped["from"], &skipped["through"]),
        (&json!("a test account"), &json!(1), &json!(1))
    );
}

/// A client of a stream that is gone with its leases is a member that died: they come again when their time is over.
#[test]
fn what_a_lost_stream_held_comes_again() {
    let server = counter(Limits::default());
    put(&server, "live", &json!({ "ack_deadline_ms": 3_000 })).ok();
    add(&server, &["a", "b"]);
    let leased = Instant::now();
    let mut stream = SseStream::open(server.address(), "/v1/consumers/live/stream?member=lost", &[]).unwrap();
    for _ in 0..2 {
        stream.next_event().unwrap().unwrap();
    }
    drop(stream);
    assert_eq!(at(&server, "live", "fetch", &json!({})).ok()["events"], json!([]));
    let mut again = Vec::new();
    while again.len() < 2 {
        let fetched = at(
            &server,
            "live",
            "fetch",
            &json!({ "member": "m", "wait_ms": 5_000 }),
        )
        .ok();
        for event in fetched["events"].as_array().unwrap() {
            assert_eq!(event["attempt"], 2);
            let reason = event["last_error"].as_str().unwrap();
            assert!(reason.contains("`lost`"), "{reason}");
        }
        assert!(
            !fetched["events"].as_array().unwrap().is_empty(),
            "only {again:?} came"
        );
        at(
            &server,
            "live",
            "ack",
            &json!({ "member": "m", "leases": leases(&fetched) }),
        )
        .ok();
        again.extend(places(&fetched));
    }
    assert!(leased.elapsed() >= Duration::from_millis(3_000));
    assert_eq!(again, [place("a", 1), place("b", 1)]);
}
