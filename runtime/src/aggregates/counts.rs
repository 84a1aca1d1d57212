//! What `cargo xtask counts` counts of the lanes: functions whose name begins with `count_`, run under callgrind. A shard
//! does its work on the thread of the test, over a store that answers at once.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use crossbeam_channel::unbounded;

use super::{
    CommandRequest, Preconditions, UniqueIds,
    admission::Gauge,
    cells::Cells,
    shard::{CommandWork, Message, Shard},
    words,
    work::{Equipment, Worker},
};
use crate::{
    store::{
        Completion, MemoryStore, Proposal, Snapshot,
        conformance::{Intercept, Intercepted},
    },
    vocabulary::{
        AggregateId, AggregateKey, CommandSchema, Committed, Context, Decision, EventSchema, GuestCommand,
        Limits, Manifest, ManualClock, NewEvent, Position,
    },
    wasm::{
        AppliedEvent, ApplyProblem, Host, HostOptions, Module, NativeAggregate, NativeFactory, Refusal,
        tests::guests,
    },
};

const AGGREGATES: u64 = 64;
const COMMANDS: u64 = 1_024;

/// Each of 64 aggregates gets 16 commands, the first of which makes its lane and its object.
#[inline(never)]
fn count_command_in_a_lane_native_x1024(shard: Shard) {
    // Two functions that do the same would become one.
    black_box("native");
    shard.run();
}

/// The same, decided by WebAssembly.
#[inline(never)]
fn count_command_in_a_lane_wasm_x1024(shard: Shard) {
    black_box("wasm");
    shard.run();
}

/// Finds every proposal durable at once, on the caller's thread, and keeps nothing.
#[derive(Debug, Default)]
struct Prompt {
    position: AtomicU64,
}

impl Intercept for Prompt {
    fn append(&self, _: &MemoryStore, proposal: Proposal, done: Completion) {
        let events = proposal.commit.events.len() as u64;
        let first_position = Position(self.position.fetch_add(events, Ordering::Relaxed) + 1);
        done(Ok(Arc::new(Committed {
            first_position,
            commit: proposal.commit,
        })));
    }

    fn save_snapshot(&self, _: &MemoryStore, _: Snapshot) {}
}

/// What the tests' counter is, as native code: `add` adds the number of its payload.
#[derive(Default)]
struct Counter {
    sum: u64,
}

struct Counters;

impl NativeFactory for Counters {
    fn create(&self, _: &AggregateId) -> Box<dyn NativeAggregate> {
        Box::new(Counter::default())
    }

    fn restore(&self, _: &AggregateId, _: &[u8]) -> Result<Box<dyn NativeAggregate>, String> {
        Err("nothing is saved here".to_owned())
    }
}

fn by(payload: &[u8]) -> Option<u64> {
    let value: serde_json::Value = serde_json::from_slice(payload).ok()?;
    value.get("by")?.as_u64()
}

impl NativeAggregate for Counter {
    fn handle(&self, _: &Context, command: &GuestCommand) -> Result<Decision, Refusal> {
        by(&command.payload).ok_or(Refusal::UnknownCommand)?;
        let event = NewEvent {
            event_type: "added".parse().unwrap(),
            schema: 1,
            payload: command.payload.clone(),
        };
        Ok(Decision {
            events: vec![event],
            reply: None,
        })
    }

    fn apply(&mut self, event: &AppliedEvent<'_>) -> Result<(), ApplyProblem> {
        self.sum += by(event.payload).ok_or(ApplyProblem::UnknownEvent)?;
        Ok(())
    }

    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    fn render(&self) -> Option<String> {
        Some(self.sum.to_string())
    }
}

fn native(host: &Host) -> Arc<Module> {
    let schema = || "true".to_owned();
    let manifest = Manifest {
        aggregate_type: "counter".parse().unwrap(),
        module_version: "1.0.0".to_owned(),
        payload_encoding: "application/json".to_owned(),
        commands: vec![CommandSchema {
            name: "add".parse().unwrap(),
            json_schema: schema(),
        }],
        records: vec![EventSchema {
            event_type: "added".parse().unwrap(),
            schema: 1,
            json_schema: schema(),
        }],
        reads: vec![("added".parse().unwrap(), 1)],
        state_version: 1,
        attributes: Vec::new(),
    };
    Module::native(host, manifest, Arc::new(Counters))
}

fn host() -> Host {
    let limits = Limits {
        cells: 8,
        ..Limits::default()
    };
    Host::new(HostOptions {
        limits,
        cache_dir: None,
        cache_key: [7; 32],
    })
    .unwrap()
}

fn request(number: u64) -> CommandRequest {
    let id = format!("counter-{:06}", number % AGGREGATES);
    CommandRequest {
        key: AggregateKey::new("counter".parse().unwrap(), id.parse().unwrap()),
        command: "add".parse().unwrap(),
        payload: Bytes::from_static(b"{\"by\":7}"),
        idempotency: None,
        preconditions: Preconditions::default(),
        actor: None,
        correlation_id: Some(format!("{number:032x}")),
        causation_id: None,
        traceparent: None,
    }
}

/// A shard with everything in its inbox that it has to do, and how many commands it has accepted.
fn shard(module: &Arc<Module>) -> (Shard, Arc<AtomicU64>) {
    let (inbox, messages) = unbounded();
    let (words, speaker) = words::words(inbox.clone());
    let equipment = Equipment {
        store: Arc::new(Intercepted::<Prompt>::default()),
        clock: Arc::new(ManualClock::at(1_700_000_000_000)),
        limits: Arc::new(Limits::default()),
        ids: Arc::new(UniqueIds::new().unwrap()),
    };
    let worker = Worker::new(equipment, speaker, Cells::new(8, 1 << 30));
    let accepted = Arc::new(AtomicU64::new(0));
    let gauge = Gauge::new(usize::MAX);
    let send = |message| inbox.send(message).map_err(drop).unwrap();
    send(Message::Activate {
        aggregate_type: module.manifest().aggregate_type.clone(),
        module: Arc::clone(module),
        done: Box::new(|()| {}),
    });
    for number in 0..COMMANDS {
        let accepted = Arc::clone(&accepted);
        send(Message::Command(Box::new(CommandWork {
            request: request(number),
            reply: Box::new(move |answer| {
                accepted.fetch_add(u64::from(answer.is_ok()), Ordering::Relaxed);
            }),
            decided_again: 0,
            alone: false,
            span: tracing::Span::none(),
            permits: [gauge.take(1).unwrap(), gauge.take(100).unwrap()],
        })));
    }
    send(Message::Stop);
    (Shard::new(messages, words, worker), accepted)
}

#[test]
fn commands_are_decided_by_native_code() {
    let (shard, accepted) = shard(&native(&host()));
    count_command_in_a_lane_native_x1024(black_box(shard));
    assert_eq!(accepted.load(Ordering::Relaxed), COMMANDS);
}

#[test]
fn commands_are_decided_by_webassembly() {
    let host = host();
    let module = host.load(&host.inspect(&guests::counter()).unwrap()).unwrap();
    let (shard, accepted) = shard(&module);
    count_command_in_a_lane_wasm_x1024(black_box(shard));
    assert_eq!(accepted.load(Ordering::Relaxed), COMMANDS);
}
