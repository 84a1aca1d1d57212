//! Everything that can be seen of a store, as it follows from its commits; and random scripts that compare the two.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{Rng, Subject, commit, event, key, make::try_append};
use crate::{
    store::{AppendError, Direction, EventStore, FeedFilter, Head, PageLimit},
    vocabulary::{AggregateKey, Committed, IdempotencyKey, Position, RecordedEvent, Version},
};

/// What a store shows, read in every way there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The whole feed.
    pub feed: Vec<RecordedEvent>,
    /// Every aggregate that was asked for: head and history.
    pub aggregates: BTreeMap<AggregateKey, (Head, Vec<RecordedEvent>)>,
    /// Every idempotency key that was asked for.
    pub outcomes: BTreeMap<(AggregateKey, IdempotencyKey), Option<Arc<Committed>>>,
}

/// Reads everything about these aggregates and keys, forwards and backwards, in pages of a size.
///
/// # Panics
/// When a read fails or two ways of reading disagree.
pub fn observe(
    store: &dyn EventStore,
    aggregates: &BTreeSet<AggregateKey>,
    keys: &BTreeSet<(AggregateKey, IdempotencyKey)>,
    page_events: usize,
) -> Observation {
    let limit = PageLimit {
        events: page_events,
        bytes: 1 << 30,
    };
    let mut seen = BTreeMap::new();
    for key in aggregates {
        let head = store.head(key).unwrap();
        let forward = read_history(store, key, Direction::Forward, limit);
        let mut backward = read_history(store, key, Direction::Backward, limit);
        backward.reverse();
        assert_eq!(forward, backward, "{key}: forwards and backwards differ");
        assert_eq!(
            forward.len() as u64,
            head.version.0,
            "{key}: the head is not the end"
        );
        seen.insert(key.clone(), (head, forward));
    }
    let outcomes = keys
        .iter()
        .map(|(key, idempotency)| {
            let slot = (key.clone(), idempotency.clone());
            (slot, store.outcome(key, idempotency).unwrap())
        })
        .collect();
    Observation {
        feed: read_feed(store, limit),
        aggregates: seen,
        outcomes,
    }
}

fn read_history(
    store: &dyn EventStore,
    key: &AggregateKey,
    direction: Direction,
    limit: PageLimit,
) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    let mut from = match direction {
        Direction::Forward => Version(1),
        Direction::Backward => Version(u64::MAX),
    };
    loop {
        let page = store.history(key, from, direction, limit).unwrap();
        assert!(page.len() <= limit.events);
        let Some(last) = page.last() else { return events };
        let last = last.version;
        events.extend(page);
        from = match direction {
            Direction::Forward => last.plus(1),
            Direction::Backward => Version(last.0 - 1),
        };
        if from.0 == 0 {
            return events;
        }
    }
}

fn read_feed(store: &dyn EventStore, limit: PageLimit) -> Vec<RecordedEvent> {
    let mut events = Vec::new();
    let mut after = Position(0);
    loop {
        let page = store.feed(after, &FeedFilter::everything(), limit).unwrap();
        events.extend(page.events);
        if page.at_head {
            return events;
        }
        assert!(page.scanned > after, "the feed does not move on from {after}");
        after = page.scanned;
    }
}

/// What must be seen after these commits.
#[must_use]
pub(super) fn expected(
    commits: &[Arc<Committed>],
    aggregates: &BTreeSet<AggregateKey>,
    keys: &BTreeSet<(AggregateKey, IdempotencyKey)>,
) -> Observation {
    let mut seen: BTreeMap<AggregateKey, (Head, Vec<RecordedEvent>)> = aggregates
        .iter()
        .map(|key| (key.clone(), (Head::default(), Vec::new())))
        .collect();
    let mut outcomes: BTreeMap<_, _> = keys.iter().map(|slot| (slot.clone(), None)).collect();
    let mut feed = Vec::new();
    for committed in commits {
        let key = &committed.commit.key;
        if let Some(record) = &committed.commit.idempotency {
            outcomes.insert((key.clone(), record.key.clone()), Some(Arc::clone(committed)));
        }
        for event in committed.recorded_events() {
            assert_eq!(
                event.position.0,
                feed.len() as u64 + 1,
                "positions are dense in one log"
            );
            let (head, history) = seen.entry(key.clone()).or_default();
            assert_eq!(event.version, head.version.plus(1), "versions are dense");
            *head = Head {
                version: event.version,
                recorded_at: event.recorded_at,
                position: event.position,
            };
            history.push(event.clone());
            feed.push(event);
        }
    }
    Observation {
        feed,
        aggregates: seen,
        outcomes,
    }
}

/// Random scripts, each checked against the model in the end and, where the engine can, after reopening.
pub(super) fn random_appends(subject: &Subject<'_>) {
    for seed in 0..12 {
        println!("  seed {seed}");
        random_script(subject, seed);
    }
}

fn random_script(subject: &Subject<'_>, seed: u64) {
    let mut rng = Rng::new(seed);
    let mut store = subject.store();
    let mut commits: Vec<Arc<Committed>> = Vec::new();
    let mut aggregates = BTreeSet::new();
    let mut keys = BTreeSet::new();
    let mut life = 0;
    for step in 0..150_u64 {
        let name = format!("id-{}", rng.below(7));
        let key = key(["account", "order"][rng.below(2) as usize], &name);
        aggregates.insert(key.clone());
        let head = store.head(&key).unwrap().version.0;
        let wrong = rng.one_in(8);
        let expected_head = if wrong { head + 1 + rng.below(3) } else { head };
        let idempotency = rng.one_in(2).then(|| format!("key-{}", rng.below(20)));
        let slot = idempotency
            .as_deref()
            .map(|text| (key.clone(), IdempotencyKey::parse(text).unwrap()));
        let known = slot.as_ref().and_then(|slot| {
            let same = |committed: &&Arc<Committed>| {
                committed.commit.key == slot.0
                    && committed.commit.idempotency.as_ref().map(|record| &record.key) == Some(&slot.1)
            };
            commits.iter().find(same).map(Arc::clone)
        });
        keys.extend(slot);
        let events = (0..rng.below(4))
            .map(|_| event(rng.number(), rng.below(300) as usize))
            .collect();
        life += 1;
        let proposed = commit(&key, expected_head, idempotency.as_deref(), events);
        match (try_append(&*store, life, proposed.clone()), known, wrong) {
            (Err(AppendError::Duplicate(found)), Some(first), _) => assert_eq!(found, first),
            (Err(AppendError::Conflict { head: found }), None, true) => assert_eq!(found.0, head),
            (Ok(committed), None, false) => {
                assert_eq!(committed.commit, proposed);
                commits.push(committed);
            }
            other => panic!("step {step}: {other:?}"),
        }
        if rng.one_in(40) {
            store = subject.again(store);
        }
    }
    let expected = expected(&commits, &aggregates, &keys);
    let page = 1 + rng.below(9) as usize;
    assert_eq!(observe(&*store, &aggregates, &keys, page), expected);
    let store = subject.again(store);
    assert_eq!(observe(&*store, &aggregates, &keys, 1_000), expected);
}
