//! What the host is told when a command or an event of the log does not fit.

use annals_sdk::prelude::*;

use super::*;

#[derive(Debug, PartialEq, Aggregate, Default, Serialize, Deserialize)]
#[aggregate(type = "counter")]
struct Counter {
    count: u64,
    last_at: u64,
}

#[derive(Command)]
enum CounterCommand {
    Add { amount: u64 },
}

#[derive(Event)]
enum CounterEvent {
    #[event(schema = 2)]
    Added { amount: u64 },
}

#[derive(Rejection)]
enum CounterRejection {
    #[rejection("{amount} adds nothing", code = "adds-nothing")]
    Nothing { amount: u64 },
}

impl Decide for Counter {
    type Command = CounterCommand;
    type Event = CounterEvent;
    type Rejection = CounterRejection;

    fn handle(&self, command: CounterCommand, _: &Context) -> Result<Vec<CounterEvent>, CounterRejection> {
        match command {
            CounterCommand::Add { amount: 0 } => Err(CounterRejection::Nothing { amount: 0 }),
            CounterCommand::Add { amount } => Ok(vec![CounterEvent::Added { amount }]),
        }
    }

    fn apply(&mut self, event: CounterEvent) {
        let CounterEvent::Added { amount } = event;
        self.count += amount;
    }

    fn apply_recorded(&mut self, event: CounterEvent, recorded: Recorded) -> Result<(), String> {
        if recorded.at < self.last_at {
            return Err(format!("recorded at {}, before the last one", recorded.at));
        }
        self.last_at = recorded.at;
        self.apply(event);
        Ok(())
    }
}

fn handled(name: &str, payload: &str) -> Result<Decided, HandleError> {
    handle(
        &Counter::default(),
        &Context::builder("a").build(),
        name,
        payload.as_bytes(),
    )
}

fn applied(event_type: &str, schema: u32, payload: &str, at: u64) -> Result<(), ApplyError> {
    let mut counter = Counter {
        count: 0,
        last_at: 10,
    };
    apply(
        &mut counter,
        event_type,
        schema,
        payload.as_bytes(),
        Recorded { version: 1, at },
    )
}

#[test]
fn a_command_becomes_events_with_name_schema_and_payload() {
    let event = NewEvent {
        event_type: "added",
        schema: 2,
        payload: br#"{"amount":5}"#.to_vec(),
    };
    assert_eq!(
        handled("add", r#"{"amount":5}"#),
        Ok(Decided {
            events: vec![event],
            reply: None
        })
    );
}

#[test]
fn a_command_is_refused_in_three_ways() {
    assert_eq!(handled("subtract", "{}"), Err(HandleError::UnknownCommand));
    assert!(
        matches!(handled("add", "{}"), Err(HandleError::Malformed(malformed)) if malformed.pointer == "/amount")
    );
    let rejected = HandleError::Rejected {
        code: "adds-nothing",
        message: "0 adds nothing".into(),
        details: Some(br#"{"amount":0}"#.to_vec()),
    };
    assert_eq!(handled("add", r#"{"amount":0}"#), Err(rejected));
}

#[test]
fn an_event_of_the_log_is_refused_in_three_ways() {
    assert_eq!(applied("added", 2, r#"{"amount":5}"#, 10), Ok(()));
    assert_eq!(
        applied("added", 1, r#"{"amount":5}"#, 10),
        Err(ApplyError::Decode(EventError::Unknown))
    );
    assert_eq!(
        applied("removed", 2, r#"{"amount":5}"#, 10),
        Err(ApplyError::Decode(EventError::Unknown))
    );
    let malformed = applied("added", 2, r#"{"amount":5,"by":"ann"}"#, 10);
    assert!(
        matches!(malformed, Err(ApplyError::Decode(EventError::Malformed(problem))) if problem.pointer == "/by")
    );
    let impossible = ApplyError::Impossible("recorded at 9, before the last one".into());
    assert_eq!(applied("added", 2, r#"{"amount":5}"#, 9), Err(impossible));
}

#[test]
fn without_an_upcast_old_events_are_refused() {
    let old = |event_type: &str| crate::VersionedEvent {
        event_type: event_type.into(),
        schema: 1,
        payload: vec![],
    };
    let refused = Counter::upcast(old("added")).expect_err("there is no upcast");
    assert_eq!(
        refused,
        "this module reads `added` at schema 2 only, and has no upcast from schema 1"
    );
    let refused = Counter::upcast(old("removed")).expect_err("there is no upcast");
    assert_eq!(
        refused,
        "this module does not read `removed`, and has no upcast from it"
    );
}
