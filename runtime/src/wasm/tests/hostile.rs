//! Every way in which a module can hurt gives its documented fault, retires its cell and nothing else.

use std::time::Duration;

use super::*;

/// Expects a fault by its code; then the cell is retired, and the same module serves on in a fresh one.
pub(super) fn check(fault: &Fault, code: &str, mut cell: Cell, live: &Live) {
    assert_eq!(fault.code(), code, "{fault}");
    assert!(cell.is_retired() && !cell.has_room(), "{code}");
    assert_eq!(cell.live(), 0, "{code}");
    assert_eq!(cell.resident_bytes(), 0, "{code}");
    assert_eq!(cell.save(live).unwrap_err(), Fault::Retired, "{code}");
    assert_eq!(cell.create(&id("b")).unwrap_err(), Fault::Retired, "{code}");
    let mut fresh = Cell::new(cell.module()).unwrap();
    let live = fresh.create(&id("a")).unwrap();
    send(&mut fresh, &live, 0, "add", "{\"amount\":3}").unwrap();
    assert_eq!(state(&mut fresh, &live), sum(3), "{code}");
}

fn live_in(module: &Arc<Module>) -> (Cell, Live) {
    let mut cell = Cell::new(module).unwrap();
    let live = cell.create(&id("a")).unwrap();
    (cell, live)
}

/// Short deadlines, so that what only the clock can end ends soon.
fn impatient() -> Limits {
    Limits {
        handle_wall: Duration::from_millis(200),
        replay_wall: Duration::from_millis(300),
        describe_wall: Duration::from_millis(500),
        ..limits()
    }
}

fn handle_fault(module: &Arc<Module>, name: &str) -> (Fault, Cell, Live) {
    let (mut cell, live) = live_in(module);
    let fault = cell
        .handle(&live, &context(0), &command(name, "{\"n\":1}"))
        .unwrap_err();
    (fault, cell, live)
}

#[test]
fn each_misbehaviour_of_handle_has_its_fault() {
    let module = counter();
    let cases = [
        ("loop", "out-of-fuel", "the limit is 50000000 units"),
        ("recurse", "stack-overflow", "recursion"),
        ("bomb", "memory-limit", "67108864 bytes"),
        ("trap", "trapped", "unreachable"),
        ("panic", "panicked", "src/lib.rs:7:9: a test panic"),
        ("bad-utf8", "bad-output", "utf-8"),
        ("oob", "bad-output", "out of bounds"),
        ("giant", "too-large", "bytes of the decision"),
        (
            "ten-thousand",
            "too-large",
            "events from one command, 10000 or more; the limit is 1000",
        ),
        ("undeclared", "bad-output", "event 1 is `undeclared` in schema 1"),
        (
            "bad-json",
            "bad-output",
            "the payload of event 1, `added`, is not JSON",
        ),
    ];
    for (name, code, words) in cases {
        let (fault, cell, live) = handle_fault(&module, name);
        assert!(fault.to_string().contains(words), "{name}: {fault}");
        check(&fault, code, cell, &live);
    }
}

#[test]
fn a_loop_that_fuel_does_not_end_the_clock_ends() {
    let module = load(
        &host_with(Limits {
            handle_fuel: u64::MAX / 2,
            ..impatient()
        }),
        &guests::counter(),
    );
    let (fault, cell, live) = handle_fault(&module, "loop");
    assert_eq!(
        fault,
        Fault::Deadline {
            limit: Duration::from_millis(200)
        }
    );
    check(&fault, "deadline", cell, &live);
}

#[test]
fn a_trap_says_where() {
    let (fault, ..) = handle_fault(&counter(), "recurse");
    assert_eq!(fault, Fault::StackOverflow);
    let (fault, ..) = handle_fault(&counter(), "trap");
    let Fault::Trapped { what, backtrace } = fault else {
        panic!("{fault}")
    };
    assert_eq!(what, "wasm `unreachable` instruction executed");
    assert!(backtrace.contains("at offset 0x"), "{backtrace}");
}

