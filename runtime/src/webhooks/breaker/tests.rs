use proptest::prelude::*;

use super::*;

const MOST: u32 = u32::MAX;
const RECEIVER: Fault = Fault::Receiver;
const FIRST: Fault = Fault::Events { is_first: true };
const LATER: Fault = Fault::Events { is_first: false };
const EVENT: &[Position] = &[Position(1)];
const OTHER: &[Position] = &[Position(2)];

/// One of several attempts.
const TRIAL: Trial<'_> = Trial {
    events: EVENT,
    attempt: 1,
    attempts: 5,
};

const fn last(events: &[Position]) -> Trial<'_> {
    Trial {
        events,
        attempt: 5,
        attempts: 5,
    }
}

/// A breaker whose receiver has taken something.
fn proven(most_failures: usize, longest_pause_ms: Millis) -> Breaker {
    let mut breaker = Breaker::new(most_failures, longest_pause_ms);
    breaker.succeeded(0, OTHER);
    breaker
}

#[test]
fn a_failing_receiver_is_left_alone_for_longer_and_longer() {
    let mut breaker = proven(3, 5_000);
    assert!(breaker.failed(0, RECEIVER, TRIAL, MOST) && breaker.failed(0, RECEIVER, TRIAL, MOST));
    assert_eq!(breaker.turn(0), Turn::Go);
    assert!(
        breaker.failed(0, RECEIVER, TRIAL, MOST),
        "the one that opens it was an attempt like any other"
    );
    let mut now = 0;
    for pause in [1_000, 2_000, 4_000, 5_000, 5_000] {
        assert_eq!(breaker.turn(now), Turn::Wait(pause));
        assert!(
            !breaker.failed(now, RECEIVER, TRIAL, MOST),
            "one that was under way when it opened"
        );
        assert_eq!(breaker.turn(now + pause - 1), Turn::Wait(1));
        now += pause;
        assert_eq!(breaker.turn(now), Turn::Probe);
        breaker.probing();
        assert_eq!(breaker.circuit(), Circuit::HalfOpen);
        assert!(!breaker.failed(now, RECEIVER, TRIAL, MOST), "a probe");
    }
    breaker.succeeded(now, EVENT);
    assert_eq!((breaker.turn(now), breaker.failures()), (Turn::Go, 0));
    breaker.failed(now, RECEIVER, TRIAL, MOST);
    breaker.failed(now, RECEIVER, TRIAL, MOST);
    breaker.failed(now, RECEIVER, TRIAL, MOST);
    assert_eq!(breaker.turn(now), Turn::Wait(1_000), "pauses begin anew");
}

#[test]
fn one_success_makes_failures_forgotten() {
    let mut breaker = proven(2, 1_000);
    for _ in 0..10 {
        assert!(breaker.failed(0, RECEIVER, TRIAL, 0));
        breaker.succeeded(0, EVENT);
    }
    assert_eq!(breaker.turn(0), Turn::Go);
}

#[test]
fn nothing_is_an_attempt_before_the_receiver_has_taken_anything() {
    let mut breaker = Breaker::new(10, 60_000);
    let mut now = 0;
    for pause in [1_000, 2_000, 4_000] {
        assert!(!breaker.failed(now, RECEIVER, TRIAL, MOST));
        assert_eq!(breaker.turn(now), Turn::Wait(pause), "the first one opens it");
        now += pause;
        breaker.probing();
    }
    assert!(breaker.failed(now, FIRST, TRIAL, MOST), "what is refused is");
}

#[test]
fn a_receiver_that_fails_takes_no_last_attempt() {
    let mut breaker = proven(10, 60_000);
    assert!(breaker.failed(0, RECEIVER, TRIAL, MOST) && breaker.failed(0, RECEIVER, TRIAL, MOST));
    assert_eq!(breaker.turn(0), Turn::Go);
    assert!(!breaker.failed(0, RECEIVER, last(EVENT), MOST));
    assert_eq!(breaker.turn(0), Turn::Wait(1_000), "well before ten have failed");
    breaker.probing();
    assert!(!breaker.failed(1_000, RECEIVER, last(EVENT), MOST), "a probe");
}

#[test]
fn an_event_that_fails_alone_loses_its_last_attempt() {
    // That others succeed is known at once, or, with a single attempt or after a start, by the probe that comes next.
    let mut breaker = proven(10, 60_000);
    assert!(breaker.failed(0, RECEIVER, TRIAL, MOST));
    breaker.succeeded(0, OTHER);
    assert!(breaker.failed(0, RECEIVER, last(EVENT), MOST));
    assert_eq!(breaker.turn(0), Turn::Go);
    assert!(
        !breaker.failed(0, RECEIVER, last(EVENT), MOST),
        "another one of its kind"
    );
    assert_eq!(breaker.turn(0), Turn::Wait(1_000));
    breaker.succeeded(1_000, OTHER);
    assert!(breaker.suspects(EVENT[0]));
    assert!(breaker.failed(1_000, RECEIVER, last(EVENT), MOST));
    assert_eq!(breaker.turn(1_000), Turn::Go);
    // Of several, each has to have failed before.
    assert!(!breaker.failed(2_000, RECEIVER, last(EVENT), MOST));
    breaker.succeeded(3_000, &[]);
    let both = [EVENT[0], OTHER[0]];
    assert!(!breaker.failed(3_000, RECEIVER, last(&both), MOST));
    breaker.succeeded(4_000, EVENT);
    assert!(!breaker.suspects(EVENT[0]) && breaker.suspects(OTHER[0]));
}

