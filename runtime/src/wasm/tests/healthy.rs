//! A well-behaved module does what it says, and the same every time.

use super::*;
use crate::vocabulary::Rejection;

#[test]
fn what_is_shared_between_threads_can_be() {
    fn shared<T: Send + Sync>() {}
    fn moved<T: Send>() {}
    shared::<Host>();
    shared::<Module>();
    shared::<Inspected>();
    moved::<Cell>();
    moved::<Live>();
}

#[test]
fn a_module_describes_itself() {
    let module = counter();
    let manifest = module.manifest();
    assert_eq!(manifest.aggregate_type.as_str(), "counter");
    assert_eq!(manifest.module_version, "1.0.0");
    assert_eq!(manifest.commands.len(), 16);
    assert_eq!(manifest.commands[12].name.as_str(), "ten-thousand");
    assert_eq!(manifest.commands[0].json_schema, "{\"type\":\"object\"}");
    assert_eq!(manifest.reads.len(), 4);
    assert_eq!(manifest.attribute("sdk"), Some("wat"));
    assert!(module.has_snapshots() && module.has_view() && module.has_invariants());
    assert!(!module.has_upcasting());
    assert_eq!(module.class(), Class::Small);
    assert_eq!(module.code_origin(), CodeOrigin::Compiled);
}

#[test]
fn it_decides_applies_and_shows() {
    let mut cell = Cell::new(&counter()).unwrap();
    let live = cell.create(&id("a")).unwrap();
    assert_eq!(state(&mut cell, &live), sum(0));
    assert_eq!(send(&mut cell, &live, 0, "add", "{\"amount\":40}").unwrap(), 1);
    assert_eq!(send(&mut cell, &live, 1, "add", "{\"amount\":2}").unwrap(), 1);
    assert_eq!(state(&mut cell, &live), sum(42));
    assert_eq!(cell.broken_invariants(&live).unwrap(), Vec::<String>::new());
    send(&mut cell, &live, 2, "arm", "{\"mode\":5}").unwrap();
    assert_eq!(cell.broken_invariants(&live).unwrap(), ["as armed"]);
    send(&mut cell, &live, 3, "close", "{}").unwrap();
    assert_eq!(state(&mut cell, &live), Rendered::Ended);
    cell.release(live).unwrap();
    assert_eq!(cell.live(), 0);
    assert!(!cell.is_retired());
}

#[test]
fn it_refuses_in_three_ways() {
    let mut cell = Cell::new(&counter()).unwrap();
    let live = cell.create(&id("a")).unwrap();
    let refusal = |cell: &mut Cell, name: &str, payload: &str| {
        cell.handle(&live, &context(0), &command(name, payload))
            .unwrap()
            .outcome
            .unwrap_err()
    };
    assert_eq!(refusal(&mut cell, "subtract", "{}"), Refusal::UnknownCommand);
    assert_eq!(
        refusal(&mut cell, "add", "{}"),
        Refusal::Malformed {
            pointer: String::new(),
            problem: "the payload has no number".into()
        }
    );
    send(&mut cell, &live, 0, "close", "{}").unwrap();
    assert_eq!(
        refusal(&mut cell, "add", "{\"amount\":1}"),
        Refusal::Rejected(Rejection {
            code: "closed".into(),
            message: "the counter is closed".into(),
            details: Some("{\"reason\":\"closed\"}".into()),
        })
    );
}

#[test]
fn refused_events_name_their_version() {
    let mut cell = Cell::new(&counter()).unwrap();
    let cases = [
        (
            "added",
            "{}",
            ApplyProblem::Malformed("the payload has no number".into()),
        ),
        ("unheard-of", "{}", ApplyProblem::UnknownEvent),
    ];
    for (event_type, payload, problem) in cases {
        let live = cell.create(&id("a")).unwrap();
        let events = [event(1, "added", "{\"n\":1}"), event(2, event_type, payload)];
        let refusal = cell.apply(&live, &events, REPLAY).unwrap().unwrap_err();
        assert_eq!(
            refusal,
            ApplyRefusal {
                version: Version(2),
                problem
            }
        );
        cell.release(live).unwrap();
    }
    let live = cell.create(&id("a")).unwrap();
    let events = [event(1, "closed", "{}"), event(2, "added", "{\"n\":1}")];
    let refusal = cell.apply(&live, &events, REPLAY).unwrap().unwrap_err();
    assert_eq!(
        refusal.problem,
        ApplyProblem::Impossible("the counter is closed".into())
    );
    assert!(!cell.is_retired());
}