#[test]
fn apply_can_trap_loop_and_recurse() {
    let module = load(&host_with(impatient()), &guests::counter());
    for (how, decided, replayed) in [
        (1, "trapped", "trapped"),
        (2, "out-of-fuel", "deadline"),
        (3, "stack-overflow", "stack-overflow"),
    ] {
        let payload = format!("{{\"how\":{how}}}");
        let (mut cell, live) = live_in(&module);
        let fault = send(&mut cell, &live, 0, "hurt", &payload).unwrap_err();
        check(&fault, decided, cell, &live);

        let (mut cell, live) = live_in(&module);
        let event = AppliedEvent {
            version: Version(1),
            event_type: "hurt",
            schema: 1,
            recorded_at: 0,
            payload: payload.as_bytes(),
        };
        let fault = cell.apply(&live, &[event], REPLAY).unwrap_err();
        check(&fault, replayed, cell, &live);
    }
}

#[test]
fn every_other_export_can_trap() {
    let module = counter();
    let armed = |mode: u32| {
        let (mut cell, live) = live_in(&module);
        send(&mut cell, &live, 0, "arm", &format!("{{\"mode\":{mode}}}")).unwrap();
        (cell, live)
    };
    let (mut cell, live) = armed(1);
    check(&cell.save(&live).unwrap_err(), "trapped", cell, &live);
    let (mut cell, live) = armed(2);
    check(&cell.render(&live).unwrap_err(), "trapped", cell, &live);
    let (mut cell, live) = armed(3);
    check(
        &cell.broken_invariants(&live).unwrap_err(),
        "trapped",
        cell,
        &live,
    );

    let (mut cell, live) = armed(4);
    assert_eq!(cell.release(live).unwrap_err().code(), "trapped");
    assert!(cell.is_retired());

    let (mut cell, live) = armed(7);
    let saved = cell.save(&live).unwrap().unwrap();
    check(
        &cell.restore(&id("b"), &saved).unwrap_err(),
        "trapped",
        cell,
        &live,
    );

    let (mut cell, live) = armed(0);
    check(&cell.create(&id("trap-me")).unwrap_err(), "trapped", cell, &live);
}

#[test]
fn refusals_to_save_and_restore_are_not_faults() {
    let module = counter();
    let (mut cell, live) = live_in(&module);
    send(&mut cell, &live, 0, "arm", "{\"mode\":6}").unwrap();
    assert_eq!(cell.save(&live).unwrap().unwrap_err(), "as armed");
    send(&mut cell, &live, 1, "arm", "{\"mode\":8}").unwrap();
    let saved = cell.save(&live).unwrap().unwrap();
    assert_eq!(cell.restore(&id("b"), &saved).unwrap().unwrap_err(), "as armed");
    assert!(!cell.is_retired());
}

#[test]
fn large_and_malformed_states_are_named() {
    let module = counter();
    let armed = |module: &Arc<Module>, mode: u32| {
        let (mut cell, live) = live_in(module);
        send(&mut cell, &live, 0, "arm", &format!("{{\"mode\":{mode}}}")).unwrap();
        (cell, live)
    };
    let (mut cell, live) = armed(&module, 9);
    check(&cell.render(&live).unwrap_err(), "bad-output", cell, &live);
    let (mut cell, live) = armed(&module, 10);
    check(&cell.save(&live).unwrap_err(), "too-large", cell, &live);
    let (mut cell, live) = armed(&module, 11);
    check(&cell.render(&live).unwrap_err(), "too-large", cell, &live);

    // A state that is only a little too large costs its snapshot, not the cell.
    let module = load(
        &host_with(Limits {
            snapshot_bytes: 30 << 20,
            ..limits()
        }),
        &guests::counter(),
    );
    let (mut cell, live) = armed(&module, 10);
    let refused = cell.save(&live).unwrap().unwrap_err();
    assert_eq!(
        refused,
        "the saved state has 41943040 bytes; the limit is 31457280"
    );
    assert!(!cell.is_retired());
}

