//! Receivers that hang, reset, answer without an end, or are gone: each hurts itself alone.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use annals_tests::server::memory;

use super::*;

#[test]
fn hostile_receivers_hurt_nobody_else() {
    let hostile = [
        Receiver::start(|_, _| Answer::Hang),
        Receiver::start(|_, _| Answer::Reset),
        Receiver::start(|_, _| Answer::Endless(500, 100_000_000)),
        Receiver::start(|_, _| Answer::Status(500, "", "")),
    ];
    // Takes each event, and answers it with 100 MB.
    let generous = Receiver::start(|_, _| Answer::Endless(200, 100_000_000));
    let good = Receiver::willing();
    let all: Vec<&Receiver> = hostile.iter().chain([&generous, &good]).collect();
    let hosts: Vec<String> = all.iter().map(|receiver| receiver.host()).collect();
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new(artifacts::binary());
    command
        .env("ANNALS_WEBHOOK_HOSTS", hosts.join(","))
        .env("ANNALS_WEBHOOK_PRIVATE", "1");
    command.env("ANNALS_LIMITS", "webhook-pause=100");
    let server = Process::spawn(command, &data.path().join("data"));
    server.upload(&guests::counter()).ok();
    for (number, receiver) in all.iter().enumerate() {
        // Those that behave have time, also on a machine that is busy.
        let timeout_ms = if number < hostile.len() { 300 } else { 10_000 };
        let webhook = json!({ "url": receiver.url("/"), "timeout_ms": timeout_ms });
        put(
            &server,
            &format!("c{number}"),
            &json!({ "webhook": webhook, "retry": retry(3) }),
        );
    }
    add(server.address(), turns(20, 5));
    let before = memory(server.id(), "VmRSS");
    add(server.address(), turns(20, 45));
    let begun = Instant::now();
    wait_for_all(&server, "c5");
    wait_for_all(&server, "c4");
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    for receiver in [&good, &generous] {
        let places = places(&receiver.requests());
        assert_eq!(places.len(), 1_000, "each came once");
        assert!(in_order(&places).values().all(|last| *last == 50));
    }
    let grown = memory(server.id(), "VmRSS").saturating_sub(before);
    assert!(grown < 64 * 1024 * 1024, "{grown} bytes more");
    for (number, says) in [
        (0, "did not answer within 300 ms"),
        (1, "failed"),
        (2, "500"),
        (3, "500"),
    ] {
        let webhook = || shown(&server, &format!("c{number}"))["webhook"].clone();
        wait_until("the circuit to open", || webhook()["state"] != "closed");
        let error = webhook()["last_error"].as_str().unwrap().to_owned();
        assert!(error.contains(says), "{number}: {error}");
    }
    server.terminate();
}

#[test]
fn commands_feeds_and_other_consumers_go_on_meanwhile() {
    const EVENTS: usize = 200;
    let hanging = Receiver::start(|_, _| Answer::Hang);
    let others = [
        Receiver::start(|_, _| Answer::Reset),
        Receiver::start(|_, _| Answer::Endless(500, 100_000_000)),
    ];
    let limits = Limits {
        // They are never left alone.
        webhook_failures: 10_000,
        shutdown: Duration::from_millis(200),
        ..soon()
    };
    let server = counter(limits, &[&hanging, &others[0], &others[1]]);
    for (number, receiver) in others.iter().chain([&hanging]).enumerate() {
        let webhook = json!({ "url": receiver.url("/"), "timeout_ms": 22_000, "requests": 16 });
        let definition = json!({ "webhook": webhook, "retry": retry(1_000) });
        put(&server, &format!("c{number}"), &definition);
    }
    add(server.address(), turns(50, 2));
    assert_eq!(hanging.wait_for(16).len(), 16);
    let begun = Instant::now();
    add(server.address(), turns(50, 2));
    assert_eq!(server.whole_feed().len(), EVENTS);
    let mut stream = SseStream::open(server.address(), "/v1/events", &[]).unwrap();
    let mut followed = 0;
    while followed < EVENTS {
        let event = stream.next_event().unwrap().unwrap();
        followed += usize::from(event.event.is_empty());
    }
    put(&server, "audit", &json!({}));
    let mut fetched = 0;
    while fetched < EVENTS {
        let fetch = json!({ "wait_ms": 5_000 });
        let batch = server.post("/v1/consumers/audit/fetch", &[], &fetch).ok();
        let leases: Vec<&Value> = batch["events"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["lease"])
            .collect();
        assert!(!leases.is_empty(), "{fetched} of {EVENTS}");
        fetched += leases.len();
        server
            .post("/v1/consumers/audit/ack", &[], &json!({ "leases": leases }))
            .ok();
    }
    assert_eq!(
        hanging.requests().len(),
        16,
        "all of it while they hung: {:?}",
        begun.elapsed()
    );
    assert!(others.iter().all(|receiver| receiver.requests().len() > 1));
}

#[test]
fn asking_for_no_time_is_not_taken_at_its_word() {
    let headers = [
        "retry-after: 0\r\n",
        "retry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
    ];
    let receivers = headers.map(|header| Receiver::start(move |_, _| Answer::Status(429, header, "")));
    let server = counter(Limits::default(), &[&receivers[0], &receivers[1]]);
    for (number, receiver) in receivers.iter().enumerate() {
        let webhook = json!({ "url": receiver.url("/") });
        let definition = json!({ "webhook": webhook, "retry": retry(3) });
        put(&server, &format!("c{number}"), &definition);
    }
    add(server.address(), turns(3, 1));
    for receiver in &receivers {
        assert!(receiver.wait_for(2).len() >= 2);
    }
    std::thread::sleep(Duration::from_millis(1_500));
    for (number, receiver) in receivers.iter().enumerate() {
        let requests = receiver.requests().len();
        assert!(requests <= 3 + 3, "{requests} requests");
        let consumer = shown(&server, &format!("c{number}"));
        assert_ne!(consumer["webhook"]["state"], "closed");
        assert_eq!(consumer["parked"]["events"], 0, "it was no attempt");
    }
}

