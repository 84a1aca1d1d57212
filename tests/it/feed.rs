//! The feed: pages, streams, reconnecting, slow readers, and the seam between the store and live.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use annals::vocabulary::Limits;
use annals_tests::{
    artifacts,
    cursors::{later, number, of_another_branch, of_another_log},
    guests,
    http::{Connection, SseStream},
    server::{Api, Process, TestServer, memory, next_link},
};
use serde_json::{Value, json};

fn counter(limits: Limits) -> TestServer {
    let server = TestServer::with_limits(limits);
    server.upload(&guests::counter()).ok();
    server
}

/// Adds `each` events to each of `aggregates` counters, one connection per counter.
fn add(address: SocketAddr, aggregates: u64, each: u64) {
    std::thread::scope(|scope| {
        for aggregate in 0..aggregates {
            scope.spawn(move || {
                let mut connection = Connection::open(address).unwrap();
                for _ in 0..each {
                    let path = format!("/v1/aggregates/counter/c{aggregate}/commands/add");
                    let headers = [("content-type", "application/json")];
                    connection
                        .request("POST", &path, &headers, b"{\"by\":1}")
                        .unwrap()
                        .ok();
                }
            });
        }
    });
}

/// Checks that a stream gives every event once, in order, until `count` have come.
fn follow(stream: &mut SseStream, after: &str, count: usize) -> String {
    let mut last = after.to_owned();
    let mut seen = 0;
    while seen < count {
        let event = stream.next_event().unwrap().expect("the stream goes on");
        if event.event.is_empty() {
            let is_later = last.is_empty() || number(&event.id) > number(&last);
            assert!(is_later, "{} came after {last}", event.id);
            let data: Value = serde_json::from_str(&event.data).unwrap();
            assert_eq!(data["position"], event.id.as_str());
            last = event.id;
            seen += 1;
        }
    }
    last
}

#[test]
fn a_reconnect_after_ten_thousand_events_misses_none_and_repeats_none() {
    let server = counter(Limits::default());
    let mut first = SseStream::open(server.address(), "/v1/events", &[]).unwrap();
    add(server.address(), 4, 25);
    let seen = follow(&mut first, "", 100);
    drop(first);
    add(server.address(), 16, 625);
    let mut second = SseStream::open(server.address(), "/v1/events", &[("last-event-id", &seen)]).unwrap();
    let last = follow(&mut second, &seen, 10_000);
    let caught_up = second.next_event().unwrap().unwrap();
    assert_eq!(
        (caught_up.event.as_str(), caught_up.id.as_str()),
        ("caught-up", last.as_str())
    );
    let pages = server.whole_feed();
    assert_eq!(pages.len(), 10_100);
    assert_eq!(pages.last().unwrap()["position"], last.as_str());
}

#[test]
fn followers_cross_from_the_store_to_live_without_gap_or_duplicate() {
    // A tiny broadcast, so that subscribers lag and go back to the store again and again.
    let server = counter(Limits {
        bus_commits: 4,
        stream_page_events: 7,
        ..Limits::default()
    });
    let address = server.address();
    std::thread::scope(|scope| {
        scope.spawn(move || add(address, 8, 200));
        for _ in 0..4 {
            scope.spawn(move || {
                let mut stream = SseStream::open(address, "/v1/events", &[]).unwrap();
                follow(&mut stream, "", 1_600);
            });
        }
    });
    assert_eq!(server.whole_feed().len(), 1_600);
}

/// Deposits with commands of 100 KB, most of it white space: small events of large commands.
fn deposit_large(address: SocketAddr, accounts: u64, each: u64) {
    let body = format!("{{\"amount\":1{}}}", " ".repeat(100_000));
    std::thread::scope(|scope| {
        for account in 0..accounts {
            let body = body.as_bytes();
            scope.spawn(move || {
                let mut connection = Connection::open(address).unwrap();
                for _ in 0..each {
                    let path = format!("/v1/aggregates/account/a{account}/commands/deposit");
                    let headers = [("content-type", "application/json")];
                    connection.request("POST", &path, &headers, body).unwrap().ok();
                }
            });
        }
    });
}

#[test]
fn a_client_that_reads_a_byte_a_second_slows_nobody() {
    let data = tempfile::tempdir().unwrap();
    let server = Process::start(&data.path().join("data"));
    server.upload(&guests::counter()).ok();
    server.upload(&artifacts::module("account")).ok();
    let address = server.address();
    for account in 0..8 {
        server
            .command(&format!("account/a{account}"), "open", &json!({ "owner": "A" }))
            .ok();
    }
    // First without the slow reader: caches and overlays fill up to their limits, which is not its doing.
    deposit_large(address, 8, 200);
    let alone = grown_by(&server, || deposit_large(address, 8, 100));
    let mut slow = Connection::open(address).unwrap();
    slow.send(b"GET /v1/events?after=now HTTP/1.1\r\nhost: annals\r\naccept: text/event-stream\r\n\r\n")
        .unwrap();
    assert_eq!(slow.head().unwrap().0, 200);
    let stop = AtomicBool::new(false);
    let beside_it = std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut byte = [0];
            while !stop.load(Ordering::SeqCst) {
                std::io::Read::read_exact(&mut slow.socket(), &mut byte).unwrap();
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        // Its socket is full after these, while it is live: from here on the broadcast keeps what it has not taken.
        add(address, 8, 1_500);
        let grown = grown_by(&server, || deposit_large(address, 8, 200));
        stop.store(true, Ordering::SeqCst);
        grown
    });
    // 160 MB of commands in which the slow reader got nowhere. What it may hold is a page of read-ahead and a socket's
    // buffers; the rest of the allowance is the noise of an allocator.
    assert!(
        beside_it < alone + (64 << 20),
        "memory grew by {beside_it} bytes beside it, {alone} alone"
    );
    assert_eq!(server.whole_feed().len(), 8 + 8 * 500 + 12_000);
}

