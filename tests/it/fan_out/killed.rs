//! Subscribers of both kinds of streams while the server is killed under commands, twice: each goes on from the last event it
//! was given, and was given every event once and in order. The bug that this looks for: an event that was sent before it was
//! safe, or one that falls between a stream's end and the next one's beginning.

use std::{
    io,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use annals::vocabulary::Cursor;
use annals_tests::{
    guests,
    http::{Connection, LineStream, SseStream},
    server::{Api, Process, free_address},
};
use serde_json::{Value, json};

const SUBSCRIBERS: usize = 50;
const SENDERS: u64 = 4;
const KILLS: usize = 2;
/// How long commands are sent before each kill, and after the last one.
const BETWEEN: Duration = Duration::from_millis(300);
/// Between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(20);
/// All of it takes a few seconds, unless something hangs.
const LIMIT: Duration = Duration::from_secs(60);
/// The id of the aggregate whose event is the last one.
const END: &str = "end";

#[test]
fn every_subscriber_goes_on_after_a_kill_and_misses_nothing() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("data");
    let mut server = Process::start_at(&data, free_address());
    server.upload(&guests::counter()).ok();
    let (address, before) = (server.address(), server.position());
    let ready = server.get("/readyz").ok();
    let start = ready["position"].as_str().unwrap();
    let is_enough = &AtomicBool::new(false);
    let (given, last): (Vec<_>, u64) = thread::scope(|scope| {
        let subscribers: Vec<_> = (0..SUBSCRIBERS)
            .map(|number| scope.spawn(move || follow(address, number.is_multiple_of(2), start)))
            .collect();
        let senders: Vec<_> = (0..SENDERS)
            .map(|number| scope.spawn(move || send(address, number, is_enough)))
            .collect();
        for _ in 0..KILLS {
            thread::sleep(BETWEEN);
            server.kill();
            server = Process::start_at(&data, address);
        }
        thread::sleep(BETWEEN);
        is_enough.store(true, Ordering::SeqCst);
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        let end = format!("counter/{END}");
        server.command(&end, "add", &json!({ "by": 1 })).ok();
        let given = subscribers
            .into_iter()
            .map(|subscriber| subscriber.join().unwrap());
        (given.collect(), server.position())
    });
    let expected: Vec<u64> = (before + 1..=last).collect();
    assert!(expected.len() > 50, "only {} events happened", expected.len());
    for (number, given) in given.iter().enumerate() {
        assert_eq!(*given, expected, "subscriber {number}");
    }
}

/// Sends commands, whatever becomes of them, until it is enough.
fn send(address: SocketAddr, number: u64, is_enough: &AtomicBool) {
    let begun = Instant::now();
    let path = format!("/v1/aggregates/counter/c{number}/commands/add");
    let headers = [("content-type", "application/json")];
    while !is_enough.load(Ordering::SeqCst) && begun.elapsed() < LIMIT {
        let Ok(mut connection) = Connection::open(address) else {
            thread::sleep(PAUSE);
            continue;
        };
        while !is_enough.load(Ordering::SeqCst)
            && connection.request("POST", &path, &headers, b"{\"by\":1}").is_ok()
        {}
    }
}

enum Stream {
    Sent(SseStream),
    Lines(LineStream),
}

impl Stream {
    fn open(address: SocketAddr, is_lines: bool, after: &str) -> io::Result<Self> {
        // A server that is starting listens, and answers 503.
        let ready = Connection::open(address)?.request("GET", "/readyz", &[], &[])?;
        if ready.status != 200 {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if is_lines {
            let path = format!("/v1/events?follow=true&after={after}");
            LineStream::open(address, &path, &[]).map(Self::Lines)
        } else {
            // As a browser does.
            SseStream::open(address, "/v1/events", &[("last-event-id", after)]).map(Self::Sent)
        }
    }

    /// The next event; none when the stream is over, however it ended.
    fn next(&mut self) -> Option<Value> {
        loop {
            match self {
                Self::Sent(stream) => {
                    let event = stream.next_event().ok()??;
                    if event.event.is_empty() {
                        let data: Value = serde_json::from_str(&event.data).unwrap();
                        assert_eq!(data["position"], event.id);
                        return Some(data);
                    }
                }
                Self::Lines(stream) => {
                    let value = stream.next_value().ok()??;
                    if value.get("annals").is_none() {
                        return Some(value);
                    }
                }
            }
        }
    }
}

/// The positions of all events that one subscriber is given, up to the end.
fn follow(address: SocketAddr, is_lines: bool, start: &str) -> Vec<u64> {
    let (begun, mut after, mut given) = (Instant::now(), start.to_owned(), Vec::new());
    loop {
        assert!(
            begun.elapsed() < LIMIT,
            "the end has not come; {} events have",
            given.len()
        );
        let Ok(mut stream) = Stream::open(address, is_lines, &after) else {
            thread::sleep(PAUSE);
            continue;
        };
        while let Some(event) = stream.next() {
            event["position"].as_str().unwrap().clone_into(&mut after);
            let cursor: Cursor = after.parse().unwrap();
            given.push(cursor.position.0);
            if event["subject"] == END {
                return given;
            }
        }
    }
}
