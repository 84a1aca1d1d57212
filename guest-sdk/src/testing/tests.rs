//! The kit fails tests that ought to fail: an aggregate with one thing wrong at a time.

use std::cell::Cell;
use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use annals_sdk::prelude::*;

/// What is wrong with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
enum Fault {
    #[default]
    None,
    MutatesInHandle,
    DecidesDifferently,
    BreaksInvariant,
}

#[derive(Aggregate, Default, Serialize, Deserialize)]
#[aggregate(type = "faulty")]
struct Faulty {
    fault: Fault,
    handled: Cell<u64>,
    unordered: HashSet<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sometimes: Option<u64>,
    tail: u64,
}

#[derive(Command)]
enum Asked {
    Act,
    SayMore { more: Option<u64> },
}

#[derive(Event)]
enum Happened {
    Faulted { fault: u8 },
    Acted { draw: u64 },
    Grew,
    Set,
}

#[derive(Rejection)]
enum Refused {
    #[rejection("never")]
    Never,
}

thread_local! {
    static CALLS: Cell<u64> = const { Cell::new(0) };
}

impl Decide for Faulty {
    type Command = Asked;
    type Event = Happened;
    type Rejection = Refused;

    fn handle(&self, command: Asked, _: &Context) -> Result<Vec<Happened>, Refused> {
        if let Asked::SayMore { more: Some(_) } = command {
            return Err(Refused::Never);
        }
        let mut draw = 0;
        match self.fault {
            Fault::MutatesInHandle => self.handled.set(self.handled.get() + 1),
            Fault::DecidesDifferently => draw = CALLS.replace(CALLS.get() + 1),
            Fault::None | Fault::BreaksInvariant => {}
        }
        Ok(vec![Happened::Acted { draw }])
    }

    fn apply(&mut self, event: Happened) {
        match event {
            Happened::Faulted { fault: 1 } => self.fault = Fault::MutatesInHandle,
            Happened::Faulted { fault: 2 } => self.fault = Fault::DecidesDifferently,
            Happened::Faulted { .. } => self.fault = Fault::BreaksInvariant,
            Happened::Acted { .. } => self.tail += 1,
            Happened::Grew => self.unordered.extend(0..50),
            Happened::Set => self.sometimes = Some(1),
        }
    }

    fn invariants(&self) -> Vec<String> {
        let broken = self.fault == Fault::BreaksInvariant && self.tail > 0;
        if broken {
            vec!["it has acted".to_owned()]
        } else {
            Vec::new()
        }
    }
}

#[track_caller]
fn check_fails(with: &str, test: impl FnOnce()) {
    let panicked = catch_unwind(AssertUnwindSafe(test)).expect_err("the test passed");
    let message = panicked.downcast_ref::<String>().cloned();
    let message = message.or_else(|| panicked.downcast_ref::<&str>().map(|text| (*text).to_owned()));
    let message = message.unwrap_or_default();
    assert!(
        message.contains(with),
        "it failed with another message: {message}"
    );
}

fn healthy() -> super::Given<HealthyFaulty> {
    given_nothing()
}

/// `Faulty` without the field that postcard cannot carry, for everything else.
type HealthyFaulty = Json;

#[derive(Aggregate, Default, Serialize, Deserialize)]
#[aggregate(type = "faulty", snapshot_format = "json")]
#[serde(transparent)]
struct Json(Faulty);

impl Decide for Json {
    type Command = Asked;
    type Event = Happened;
    type Rejection = Refused;

    fn handle(&self, command: Asked, context: &Context) -> Result<Vec<Happened>, Refused> {
        self.0.handle(command, context)
    }

    fn apply(&mut self, event: Happened) {
        self.0.apply(event);
    }

    fn invariants(&self) -> Vec<String> {
        self.0.invariants()
    }
}

#[test]
fn a_healthy_aggregate_passes() {
    healthy()
        .when(Asked::Act)
        .then_events([Happened::Acted { draw: 0 }])
        .then_state(|state| state.0.tail == 1);
}

#[test]
fn a_state_that_its_snapshot_loses_is_found() {
    check_fails("does not survive a snapshot", || {
        let _ = given::<Faulty>([]);
    });
}

#[test]
fn a_state_without_order_is_found() {
    check_fails("Does it hold a `HashMap` or `HashSet`?", || {
        let _ = given::<Json>([Happened::Grew]);
    });
}

#[test]
fn a_handle_that_changes_the_state_is_found() {
    check_fails("changed the state", || {
        given::<Json>([Happened::Faulted { fault: 1 }])
            .when(Asked::Act)
            .then_accepted();
    });
}

#[test]
fn a_handle_that_depends_on_more_is_found() {
    check_fails("decides differently", || {
        given::<Json>([Happened::Faulted { fault: 2 }])
            .when(Asked::Act)
            .then_accepted();
    });
}

#[test]
fn a_broken_invariant_is_found() {
    let broken = || given::<Json>([Happened::Faulted { fault: 3 }]).when(Asked::Act);
    check_fails("breaks invariants: [\"it has acted\"]", || {
        broken().then_accepted();
    });
    broken().then_breaks_an_invariant();
    check_fails("no invariant is broken", || {
        healthy().when(Asked::Act).then_breaks_an_invariant();
    });
}

#[test]
fn wrong_expectations_fail() {
    let acted = || healthy().when(Asked::Act);
    let refused = || healthy().when(Asked::SayMore { more: Some(1) });
    check_fails(r#"expected: []"#, || drop(acted().then_nothing()));
    check_fails(r#"found: [acted (schema 1) {"draw":0}]"#, || {
        drop(acted().then_events([Happened::Grew]))
    });
    check_fails("was accepted, with", || drop(acted().then_rejected("never")));
    check_fails("was not accepted: rejected with `never`", || {
        drop(refused().then_accepted())
    });
    check_fails("did you mean `never`?", || drop(refused().then_rejected("nevr")));
    check_fails("expected the message `x`", || drop(refused().then_message("x")));
    check_fails("found None", || drop(refused().then_details(json!({}))));
    check_fails("found None", || drop(acted().then_reply(json!({}))));
    check_fails("to be malformed at `/x`", || drop(acted().then_malformed("/x")));
    check_fails("is one of", || drop(acted().then_unknown_command()));
    check_fails("to have ended", || drop(acted().then_ended()));
    check_fails("expected the view null", || drop(acted().then_view(json!(null))));
    check_fails("is not as expected", || {
        drop(acted().then_state(|state| state.0.tail == 2))
    });
    check_fails("is not as expected", || {
        drop(healthy().then_state(|state| state.0.tail == 2))
    });
}
