//! Streams: lines and server-sent events of the feed and of one aggregate, what stands between the events, and where a
//! client that comes back goes on.

use std::{process::Command, time::Duration};

use annals::vocabulary::Limits;
use annals_tests::{
    artifacts,
    cursors::number,
    guests,
    http::{LineStream, SseEvent, SseStream},
    server::{Api, Process, TestServer},
    shapes::members,
};
use serde_json::{Value, json};

const HISTORY: &str = "/v1/aggregates/counter/a/events";

fn counter(limits: Limits) -> TestServer {
    let server = TestServer::with_limits(limits);
    server.upload(&guests::counter()).ok();
    server
}

/// Adds to some counters, in turn.
fn add(server: &impl Api, ids: &[&str], rounds: usize) {
    for _ in 0..rounds {
        for id in ids {
            server
                .command(&format!("counter/{id}"), "add", &json!({ "by": 1 }))
                .ok();
        }
    }
}

/// The next line that is not empty.
fn line(stream: &mut LineStream) -> Value {
    stream.next_value().unwrap().expect("the stream goes on")
}

fn event(stream: &mut SseStream) -> SseEvent {
    stream.next_event().unwrap().expect("the stream goes on")
}

#[test]
fn lines_end_at_the_head_or_go_on() {
    let server = counter(Limits {
        heartbeat: Duration::from_millis(50),
        ..Limits::default()
    });
    add(&server, &["a", "b"], 3);
    let all = server.whole_feed();
    for (path, expected) in [
        ("/v1/events", all.clone()),
        (HISTORY, server.get(HISTORY).ok().as_array().unwrap().clone()),
    ] {
        let head = expected.last().unwrap()["position"].clone();
        let mut ending = LineStream::open(server.address(), path, &[]).unwrap();
        for event in &expected {
            assert_eq!(line(&mut ending), *event);
        }
        let last = line(&mut ending);
        members(&last, &["annals", "position"]);
        assert_eq!(last["annals"], "caught-up");
        assert!(
            number(last["position"].as_str().unwrap()) >= number(head.as_str().unwrap()),
            "{last}"
        );
        assert_eq!(ending.next_line().unwrap(), None);
        let mut cut = LineStream::open(server.address(), &format!("{path}?limit=2"), &[]).unwrap();
        assert_eq!(
            [line(&mut cut), line(&mut cut)],
            [expected[0].clone(), expected[1].clone()]
        );
        assert_eq!(
            line(&mut cut),
            json!({ "annals": "checkpoint", "position": expected[1]["position"] })
        );
        assert_eq!(cut.next_line().unwrap(), None);
    }
    // What follows: live events, and an empty line in silence.
    for path in [
        "/v1/events?follow=true&after=now",
        &format!("{HISTORY}?follow=true&after=now"),
    ] {
        let mut following = LineStream::open(server.address(), path, &[]).unwrap();
        assert_eq!(line(&mut following)["annals"], "caught-up");
        while !following
            .next_line()
            .unwrap()
            .expect("the stream goes on")
            .is_empty()
        {}
        let sent = server.command("counter/a", "add", &json!({ "by": 7 })).ok();
        assert_eq!(line(&mut following), sent["events"][0]);
    }
}

#[test]
fn a_history_is_followed_from_before_its_first_event() {
    let server = counter(Limits::default());
    let mut sse = SseStream::open(server.address(), HISTORY, &[]).unwrap();
    let mut lines =
        LineStream::open(server.address(), &format!("{HISTORY}?follow=true&from=2"), &[]).unwrap();
    assert_eq!(event(&mut sse).event, "caught-up");
    assert_eq!(line(&mut lines)["annals"], "caught-up");
    // One that ends at the head has nothing to wait for.
    let headers = [("accept", "application/x-ndjson")];
    server
        .request("GET", HISTORY, &headers, &[])
        .problem(404, "unknown-aggregate");
    let unknown = "/v1/aggregates/absent/a/events";
    for accept in ["application/x-ndjson", "text/event-stream", "application/json"] {
        let answer = server.request("GET", unknown, &[("accept", accept)], &[]);
        answer.problem(404, "unknown-type");
    }
    add(&server, &["b", "a"], 2);
    let all = server.get(HISTORY).ok();
    for expected in all.as_array().unwrap() {
        let event = event(&mut sse);
        assert_eq!(event.id, expected["position"].as_str().unwrap());
        assert_eq!(serde_json::from_str::<Value>(&event.data).unwrap(), *expected);
    }
    assert_eq!(line(&mut lines), all[1]);
}

