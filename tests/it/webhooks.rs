//! Webhooks: what a receiver gets, whatever it does with it, and that nobody else notices.

mod bounds;
mod down;
mod gone;
mod hostile;
mod operator;
mod refused;
mod secrets;
mod tls;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use annals::vocabulary::Limits;
use annals_tests::{
    artifacts, guests,
    http::{Connection, SseStream},
    receiver::{Answer, Posted, Receiver, TAKEN, wait_until},
    server::{Api, Process, TestServer},
};
use serde_json::{Value, json};

/// A server that may send to these receivers, with the tests' counter.
fn counter(limits: Limits, receivers: &[&Receiver]) -> TestServer {
    let hosts: Vec<String> = receivers.iter().map(|receiver| receiver.host()).collect();
    let server = TestServer::with_webhooks(limits, &hosts);
    server.upload(&guests::counter()).ok();
    server
}

/// Limits under which a test does not take long.
fn soon() -> Limits {
    Limits {
        webhook_pause: Duration::from_millis(50),
        ..Limits::default()
    }
}

/// Retries without long pauses.
fn retry(attempts: u32) -> Value {
    json!({ "attempts": attempts, "first_pause_ms": 10, "longest_pause_ms": 20 })
}

#[track_caller]
fn put(server: &impl Api, name: &str, definition: &Value) -> Value {
    let headers = [("content-type", "application/json")];
    let body = definition.to_string();
    server
        .request("PUT", &format!("/v1/consumers/{name}"), &headers, body.as_bytes())
        .ok()
}

#[track_caller]
fn shown(server: &impl Api, name: &str) -> Value {
    server.get(&format!("/v1/consumers/{name}")).ok()
}

/// One event for each of these counters, one after the other.
fn add(address: SocketAddr, ids: impl IntoIterator<Item = String>) {
    let mut connection = Connection::open(address).unwrap();
    for id in ids {
        let path = format!("/v1/aggregates/counter/{id}/commands/add");
        let headers = [("content-type", "application/json")];
        connection
            .request("POST", &path, &headers, b"{\"by\":1}")
            .unwrap()
            .ok();
    }
}

/// So many events for each of so many counters, in turns.
fn turns(counters: usize, each: usize) -> impl Iterator<Item = String> {
    (0..counters * each).map(move |number| format!("c{}", number % counters))
}

/// Aggregate and version of the events in these requests, as they came.
fn places(requests: &[Posted]) -> Vec<(String, u64)> {
    let events = requests.iter().flat_map(Posted::events);
    let place = |event: Value| {
        let version = event["sequence"].as_str().unwrap().parse().unwrap();
        (event["subject"].as_str().unwrap().to_owned(), version)
    };
    events.map(place).collect()
}

/// Checks that each aggregate's events came in order, without a gap; some may have come again. Gives the last versions.
fn in_order(places: &[(String, u64)]) -> BTreeMap<&str, u64> {
    let mut last: BTreeMap<&str, u64> = BTreeMap::new();
    for (id, version) in places {
        let last = last.entry(id).or_default();
        assert!(*version <= *last + 1, "{id}: {version} came after {last}");
        *last = (*last).max(*version);
    }
    last
}

/// Waits until the receiver is left alone for its failures, and gives the last one.
#[track_caller]
fn wait_for_failure(server: &impl Api, name: &str) -> String {
    let consumer = || shown(server, name);
    wait_until("the circuit to open", || {
        consumer()["webhook"]["state"] != "closed"
    });
    let consumer = consumer();
    assert_eq!(consumer["parked"]["events"], 0, "{consumer}");
    consumer["webhook"]["last_error"].as_str().unwrap().to_owned()
}

#[track_caller]
fn wait_for_all(server: &impl Api, name: &str) {
    wait_until("the consumer to have no lag", || {
        shown(server, name)["lag"]["events"] == 0
    });
}