#[test]
fn a_client_that_has_sent_half_a_request_does_not_hold_the_server_up() {
    let mut server = counter(Limits::default());
    let mut half = Connection::open(server.address()).unwrap();
    half.send(b"GET /v1/eve").unwrap();
    let mut stalled = Connection::open(server.address()).unwrap();
    stalled
        .send(b"GET /v1/events HTTP/1.1\r\nhost: annals\r\naccept: text/event-stream\r\n\r\n")
        .unwrap();
    add(server.address(), 4, 10);
    let begun = Instant::now();
    server.stop();
    assert!(
        begun.elapsed() < Limits::default().shutdown / 2,
        "it took {:?}",
        begun.elapsed()
    );
}

/// Growth of the most memory that a server ever had, bytes. What it has at one moment goes up and down with the commits
/// that wait for the index.
fn grown_by(server: &Process, work: impl FnOnce()) -> u64 {
    let before = memory(server.id(), "VmHWM");
    work();
    memory(server.id(), "VmHWM").saturating_sub(before)
}

#[test]
fn heartbeats_come_in_silence_and_shutdown_ends_the_stream() {
    let mut server = counter(Limits {
        heartbeat: Duration::from_millis(50),
        ..Limits::default()
    });
    let mut stream = Connection::open(server.address()).unwrap();
    stream
        .send(b"GET /v1/events HTTP/1.1\r\nhost: annals\r\naccept: text/event-stream\r\n\r\n")
        .unwrap();
    assert_eq!(stream.head().unwrap().0, 200);
    let mut text = String::new();
    while !text.contains(": heartbeat") {
        text.push_str(&String::from_utf8(stream.chunk().unwrap().unwrap()).unwrap());
    }
    assert!(text.starts_with("retry: "), "{text}");
    assert!(text.contains("event: caught-up"), "{text}");
    let begun = Instant::now();
    server.stop();
    assert!(
        begun.elapsed() < Limits::default().shutdown,
        "the stream did not hold the server up"
    );
    while stream.chunk().unwrap().is_some() {}
}

#[test]
fn cursors_lead_back_or_are_refused_with_the_reason() {
    let server = counter(Limits::default());
    add(server.address(), 1, 3);
    let events = server.whole_feed();
    let cursor = |index: usize| events[index]["position"].as_str().unwrap().to_owned();
    let after = |cursor: &str| server.get(&format!("/v1/events?after={cursor}"));
    assert_eq!(after(&cursor(0)).ok().as_array().unwrap().len(), 2);
    assert_eq!(after(&cursor(2)).ok(), json!([]));
    assert_eq!(after("now").ok(), json!([]));
    let (beyond, other_log) = (later(&cursor(2), 1_000_000), of_another_log(&cursor(0)));
    for (bad, says) in [
        ("nonsense", "is not a cursor"),
        ("", "is not a cursor"),
        ("%00", "is not a cursor"),
        (beyond.as_str(), "beyond the end"),
        (other_log.as_str(), "another log"),
    ] {
        let problem = after(bad).problem(400, "bad-cursor");
        assert!(
            problem["detail"].as_str().unwrap().contains(says),
            "{bad}: {problem}"
        );
    }
    after(&of_another_branch(&cursor(0))).problem(410, "dead-branch");
    let stream = [("accept", "text/event-stream"), ("last-event-id", "nonsense")];
    let _ = server
        .request("GET", "/v1/events", &stream, &[])
        .problem(400, "bad-cursor");
}

#[test]
fn the_feed_leaves_the_servers_own_events_out_unless_asked() {
    let server = counter(Limits::default());
    add(server.address(), 2, 2);
    assert_eq!(server.whole_feed().len(), 4);
    let all = server.get("/v1/events?include_system=true").ok();
    assert_eq!(all.as_array().unwrap().len(), 5);
    assert_eq!(all[0]["source"], "/v1/aggregates/annals-deployment");
    let page = server.get("/v1/events?type=counter&limit=3");
    assert_eq!(
        (page.ok().as_array().unwrap().len(), page.header("caught-up")),
        (3, Some("false"))
    );
    let rest = server.get(&next_link(&page).unwrap());
    assert_eq!(
        (rest.ok().as_array().unwrap().len(), rest.header("caught-up")),
        (1, Some("true"))
    );
    assert_eq!(server.get("/v1/events?type=absent").ok(), json!([]));
}