#[test]
fn a_client_goes_on_at_every_place_it_was_told_of() {
    let server = counter(Limits {
        checkpoint_positions: 2,
        ..Limits::default()
    });
    add(&server, &["a", "b", "b"], 8);
    for path in [
        "/v1/events",
        HISTORY,
        "/v1/events?event_type=closed",
        "/v1/events?id_prefix=a",
    ] {
        let mut stream = SseStream::open(server.address(), path, &[]).unwrap();
        let mut told = Vec::new();
        loop {
            let event = event(&mut stream);
            let is_end = event.event == "caught-up";
            told.push(event);
            if is_end {
                break;
            }
        }
        let is_event = |event: &&SseEvent| event.event.is_empty();
        for (place, event_told) in told.iter().enumerate() {
            let rest: Vec<_> = told.iter().skip(place + 1).filter(is_event).collect();
            let resume = [("last-event-id", event_told.id.as_str())];
            let mut again = SseStream::open(server.address(), path, &resume).unwrap();
            for expected in rest {
                let mut found = event(&mut again);
                while found.event == "checkpoint" {
                    found = event(&mut again);
                }
                assert_eq!(found, *expected, "{path} from {place}");
            }
            // The id goes before what the address says, as lines too.
            let separator = if path.contains('?') { '&' } else { '?' };
            let address = format!("{path}{separator}after=now");
            let mut lines = LineStream::open(server.address(), &address, &resume).unwrap();
            let expected = told.iter().skip(place + 1).find(is_event);
            let mut found = line(&mut lines);
            while found["annals"] == "checkpoint" {
                found = line(&mut lines);
            }
            match expected {
                Some(expected) => assert_eq!(found["position"], expected.id.as_str(), "{path} from {place}"),
                None => assert_eq!(found["annals"], "caught-up", "{path} from {place}"),
            }
        }
    }
}

#[test]
fn silence_tells_of_the_place_when_it_has_moved() {
    let server = counter(Limits {
        heartbeat: Duration::from_millis(100),
        ..Limits::default()
    });
    for path in [
        "/v1/events?event_type=closed",
        "/v1/aggregates/counter/quiet/events",
    ] {
        let mut stream = SseStream::open(server.address(), path, &[]).unwrap();
        let begun = event(&mut stream);
        assert_eq!(begun.event, "caught-up");
        add(&server, &["a"], 5);
        let last = server.whole_feed().last().unwrap()["position"]
            .as_str()
            .unwrap()
            .to_owned();
        // Nothing was wanted, yet after a heartbeat or two the client knows how far everything was looked at.
        let mut place = begun.id;
        while place != last {
            let told = event(&mut stream);
            assert_eq!(told.event, "checkpoint");
            assert!(
                place.is_empty() || number(&told.id) > number(&place),
                "{} after {place}",
                told.id
            );
            assert_eq!(
                serde_json::from_str::<Value>(&told.data).unwrap()["position"],
                told.id.as_str()
            );
            place = told.id;
        }
    }
}

#[test]
fn a_live_stream_tells_of_its_place_without_waiting_for_silence() {
    let server = counter(Limits {
        checkpoint_positions: 10,
        ..Limits::default()
    });
    let path = "/v1/events?event_type=closed&follow=true";
    let mut stream = LineStream::open(server.address(), path, &[]).unwrap();
    let begun = line(&mut stream);
    assert_eq!(begun["annals"], "caught-up");
    add(&server, &["a"], 25);
    let mut place = number(begun["position"].as_str().unwrap());
    for _ in 0..2 {
        let told = line(&mut stream);
        assert_eq!(told["annals"], "checkpoint");
        let next = number(told["position"].as_str().unwrap());
        assert_eq!(next, place + 10);
        place = next;
    }
}

/// A million events that nobody wants, and `kill -9`: who comes back goes on near the head.
#[test]
fn after_a_million_unwanted_events_a_crash_costs_little() {
    const EACH: u64 = 10_000;
    let data = tempfile::tempdir().unwrap();
    let path = data.path().join("data");
    let start = || {
        let mut command = Command::new(artifacts::binary());
        command.env(
            "ANNALS_LIMITS",
            "events_per_command=10000,events_per_command_bytes=67108864",
        );
        Process::spawn(command, &path)
    };
    let server = start();
    server.upload(&guests::counter()).ok();
    let filter = "/v1/events?event_type=closed";
    let mut stream = SseStream::open(server.address(), filter, &[]).unwrap();
    let commands = 1_000_000 / EACH;
    for number in 0..commands {
        server
            .command(
                &format!("counter/c{}", number % 4),
                "ten-thousand",
                &json!({ "by": 1 }),
            )
            .ok();
    }
    let mut last = String::new();
    while last.is_empty() || number(&last) < 1_000_000 - EACH {
        last = event(&mut stream).id;
    }
    server.kill();
    let server = start();
    let begun = std::time::Instant::now();
    let mut again = SseStream::open(server.address(), filter, &[("last-event-id", &last)]).unwrap();
    let mut caught_up = event(&mut again);
    while caught_up.event == "checkpoint" {
        caught_up = event(&mut again);
    }
    assert_eq!(caught_up.event, "caught-up");
    let behind = number(&caught_up.id) - number(&last);
    assert!(behind <= 2 * EACH, "it goes on {behind} events behind the head");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    let closed = server.command("counter/c0", "close", &json!({ "at": 1 })).ok();
    let told = event(&mut again);
    assert_eq!(closed["events"][0]["position"], told.id.as_str());
}
