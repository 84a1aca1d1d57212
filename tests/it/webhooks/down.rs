//! A receiver that is down costs no event its attempts, however few events there are; one event that it always fails at does
//! not stop the others for ever.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

/// What comes from a receiver that is not there, in front of which is something that is.
fn down(number: usize) -> Answer {
    match number % 4 {
        0 => Answer::Reset,
        1 => Answer::Status(501, "", "not implemented"),
        2 => Answer::Status(401, "", "who are you?"),
        _ => Answer::Status(404, "", "no such site"),
    }
}

#[test]
fn a_receiver_that_is_down_gets_nothing_parked_however_few_events_there_are() {
    for (attempts, was_up) in [(1, false), (1, true), (2, true), (5, false), (5, true)] {
        let is_up = Arc::new(AtomicBool::new(was_up));
        let seen = Arc::clone(&is_up);
        let receiver = Receiver::start(move |number, _| {
            if seen.load(Ordering::SeqCst) {
                TAKEN
            } else {
                down(number)
            }
        });
        let server = counter(soon(), &[&receiver]);
        let webhook = json!({ "url": receiver.url("/") });
        let definition = json!({ "webhook": webhook, "retry": retry(attempts) });
        put(&server, "billing", &definition);
        if was_up {
            add(server.address(), turns(1, 1));
            wait_for_all(&server, "billing");
            is_up.store(false, Ordering::SeqCst);
        }
        add(server.address(), turns(3, 1));
        // Looking after it is no attempt either.
        for _ in 0..4 {
            let before = receiver.requests().len();
            server.post("/v1/consumers/billing/resume", &[], &json!({})).ok();
            assert!(!receiver.wait_for(before + attempts as usize + 2).is_empty());
        }
        let consumer = shown(&server, "billing");
        assert_eq!(consumer["parked"]["events"], 0, "{attempts}: {consumer}");
        assert_ne!(consumer["webhook"]["state"], "closed", "{attempts}: {consumer}");
        is_up.store(true, Ordering::SeqCst);
        wait_for_all(&server, "billing");
        let consumer = shown(&server, "billing");
        assert_eq!(consumer["parked"]["events"], 0, "{attempts}: {consumer}");
        assert_eq!(consumer["webhook"]["state"], "closed", "{attempts}: {consumer}");
    }
}

#[test]
fn an_event_at_which_the_receiver_fails_is_parked_while_others_succeed() {
    for (mode, attempts) in [("event", 1), ("event", 3), ("batch", 1), ("batch", 3)] {
        let receiver = Receiver::start(|_, posted| {
            if posted.events().iter().any(|event| event["subject"] == "c3") {
                Answer::Status(500, "", "division by zero")
            } else {
                TAKEN
            }
        });
        let server = counter(soon(), &[&receiver]);
        let webhook = json!({ "url": receiver.url("/"), "mode": mode });
        let definition = json!({ "webhook": webhook, "retry": retry(attempts) });
        put(&server, "billing", &definition);
        add(server.address(), turns(6, 10));
        wait_for_all(&server, "billing");
        let places = places(&receiver.requests());
        let last = in_order(&places);
        assert_eq!(last["c3"], 1, "{mode}, {attempts}");
        assert!(
            last.iter().all(|(id, last)| *id == "c3" || *last == 10),
            "{last:?}"
        );
        assert_eq!(
            shown(&server, "billing")["parked"],
            json!({ "aggregates": 1, "events": 10 }),
            "{mode}, {attempts}"
        );
    }
}
