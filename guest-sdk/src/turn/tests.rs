//! What the host reads, byte by byte; `runtime/src/wasm/tests/turns.rs` reads the same answers on its side.

use annals_sdk::{Deserialize, Serialize, prelude::*};

use super::*;

#[derive(Debug, Default, PartialEq, Aggregate, Serialize, Deserialize)]
#[aggregate(type = "counter")]
struct Counter {
    count: u64,
    last: (u64, u64),
}

#[derive(Command)]
enum CounterCommand {
    Add { amount: u64 },
    Look,
}

#[derive(Event)]
enum CounterEvent {
    Added { amount: u64 },
}

#[derive(Rejection)]
enum CounterRejection {
    #[rejection("{amount} adds nothing", code = "nothing")]
    Nothing { amount: u64 },
}

impl Decide for Counter {
    type Command = CounterCommand;
    type Event = CounterEvent;
    type Rejection = CounterRejection;

    fn handle(&self, command: CounterCommand, _: &Context) -> Result<Vec<CounterEvent>, CounterRejection> {
        match command {
            CounterCommand::Look => Ok(vec![]),
            CounterCommand::Add { amount: 0 } => Err(CounterRejection::Nothing { amount: 0 }),
            CounterCommand::Add { amount } => Ok(vec![CounterEvent::Added { amount }; 2]),
        }
    }

    fn decide(
        &self,
        command: CounterCommand,
        context: &Context,
    ) -> Result<Decision<CounterEvent>, CounterRejection> {
        let seen = json!([context.version(), context.actor(), context.attribute("region")]);
        let events = self.handle(command, context)?;
        Ok(Decision::from(events).with_reply(&seen))
    }

    fn apply(&mut self, event: CounterEvent) {
        let CounterEvent::Added { amount } = event;
        self.count += amount;
    }

    fn apply_recorded(&mut self, event: CounterEvent, recorded: Recorded) -> Result<(), String> {
        self.last = (recorded.version, recorded.at);
        let CounterEvent::Added { amount } = event;
        if amount == 13 {
            return Err("bad luck".into());
        }
        self.apply(event);
        Ok(())
    }

    fn invariants(&self) -> Vec<String> {
        let broken = (self.count > 100).then(|| "at most 100".to_owned());
        broken.into_iter().collect()
    }
}

impl Clone for CounterEvent {
    fn clone(&self) -> Self {
        let Self::Added { amount } = self;
        Self::Added { amount: *amount }
    }
}

/// Version 7, time 300, seed (1, 2), aggregate `a`, command `c`, correlation `k`, actor `ann`, no causation, `region` = `eu`.
fn request(name: &str, payload: &str) -> Vec<u8> {
    let mut bytes = b"\x07\xac\x02\x01\x02\x01a\x01c\x01k\x01\x03ann\x00\x01\x06region\x02eu".to_vec();
    for text in [name, payload] {
        bytes.push(u8::try_from(text.len()).unwrap());
        bytes.extend(text.as_bytes());
    }
    bytes
}

#[test]
fn each_outcome_has_its_bytes() {
    let reply = b"\x01\x0e[7,\"ann\",\"eu\"]";
    let accepted = [
        &b"\x00\x02\x05added\x01\x0c{\"amount\":5}\x05added\x01\x0c{\"amount\":5}"[..],
        reply,
        b"\x00",
    ];
    let broken = [
        &b"\x00\x02\x05added\x01\x0d{\"amount\":60}\x05added\x01\x0d{\"amount\":60}"[..],
        reply,
        b"\x01\x0bat most 100",
    ];
    let nothing = [&b"\x00\x00"[..], reply, b"\x00"];
    for (name, payload, expected, left) in [
        ("add", r#"{"amount":5}"#, accepted.concat(), (10, (9, 300))),
        ("add", r#"{"amount":60}"#, broken.concat(), (120, (9, 300))),
        ("look", "", nothing.concat(), (0, (0, 0))),
        (
            "add",
            r#"{"amount":0}"#,
            b"\x01\x07nothing\x0e0 adds nothing\x01\x0c{\"amount\":0}".to_vec(),
            (0, (0, 0)),
        ),
        ("subtract", "{}", b"\x02".to_vec(), (0, (0, 0))),
        (
            "add",
            "{}",
            b"\x03\x07/amount\x17required, and not there".to_vec(),
            (0, (0, 0)),
        ),
        (
            "add",
            r#"{"amount":13}"#,
            b"\x04\x08\x02\x08bad luck".to_vec(),
            (0, (8, 300)),
        ),
    ] {
        let mut counter = Counter::default();
        let answer = decide(&mut counter, &request(name, payload));
        let shown = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(shown(&answer), shown(&expected), "{name} {payload}");
        assert_eq!((counter.count, counter.last), left, "{name} {payload}");
    }
}

#[test]
fn what_is_applied_is_what_is_answered() {
    let event = |event_type, payload: &str| NewEvent {
        event_type,
        schema: 1,
        payload: payload.as_bytes().to_vec(),
    };
    let mut counter = Counter::default();
    let answer = accept(&mut counter, 0, 0, &[event("added", "{\"amount\":\"x\"}")], None);
    assert!(answer.starts_with(b"\x04\x01\x01"), "{answer:?}");
    let answer = accept(&mut counter, 4, 0, &[event("removed", "{}")], None);
    assert_eq!(answer, b"\x04\x05\x00");
}

#[test]
#[should_panic(expected = "not as `turn.wit` has it")]
fn a_request_that_is_none_traps() {
    decide(&mut Counter::default(), b"\x01");
}

#[test]
#[should_panic(expected = "1 bytes too long")]
fn a_request_with_something_behind_it_traps() {
    let mut request = request("look", "");
    request.push(0);
    decide(&mut Counter::default(), &request);
}
