//! What an event takes, field by field: `docs/disk.md` shows these tables.

use std::{fmt::Write as _, sync::Arc};

use bytes::Bytes;

use super::{
    body::{self, Step},
    kinds::{Counts, Row},
    names::Names,
    values,
};
use crate::{
    store::{
        LogIdentity,
        conformance::key,
        format::{CHUNK_HEADER_BYTES, ChunkBuilder, Frames, Malformed, Mark, Scan, Stored, Walk, record_of},
        log::pack,
        overlay::Member,
    },
    vocabulary::{
        CommandName, CommandRecord, Commit, Committed, ContextRecord, Epoch, EventType, LogId, ModuleDigest,
        NewEvent, Outcome, Position, Version,
    },
};

const PAYLOAD_BYTES: usize = 100;
const IDENTITY: LogIdentity = LogIdentity {
    log_id: LogId([9; 16]),
    epoch: Epoch(1),
};

/// Goes past a field.
type Pass = fn(&mut Walk<'_>) -> Result<(), Malformed>;

/// What the parts `disk` and `large` of the benchmark write.
fn deposit() -> Commit {
    let payload = || Bytes::from(vec![b'x'; PAYLOAD_BYTES]);
    Commit {
        key: key("counter", "a0001234"),
        first_version: Version(500),
        command: CommandRecord {
            name: CommandName::parse("add").unwrap(),
            payload: Some(payload()),
        },
        context: ContextRecord {
            now: 1_790_000_000_000,
            seed: None,
            actor: None,
            command_id: "b1946ac92492d2347c6235b4d2611184".to_owned(),
            correlation_id: "000000000000beef".to_owned(),
            causation_id: None,
            traceparent: None,
        },
        idempotency: None,
        outcome: Outcome::Accepted {
            reply: None,
            fuel: 1_000,
        },
        module: ModuleDigest([7; 32]),
        events: vec![NewEvent {
            event_type: EventType::parse("added").unwrap(),
            schema: 1,
            payload: payload(),
        }],
    }
}

/// A table of what each field takes; the fields must be all that is there.
fn table(bytes: &[u8], fields: &[(&str, Pass)]) -> String {
    let mut walk = Walk::new(bytes);
    let mut text = String::new();
    for (name, pass) in fields {
        let start = walk.at();
        pass(&mut walk).unwrap();
        writeln!(text, "{:>5}  {name}", walk.at() - start).unwrap();
    }
    assert!(walk.is_end(), "{} bytes are in no field", walk.rest().len());
    writeln!(text, "{:>5}  together", bytes.len()).unwrap();
    text
}

fn commit_in_the_log() -> String {
    let commit = deposit();
    let record = record_of(&commit);
    let mut builder = ChunkBuilder::new(IDENTITY.log_id, IDENTITY.epoch, Mark::START, 0);
    for _ in 0..2 {
        builder.push(Stored::of(&commit, &record), 1);
    }
    let (chunk, _) = builder.finish();
    let body = &chunk[CHUNK_HEADER_BYTES..];
    let (second, _) = Frames::of_body(body).nth(1).unwrap().unwrap();
    table(
        &body[second..],
        &[
            ("length and checksum", |walk| walk.take(8).map(drop)),
            ("module: where in the chunk its digest lies", |walk| {
                walk.number().map(drop)
            }),
            ("format and flags", |walk| walk.take(2).map(drop)),
            ("aggregate type `counter`", |walk| walk.text().map(drop)),
            ("aggregate id `a0001234`", |walk| walk.text().map(drop)),
            ("version", |walk| walk.number().map(drop)),
            ("command name `add`", |walk| walk.text().map(drop)),
            ("command payload", |walk| walk.blob_or_none().map(drop)),
            ("time", |walk| walk.number().map(drop)),
            ("actor: none", |walk| walk.text_or_none().map(drop)),
            ("command id: 32 hexadecimal digits", |walk| walk.text().map(drop)),
            ("correlation id: 16 characters", |walk| {
                walk.text_or_none().map(drop)
            }),
            ("causation id: none", |walk| walk.text_or_none().map(drop)),
            ("trace context: none", |walk| walk.text_or_none().map(drop)),
            ("idempotency key: none", |walk| walk.byte().map(drop)),
            ("outcome: accepted, no reply, fuel", |walk| {
                walk.byte()?;
                walk.blob_or_none()?;
                walk.number().map(drop)
            }),
            ("number of events", |walk| walk.number().map(drop)),
            ("event type `added`", |walk| walk.text().map(drop)),
            ("schema version", |walk| walk.number().map(drop)),
            ("event payload", |walk| walk.blob().map(drop)),
        ],
    )
}

fn event_in_the_index() -> String {
    let commit = deposit();
    let record = record_of(&commit);
    let scan = Scan::new(Stored::of(&commit, &record)).unwrap();
    let member = Member {
        scan,
        first_position: 5_000_000,
    };
    let parts = body::parts(&member, 16 << 10).unwrap();
    let step = Step {
        position: member.first_position,
        time: scan.now,
    };
    let before = Step {
        position: step.position - 10_000,
        time: step.time - 100,
    };
    let mut bytes = Vec::new();
    before.put(step, &mut bytes);
    body::put(&member, &parts[0], &mut Names::default(), &mut bytes).unwrap();
    table(
        &bytes,
        &[
            ("positions since the aggregate's last event: 10,000", |walk| {
                walk.number().map(drop)
            }),
            ("milliseconds since then: 100", |walk| walk.number().map(drop)),
            ("flags", |walk| walk.byte().map(drop)),
            ("command name: a number", |walk| walk.number().map(drop)),
            ("module: a number", |walk| walk.number().map(drop)),
            ("command id: 32 hexadecimal digits", |walk| walk.text().map(drop)),
            ("correlation id: 16 characters", |walk| walk.text().map(drop)),
            ("event type: a number", |walk| walk.number().map(drop)),
            ("schema version", |walk| walk.number().map(drop)),
            ("event payload", |walk| walk.blob().map(drop)),
        ],
    )
}

fn stretch_in_the_index() -> String {
    let mut counts = Counts::default();
    (0..20).for_each(|kind| counts.add(10 + 3 * kind, 51));
    let row = Row {
        chunk: 20_000,
        counts,
    };
    let bytes = values::seal(row.put(), &5_000_u64.to_be_bytes(), IDENTITY.log_id);
    table(
        &bytes,
        &[
            ("chunk that holds its first position", |walk| {
                walk.number().map(drop)
            }),
            ("number of kinds: 20", |walk| walk.number().map(drop)),
            ("of each kind, its name as a number and its events", |walk| {
                (0..40).try_for_each(|_| walk.number().map(drop))
            }),
            ("checksum", |walk| walk.take(4).map(drop)),
        ],
    )
}

/// Bytes of redb's pages for each commit when so many are committed together.
fn pages() -> String {
    let mut text = String::new();
    for group in [16_usize, 64, 256, 1_024] {
        let commits = (0..group).map(|index| {
            let commit = deposit();
            let record = record_of(&commit);
            let first_position = Position(1 + index as u64);
            (
                record,
                Arc::new(Committed {
                    commit,
                    first_position,
                }),
            )
        });
        let packed = pack(IDENTITY, Mark::START, commits.collect(), 64 << 10);
        let pages: usize = packed
            .iter()
            .map(|chunk| (chunk.bytes.len() + 32).next_power_of_two().max(4_096))
            .sum();
        writeln!(
            text,
            "{:>5}  {group:>5} commits in a group, {} chunks",
            pages / group,
            packed.len()
        )
        .unwrap();
    }
    text
}

#[test]
fn the_documentation_says_where_each_byte_goes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/disk.md");
    let documented = std::fs::read_to_string(path).unwrap();
    for table in [
        commit_in_the_log(),
        event_in_the_index(),
        stretch_in_the_index(),
        pages(),
    ] {
        let block = format!("```text\n{table}```\n");
        assert!(
            documented.contains(&block),
            "docs/disk.md should have this table:\n{table}"
        );
    }
}
