//! Checks of what is read.

use std::collections::BTreeSet;

use super::{Subject, appended, commit, event, key, model, observe, try_append};
use crate::{
    store::{Direction, EventStore, FeedFilter, Head, PageLimit},
    vocabulary::{AggregateType, Position, Version},
};

const PLENTY: PageLimit = PageLimit {
    events: 1_000,
    bytes: 1 << 30,
};

pub(super) fn new_log_is_empty(subject: &Subject<'_>) {
    let store = subject.store();
    let key = key("account", "alice");
    assert_eq!(store.last_position(), Position(0));
    assert_eq!(store.head(&key).unwrap(), Head::default());
    for direction in [Direction::Forward, Direction::Backward] {
        assert_eq!(store.history(&key, Version(1), direction, PLENTY).unwrap(), []);
    }
    let page = store.feed(Position(0), &FeedFilter::default(), PLENTY).unwrap();
    assert!(page.events.is_empty() && page.at_head && page.scanned == Position(0));
    assert_eq!(store.aggregates(&key.aggregate_type, None, 10).unwrap(), []);
    assert_eq!(store.modules().unwrap(), []);
    let other = subject.store();
    assert_ne!(store.identity().log_id, other.identity().log_id);
    assert_ne!(store.cache_key(), other.cache_key());
}

pub(super) fn appended_is_read(subject: &Subject<'_>) {
    let store = subject.store();
    let (identity, cache_key) = (store.identity(), store.cache_key());
    let aggregates: BTreeSet<_> = [
        key("account", "alice"),
        key("account", "bob"),
        key("annals-x", "alice"),
    ]
    .into();
    let mut commits = Vec::new();
    for round in 0..10 {
        for key in &aggregates {
            let events = (0..round % 3 + 1)
                .map(|index| event(round * 10 + index, 100))
                .collect();
            commits.push(appended(&*store, key, events));
        }
    }
    let expected = model::expected(&commits, &aggregates, &BTreeSet::new());
    assert_eq!(store.last_position(), Position(expected.feed.len() as u64));
    assert_eq!(observe(&*store, &aggregates, &BTreeSet::new(), 4), expected);
    let store = subject.again(store);
    assert_eq!(observe(&*store, &aggregates, &BTreeSet::new(), 4), expected);
    assert_eq!(store.last_position(), Position(expected.feed.len() as u64));
    assert_eq!((store.identity(), store.cache_key()), (identity, cache_key));
}

pub(super) fn histories_are_paged(subject: &Subject<'_>) {
    let store = subject.store();
    let key = key("account", "alice");
    for round in 0..7 {
        appended(
            &*store,
            &key,
            (0..3).map(|index| event(round * 3 + index, 100)).collect(),
        );
    }
    let check = |store: &dyn EventStore| {
        let versions = |from, direction, events, bytes| -> Vec<u64> {
            let limit = PageLimit { events, bytes };
            let page = store.history(&key, Version(from), direction, limit).unwrap();
            page.iter().map(|event| event.version.0).collect()
        };
        assert_eq!(versions(0, Direction::Forward, 4, 10_000), [1, 2, 3, 4]);
        assert_eq!(versions(5, Direction::Forward, 4, 10_000), [5, 6, 7, 8]);
        assert_eq!(versions(20, Direction::Forward, 4, 10_000), [20, 21]);
        assert_eq!(versions(22, Direction::Forward, 4, 10_000), [0_u64; 0]);
        assert_eq!(versions(u64::MAX, Direction::Backward, 3, 10_000), [21, 20, 19]);
        assert_eq!(versions(2, Direction::Backward, 3, 10_000), [2, 1]);
        assert_eq!(versions(0, Direction::Backward, 3, 10_000), [0_u64; 0]);
        assert_eq!(
            versions(4, Direction::Forward, 100, 250),
            [4, 5],
            "two fit into 250 bytes"
        );
        assert_eq!(versions(4, Direction::Forward, 100, 1), [4], "one always fits");
        assert_eq!(versions(4, Direction::Backward, 100, 1), [4], "one always fits");
    };
    check(&*store);
    check(&*subject.again(store));
}

