//! A busy server: what a queue or the room for bytes cannot take is refused at once, and had no effect.

use std::time::Duration;

use annals::vocabulary::Limits;
use annals_tests::{
    guests,
    http::{Connection, Response},
    server::{Api, TestServer},
};
use serde_json::json;

fn counter(limits: Limits) -> TestServer {
    let server = TestServer::with_limits(limits);
    server.upload(&guests::counter()).ok();
    server
}

/// Sends `count` requests at once and gives the answers.
fn at_once(server: &TestServer, count: usize, path: &str, body: &[u8]) -> Vec<Response> {
    let address = server.address();
    std::thread::scope(|scope| {
        let send = || {
            let mut connection = Connection::open(address).unwrap();
            connection.request("POST", path, &[], body).unwrap()
        };
        let senders: Vec<_> = (0..count).map(|_| scope.spawn(send)).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    })
}

/// The answers that say that the server is busy; each says so in full.
#[track_caller]
fn busy(answers: &[Response], limit: usize) -> usize {
    let busy = answers.iter().filter(|answer| answer.status == 429);
    let check = |answer: &Response| {
        assert_eq!(answer.problem(429, "busy")["limit"], limit);
        assert!(answer.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    };
    busy.inspect(|answer| check(answer)).count()
}

#[test]
fn a_busy_server_says_so_at_once_and_recovers() {
    let slow = Limits {
        handle_wall: Duration::from_millis(300),
        handle_fuel: u64::MAX / 2,
        ..Limits::default()
    };
    for (limit, limits) in [
        (
            2,
            Limits {
                shard_queue: 2,
                ..slow.clone()
            },
        ),
        (
            16,
            Limits {
                in_flight_bytes: 16,
                ..slow
            },
        ),
    ] {
        let server = counter(limits);
        let answers = at_once(
            &server,
            12,
            "/v1/aggregates/counter/a/commands/loop",
            b"{\"by\":1}",
        );
        let refused = busy(&answers, limit);
        assert!((1..12).contains(&refused), "{refused} of 12 with {limit}");
        for answer in answers.iter().filter(|answer| answer.status != 429) {
            answer.problem(503, "deadline");
            assert!(answer.header("retry-after").is_some());
        }
        server.command("counter/a", "add", &json!({ "by": 1 })).ok();
        assert_eq!(server.whole_feed().len(), 1);
    }
}

#[test]
fn a_lane_takes_only_so_many() {
    let server = counter(Limits {
        lane_queue: 1,
        ..Limits::default()
    });
    let (mut refused, mut rounds) = (0, 0);
    while refused == 0 {
        let answers = at_once(
            &server,
            32,
            "/v1/aggregates/counter/a/commands/add",
            b"{\"by\":1}",
        );
        refused += busy(&answers, 1);
        rounds += 32;
        assert!(rounds < 32 * 1_000, "never busy");
        assert!(answers.iter().all(|answer| matches!(answer.status, 200 | 429)));
    }
    // What was refused did not happen.
    assert_eq!(
        server.get("/v1/aggregates/counter/a").ok()["version"],
        rounds - refused
    );
}

#[test]
fn bodies_that_are_arriving_have_room_for_so_many_bytes() {
    let server = counter(Limits {
        arriving_bytes: 100 * 1024,
        ..Limits::default()
    });
    let path = "/v1/aggregates/counter/a/commands/add";
    // It announces 90 KiB and sends nothing of it: the room is taken, and another 20 KiB do not fit beside it.
    let stall = || {
        let mut stalled = Connection::open(server.address()).unwrap();
        let announced = 90 * 1024;
        let head = format!("POST {path} HTTP/1.1\r\nhost: annals\r\ncontent-length: {announced}\r\n\r\n");
        stalled.send(head.as_bytes()).unwrap();
        stalled
    };
    let mut stalled = stall();
    let body = format!("{{\"by\":1{}}}", " ".repeat(20 * 1024));
    let send = || {
        server.request(
            "POST",
            path,
            &[("content-type", "application/json")],
            body.as_bytes(),
        )
    };
    let mut answer = send();
    for _ in 0..200 {
        if answer.status == 429 {
            break;
        }
        // Where the small one came first, the large one was refused, and takes no room.
        stalled = stall();
        std::thread::sleep(std::time::Duration::from_millis(10));
        answer = send();
    }
    assert_eq!(answer.problem(429, "busy")["limit"], 100 * 1024);
    assert_eq!(answer.header("retry-after"), Some("1"));
    drop(stalled);
    for _ in 0..200 {
        if send().status == 200 {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    panic!("the room did not come back");
}
