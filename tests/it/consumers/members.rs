//! Four members of one consumer share its work while commands come in, some of them die with leases, and the server is
//! killed again and again. Each event is acknowledged in the end, an aggregate's events in order; what was acknowledged is
//! not delivered again.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use annals_tests::{
    guests,
    http::{Connection, Response},
    server::{Api, Process},
};
use serde_json::{Value, json};

use crate::random::Random;

const ROUNDS: u64 = 6;
const MEMBERS: u64 = 4;
const WRITERS: u64 = 2;
const AGGREGATES: u64 = 12;
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// What the members did, all of them.
#[derive(Debug, Default)]
struct Work {
    /// The last version of each aggregate whose acknowledgement was answered with a 2xx.
    acked: BTreeMap<String, u64>,
    /// The last version of each aggregate whose acknowledgement was sent: it may have been written down.
    sent: BTreeMap<String, u64>,
    delivered: u64,
}

#[test]
fn members_share_the_work_whatever_happens() {
    let seed = Random::seed();
    eprintln!("seed {seed} (ANNALS_TEST_SEED={seed} repeats it)");
    let mut random = Random::new(seed);
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("data");
    let server = Process::start(&data);
    server.upload(&guests::counter()).ok();
    let definition =
        json!({ "batch": 5, "ack_deadline_ms": 300, "retry": { "attempts": 1_000, "first_pause_ms": 0 } });
    let path = "/v1/consumers/shared";
    server
        .request("PUT", path, &JSON, definition.to_string().as_bytes())
        .ok();
    server.kill();
    let work = Mutex::default();
    for _ in 0..ROUNDS {
        let life = Duration::from_millis(150 + random.below(400));
        one_life(&data, life, &work, &mut random);
    }
    let server = Process::start(&data);
    finish(&server, &work);
    let work = work.into_inner().unwrap();
    let mut written: BTreeMap<String, u64> = BTreeMap::new();
    for event in server.whole_feed() {
        *written
            .entry(event["subject"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    assert_eq!(work.sent, written);
    let events: u64 = written.values().sum();
    assert!(work.delivered >= events, "{} of {events}", work.delivered);
    let status = server.get(path).ok();
    assert_eq!(
        (&status["lag"]["events"], &status["parked"]["events"]),
        (&json!(0), &json!(0))
    );
}

fn one_life(data: &std::path::Path, life: Duration, work: &Mutex<Work>, random: &mut Random) {
    let server = Process::start(data);
    let (address, over) = (server.address(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..WRITERS {
            let (over, seed) = (&over, random.next());
            scope.spawn(move || write(address, over, Random::new(seed)));
        }
        for member in 0..MEMBERS {
            let (over, seed) = (&over, random.next());
            scope.spawn(move || take_part(address, member, over, work, Random::new(seed)));
        }
        std::thread::sleep(life);
        over.store(true, Ordering::Release);
        server.kill();
    });
}

fn write(address: SocketAddr, over: &AtomicBool, mut random: Random) {
    let Ok(mut connection) = Connection::open(address) else {
        return;
    };
    while !over.load(Ordering::Acquire) {
        let path = format!(
            "/v1/aggregates/counter/c{}/commands/add",
            random.below(AGGREGATES)
        );
        if connection.request("POST", &path, &JSON, b"{\"by\":1}").is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(random.below(3)));
    }
}

fn ask(connection: &mut Connection, what: &str, body: &Value) -> Option<Response> {
    let path = format!("/v1/consumers/shared/{what}");
    connection
        .request("POST", &path, &JSON, body.to_string().as_bytes())
        .ok()
}

/// Fetches and acknowledges, and now and then dies with what it holds.
fn take_part(address: SocketAddr, member: u64, over: &AtomicBool, work: &Mutex<Work>, mut random: Random) {
    let Ok(mut connection) = Connection::open(address) else {
        return;
    };
    let mut lives = 0;
    while !over.load(Ordering::Acquire) {
        let name = format!("member-{member}-{lives}");
        let Some(answer) = ask(
            &mut connection,
            "fetch",
            &json!({ "member": name, "wait_ms": 50 }),
        ) else {
            return;
        };
        let (taken, delivered) = (Instant::now(), answer.ok());
        for delivered in delivered["events"].as_array().unwrap() {
            begin(work, &delivered["event"]);
            if random.below(20) == 0 {
                // It dies: its lease runs out, and another one gets the event.
                lives += 1;
                continue;
            }
            let body = json!({ "member": name, "leases": [delivered["lease"]] });
            note(work, |work| &mut work.sent, &delivered["event"]);
            let Some(answer) = ask(&mut connection, "ack", &body) else {
                return;
            };
            if answer.status == 200 {
                note(work, |work| &mut work.acked, &delivered["event"]);
            } else {
                // What is slow has run out, and is somebody else's.
                assert!(taken.elapsed() >= Duration::from_millis(250), "{}", answer.text());
            }
        }
    }
}

fn subject_of(event: &Value) -> (String, u64) {
    let version = event["sequence"].as_str().unwrap().parse().unwrap();
    (event["subject"].as_str().unwrap().to_owned(), version)
}

/// An acknowledgement that was answered stays, and nothing comes before what is before it was acknowledged.
fn begin(work: &Mutex<Work>, event: &Value) {
    let (subject, version) = subject_of(event);
    let mut work = work.lock().unwrap_or_else(PoisonError::into_inner);
    work.delivered += 1;
    let acked = work.acked.get(&subject).copied().unwrap_or(0);
    assert!(version > acked, "{subject} {version} was acknowledged ({acked})");
    let sent = work.sent.get(&subject).copied().unwrap_or(0);
    assert!(version <= sent + 1, "{subject} {version} came after {sent}");
}

fn note(work: &Mutex<Work>, of: impl FnOnce(&mut Work) -> &mut BTreeMap<String, u64>, event: &Value) {
    let (subject, version) = subject_of(event);
    let mut work = work.lock().unwrap_or_else(PoisonError::into_inner);
    let last = of(&mut work).entry(subject).or_default();
    *last = version.max(*last);
}

/// Takes what is left.
fn finish(server: &Process, work: &Mutex<Work>) {
    let mut connection = Connection::open(server.address()).unwrap();
    let give_up = Instant::now() + Duration::from_secs(60);
    loop {
        assert!(Instant::now() < give_up, "it does not end");
        let delivered = ask(
            &mut connection,
            "fetch",
            &json!({ "member": "last", "wait_ms": 500 }),
        )
        .unwrap()
        .ok();
        let (taken, events) = (Instant::now(), delivered["events"].as_array().unwrap());
        for delivered in events {
            begin(work, &delivered["event"]);
            let body = json!({ "member": "last", "leases": [delivered["lease"]] });
            note(work, |work| &mut work.sent, &delivered["event"]);
            let answer = ask(&mut connection, "ack", &body).unwrap();
            // Where the disk is slow, its time is over, and it comes again.
            let slow = taken.elapsed() >= Duration::from_millis(250);
            assert!(answer.status == 200 || slow, "{}", answer.text());
        }
        if events.is_empty() && server.get("/v1/consumers/shared").ok()["lag"]["events"] == 0 {
            return;
        }
    }
}
