//! Deciding in one call: the bytes of the contract, on the host's side, and every way in which an answer can be wrong. The
//! good answers are those of `guest-sdk/src/turn/tests.rs`.

use super::*;
use crate::vocabulary::Rejection;

/// The counter with a `turn` of its own: `body` is what `decide` does, and leaves the place of its answer on the stack.
fn with_turn(answer: &[u8], body: &str) -> Arc<Module> {
    let escaped: String = answer.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let turn = format!(
        r#"(data (i32.const 0x40000) "{escaped}")
        (func (export "annals:aggregate/turn@0.1.0#decide")
            (param $self i32) (param $request i32) (param $bytes i32) (result i32)
          (i32.store (i32.const 512) (i32.const 0x40000))
          (i32.store (i32.const 516) (i32.const {}))
          {body})"#,
        answer.len()
    );
    // Answers lie behind all that the counter uses, and may be long.
    let text = guests::COUNTER.replace(";;@start\n", &turn);
    let text = text.replace(
        "(memory (export \"memory\") 4)",
        "(memory (export \"memory\") 40)",
    );
    let exports = [&guests::COUNTER_EXPORTS[..], &["turn"]].concat();
    load(&host_with(limits()), &guests::module(&text, &exports))
}

fn decide(module: &Arc<Module>) -> (Result<Result<Turn, ApplyRefusal>, Fault>, Cell, Live) {
    let mut cell = Cell::new(module).unwrap();
    let live = cell.create(&id("a")).unwrap();
    let turn = cell.decide(&live, &context(7), &command("add", "{\"amount\":5}"));
    (turn, cell, live)
}

fn answered(answer: &[u8]) -> Result<Turn, ApplyRefusal> {
    let (turn, cell, _) = decide(&with_turn(answer, "(i32.const 512)"));
    assert!(!cell.is_retired());
    turn.unwrap()
}

#[test]
fn the_request_has_the_bytes_of_the_contract() {
    // What was asked comes back as the message of a rejection, which may be any text.
    let body = r"
        (i32.store (i32.const 512) (i32.const 4096))
        (i32.store8 (i32.const 4096) (i32.const 1))
        (i32.store16 (i32.const 4097) (i32.const 0x6301))
        (i32.store8 (i32.const 4099) (local.get $bytes))
        (memory.copy (i32.const 4100) (local.get $request) (local.get $bytes))
        (i32.store8 (i32.add (i32.const 4100) (local.get $bytes)) (i32.const 0))
        (i32.store (i32.const 516) (i32.add (local.get $bytes) (i32.const 5)))
        (i32.const 512)";
    let mut cell = Cell::new(&with_turn(b"", body)).unwrap();
    let live = cell.create(&id("a")).unwrap();
    let context = Context {
        now: 100,
        ..context(7)
    };
    let turn = cell.decide(&live, &context, &command("add", "{\"amount\":5}"));
    let Err(Refusal::Rejected(Rejection { message, .. })) = turn.unwrap().unwrap().outcome else {
        panic!("it is not rejected");
    };
    assert_eq!(
        message,
        "\x07\x64\x01\x02\x01a\x03c-1\x03k-1\x01\x06tester\x00\x00\x03add\x0c{\"amount\":5}"
    );
}

#[test]
fn each_answer_is_read() {
    let turn =
        answered(b"\x00\x02\x05added\x01\x0c{\"amount\":5}\x06closed\x01\x02{}\x01\x04true\x00").unwrap();
    assert!(turn.fuel > 0 && turn.broken.is_empty());
    let decision = turn.outcome.unwrap();
    let events: Vec<_> = decision
        .events
        .iter()
        .map(|event| (event.event_type.as_str(), event.schema, &event.payload[..]))
        .collect();
    assert_eq!(
        events,
        [("added", 1, &b"{\"amount\":5}"[..]), ("closed", 1, b"{}")]
    );
    assert_eq!(decision.reply.as_deref(), Some(&b"true"[..]));

    let turn = answered(b"\x00\x01\x05added\x01\x02{}\x00\x01\x0bat most 100").unwrap();
    assert_eq!(turn.broken, ["at most 100"]);
    let turn = answered(b"\x00\x00\x00\x00").unwrap();
    assert_eq!(turn.outcome.unwrap().events, []);

    let rejected = answered(b"\x01\x07nothing\x0e0 adds nothing\x01\x0c{\"amount\":0}").unwrap();
    assert_eq!(
        rejected.outcome,
        Err(Refusal::Rejected(Rejection {
            code: "nothing".into(),
            message: "0 adds nothing".into(),
            details: Some(b"{\"amount\":0}".as_slice().into()),
        }))
    );
    assert_eq!(answered(b"\x02").unwrap().outcome, Err(Refusal::UnknownCommand));
    assert_eq!(
        answered(b"\x03\x07/amount\x17required, and not there")
            .unwrap()
            .outcome,
        Err(Refusal::Malformed {
            pointer: "/amount".into(),
            problem: "required, and not there".into()
        })
    );
    for (answer, problem) in [
        (&b"\x04\x08\x00"[..], ApplyProblem::UnknownEvent),
        (b"\x04\x08\x01\x01x", ApplyProblem::Malformed("x".into())),
        (
            b"\x04\x08\x02\x08bad luck",
            ApplyProblem::Impossible("bad luck".into()),
        ),
    ] {
        let version = Version(8);
        assert_eq!(answered(answer), Err(ApplyRefusal { version, problem }));
    }
}