#[test]
fn one_success_at_the_beginning_of_an_outage_takes_no_last_attempt() {
    let mut breaker = proven(10, 60_000);
    assert!(breaker.failed(0, RECEIVER, TRIAL, MOST));
    breaker.succeeded(1, OTHER);
    for _ in 0..3 {
        assert!(breaker.failed(2, RECEIVER, TRIAL, MOST));
    }
    assert!(!breaker.failed(3, RECEIVER, last(EVENT), MOST));
    assert_eq!(breaker.turn(3), Turn::Wait(1_000));
}

#[test]
fn what_is_parked_begins_anew_whatever_it_was_parked_for() {
    for fault in [RECEIVER, LATER] {
        let mut breaker = proven(10, 60_000);
        assert!(breaker.failed(0, RECEIVER, TRIAL, MOST));
        breaker.succeeded(0, OTHER);
        assert!(breaker.failed(0, fault, last(EVENT), MOST));
        breaker.succeeded(0, OTHER);
        // It is replayed while the receiver is down.
        assert!(!breaker.failed(0, RECEIVER, last(EVENT), MOST), "{fault:?}");
    }
}

#[test]
fn what_there_is_no_room_to_park_opens_the_circuit_once() {
    let mut breaker = proven(10, 60_000);
    let mut opened = 0;
    for attempt in 1..20 {
        let trial = Trial {
            attempt,
            ..last(EVENT)
        };
        while !breaker.failed(0, RECEIVER, trial, MOST) {
            opened += 1;
            breaker.succeeded(0, OTHER);
        }
        breaker.succeeded(0, OTHER);
    }
    assert_eq!(opened, 1);
}

#[test]
fn a_refused_event_is_an_attempt_also_while_the_circuit_is_open() {
    let mut breaker = Breaker::new(2, 60_000);
    breaker.failed(0, RECEIVER, TRIAL, MOST);
    breaker.failed(0, RECEIVER, TRIAL, MOST);
    assert_eq!(breaker.turn(0), Turn::Wait(1_000));
    assert!(breaker.failed(0, LATER, TRIAL, MOST), "one that was under way");
    assert_eq!(breaker.turn(0), Turn::Wait(1_000));
    breaker.probing();
    assert!(breaker.failed(1_000, LATER, TRIAL, MOST), "a probe");
    assert_eq!(breaker.turn(1_000), Turn::Wait(2_000), "which is no success");
}

#[test]
fn the_circuit_is_opened_by_many_refused_events_and_not_by_one() {
    let mut breaker = Breaker::new(3, 60_000);
    assert!(breaker.failed(0, FIRST, TRIAL, MOST));
    for _ in 0..20 {
        assert!(breaker.failed(0, LATER, TRIAL, MOST));
    }
    assert!(breaker.failed(0, FIRST, TRIAL, MOST));
    assert_eq!((breaker.turn(0), breaker.failures()), (Turn::Go, 22));
    assert!(breaker.failed(0, FIRST, TRIAL, MOST));
    assert_eq!(breaker.turn(0), Turn::Wait(1_000));
}

#[test]
fn a_receiver_that_asks_for_time_gets_it() {
    let mut breaker = Breaker::new(3, 60_000);
    breaker.told_to_wait(10, 5_000, MOST);
    assert_eq!(breaker.turn(10), Turn::Wait(5_000));
    breaker.told_to_wait(20, 2_000, MOST);
    assert_eq!(breaker.turn(10), Turn::Wait(5_000), "the longer wish counts");
    assert_eq!(breaker.turn(5_010), Turn::Probe);
    breaker.probing();
    breaker.told_to_wait(5_010, 7_000, MOST);
    assert_eq!(breaker.turn(5_010), Turn::Wait(7_000));
}

#[test]
fn a_receiver_that_asks_for_no_time_is_left_alone_for_longer_and_longer() {
    let mut breaker = Breaker::new(3, 5_000);
    let mut now = 7;
    for pause in [1_000, 2_000, 4_000, 5_000, 5_000] {
        breaker.told_to_wait(now, 0, MOST);
        assert_eq!(breaker.turn(now), Turn::Wait(pause));
        now += pause;
        assert_eq!(breaker.turn(now), Turn::Probe);
        breaker.probing();
    }
    breaker.succeeded(now, EVENT);
    assert_eq!(breaker.turn(now), Turn::Go);
    breaker.told_to_wait(now, 0, MOST);
    assert_eq!(breaker.turn(now), Turn::Wait(1_000), "pauses begin anew");
}

