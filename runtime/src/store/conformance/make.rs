//! Things to append.

use std::{
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use bytes::Bytes;

use crate::{
    store::{AppendError, EventStore, Proposal},
    vocabulary::{
        AggregateId, AggregateKey, AggregateType, CommandName, CommandRecord, Commit, Committed,
        ContextRecord, EventType, IdempotencyKey, IdempotencyRecord, LaneEpoch, ModuleDigest, NewEvent,
        Outcome, RequestHash, Version,
    },
};

/// A small generator of numbers, so that a failure can be had again from its seed.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The generator of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number (SplitMix64).
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below a bound.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// An aggregate.
///
/// # Panics
/// When the names are not acceptable.
#[must_use]
pub fn key(aggregate_type: &str, id: &str) -> AggregateKey {
    AggregateKey::new(
        AggregateType::parse(aggregate_type).unwrap(),
        AggregateId::parse(id).unwrap(),
    )
}

/// An event with a payload of this many bytes, filled with something that depends on `salt`.
///
/// # Panics
/// Never with the names used here.
#[must_use]
pub fn event(salt: u64, payload_bytes: usize) -> NewEvent {
    let mut rng = Rng::new(salt);
    let payload: Vec<u8> = (0..payload_bytes).map(|_| rng.number() as u8).collect();
    NewEvent {
        event_type: EventType::parse(["deposited", "withdrawn", "Closed.v2"][(salt % 3) as usize]).unwrap(),
        schema: (salt % 4) as u32 + 1,
        payload: Bytes::from(payload),
    }
}

/// A commit decided on a version.
///
/// # Panics
/// When the idempotency key is not acceptable.
#[must_use]
pub fn commit(key: &AggregateKey, expected: u64, idempotency: Option<&str>, events: Vec<NewEvent>) -> Commit {
    let salt = expected * 31 + events.len() as u64;
    let command_id = format!("0190f3e2-7b5c-7000-8000-{salt:012x}");
    Commit {
        key: key.clone(),
        first_version: Version(expected + 1),
        command: CommandRecord {
            name: CommandName::parse("deposit").unwrap(),
            payload: (!salt.is_multiple_of(5)).then(|| Bytes::from(format!("{{\"amount\":{salt}}}"))),
        },
        context: ContextRecord {
            now: 1_700_000_000_000 + expected * 1_000,
            seed: (!salt.is_multiple_of(4)).then_some([salt, !salt]),
            actor: (salt.is_multiple_of(2)).then(|| "tester".to_owned()),
            correlation_id: if salt.is_multiple_of(3) {
                "outside".to_owned()
            } else {
                command_id.clone()
            },
            command_id,
            causation_id: (salt.is_multiple_of(7)).then(|| "cause".to_owned()),
            traceparent: (salt.is_multiple_of(4))
                .then(|| "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        },
        idempotency: idempotency.map(|text| IdempotencyRecord {
            key: IdempotencyKey::parse(text).unwrap(),
            request: RequestHash([salt as u8; 32]),
        }),
        outcome: if events.is_empty() && salt.is_multiple_of(2) {
            Outcome::Rejected {
                code: "insufficient-funds".to_owned(),
                message: "balance 1 is less than 2".to_owned(),
                details: Some(Bytes::from_static(b"{\"balance\":1}")),
                fuel: salt,
            }
        } else {
            Outcome::Accepted {
                reply: (salt % 2 == 1).then(|| Bytes::from_static(b"\"ok\"")),
                fuel: salt * 1_000,
            }
        },
        module: ModuleDigest([(salt % 3) as u8; 32]),
        events,
    }
}

/// Appends a commit and waits for the answer.
///
/// # Errors
/// What the store answers.
///
/// # Panics
/// When the store does not answer within a minute, or answers twice.
pub fn try_append(store: &dyn EventStore, life: u64, commit: Commit) -> Result<Arc<Committed>, AppendError> {
    let (sender, receiver) = mpsc::channel();
    let proposal = Proposal {
        lane_epoch: LaneEpoch(life),
        expected: Version(commit.first_version.0 - 1),
        commit,
    };
    store.append(
        proposal,
        Box::new(move |result| sender.send(result).unwrap_or_default()),
    );
    receiver.recv_timeout(Duration::from_secs(60)).unwrap()
}

/// Appends events behind the head.
///
/// # Panics
/// When the store refuses.
pub fn appended(store: &dyn EventStore, key: &AggregateKey, events: Vec<NewEvent>) -> Arc<Committed> {
    let head = store.head(key).unwrap().version.0;
    try_append(store, 1, commit(key, head, None, events)).unwrap()
}

/// Waits for something that a thread of the store does some time soon.
///
/// # Panics
/// When it does not happen within ten seconds.
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let give_up = Instant::now() + Duration::from_secs(10);
    while !happened() {
        assert!(Instant::now() < give_up, "{what}: not within ten seconds");
        std::thread::sleep(Duration::from_millis(2));
    }
}
