//! What `cargo xtask counts` counts of the store: functions whose name begins with `count_`, run under callgrind. They are
//! plain tests as well. Everything is in one thread and in memory, so that a count is the same each time.

use std::{hint::black_box, sync::Arc, time::Duration};

use bytes::Bytes;

use super::disk::Disk;
use crate::{
    store::{
        Direction, Head, LogIdentity, PageLimit, StoreOptions,
        conformance::{commit, event, key},
        file::Files,
        format::{CHUNK_HEADER_BYTES, Hashing, Mark, decode_commit, record_of},
        index::{Index, Page, Span},
        log::{Packed, pack},
        overlay::{Overlay, RunLimit, Segment, Wanted},
    },
    vocabulary::{
        AggregateKey, Commit, Committed, Epoch, IdempotencyKey, LogId, ModuleDigest, Position, Version,
    },
};

const IDENTITY: LogIdentity = LogIdentity {
    log_id: LogId([7; 16]),
    epoch: Epoch(1),
};
const AGGREGATES: u64 = 200;
const COMMITS: u64 = 1_600;
/// Commits of one group commit.
const GROUP: usize = 16;

#[inline(never)]
fn count_record_of_a_commit(commit: &Commit) -> Vec<u8> {
    record_of(commit)
}

#[inline(never)]
fn count_decoding_a_commit(module: ModuleDigest, record: &Bytes) -> Commit {
    decode_commit(module, record).unwrap()
}

#[inline(never)]
fn count_packing_a_commit_x16(before: Mark, group: Vec<(Vec<u8>, Arc<Committed>)>) -> Vec<Packed> {
    pack(IDENTITY, before, group, StoreOptions::default().chunk_bytes)
}

#[inline(never)]
fn count_commit_into_the_overlay_x16(overlay: &Overlay, packed: Vec<Packed>) {
    let fresh = packed.into_iter().map(|chunk| {
        let body = Bytes::from(chunk.bytes.into_boxed_slice()).slice(CHUNK_HEADER_BYTES..);
        overlay.fresh(chunk.before, chunk.after, body).unwrap()
    });
    overlay.add(fresh.collect());
}

#[inline(never)]
fn count_head_in_the_overlay(overlay: &Overlay, key: &AggregateKey) -> Option<Head> {
    overlay.head(&overlay.wanted(key)).unwrap()
}

#[inline(never)]
fn count_head_not_in_the_overlay(overlay: &Overlay, key: &AggregateKey) -> Option<Head> {
    overlay.head(&overlay.wanted(key)).unwrap()
}

#[inline(never)]
fn count_idempotency_key_found(overlay: &Overlay, key: &AggregateKey, sought: &IdempotencyKey) -> bool {
    let wanted = overlay.wanted(key);
    let hash = overlay.outcome_hash(&wanted, sought);
    overlay.outcome(&wanted, hash, sought).unwrap().is_some()
}

/// Looked for in the overlay and in the index, as for every command with a new key.
#[inline(never)]
fn count_idempotency_key_new(
    overlay: &Overlay,
    index: &Index,
    key: &AggregateKey,
    sought: &IdempotencyKey,
) -> bool {
    let wanted = overlay.wanted(key);
    let hash = overlay.outcome_hash(&wanted, sought);
    let found = overlay.outcome(&wanted, hash, sought).unwrap();
    found.is_none() && index.outcomes(key, hash).unwrap().is_empty()
}

#[inline(never)]
fn count_commit_into_the_index_x1600(index: &Index, segment: &Segment) {
    index.write_run(segment).unwrap();
}

#[inline(never)]
fn count_head_in_the_index(index: &Index, key: &AggregateKey, wanted: &Wanted) -> Head {
    index.head(key, wanted).unwrap()
}

#[inline(never)]
fn count_event_of_a_history_x8(index: &Index, key: &AggregateKey, wanted: &Wanted) -> Page {
    let span = Span {
        low: Version(1),
        high: Version(u64::MAX - 1),
        certain: false,
        direction: Direction::Forward,
    };
    let limit = PageLimit {
        events: 100,
        bytes: 1 << 20,
    };
    index.history(key, wanted, span, limit).unwrap()
}

fn account(number: u64) -> AggregateKey {
    key("account", &format!("account-{number:06}"))
}

fn idempotency(number: u64) -> String {
    format!("0190f3e2-7b5c-7000-8000-{number:012x}")
}

/// Each of the accounts in turn gets an event of 100 bytes, under an idempotency key.
fn story() -> Vec<Arc<Committed>> {
    let tell = |number: u64| {
        let commit = commit(
            &account(number % AGGREGATES),
            number / AGGREGATES,
            Some(&idempotency(number)),
            vec![event(number, 100)],
        );
        Arc::new(Committed {
            first_position: Position(number + 1),
            commit,
        })
    };
    (0..COMMITS).map(tell).collect()
}

/// An overlay that becomes a run only when it is asked for one, with the story in it.
fn overlay_of(story: &[Arc<Committed>]) -> Overlay {
    let limit = RunLimit {
        events: usize::MAX,
        bytes: usize::MAX,
        after: Duration::MAX,
    };
    let overlay = Overlay::new(Hashing::of(IDENTITY.log_id), limit);
    let mut end = Mark::START;
    for group in story.chunks(GROUP) {
        let with_bytes = |committed: &Arc<Committed>| {
            let bytes = count_record_of_a_commit(black_box(&committed.commit));
            (bytes, Arc::clone(committed))
        };
        let group = group.iter().map(with_bytes).collect();
        let packed = count_packing_a_commit_x16(end, black_box(group));
        end = packed.last().unwrap().after;
        count_commit_into_the_overlay_x16(&overlay, black_box(packed));
    }
    overlay
}

#[test]
fn commits_are_written_and_read() {
    for committed in story() {
        let bytes = Bytes::from(record_of(&committed.commit));
        let decoded = count_decoding_a_commit(committed.commit.module, black_box(&bytes));
        assert_eq!(decoded, committed.commit);
    }
}

#[test]
fn the_overlay_and_the_index_are_filled_and_asked() {
    let story = story();
    let overlay = overlay_of(&story);
    let files: Arc<dyn Files> = Arc::new(Disk::new(1));
    let (index, ..) = Index::open(&files, IDENTITY, &StoreOptions::default()).unwrap();
    let newest = Version(COMMITS / AGGREGATES);
    for number in 0..AGGREGATES {
        let head = count_head_in_the_overlay(&overlay, black_box(&account(number)));
        assert_eq!(head.unwrap().version, newest);
        let nobody = account(AGGREGATES + number);
        assert_eq!(count_head_not_in_the_overlay(&overlay, black_box(&nobody)), None);
        let known = IdempotencyKey::parse(&idempotency(number)).unwrap();
        assert!(count_idempotency_key_found(
            &overlay,
            black_box(&account(number)),
            &known
        ));
    }
    let segment = overlay.oldest(true).unwrap();
    count_commit_into_the_index_x1600(&index, black_box(&segment));
    for number in 0..AGGREGATES {
        let key = account(number);
        let wanted = overlay.wanted(&key);
        let head = count_head_in_the_index(&index, black_box(&key), &wanted);
        assert_eq!(head.version, newest);
        let page = count_event_of_a_history_x8(&index, black_box(&key), &wanted);
        assert_eq!(page.events.len(), 8);
        let new = IdempotencyKey::parse(&idempotency(COMMITS + number)).unwrap();
        assert!(count_idempotency_key_new(&overlay, &index, black_box(&key), &new));
    }
}