#[test]
fn a_saved_state_restores_to_the_same_state() {
    let mut cell = Cell::new(&counter()).unwrap();
    let live = cell.create(&id("a")).unwrap();
    send(&mut cell, &live, 0, "add", "{\"amount\":7}").unwrap();
    let saved = cell.save(&live).unwrap().unwrap();
    let mut other = Cell::new(cell.module()).unwrap();
    let restored = other.restore(&id("a"), &saved).unwrap().unwrap();
    assert_eq!(state(&mut other, &restored), sum(7));
    assert_eq!(other.save(&restored).unwrap().unwrap(), saved);
    let refused = other.restore(&id("a"), b"nonsense").unwrap().unwrap_err();
    assert_eq!(refused, "the state has the wrong size");
    assert_eq!(other.live(), 1);
}

/// A long replay goes through the guest in batches; neighbours and the batches' borders must not show in the state.
#[test]
fn replay_in_two_cells_gives_the_same_bytes_also_among_neighbours() {
    let module = counter();
    let payloads: Vec<String> = (0..3_000).map(|n| format!("{{\"amount\":{n}}}")).collect();
    let events: Vec<_> = payloads
        .iter()
        .enumerate()
        .map(|(index, payload)| event(index as u64 + 1, "added", payload))
        .collect();
    let mut quiet = Cell::new(&module).unwrap();
    let alone = quiet.create(&id("a")).unwrap();
    quiet.apply(&alone, &events, REPLAY).unwrap().unwrap();

    let mut crowded = Cell::new(&module).unwrap();
    let neighbours: Vec<_> = (0..100)
        .map(|n| {
            let live = crowded.create(&id(&format!("n{n}"))).unwrap();
            crowded.apply(&live, &events[..n], REPLAY).unwrap().unwrap();
            live
        })
        .collect();
    let among = crowded.create(&id("a")).unwrap();
    for (part, neighbour) in events.chunks(70).zip(neighbours.iter().cycle()) {
        crowded.apply(&among, part, REPLAY).unwrap().unwrap();
        crowded.apply(neighbour, &events[..1], REPLAY).unwrap().unwrap();
    }
    assert_eq!(
        quiet.save(&alone).unwrap().unwrap(),
        crowded.save(&among).unwrap().unwrap()
    );
    assert_eq!(state(&mut quiet, &alone), sum(2_999 * 1_500));
}

#[test]
fn fuel_is_reported_and_the_same_in_every_cell() {
    let module = counter();
    let fuel = || {
        let mut cell = Cell::new(&module).unwrap();
        let live = cell.create(&id("a")).unwrap();
        let handled = cell
            .handle(&live, &context(0), &command("add", "{\"amount\":12}"))
            .unwrap();
        handled.fuel
    };
    let first = fuel();
    assert!((50..100_000).contains(&first), "{first}");
    assert_eq!(first, fuel());
}

#[test]
fn places_are_counted_and_cells_too() {
    let host = host_with(Limits {
        cells: 2,
        aggregates_per_cell: 3,
        ..Limits::default()
    });
    let module = load(&host, &guests::counter());
    let mut cell = Cell::new(&module).unwrap();
    let lives: Vec<_> = (0..3).map(|_| cell.create(&id("a")).unwrap()).collect();
    assert!(!cell.has_room());
    for live in lives {
        cell.release(live).unwrap();
    }
    assert!(cell.has_room());
    let second = Cell::new(&module).unwrap();
    assert_eq!(host.cells(), 2);
    assert_eq!(Cell::new(&module).unwrap_err(), Fault::CellLimit { limit: 2 });
    drop(second);
    let mut third = Cell::new(&module).unwrap();
    let _lives: Vec<_> = (0..3).map(|_| third.create(&id("a")).unwrap()).collect();
    assert_eq!(
        third.create(&id("a")).unwrap_err(),
        Fault::HandleLimit { limit: 3 }
    );
}

fn event<'a>(version: u64, event_type: &'a str, payload: &'a str) -> AppliedEvent<'a> {
    AppliedEvent {
        version: Version(version),
        event_type,
        schema: 1,
        recorded_at: 5,
        payload: payload.as_bytes(),
    }
}
