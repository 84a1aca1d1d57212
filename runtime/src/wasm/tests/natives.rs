//! Native aggregates live in cells as components do.

use super::*;
use crate::vocabulary::{CommandSchema, Decision, EventSchema, EventType, Manifest, NewEvent, Rejection};

/// Adds up what it is told; `close` ends it, `panic` panics.
#[derive(Default)]
struct Sum {
    sum: u64,
    closed: bool,
}

struct Sums;

impl NativeFactory for Sums {
    fn create(&self, _: &AggregateId) -> Box<dyn NativeAggregate> {
        Box::new(Sum::default())
    }

    fn restore(&self, _: &AggregateId, state: &[u8]) -> Result<Box<dyn NativeAggregate>, String> {
        let sum = String::from_utf8_lossy(state)
            .parse()
            .map_err(|_| "not a sum".to_owned())?;
        Ok(Box::new(Sum { sum, closed: false }))
    }
}

fn added() -> EventType {
    EventType::parse("added").unwrap()
}

impl NativeAggregate for Sum {
    fn handle(&self, _: &Context, command: &GuestCommand) -> Result<Decision, Refusal> {
        match command.name.as_str() {
            "add" => Ok(Decision {
                events: vec![NewEvent {
                    event_type: added(),
                    schema: 1,
                    payload: command.payload.clone(),
                }],
                reply: None,
            }),
            "close" => Err(Refusal::Rejected(Rejection {
                code: "never".into(),
                message: "it goes on".into(),
                details: None,
            })),
            "panic" => panic!("as asked"),
            _ => Err(Refusal::UnknownCommand),
        }
    }

    fn apply(&mut self, event: &AppliedEvent<'_>) -> Result<(), ApplyProblem> {
        let by = std::str::from_utf8(event.payload)
            .ok()
            .and_then(|text| text.parse::<u64>().ok());
        match by {
            Some(0) => self.closed = true,
            Some(by) => self.sum += by,
            None => return Err(ApplyProblem::Malformed("not a number".into())),
        }
        Ok(())
    }

    fn save(&self) -> Vec<u8> {
        self.sum.to_string().into_bytes()
    }

    fn render(&self) -> Option<String> {
        (!self.closed).then(|| format!("{{\"sum\":{}}}", self.sum))
    }
}

fn module() -> Arc<Module> {
    let schema = || "true".to_owned();
    let commands = ["add", "close", "panic"].map(|name| CommandSchema {
        name: CommandName::parse(name).unwrap(),
        json_schema: schema(),
    });
    let manifest = Manifest {
        aggregate_type: "sum".parse().unwrap(),
        module_version: "1.0.0".into(),
        payload_encoding: "application/json".into(),
        commands: commands.into(),
        records: vec![EventSchema {
            event_type: added(),
            schema: 1,
            json_schema: schema(),
        }],
        reads: vec![(added(), 1)],
        state_version: 1,
        attributes: Vec::new(),
    };
    Module::native(&host_with(limits()), manifest, Arc::new(Sums))
}

#[test]
fn it_decides_applies_shows_and_is_restored() {
    let module = module();
    assert!(
        module.has_snapshots() && module.has_view() && !module.has_invariants() && !module.has_upcasting()
    );
    assert_eq!(module.code_origin(), CodeOrigin::Native);
    let mut cell = Cell::new(&module).unwrap();
    let live = cell.create(&id("a")).unwrap();
    assert_eq!(send(&mut cell, &live, 0, "add", "40").unwrap(), 1);
    assert_eq!(send(&mut cell, &live, 1, "add", "2").unwrap(), 1);
    assert_eq!(state(&mut cell, &live), sum(42));
    let saved = cell.save(&live).unwrap().unwrap();
    let restored = cell.restore(&id("b"), &saved).unwrap().unwrap();
    assert_eq!(state(&mut cell, &restored), sum(42));
    assert_eq!(cell.restore(&id("b"), b"x").unwrap().unwrap_err(), "not a sum");
    send(&mut cell, &restored, 2, "add", "0").unwrap();
    assert_eq!(state(&mut cell, &restored), Rendered::Ended);
    assert_eq!(cell.broken_invariants(&live).unwrap(), Vec::<String>::new());
    cell.release(restored).unwrap();
    assert_eq!(
        (cell.live(), cell.is_draining(), cell.has_room()),
        (1, false, true)
    );
}

#[test]
fn places_are_used_again_and_never_mixed_up() {
    let mut cell = Cell::new(&module()).unwrap();
    let first = cell.create(&id("a")).unwrap();
    let second = cell.create(&id("b")).unwrap();
    send(&mut cell, &second, 0, "add", "7").unwrap();
    cell.release(first).unwrap();
    let third = cell.create(&id("c")).unwrap();
    assert_eq!(
        (state(&mut cell, &second), state(&mut cell, &third)),
        (sum(7), sum(0))
    );

    let mut sandboxed = Cell::new(&counter()).unwrap();
    let stranger = sandboxed.create(&id("a")).unwrap();
    assert!(matches!(cell.render(&stranger), Err(Fault::Host { .. })));
    assert!(cell.is_retired());
}

#[test]
fn refusals_pass_and_a_panic_ends_the_cell() {
    let mut cell = Cell::new(&module()).unwrap();
    let live = cell.create(&id("a")).unwrap();
    let mut refusal = |name: &str| {
        let handled = cell.handle(&live, &context(0), &command(name, "1"));
        handled.map(|handled| handled.outcome.unwrap_err())
    };
    assert!(matches!(refusal("close").unwrap(), Refusal::Rejected(_)));
    assert_eq!(refusal("other").unwrap(), Refusal::UnknownCommand);
    let fault = refusal("panic").unwrap_err();
    assert!(fault.to_string().contains("as asked"), "{fault}");
    assert!(cell.is_retired());

    let mut cell = Cell::new(&module()).unwrap();
    let live = cell.create(&id("a")).unwrap();
    let event = AppliedEvent {
        version: Version(1),
        event_type: "added",
        schema: 1,
        recorded_at: 0,
        payload: b"x",
    };
    let refused = cell.apply(&live, &[event], REPLAY).unwrap().unwrap_err();
    assert_eq!((refused.version, cell.is_retired()), (Version(1), false));
}
