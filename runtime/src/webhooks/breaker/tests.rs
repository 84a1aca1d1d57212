use proptest::prelude::*;

use super::*;

const MOST: u32 = u32::MAX;

#[test]
fn a_failing_receiver_is_left_alone_for_longer_and_longer() {
    let mut breaker = Breaker::new(3, 5_000);
    assert!(breaker.failed(0, MOST) && breaker.failed(0, MOST));
    assert_eq!(breaker.turn(0), Turn::Go);
    assert!(
        breaker.failed(0, MOST),
        "the one that opens it was an attempt like any other"
    );
    let mut now = 0;
    for pause in [1_000, 2_000, 4_000, 5_000, 5_000] {
        assert_eq!(breaker.turn(now), Turn::Wait(pause));
        assert!(
            !breaker.failed(now, MOST),
            "one that was under way when it opened"
        );
        assert_eq!(breaker.turn(now + pause - 1), Turn::Wait(1));
        now += pause;
        assert_eq!(breaker.turn(now), Turn::Probe);
        breaker.probing();
        assert_eq!(breaker.circuit(), Circuit::HalfOpen);
        assert!(!breaker.failed(now, MOST), "a probe");
    }
    breaker.succeeded();
    assert_eq!((breaker.turn(now), breaker.failures()), (Turn::Go, 0));
    breaker.failed(now, MOST);
    breaker.failed(now, MOST);
    breaker.failed(now, MOST);
    assert_eq!(breaker.turn(now), Turn::Wait(1_000), "pauses begin anew");
}

#[test]
fn one_success_makes_failures_forgotten() {
    let mut breaker = Breaker::new(2, 1_000);
    for _ in 0..10 {
        assert!(breaker.failed(0, 0));
        breaker.succeeded();
    }
    assert_eq!(breaker.turn(0), Turn::Go);
}

#[test]
fn a_receiver_that_asks_for_time_gets_it() {
    let mut breaker = Breaker::new(3, 1_000);
    breaker.told_to_wait(10, 90);
    assert_eq!(breaker.turn(10), Turn::Wait(90));
    breaker.told_to_wait(20, 10);
    assert_eq!(breaker.turn(10), Turn::Wait(90), "the longer wish counts");
    assert_eq!(breaker.turn(100), Turn::Probe);
    breaker.probing();
    breaker.told_to_wait(100, 5);
    assert_eq!(breaker.turn(100), Turn::Wait(5));
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
    Send { good: bool },
    Straggler { good: bool },
    Wish(Millis),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..3_000_u64).prop_map(Step::Pass),
        any::<bool>().prop_map(|good| Step::Send { good }),
        any::<bool>().prop_map(|good| Step::Straggler { good }),
        (0..3_000_u64).prop_map(Step::Wish),
    ]
}

proptest! {
    /// Whatever happens: an attempt counts only while the circuit is closed, so at most as often in a row as it takes to
    /// open it; a wait always ends, and no later than the longest pause or wish; one success ends it all.
    #[test]
    fn attempts_count_only_while_closed(steps in prop::collection::vec(step(), 0..200), random: u32) {
        let (most, longest) = (4, 2_000);
        let mut breaker = Breaker::new(most, longest);
        let (mut now, mut in_a_row) = (0, 0);
        for step in steps {
            let was = breaker.circuit();
            match step {
                Step::Pass(millis) => now += millis,
                Step::Send { good } => {
                    let turn = breaker.turn(now);
                    if matches!(turn, Turn::Wait(_)) {
                        continue;
                    }
                    breaker.probing();
                    if good {
                        breaker.succeeded();
                        in_a_row = 0;
                    } else if breaker.failed(now, random) {
                        prop_assert_eq!(turn, Turn::Go);
                        in_a_row += 1;
                    }
                }
                Step::Straggler { good: true } => {
                    breaker.succeeded();
                    in_a_row = 0;
                }
                Step::Straggler { good: false } => {
                    if breaker.failed(now, random) {
                        prop_assert_eq!(was, Circuit::Closed);
                        in_a_row += 1;
                    }
                }
                Step::Wish(millis) => breaker.told_to_wait(now, millis),
            }
            prop_assert!(in_a_row <= most);
            if let Turn::Wait(wait) = breaker.turn(now) {
                prop_assert!(wait > 0 && wait <= 3_000);
                prop_assert_ne!(breaker.turn(now + wait), Turn::Wait(0));
                prop_assert_eq!(breaker.turn(now + wait), Turn::Probe);
            }
        }
        breaker.succeeded();
        prop_assert_eq!(breaker.turn(now), Turn::Go);
    }
}
