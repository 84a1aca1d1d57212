//! The bytes of commits: they come back as they were, and they stay what they are.

use bytes::Bytes;
use proptest::prelude::*;

use crate::{
    store::{
        conformance::{commit, event, key},
        format::{Mark, Stored, decode_commit, record_of},
    },
    vocabulary::{
        AggregateId, AggregateKey, AggregateType, CommandName, CommandRecord, Commit, ContextRecord,
        EventType, IdempotencyKey, IdempotencyRecord, ModuleDigest, NewEvent, Outcome, RequestHash, Version,
    },
};

prop_compose! {
    fn contexts()(
        now: u64,
        seed: Option<[u64; 2]>,
        actor in proptest::option::of("\\PC{0,20}"),
        command_id in "\\PC{0,40}",
        same: bool,
        correlation_id in "\\PC{0,40}",
        causation_id in proptest::option::of("\\PC{0,40}"),
        traceparent in proptest::option::of("[0-9a-f-]{55}"),
    ) -> ContextRecord {
        let correlation_id = if same { command_id.clone() } else { correlation_id };
        ContextRecord { now, seed, actor, command_id, correlation_id, causation_id, traceparent }
    }
}

fn outcomes() -> impl Strategy<Value = Outcome> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50).prop_map(Bytes::from));
    prop_oneof![
        (bytes(), any::<u64>()).prop_map(|(reply, fuel)| Outcome::Accepted { reply, fuel }),
        ("[a-z-]{1,20}", "\\PC{0,60}", bytes(), any::<u64>()).prop_map(|(code, message, details, fuel)| {
            Outcome::Rejected {
                code,
                message,
                details,
                fuel,
            }
        }),
    ]
}

prop_compose! {
    fn events()(
        name in "[A-Za-z][A-Za-z0-9._-]{0,62}",
        schema: u32,
        payload in proptest::collection::vec(any::<u8>(), 0..200),
    ) -> NewEvent {
        NewEvent { event_type: EventType::parse(&name).unwrap(), schema, payload: Bytes::from(payload) }
    }
}

prop_compose! {
    fn commits()(
        kind in "[a-z][a-z0-9-]{0,62}",
        id in "[^\\pC]{1,60}".prop_filter("reserved", |id| id != "." && id != ".."),
        first in 1..u64::MAX / 2,
        name in "[A-Za-z][A-Za-z0-9._-]{0,62}",
        payload in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
        context in contexts(),
        idempotency in proptest::option::of(("[^\\pC]{1,60}", any::<[u8; 32]>())),
        outcome in outcomes(),
        module: [u8; 32],
        events in proptest::collection::vec(events(), 0..5),
    ) -> Commit {
        Commit {
            key: AggregateKey::new(AggregateType::parse(&kind).unwrap(), AggregateId::parse(&id).unwrap()),
            first_version: Version(first),
            command: CommandRecord { name: CommandName::parse(&name).unwrap(), payload: payload.map(Bytes::from) },
            context,
            idempotency: idempotency.map(|(key, request)| IdempotencyRecord {
                key: IdempotencyKey::parse(&key).unwrap(),
                request: RequestHash(request),
            }),
            outcome,
            module: ModuleDigest(module),
            events,
        }
    }
}

proptest! {
    #[test]
    fn commits_come_back_as_they_were(commit in commits()) {
        let bytes = Bytes::from(record_of(&commit));
        for end in 0..bytes.len() {
            prop_assert!(decode_commit(commit.module, &bytes.slice(..end)).is_err(), "cut at {}", end);
        }
        prop_assert_eq!(decode_commit(commit.module, &bytes).unwrap(), commit);
    }

    #[test]
    fn any_bytes_are_read_or_refused(mut bytes: Vec<u8>, derived: bool) {
        bytes.splice(0..0, [1, if derived { 2 } else { 0 }]);
        let module = ModuleDigest([3; 32]);
        let bytes = Bytes::from(bytes);
        if let Ok(commit) = decode_commit(module, &bytes) {
            decode_commit(module, &Bytes::from(record_of(&commit))).unwrap();
        }
    }
}

/// A log lives longer than a version of annals. When this fails, the format has changed: give it a new number, and go
/// on reading the old one.
#[test]
fn the_format_stays_what_it_is() {
    let target = key("account", "alice");
    let mut mark = Mark::START;
    for (version, idempotency) in [
        (0, Some("0190f3e2-7b5c-7000-8000-000000000001")),
        (2, None),
        (3, Some("plain")),
    ] {
        let events = (0..2 - version / 2)
            .map(|salt| event(salt, 30))
            .collect::<Vec<_>>();
        let commit = commit(&target, version, idempotency, events);
        mark.pass(Stored::of(&commit, &record_of(&commit)), commit.events.len());
    }
    let chain: String = mark.chain.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((mark.commit, mark.position), (4, 5));
    assert_eq!(
        chain,
        "ad1297ee688545358975f7b6d24746057b9814ae88d583612eb5e14f1d3b0111"
    );
}
