//! A thousand subscribers of the feed of whom nine hundred hardly read, while commands are sent. The bug that this looks
//! for: something that grows, or waits, for each one that does not keep up. Slow ones are behind an ordinary link, so
//! that it is the server and not the kernel that has to do something about what they do not read.

mod killed;
mod pushed;

use std::{net::SocketAddr, time::Duration};

use annals_tests::{
    follow::{Plan, Subscribers, Which, allow_open_files},
    guests,
    http::Connection,
    server::{Api, Process, memory},
};

const FAST: usize = 100;
const SLOW: usize = 900;
const CONNECTIONS: u64 = 8;
/// Commands of each connection, with an event each.
const EACH: u64 = 200;
/// So few that whoever is held up by its socket is soon behind what the broadcast keeps.
const LIMITS: [&str; 2] = ["bus-commits=64", "relay-frames=2"];
/// Sockets of both sides, which this process and the server it starts have one of for each subscriber.
const OPEN_FILES: u64 = 4_096;
/// What the server may hold for a subscriber that does not read: what it has encoded for the socket, in a buffer that
/// has doubled beyond its 64 KiB, the piece of 32 KiB that is in the making, two pages of events, each in the chunk of
/// 64 KiB that it was read from, and the connection, with the noise of an allocator. Without a bound each would hold all
/// that it has not read, which is four times as much.
const HELD_BYTES: u64 = 352 * 1024;
/// No step takes as long, unless something hangs.
const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn nine_hundred_of_a_thousand_subscribers_hardly_read_and_nobody_waits_or_misses_anything() {
    allow_open_files(OPEN_FILES).unwrap();
    let data = tempfile::tempdir().unwrap();
    let server = Process::with_limits(&data.path().join("data"), &LIMITS);
    server.upload(&guests::counter()).ok();
    // Caches and overlays fill up, which is not the subscribers' doing.
    let alone = add(server.address());
    let plan = Plan {
        path: "/v1/events?after=now".to_owned(),
        fast: FAST,
        slow: SLOW,
        after: Some(server.position()),
    };
    let subscribers = Subscribers::open(server.address(), &plan, LIMIT).unwrap();
    let idle = memory(server.id(), "VmRSS");

    let acknowledged = add(server.address());
    assert_eq!((alone, acknowledged), (CONNECTIONS * EACH, CONNECTIONS * EACH));
    let last = server.position();
    assert_eq!(last, plan.after.unwrap() + acknowledged);
    subscribers.wait_for(Which::Fast, last, LIMIT).unwrap();
    assert_eq!(subscribers.arrived(Which::Slow, last), 0, "they were to be slow");
    let held = memory(server.id(), "VmRSS").saturating_sub(idle);
    let allowed = (FAST + SLOW) as u64 * HELD_BYTES;
    assert!(
        held <= allowed,
        "{held} bytes are held for them, and {allowed} are allowed"
    );

    subscribers.release();
    subscribers.wait_for(Which::All, last, LIMIT).unwrap();
    let grown = memory(server.id(), "VmHWM").saturating_sub(idle);
    assert!(
        grown <= 2 * allowed,
        "{grown} bytes while they caught up, and {} are allowed",
        2 * allowed
    );
    let told = subscribers.end().unwrap();
    for (number, told) in told.iter().enumerate() {
        assert_eq!(
            (told.events, told.position),
            (acknowledged, last),
            "subscriber {number}"
        );
        // Those that were held up were live before, and are told that they no longer were.
        let is_slow = number >= FAST;
        assert!(!is_slow || told.fell_behind >= 1, "subscriber {number}: {told:?}");
    }
    let health = server.get("/readyz");
    assert_eq!(health.status, 200, "{}", health.text());
}

/// Sends all commands, and gives how many were acknowledged.
fn add(address: SocketAddr) -> u64 {
    let send = |number: u64| {
        let mut connection = Connection::open(address).unwrap();
        let path = format!("/v1/aggregates/counter/c{number}/commands/add");
        let headers = [("content-type", "application/json")];
        let answers = (0..EACH).map(|_| {
            connection
                .request("POST", &path, &headers, b"{\"by\":1}")
                .unwrap()
        });
        answers.filter(|answer| answer.status == 200).count() as u64
    };
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..CONNECTIONS)
            .map(|number| scope.spawn(move || send(number)))
            .collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).sum()
    })
}