#[test]
fn events_come_signed_and_in_order() {
    let receiver = Receiver::willing();
    let server = counter(Limits::default(), &[&receiver]);
    let definition = json!({ "webhook": { "url": receiver.url("/hook?a=b") } });
    let created = put(&server, "billing", &definition);
    let secret = created["webhook"]["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_"), "{created}");
    add(server.address(), turns(5, 20));
    let requests = receiver.wait_for(100);
    wait_for_all(&server, "billing");
    assert_eq!(receiver.requests().len(), 100, "each came once");
    let places = places(&requests);
    assert!(in_order(&places).values().all(|last| *last == 20));
    let mut ids: Vec<&str> = requests
        .iter()
        .map(|posted| posted.header("webhook-id"))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 100, "each has an id of its own");
    for posted in &requests {
        assert!(posted.is_signed_with(secret), "{:?}", posted.headers);
        assert_eq!(posted.path, "/hook?a=b");
        assert_eq!(posted.header("host"), receiver.host());
        assert_eq!(posted.header("content-type"), "application/cloudevents+json");
        assert_eq!(posted.header("webhook-id"), posted.events()[0]["id"]);
        let timestamp: u64 = posted.header("webhook-timestamp").parse().unwrap();
        assert!(timestamp > 1_700_000_000 && timestamp < 10_000_000_000);
    }
    assert!(
        receiver.connections() <= 16,
        "connections are kept: {}",
        receiver.connections()
    );
    let feed = server.whole_feed();
    let posted: Vec<Value> = requests.iter().flat_map(Posted::events).collect();
    assert!(
        posted.iter().all(|event| feed.contains(event)),
        "it is the feed's CloudEvent"
    );
    let webhook = &shown(&server, "billing")["webhook"];
    assert_eq!(
        (&webhook["state"], &webhook["last_error"]),
        (&json!("closed"), &Value::Null)
    );
    assert!(webhook["last_success_at"].is_string(), "{webhook}");
}

#[test]
fn batches_come_as_batches() {
    let failed: Arc<Mutex<Vec<Posted>>> = Arc::default();
    let failing = Arc::clone(&failed);
    let receiver = Receiver::start(move |number, posted| {
        if number == 0 {
            failing.lock().unwrap().push(posted.clone());
            Answer::Status(500, "", "")
        } else {
            TAKEN
        }
    });
    let server = counter(Limits::default(), &[&receiver]);
    add(server.address(), turns(40, 3));
    let webhook = json!({ "url": receiver.url("/"), "mode": "batch", "requests": 2 });
    let created = put(
        &server,
        "billing",
        &json!({ "webhook": webhook, "batch": 10, "retry": retry(5) }),
    );
    wait_for_all(&server, "billing");
    let requests = receiver.requests();
    let failed = places(&failed.lock().unwrap());
    assert_eq!(failed.len(), 10);
    for posted in &requests {
        assert!(posted.is_signed_with(created["webhook"]["secret"].as_str().unwrap()));
        assert_eq!(
            posted.header("content-type"),
            "application/cloudevents-batch+json"
        );
        assert!(posted.header("webhook-id").starts_with("batch_"));
    }
    // What failed together is sent again one by one.
    for place in &failed {
        let alone = requests
            .iter()
            .filter(|posted| places(std::slice::from_ref(posted)) == [place.clone()]);
        assert_eq!(alone.count(), 1, "{place:?}");
    }
    let places = places(&requests);
    assert_eq!(places.len(), 120 + failed.len());
    assert!(in_order(&places).values().all(|last| *last == 3));
}

#[test]
fn a_failed_event_comes_again_under_the_same_id() {
    let receiver = Receiver::start(|number, _| match number {
        0 | 1 => Answer::Status(500, "", "no \u{1b}[2Jdatabase"),
        _ => TAKEN,
    });
    let server = counter(soon(), &[&receiver]);
    put(
        &server,
        "billing",
        &json!({ "webhook": { "url": receiver.url("/") }, "retry": retry(3) }),
    );
    add(server.address(), turns(1, 2));
    let requests = receiver.wait_for(4);
    wait_for_all(&server, "billing");
    assert_eq!(
        places(&requests)
            .iter()
            .map(|(_, version)| *version)
            .collect::<Vec<_>>(),
        [1, 1, 1, 2]
    );
    assert!(
        requests[..3]
            .iter()
            .all(|posted| posted.header("webhook-id") == requests[0].header("webhook-id"))
    );
    let webhook = &shown(&server, "billing")["webhook"];
    let error = webhook["last_error"].as_str().unwrap();
    assert!(
        error.contains("500") && error.contains("no \\u{1b}[2Jdatabase"),
        "{error}"
    );
    assert_eq!(webhook["failures"], 0);
}

#[test]
fn a_poison_event_stops_only_its_aggregate() {
    let receiver = Receiver::start(|_, posted| {
        if posted.events()[0]["subject"] == "c3" {
            Answer::Status(422, "", "not this one")
        } else {
            TAKEN
        }
    });
    let server = counter(soon(), &[&receiver]);
    put(
        &server,
        "billing",
        &json!({ "webhook": { "url": receiver.url("/") }, "retry": retry(3) }),
    );
    add(server.address(), turns(6, 10));
    wait_for_all(&server, "billing");
    let places = places(&receiver.requests());
    let last = in_order(&places);
    assert_eq!(last["c3"], 1);
    assert!(
        last.iter().all(|(id, last)| *id == "c3" || *last == 10),
        "{last:?}"
    );
    assert_eq!(
        places.iter().filter(|(id, _)| id == "c3").count(),
        3,
        "as often as it may be tried"
    );
    let parked = server.get("/v1/consumers/billing/parked").ok();
    assert!(
        parked
            .to_string()
            .contains("422 Unprocessable Entity: not this one"),
        "{parked}"
    );
    assert_eq!(
        shown(&server, "billing")["parked"],
        json!({ "aggregates": 1, "events": 10 })
    );
}

