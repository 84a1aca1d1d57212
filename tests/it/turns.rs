//! A module of the SDK decides in one call (`wit/turn.wit`). Whoever calls its parts one after the other gets the same
//! decisions and the same states, whatever the commands are.

use std::sync::Arc;

use annals::{
    vocabulary::{AggregateId, Context, Decision, GuestCommand, Limits, Version},
    wasm::{AppliedEvent, Cell, Host, HostOptions, Live, Module, Refusal, Rendered},
};
use annals_tests::artifacts;
use proptest::prelude::*;

/// What came of a command: the decision or the refusal, what is broken then, and the state.
type Seen = (Result<Decision, Refusal>, Vec<String>, Rendered);

fn load(name: &str) -> Arc<Module> {
    let host = Host::new(HostOptions {
        limits: Limits {
            cells: 4,
            ..Limits::default()
        },
        cache_dir: None,
        cache_key: [7; 32],
    })
    .unwrap();
    host.load(&host.inspect(&artifacts::module(name)).unwrap())
        .unwrap()
}

fn context(version: u64) -> Context {
    Context {
        aggregate_id: AggregateId::parse("a").unwrap(),
        version: Version(version),
        now: 1_000 + version,
        seed: [version, 2],
        actor: Some("ann".into()),
        command_id: format!("command-{version}"),
        correlation_id: "all".into(),
        causation_id: None,
    }
}

fn at_once(cell: &mut Cell, live: &Live, version: u64, command: &GuestCommand) -> Seen {
    let turn = cell.decide(live, &context(version), command).unwrap().unwrap();
    (turn.outcome, turn.broken, cell.render(live).unwrap().unwrap())
}

fn in_steps(cell: &mut Cell, live: &Live, version: u64, command: &GuestCommand) -> Seen {
    let context = context(version);
    let outcome = cell.handle(live, &context, command).unwrap().outcome;
    let mut broken = Vec::new();
    if let Ok(Decision { events, .. }) = &outcome {
        let events: Vec<_> = events
            .iter()
            .enumerate()
            .map(|(index, event)| AppliedEvent::decided(Version(version + 1).plus(index), context.now, event))
            .collect();
        cell.apply_decided(live, &events).unwrap().unwrap();
        broken = cell.broken_invariants(live).unwrap();
    }
    (outcome, broken, cell.render(live).unwrap().unwrap())
}

fn commands() -> impl Strategy<Value = Vec<(&'static str, String)>> {
    let amount = prop_oneof![Just(0), 1_u64..50, Just(u64::MAX)]
        .prop_map(|amount| format!(r#"{{"amount":{amount}}}"#));
    let command = prop_oneof![
        2 => "[a-zé\"]{0,8}".prop_map(|owner| ("open", serde_json::json!({ "owner": owner }).to_string())),
        6 => amount.clone().prop_map(|amount| ("deposit", amount)),
        4 => amount.prop_map(|amount| ("withdraw", amount)),
        1 => Just(("close", String::new())),
        1 => Just(("deposit", r#"{"amount":"all"}"#.to_owned())),
        1 => Just(("no-such", "{}".to_owned())),
    ];
    prop::collection::vec(command, 1..40)
}

#[test]
fn one_call_decides_as_its_steps_do() {
    let module = load("account");
    proptest!(ProptestConfig::with_cases(64), |(commands in commands())| {
        let mut cells = [Cell::new(&module).unwrap(), Cell::new(&module).unwrap()];
        let id = AggregateId::parse("a").unwrap();
        let [one, steps] = &mut cells;
        let (first, second) = (one.create(&id).unwrap(), steps.create(&id).unwrap());
        let mut version = 0;
        for (name, payload) in commands {
            let command = GuestCommand { name: name.parse().unwrap(), payload: payload.into() };
            let seen = at_once(one, &first, version, &command);
            prop_assert_eq!(&seen, &in_steps(steps, &second, version, &command));
            if let Ok(decision) = seen.0 {
                version += decision.events.len() as u64;
            }
        }
        prop_assert_eq!(one.save(&first).unwrap(), steps.save(&second).unwrap());
    });
}
