//! What an operator does about a webhook has its effect at once, and none that nobody wanted.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn flag() -> (Arc<AtomicBool>, Arc<AtomicBool>) {
    let flag = Arc::new(AtomicBool::new(false));
    (Arc::clone(&flag), flag)
}

#[test]
fn a_repaired_receiver_is_tried_as_soon_as_somebody_asks_for_it() {
    let (is_up, seen) = flag();
    let receiver = Receiver::start(move |_, _| {
        if seen.load(Ordering::SeqCst) {
            TAKEN
        } else {
            Answer::Status(503, "retry-after: 600\r\n", "")
        }
    });
    let server = counter(Limits::default(), &[&receiver]);
    let definition = |batch| json!({ "webhook": { "url": receiver.url("/") }, "batch": batch });
    put(&server, "billing", &definition(10));
    let resume = || drop(server.post("/v1/consumers/billing/resume", &[], &json!({})).ok());
    let rotate = || {
        drop(
            server
                .post("/v1/consumers/billing/webhook/secret", &[], &json!({}))
                .ok(),
        )
    };
    let change = || drop(put(&server, "billing", &definition(11)));
    for ask in [&resume as &dyn Fn(), &rotate, &change] {
        is_up.store(false, Ordering::SeqCst);
        add(server.address(), turns(1, 1));
        wait_until("the circuit to open", || {
            shown(&server, "billing")["webhook"]["state"] == "open"
        });
        is_up.store(true, Ordering::SeqCst);
        ask();
        // In less time than the receiver has asked for.
        wait_for_all(&server, "billing");
        assert_eq!(shown(&server, "billing")["webhook"]["state"], "closed");
    }
    assert_eq!(receiver.requests().len(), 6);
}

#[test]
fn the_same_definition_again_changes_nothing() {
    let receiver = Receiver::start(|_, _| Answer::Status(503, "retry-after: 600\r\n", ""));
    let server = counter(Limits::default(), &[&receiver]);
    let definition = json!({ "webhook": { "url": receiver.url("/") } });
    put(&server, "billing", &definition);
    add(server.address(), turns(1, 1));
    wait_until("the circuit to open", || {
        shown(&server, "billing")["webhook"]["state"] == "open"
    });
    put(&server, "billing", &definition);
    std::thread::sleep(Duration::from_millis(100));
    let webhook = shown(&server, "billing")["webhook"].clone();
    assert!(webhook["retry_in_seconds"].as_f64().unwrap() > 500.0, "{webhook}");
    assert_eq!(receiver.requests().len(), 1);
}

#[test]
fn a_receiver_that_was_left_does_not_pause_the_consumer() {
    let (was_asked, asked) = flag();
    let (was_left, left) = flag();
    let old = Receiver::start(move |_, _| {
        asked.store(true, Ordering::SeqCst);
        wait_until("the consumer to leave", || left.load(Ordering::SeqCst));
        Answer::Status(410, "", "moved out")
    });
    let new = Receiver::willing();
    let server = counter(Limits::default(), &[&old, &new]);
    let to = |receiver: &Receiver| json!({ "webhook": { "url": receiver.url("/") } });
    put(&server, "billing", &to(&old));
    add(server.address(), turns(1, 3));
    wait_until("the first request", || was_asked.load(Ordering::SeqCst));
    put(&server, "billing", &to(&new));
    was_left.store(true, Ordering::SeqCst);
    wait_for_all(&server, "billing");
    let consumer = shown(&server, "billing");
    assert_eq!(
        (&consumer["paused"], &consumer["parked"]["events"]),
        (&json!(false), &json!(0))
    );
    assert_eq!((old.requests().len(), new.requests().len()), (1, 3));
}

#[test]
fn changing_a_webhook_does_not_add_to_the_requests_under_way() {
    let receiver = Receiver::start(|_, _| Answer::Hang);
    let limits = Limits {
        shutdown: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = counter(limits, &[&receiver]);
    let change = |timeout_ms: u64| {
        let webhook = json!({ "url": receiver.url("/"), "requests": 2, "timeout_ms": timeout_ms });
        put(&server, "billing", &json!({ "webhook": webhook }));
        std::thread::sleep(Duration::from_millis(20));
    };
    add(server.address(), turns(30, 1));
    change(22_000);
    assert_eq!(receiver.wait_for(2).len(), 2);
    for number in 1..=8 {
        change(22_000 - number);
    }
    let deleted = server.request("DELETE", "/v1/consumers/billing", &[], &[]);
    assert_eq!(deleted.status, 204);
    change(22_000);
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(receiver.connections(), 2);
}

/// What is answered to a change is of the webhook that it brings, also before anything is sent to it.
#[test]
fn a_new_webhook_is_on_at_once() {
    let receivers = [Receiver::willing(), Receiver::willing()];
    let server = counter(Limits::default(), &[&receivers[0], &receivers[1]]);
    let check = |name: &str, definition: &Value, has_secret: bool| {
        let webhook = put(&server, name, definition)["webhook"].clone();
        assert_eq!(webhook["secret"].is_string(), has_secret, "{name}: {webhook}");
        assert_eq!(
            (&webhook["state"], &webhook["last_error"]),
            (&json!("closed"), &Value::Null),
            "{name}: {webhook}"
        );
    };
    for number in 0..60 {
        let name = format!("c{number}");
        let to = |receiver: &Receiver| json!({ "webhook": { "url": receiver.url("/") } });
        check(&name, &to(&receivers[0]), true);
        check(&name, &to(&receivers[1]), false);
        put(&server, &name, &json!({}));
        check(&name, &to(&receivers[0]), true);
    }
}

#[test]
fn a_short_deadline_shortens_the_time_for_a_request_that_nobody_asked_for() {
    let receiver = Receiver::willing();
    let server = counter(Limits::default(), &[&receiver]);
    let webhook = json!({ "url": receiver.url("/") });
    for (deadline, timeout) in [(800, 600), (1, 1), (30_000, 10_000)] {
        let definition = json!({ "ack_deadline_ms": deadline, "webhook": webhook });
        let shown = put(&server, "billing", &definition);
        assert_eq!(shown["webhook"]["timeout_ms"], timeout, "{deadline}: {shown}");
    }
}