#[test]
fn no_wrong_answer_is_believed() {
    let many = [
        &b"\x00\xe9\x07"[..],
        &b"\x05added\x01\x02{}".repeat(1_001),
        b"\x00\x00",
    ]
    .concat();
    let broken = [&b"\x00\x00\x00\xe9\x07"[..], &[0; 1_001]].concat();
    let mib = [&b"\x81\x80\x40"[..], &[b'x'; (1 << 20) + 1]].concat();
    let wordy = [b"\x00\x01\x05added\x01\x02{}\x00\x01", &mib[..]].concat();
    let verbose = [b"\x04\x08\x01", &mib[..]].concat();
    for (answer, code, words) in [
        (&b""[..], "bad-output", "not as `wit/turn.wit` has it"),
        (b"\x05", "bad-output", "it begins with 5"),
        (b"\x02\x00", "bad-output", "1 bytes are left behind it"),
        (b"\x00\x01\x05adde", "bad-output", "not as `wit/turn.wit` has it"),
        (
            b"\x00\xff\xff\xff\xff\x0f",
            "too-large",
            "events from one command",
        ),
        (many.as_slice(), "too-large", "events from one command, 1001"),
        (
            b"\x00\x00\x00\xff\xff\xff\xff\x0f",
            "too-large",
            "broken invariants",
        ),
        (broken.as_slice(), "too-large", "broken invariants, 1001"),
        (
            b"\x00\x01\x05added\x01\xff\xff\xff\xff\x0f{}",
            "bad-output",
            "not as",
        ),
        (b"\x00\x01\x02\xff\xfe\x01\x02{}\x00\x00", "bad-output", "not as"),
        (b"\x00\x01\x05gone!\x01\x02{}\x00\x00", "bad-output", "event 1: "),
        (
            b"\x00\x01\x05added\x02\x02{}\x00\x00",
            "bad-output",
            "`added` in schema 2",
        ),
        (
            b"\x00\x01\x05added\x01\x02{]\x00\x00",
            "bad-output",
            "is not JSON",
        ),
        (b"\x00\x00\x01\x01?\x00", "bad-output", "the reply is not JSON"),
        (b"\x01\x00\x00\x00", "bad-output", "code is empty"),
        (b"\x01\x01c\x01m\x01\x02[]", "bad-output", "not a JSON object"),
        (b"\x04\x08\x03", "bad-output", "the problem is 3"),
        (b"\x00\x00\x00\x01\x01x", "bad-output", "no events"),
        (
            wordy.as_slice(),
            "too-large",
            "bytes of the broken invariants, 1048577",
        ),
        (verbose.as_slice(), "too-large", "bytes of the refusal, 1048577"),
    ] {
        let (turn, cell, _) = decide(&with_turn(answer, "(i32.const 512)"));
        let fault = turn.unwrap_err();
        assert_eq!(fault.code(), code, "{answer:02x?}: {fault}");
        assert!(fault.to_string().contains(words), "{answer:02x?}: {fault}");
        assert!(cell.is_retired(), "{answer:02x?}");
    }
}

#[test]
fn a_turn_can_hurt_only_its_own_cell() {
    let giant = "(i32.store (i32.const 516) (i32.const 0x2000000))
        (drop (memory.grow (i32.const 600))) (i32.const 512)";
    for (body, code, words) in [
        ("unreachable", "trapped", "unreachable"),
        ("(call $spin) unreachable", "out-of-fuel", "50000000 units"),
        ("(call $recurse (i32.const 0))", "stack-overflow", "recursion"),
        (giant, "too-large", "bytes of the decision"),
        ("(i32.const 0xffffff00)", "bad-output", "out of bounds"),
    ] {
        let module = with_turn(b"", body);
        let (turn, cell, live) = decide(&module);
        let fault = turn.unwrap_err();
        assert!(fault.to_string().contains(words), "{body}: {fault}");
        super::hostile::check(&fault, code, cell, &live);
    }
}

#[test]
fn without_a_turn_the_three_calls_do_the_same() {
    let module = counter();
    let mut cell = Cell::new(&module).unwrap();
    let live = cell.create(&id("a")).unwrap();
    let mut decide = |version, name: &str, payload: &str| {
        cell.decide(&live, &context(version), &command(name, payload))
            .unwrap()
            .unwrap()
    };
    let turn = decide(0, "add", "{\"amount\":5}");
    assert_eq!((turn.outcome.unwrap().events.len(), turn.broken), (1, vec![]));
    assert_eq!(decide(1, "no-such", "{}").outcome, Err(Refusal::UnknownCommand));
    let turn = decide(1, "arm", "{\"mode\":5}");
    assert_eq!(turn.broken, ["as armed"]);
    assert_eq!(state(&mut cell, &live), sum(5));
    let refusal = {
        let events = cell.decide(&live, &context(2), &command("close", "{}"));
        assert!(events.unwrap().is_ok());
        cell.decide(&live, &context(3), &command("add", "{\"amount\":5}"))
    };
    let rejected = refusal.unwrap().unwrap().outcome;
    assert!(matches!(rejected, Err(Refusal::Rejected(_))), "{rejected:?}");
}