#[test]
fn poison_events_are_parked_although_nothing_succeeds() {
    // Many attempts of one; so many at a time that the circuit would open; so many that it does.
    for (poison, attempts, failures) in [(1, 20, 10), (3, 5, 10), (3, 5, 3)] {
        let receiver = Receiver::start(move |_, posted| {
            let subject = posted.events()[0]["subject"].as_str().unwrap().to_owned();
            let number: usize = subject[1..].parse().unwrap();
            if number < poison {
                Answer::Status(422, "", "not this one")
            } else {
                TAKEN
            }
        });
        let limits = Limits {
            webhook_failures: failures,
            ..soon()
        };
        let server = counter(limits, &[&receiver]);
        let webhook = json!({ "url": receiver.url("/") });
        put(
            &server,
            "billing",
            &json!({ "webhook": webhook, "retry": retry(attempts) }),
        );
        add(server.address(), turns(poison, 2));
        wait_for_all(&server, "billing");
        let parked = json!({ "aggregates": poison, "events": 2 * poison });
        assert_eq!(shown(&server, "billing")["parked"], parked);
        assert_eq!(receiver.requests().len(), poison * attempts as usize);
        add(server.address(), turns(10, 2));
        wait_for_all(&server, "billing");
        let places = places(&receiver.requests());
        let last = in_order(&places);
        assert_eq!((last.len(), last["c9"]), (10, 2));
        assert_eq!(shown(&server, "billing")["parked"]["aggregates"], poison);
    }
}

/// A receiver that refuses everything is left alone before much is parked, also when what it refused together comes apart.
#[test]
fn a_receiver_that_refuses_everything_is_left_alone() {
    const AGGREGATES: usize = 40;
    for mode in ["event", "batch"] {
        let receiver = Receiver::start(|_, _| Answer::Status(400, "", "what is this?"));
        let limits = Limits {
            webhook_pause: Duration::from_secs(300),
            ..Limits::default()
        };
        let server = counter(limits, &[&receiver]);
        let webhook = json!({ "url": receiver.url("/"), "mode": mode, "requests": 1 });
        let retry = json!({ "attempts": 3, "first_pause_ms": 1, "longest_pause_ms": 1 });
        put(&server, "billing", &json!({ "webhook": webhook, "retry": retry }));
        add(server.address(), turns(AGGREGATES, 1));
        wait_until("the circuit opens", || {
            shown(&server, "billing")["webhook"]["state"] == "open"
        });
        let parked = shown(&server, "billing")["parked"]["aggregates"]
            .as_u64()
            .unwrap();
        assert!(parked < AGGREGATES as u64 / 2, "{mode}: {parked} are parked");
    }
}

#[test]
fn events_arrive_in_order_although_the_server_is_killed() {
    let receiver = Receiver::start(|number, _| {
        // Slow enough that requests are under way whenever the server is killed.
        std::thread::sleep(Duration::from_millis(2));
        if number % 7 == 3 {
            Answer::Status(503, "", "")
        } else {
            TAKEN
        }
    });
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("data");
    let start = || {
        let mut command = Command::new(artifacts::binary());
        command
            .env("ANNALS_WEBHOOK_HOSTS", receiver.host())
            .env("ANNALS_WEBHOOK_PRIVATE", "true");
        Process::spawn(command, &data)
    };
    let mut server = start();
    server.upload(&guests::counter()).ok();
    let webhook = json!({ "url": receiver.url("/"), "requests": 4 });
    put(
        &server,
        "billing",
        &json!({ "webhook": webhook, "retry": retry(50) }),
    );
    let batch = json!({ "url": receiver.url("/batch"), "mode": "batch" });
    put(
        &server,
        "audit",
        &json!({ "webhook": batch, "retry": retry(50), "batch": 5 }),
    );
    for _ in 0..5 {
        add(server.address(), turns(20, 5));
        server.kill();
        server = start();
    }
    wait_for_all(&server, "billing");
    wait_for_all(&server, "audit");
    for path in ["/", "/batch"] {
        let mut requests = receiver.requests();
        requests.retain(|posted| posted.path == path);
        let places = places(&requests);
        let last = in_order(&places);
        assert_eq!(last.len(), 20, "{path}");
        assert!(last.values().all(|last| *last == 25), "{path}: {last:?}");
    }
}