#[test]
fn memory_near_the_limit_drains_the_cell() {
    let module = load(
        &host_with(Limits {
            cell_memory_bytes: 4 << 20,
            snapshot_bytes: 1 << 20,
            ..limits()
        }),
        &guests::counter(),
    );
    let (mut cell, live) = live_in(&module);
    assert!(!cell.is_draining() && cell.has_room());
    // The payload passes through the guest's memory, which grows for it and never shrinks.
    let payload = format!("{{\"n\":1,\"padding\":\"{}\"}}", "x".repeat(1 << 20));
    let refusal = cell
        .handle(&live, &context(0), &command("no-such", &payload))
        .unwrap();
    assert_eq!(refusal.outcome.unwrap_err(), Refusal::UnknownCommand);
    assert!(!cell.is_draining());
    let payload = format!("{{\"n\":1,\"padding\":\"{}\"}}", "x".repeat(3 << 20));
    cell.handle(&live, &context(0), &command("no-such", &payload))
        .unwrap()
        .outcome
        .unwrap_err();
    assert!(cell.is_draining() && !cell.has_room() && !cell.is_retired());
    assert!(cell.resident_bytes() <= 4 << 20);
    assert_eq!(state(&mut cell, &live), sum(0));
}

#[test]
fn neighbours_answer_again_after_a_rebuild() {
    let module = counter();
    let mut cell = Cell::new(&module).unwrap();
    let lives: Vec<_> = (0..10)
        .map(|n| {
            let live = cell.create(&id(&format!("n{n}"))).unwrap();
            send(&mut cell, &live, 0, "add", &format!("{{\"amount\":{n}}}")).unwrap();
            live
        })
        .collect();
    let saved: Vec<_> = lives
        .iter()
        .map(|live| cell.save(live).unwrap().unwrap())
        .collect();
    cell.handle(&lives[3], &context(1), &command("trap", "{}"))
        .unwrap_err();
    for live in &lives {
        assert_eq!(cell.render(live).unwrap_err(), Fault::Retired);
    }
    let mut cell = Cell::new(&module).unwrap();
    for (n, saved) in saved.iter().enumerate() {
        let live = cell.restore(&id(&format!("n{n}")), saved).unwrap().unwrap();
        assert_eq!(state(&mut cell, &live), sum(n as u64));
    }
}

#[test]
fn a_live_aggregate_of_another_cell_is_never_confused_with_ones_own() {
    let module = counter();
    let (mut cell, _live) = live_in(&module);
    let (_other, foreign) = live_in(&module);
    assert_eq!(cell.render(&foreign).unwrap_err().code(), "host");
    assert!(cell.is_retired());
}

#[test]
fn a_chatty_module_pays_for_its_lines_and_loses_what_is_too_many() {
    let module = counter();
    let (mut cell, live) = live_in(&module);
    let handled = cell.handle(&live, &context(0), &command("spam", "{}")).unwrap();
    assert_eq!(handled.outcome.unwrap().events, []);
    assert!(handled.fuel > 1_000 * 2_000, "{}", handled.fuel);

    let module = load(
        &host_with(Limits {
            handle_fuel: 1_000_000,
            ..limits()
        }),
        &guests::counter(),
    );
    let (fault, cell, live) = handle_fault(&module, "spam");
    check(&fault, "out-of-fuel", cell, &live);
}

#[test]
fn modules_that_misbehave_before_the_first_command_are_not_loaded() {
    let host = host_with(impatient());
    let endless = Limits {
        describe_fuel: u64::MAX / 2,
        ..impatient()
    };
    let cases = [
        ("start", "(start $spin)", "out-of-fuel"),
        ("describe", "(call $spin)", "out-of-fuel"),
        ("describe", "unreachable", "trapped"),
        (
            "describe",
            "(drop (call $recurse (i32.const 0)))",
            "stack-overflow",
        ),
        (
            "describe",
            "(loop $more (br_if $more (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable",
            "memory-limit",
        ),
        (
            "describe",
            "(i32.store (i32.const 2844) (i32.const 900000))",
            "bad-output",
        ),
    ];
    for (place, text, code) in cases {
        let inspected = host.inspect(&guests::counter_with(&[(place, text)])).unwrap();
        let error = host.load(&inspected).unwrap_err();
        let LoadError::Describe(fault) = &error else {
            panic!("{text}: {error}")
        };
        assert_eq!(fault.code(), code, "{text}: {fault}");
    }
    let host = host_with(endless);
    let inspected = host
        .inspect(&guests::counter_with(&[("start", "(start $spin)")]))
        .unwrap();
    let error = host.load(&inspected).unwrap_err();
    assert!(
        matches!(error, LoadError::Describe(Fault::Deadline { .. })),
        "{error}"
    );
}