#[test]
fn a_receiver_that_is_down_is_left_alone_and_no_attempts_are_used_up() {
    let is_up = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&is_up);
    let receiver = Receiver::start(move |_, _| {
        if seen.load(Ordering::SeqCst) {
            TAKEN
        } else {
            Answer::Status(503, "", "down")
        }
    });
    let limits = Limits {
        webhook_failures: 5,
        ..soon()
    };
    let server = counter(limits, &[&receiver]);
    let webhook = json!({ "url": receiver.url("/"), "requests": 4 });
    put(
        &server,
        "billing",
        &json!({ "webhook": webhook, "retry": retry(3) }),
    );
    add(server.address(), turns(50, 2));
    wait_until("the circuit to open", || {
        shown(&server, "billing")["webhook"]["state"] != "closed"
    });
    let opened = receiver.requests().len();
    std::thread::sleep(Duration::from_millis(1_000));
    let webhook = shown(&server, "billing")["webhook"].clone();
    assert!(
        webhook["state"] == "open" || webhook["state"] == "half-open",
        "{webhook}"
    );
    assert!(
        webhook["last_error"]
            .as_str()
            .unwrap()
            .contains("503 Service Unavailable: down"),
        "{webhook}"
    );
    let requests = receiver.requests();
    let probes = places(&requests[opened.min(requests.len())..]);
    assert!(
        (2..=60).contains(&probes.len()),
        "one at a time, with pauses: {}",
        probes.len()
    );
    let mut probed: Vec<&str> = probes.iter().map(|(id, _)| id.as_str()).collect();
    probed.dedup();
    assert!(probed.len() > 1, "another one each time: {probes:?}");
    is_up.store(true, Ordering::SeqCst);
    wait_for_all(&server, "billing");
    let consumer = shown(&server, "billing");
    assert_eq!(consumer["parked"]["events"], 0, "{consumer}");
    assert_eq!(consumer["webhook"]["state"], "closed");
    let requests = receiver.requests();
    assert!(in_order(&places(&requests)).values().all(|last| *last == 2));
}

#[test]
fn a_receiver_that_asks_for_time_gets_it() {
    let receiver = Receiver::start(|number, _| match number {
        0 => Answer::Status(429, "retry-after: 1\r\n", ""),
        _ => TAKEN,
    });
    let server = counter(Limits::default(), &[&receiver]);
    put(
        &server,
        "billing",
        &json!({ "webhook": { "url": receiver.url("/"), "requests": 1 }, "retry": retry(1) }),
    );
    add(server.address(), turns(3, 1));
    let asked = Instant::now();
    wait_until("the wish", || {
        shown(&server, "billing")["webhook"]["state"] == "open"
    });
    let left = shown(&server, "billing")["webhook"]["retry_in_seconds"]
        .as_f64()
        .unwrap();
    assert!(left <= 1.0, "{left}");
    wait_for_all(&server, "billing");
    assert!(
        asked.elapsed() > Duration::from_millis(700),
        "{:?}",
        asked.elapsed()
    );
    assert_eq!(
        shown(&server, "billing")["parked"]["events"],
        0,
        "it was no attempt"
    );
    assert_eq!(receiver.requests().len(), 4);
}

#[test]
fn a_receiver_that_is_gone_pauses_its_consumer() {
    let receiver = Receiver::start(|number, _| match number {
        1 => Answer::Status(410, "", "moved out"),
        _ => TAKEN,
    });
    let server = counter(Limits::default(), &[&receiver]);
    put(
        &server,
        "billing",
        &json!({ "webhook": { "url": receiver.url("/"), "requests": 1 }, "retry": retry(1) }),
    );
    add(server.address(), turns(3, 1));
    wait_until("the pause", || shown(&server, "billing")["paused"] == true);
    let consumer = shown(&server, "billing");
    let because = consumer["paused_because"].as_str().unwrap();
    assert!(because.contains("410 Gone: moved out"), "{because}");
    assert_eq!(receiver.requests().len(), 2);
    server.post("/v1/consumers/billing/resume", &[], &json!({})).ok();
    wait_for_all(&server, "billing");
    let consumer = shown(&server, "billing");
    assert_eq!(
        (&consumer["paused_because"], &consumer["parked"]["events"]),
        (&Value::Null, &json!(0))
    );
    assert_eq!(receiver.requests().len(), 4);
}

#[test]
fn redirects_are_not_followed() {
    let inner = Receiver::willing();
    let location: &'static str = Box::leak(format!("location: {}\r\n", inner.url("/admin")).into_boxed_str());
    let outer = Receiver::start(move |_, _| Answer::Status(307, location, ""));
    let server = counter(soon(), &[&outer]);
    put(
        &server,
        "billing",
        &json!({ "webhook": { "url": outer.url("/") }, "retry": retry(2) }),
    );
    add(server.address(), turns(1, 1));
    let error = wait_for_failure(&server, "billing");
    assert!(
        error.contains("307") && error.contains("redirects are not followed"),
        "{error}"
    );
    assert!(error.contains(&inner.url("/admin")), "{error}");
    assert_eq!(inner.connections(), 0);
}
