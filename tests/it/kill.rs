//! `kill -9` at random moments under 64 clients, fifty times on the same data. Each client keeps a ledger of what it
//! sent and what was acknowledged; after each restart the log is held against it: nothing acknowledged is lost, nothing is
//! there twice, versions are dense, positions only grow, and every key answers as before.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use annals_tests::{
    cursors::number,
    guests,
    http::Connection,
    server::{Api, Process, next_link},
};
use serde_json::{Value, json};

use crate::random::Random;

const ROUNDS: u64 = 50;
const CLIENTS: u64 = 64;
const AGGREGATES: u64 = 96;

/// One command as its client remembers it.
struct Sent {
    aggregate: u64,
    key: String,
    /// The body of the acknowledgement, when there was one.
    acknowledged: Option<Vec<u8>>,
}

#[derive(Default)]
struct Ledger {
    /// Every key with its first answer; none when the server was killed before it could answer.
    sent: HashMap<String, Sent>,
    /// Keys in the log, with the place of their event.
    logged: HashMap<String, (String, u64)>,
    versions: BTreeMap<String, u64>,
    next_page: Option<String>,
    last_position: u64,
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_is_there_twice() {
    let seed = Random::seed();
    eprintln!("seed {seed} (ANNALS_TEST_SEED={seed} repeats it)");
    let mut random = Random::new(seed);
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("data");
    let server = Process::start(&data);
    server.upload(&guests::counter()).ok();
    server.kill();
    let mut ledger = Ledger::default();
    for round in 0..ROUNDS {
        let life = Duration::from_millis(40 + random.below(360));
        let sent = one_life(&data, round, life, random.next());
        ledger
            .sent
            .extend(sent.into_iter().map(|sent| (sent.key.clone(), sent)));
        let server = Process::start(&data);
        ledger.check_log(&server);
        ledger.check_keys(&server, round, &mut random);
        ledger.check_log(&server);
        server.kill();
    }
    let acknowledged = ledger
        .sent
        .values()
        .filter(|sent| sent.acknowledged.is_some())
        .count();
    eprintln!(
        "{acknowledged} acknowledged, {} in the log, {ROUNDS} kills",
        ledger.logged.len()
    );
    assert!(
        acknowledged as u64 > ROUNDS * 20,
        "the clients hardly got to work: {acknowledged}"
    );
}

/// Starts a server, lets the clients at it, kills it, and collects what the clients remember.
fn one_life(data: &Path, round: u64, life: Duration, seed: u64) -> Vec<Sent> {
    let server = Process::start(data);
    let address = server.address();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let stop = &stop;
                scope.spawn(move || work(address, round, client, Random::new(seed ^ client), stop))
            })
            .collect();
        std::thread::sleep(life);
        server.kill();
        stop.store(true, Ordering::SeqCst);
        clients
            .into_iter()
            .flat_map(|client| client.join().unwrap())
            .collect()
    })
}

fn work(address: SocketAddr, round: u64, client: u64, mut random: Random, stop: &AtomicBool) -> Vec<Sent> {
    let mut sent = Vec::new();
    let Ok(mut connection) = Connection::open(address) else {
        return sent;
    };
    for number in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let (aggregate, key) = (random.below(AGGREGATES), format!("r{round}-c{client}-n{number}"));
        let answer = send(&mut connection, aggregate, &key);
        let acknowledged = match answer {
            Ok((200, body)) => Some(body),
            Ok((status, body)) => panic!("{status}: {}", String::from_utf8_lossy(&body)),
            Err(_) => None,
        };
        let lost = acknowledged.is_none();
        sent.push(Sent {
            aggregate,
            key,
            acknowledged,
        });
        if lost {
            break;
        }
    }
    sent
}

fn send(connection: &mut Connection, aggregate: u64, key: &str) -> std::io::Result<(u16, Vec<u8>)> {
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    let path = format!("/v1/aggregates/counter/c{aggregate}/commands/add");
    let body = json!({ "by": 1 }).to_string();
    let response = connection.request("POST", &path, &headers, body.as_bytes())?;
    Ok((response.status, response.body))
}

impl Ledger {
    /// Reads what is new in the feed.
    fn check_log(&mut self, server: &Process) {
        let mut connection = Connection::open(server.address()).unwrap();
        loop {
            let path = self.next_page.clone().unwrap_or_else(|| "/v1/events".into());
            let page = connection.request("GET", &path, &[], &[]).unwrap();
            for event in page.ok().as_array().unwrap() {
                self.check_event(event);
            }
            self.next_page = next_link(&page);
            if page.header("caught-up") == Some("true") {
                break;
            }
        }
        for sent in self.sent.values().filter(|sent| sent.acknowledged.is_some()) {
            assert!(
                self.logged.contains_key(&sent.key),
                "{} was acknowledged and is lost",
                sent.key
            );
        }
    }

    fn check_event(&mut self, event: &Value) {
        let (subject, key) = (
            event["subject"].as_str().unwrap(),
            event["correlationid"].as_str().unwrap(),
        );
        let version: u64 = event["sequence"].as_str().unwrap().parse().unwrap();
        let expected = self.versions.get(subject).copied().unwrap_or(0) + 1;
        assert_eq!(version, expected, "versions of {subject} are dense");
        self.versions.insert(subject.to_owned(), version);
        let position = number(event["position"].as_str().unwrap());
        assert!(position > self.last_position, "positions only grow");
        self.last_position = position;
        let before = self.logged.insert(key.to_owned(), (subject.to_owned(), version));
        assert_eq!(before, None, "{key} is in the log twice");
    }

    /// Retries what was not acknowledged in the last round, and asks for older answers again.
    fn check_keys(&mut self, server: &Process, round: u64, random: &mut Random) {
        let mut connection = Connection::open(server.address()).unwrap();
        let newest = format!("r{round}-");
        for sent in self.sent.values_mut() {
            let unanswered = sent.acknowledged.is_none();
            let chosen = sent.key.starts_with(&newest) && random.below(4) == 0 || random.below(200) == 0;
            if !unanswered && !chosen {
                continue;
            }
            let (status, body) = send(&mut connection, sent.aggregate, &sent.key).unwrap();
            let text = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(status, 200, "{}: {text}", sent.key);
            match &sent.acknowledged {
                Some(first) => assert_eq!(text, String::from_utf8_lossy(first), "the first answer, again"),
                None => {
                    let answer: Value = serde_json::from_slice(&body).unwrap();
                    if let Some((subject, version)) = self.logged.get(&sent.key) {
                        assert_eq!(
                            answer["version"], *version,
                            "{} was decided before the kill",
                            sent.key
                        );
                        assert_eq!(answer["id"], subject.as_str());
                    }
                    sent.acknowledged = Some(body);
                }
            }
        }
    }
}