pub(super) fn feeds_are_paged(subject: &Subject<'_>) {
    let store = subject.store();
    let keys = [
        key("account", "a"),
        key("order", "o"),
        key("annals-deployments", "d"),
    ];
    for round in 0..30 {
        appended(&*store, &keys[round % 3], vec![event(round as u64, 100)]);
    }
    let read = |filter: &FeedFilter, limit: PageLimit| {
        let mut positions = Vec::new();
        let mut after = Position(0);
        loop {
            let page = store.feed(after, filter, limit).unwrap();
            positions.extend(page.events.iter().map(|event| event.position.0));
            if page.at_head {
                assert_eq!(page.scanned, Position(30));
                return positions;
            }
            assert!(page.scanned > after);
            after = page.scanned;
        }
    };
    let of = |kind: &str, include_system| FeedFilter {
        include_system,
        ..FeedFilter::of_type(AggregateType::parse(kind).unwrap())
    };
    let every = |first: u64| (first..=30).step_by(3).collect::<Vec<_>>();
    for limit in [
        PLENTY,
        PageLimit {
            events: 4,
            bytes: 10_000,
        },
        PageLimit {
            events: 100,
            bytes: 1,
        },
    ] {
        let domain: Vec<u64> = (1..=30).filter(|position| position % 3 != 0).collect();
        assert_eq!(read(&FeedFilter::default(), limit), domain);
        assert_eq!(read(&of("order", false), limit), every(2));
        assert_eq!(read(&of("annals-deployments", false), limit), every(3));
        assert_eq!(
            read(&FeedFilter::everything(), limit),
            (1..=30).collect::<Vec<_>>()
        );
        assert_eq!(read(&of("unknown", true), limit), Vec::<u64>::new());
    }
    let beyond = store.feed(Position(99), &FeedFilter::default(), PLENTY).unwrap();
    assert!(beyond.events.is_empty() && beyond.at_head && beyond.scanned == Position(99));
}

pub(super) fn aggregates_are_listed(subject: &Subject<'_>) {
    let store = subject.store();
    let ids = ["a", "a b", "a/b", "aa", "b", "😀", "é", "%2f", "..a"];
    for id in ids {
        appended(&*store, &key("account", id), vec![event(1, 10)]);
        appended(&*store, &key("account-old", id), vec![event(1, 10), event(2, 10)]);
    }
    let nothing = commit(&key("account", "no-events"), 0, Some("k"), Vec::new());
    try_append(&*store, 1, nothing).unwrap();
    let mut sorted = ids.to_vec();
    sorted.sort_unstable();
    let account = AggregateType::parse("account").unwrap();
    let check = |store: &dyn EventStore| {
        for size in [1, 2, 4, 100] {
            let mut found = Vec::new();
            let mut after = None;
            loop {
                let page = store.aggregates(&account, after.as_ref(), size).unwrap();
                assert!(page.len() <= size);
                let Some((last, _)) = page.last() else { break };
                after = Some(last.clone());
                assert!(page.iter().all(|(_, head)| head.version == Version(1)));
                found.extend(page.into_iter().map(|(id, _)| id.as_str().to_owned()));
            }
            assert_eq!(found, sorted);
        }
    };
    check(&*store);
    check(&*subject.again(store));
}

pub(super) fn large_commits(subject: &Subject<'_>) {
    let store = subject.store();
    let aggregates: BTreeSet<_> = [
        key("account", "wide"),
        key("account", "heavy"),
        key("account", "empty"),
    ]
    .into();
    let commits = [
        appended(
            &*store,
            &key("account", "wide"),
            (0..1_000).map(|salt| event(salt, 300)).collect(),
        ),
        appended(
            &*store,
            &key("account", "heavy"),
            (0..8).map(|salt| event(salt, 1 << 20)).collect(),
        ),
        appended(&*store, &key("account", "empty"), vec![event(0, 0), event(1, 0)]),
        appended(&*store, &key("account", "wide"), vec![event(5, 5)]),
    ];
    let expected = model::expected(&commits, &aggregates, &BTreeSet::new());
    assert_eq!(observe(&*store, &aggregates, &BTreeSet::new(), 300), expected);
    let store = subject.again(store);
    assert_eq!(observe(&*store, &aggregates, &BTreeSet::new(), 300), expected);
}