#[test]
fn a_success_that_was_under_way_does_not_undo_a_wish() {
    let mut breaker = Breaker::new(1, 60_000);
    breaker.told_to_wait(0, 5_000, MOST);
    breaker.failed(10, RECEIVER, TRIAL, MOST);
    breaker.succeeded(20, EVENT);
    assert_eq!((breaker.turn(20), breaker.failures()), (Turn::Wait(4_980), 0));
    breaker.succeeded(5_000, EVENT);
    assert_eq!(breaker.turn(5_000), Turn::Go);
    // What opened the circuit by itself is undone.
    breaker.failed(5_000, RECEIVER, TRIAL, MOST);
    breaker.succeeded(5_001, EVENT);
    assert_eq!(breaker.turn(5_001), Turn::Go);
}

#[test]
fn pauses_are_spread_between_half_and_whole() {
    assert_eq!(
        (spread(1_000, 0), spread(1_000, MOST), spread(0, 7), spread(1, 0)),
        (500, 1_000, 0, 0)
    );
}

#[derive(Debug, Clone)]
enum Step {
    Pass(Millis),
    Send(Outcome),
    Straggler(Outcome),
    Wish(Millis),
}

/// Success, or whose failure.
type Outcome = Result<(), Fault>;

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        Just(Ok(())),
        Just(Err(RECEIVER)),
        Just(Err(FIRST)),
        Just(Err(LATER))
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_000_u64).prop_map(Step::Pass),
        outcome().prop_map(Step::Send),
        outcome().prop_map(Step::Straggler),
        (0..3_000_u64).prop_map(Step::Wish),
    ]
}

proptest! {
    /// Whatever happens: failures of the receiver are attempts only while the circuit is closed and something has succeeded,
    /// so at most as often in a row as it takes to open it, and the last one only after another success; those of events
    /// always are; a wait always ends, and no later than the longest pause or wish; one success ends it all, but for what
    /// the receiver has asked for.
    #[test]
    fn a_failing_receiver_uses_no_attempts_up(steps in prop::collection::vec(step(), 0..200), random: u32, attempts in 1..6_u32) {
        let (most, longest) = (4, 2_000);
        let mut breaker = Breaker::new(most, longest);
        let (mut now, mut in_a_row, mut asked) = (0, 0, 0);
        let (mut used, mut has_succeeded, mut succeeded_since) = (0, false, false);
        for step in steps {
            let was = breaker.circuit();
            let outcome = match step {
                Step::Pass(millis) => {
                    now += millis;
                    None
                }
                Step::Wish(millis) => {
                    breaker.told_to_wait(now, millis, random);
                    asked = asked.max(now + millis);
                    None
                }
                Step::Send(_) if matches!(breaker.turn(now), Turn::Wait(_)) => None,
                Step::Send(outcome) => {
                    breaker.probing();
                    Some(outcome)
                }
                Step::Straggler(outcome) => Some(outcome),
            };
            let trial = Trial { events: EVENT, attempt: used + 1, attempts };
            let is_last = trial.attempt == attempts;
            match outcome {
                Some(Ok(())) => {
                    breaker.succeeded(now, OTHER);
                    prop_assert_eq!(breaker.failures(), 0);
                    (in_a_row, has_succeeded, succeeded_since) = (0, true, true);
                }
                Some(Err(RECEIVER)) => {
                    let is_new = !breaker.suspects(EVENT[0]);
                    let is_attempt = breaker.failed(now, RECEIVER, trial, random);
                    let others_succeed = succeeded_since && !is_new;
                    succeeded_since = false;
                    let may_be = was == Circuit::Closed && has_succeeded;
                    prop_assert_eq!(is_attempt, may_be && (!is_last || others_succeed));
                    prop_assert!(is_attempt || breaker.circuit() != Circuit::Closed);
                    in_a_row += usize::from(is_attempt);
                    used = if is_last && is_attempt { 0 } else { used + u32::from(is_attempt) };
                }
                Some(Err(fault)) => prop_assert!(breaker.failed(now, fault, trial, random)),
                None => {}
            }
            prop_assert!(in_a_row <= most);
            prop_assert!(now >= asked || breaker.turn(now) != Turn::Go);
            if let Turn::Wait(wait) = breaker.turn(now) {
                prop_assert!(wait > 0 && wait <= 3_000);
                prop_assert!(now + wait >= asked);
                prop_assert_eq!(breaker.turn(now + wait), Turn::Probe);
            }
        }
        now += 3_000;
        breaker.succeeded(now, EVENT);
        prop_assert_eq!(breaker.turn(now), Turn::Go);
    }
}
