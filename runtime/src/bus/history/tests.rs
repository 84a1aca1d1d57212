//! A history by pages is what a plain look at all of it gives, with any filter, both ways.

use proptest::prelude::*;

use super::*;
use crate::{
    store::{
        MemoryStore,
        conformance::{commit, event, key, try_append},
    },
    vocabulary::EventType,
};

/// Commits of one to three events of `account/a`, each commit a second after the last one, and others between them.
fn store(commits: u64) -> MemoryStore {
    let store = MemoryStore::new();
    for number in 0..commits {
        for id in ["a", "b"] {
            let key = key("account", id);
            let head = store.head(&key).unwrap().version.0;
            let events = (0..=number % 3).map(|salt| event(number + salt, 20)).collect();
            let mut commit = commit(&key, head, None, events);
            commit.context.now = 1_000 * (number + 1);
            commit.context.actor = number.is_multiple_of(2).then(|| "tester".to_owned());
            try_append(&store, 1, commit).unwrap();
        }
    }
    store
}

fn all(store: &MemoryStore) -> Vec<RecordedEvent> {
    let limit = PageLimit {
        events: usize::MAX,
        bytes: usize::MAX,
    };
    let key = key("account", "a");
    store
        .history(&key, Version(1), Direction::Forward, limit)
        .unwrap()
}

fn filter() -> impl Strategy<Value = FeedFilter> {
    let time = || prop::option::of((0..14_u64).prop_map(|second| second * 1_000));
    (prop::option::of(0..2_usize), any::<bool>(), time(), time()).prop_map(
        |(kind, of_tester, since, until)| {
            let kind = kind.map(|kind| EventType::parse(["deposited", "Closed.v2"][kind]).unwrap());
            FeedFilter {
                event_types: kind.into_iter().collect(),
                actor: of_tester.then(|| "tester".to_owned()),
                since,
                until,
                ..FeedFilter::default()
            }
        },
    )
}

proptest! {
    #[test]
    fn pages_are_what_a_plain_look_gives(
        filter in filter(),
        commits in 0..12_u64,
        from in prop::option::of(1..30_u64),
        backward in any::<bool>(),
        events in 1..8_usize,
        bytes in 1..200_usize,
    ) {
        let store = store(commits);
        let direction = if backward { Direction::Backward } else { Direction::Forward };
        let history = History::new(key("account", "a"), filter.clone());
        let mut plain = all(&store);
        plain.retain(|event| {
            let is_there = from.is_none_or(|from| match direction {
                Direction::Forward => event.version.0 >= from,
                Direction::Backward => event.version.0 <= from,
            });
            is_there && filter.wants(event)
        });
        if backward {
            plain.reverse();
        }
        let limit = PageLimit { events, bytes };
        let (mut found, mut next) = (Vec::new(), from.map(Version));
        loop {
            let page = history.page(&store, next, direction, limit).unwrap();
            prop_assert!(page.events.len() <= events);
            found.extend(page.events);
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        prop_assert_eq!(found, plain);
    }

    #[test]
    fn a_subscription_reads_what_comes_after_any_position(
        filter in filter(),
        commits in 0..12_u64,
        after in 0..50_u64,
        events in 1..8_usize,
    ) {
        let store = store(commits);
        let after = Position(after.min(store.last_position().0));
        let mut history = History::new(key("account", "a"), filter.clone());
        let mut plain = all(&store);
        plain.retain(|event| event.position > after && filter.wants(event));
        let (mut found, mut reached) = (Vec::new(), after);
        loop {
            let (page, next) = history.read(&store, reached, PageLimit { events, bytes: 1_000 }).unwrap();
            prop_assert!(page.scanned >= reached);
            found.extend(page.events);
            reached = page.scanned;
            history.go_on_at(next);
            if page.at_head {
                break;
            }
        }
        prop_assert_eq!(reached, store.last_position());
        prop_assert_eq!(found, plain);
    }
}

#[test]
fn a_page_of_a_long_history_looks_at_a_stretch() {
    let store = MemoryStore::new();
    let key = key("account", "a");
    for number in 0..25 {
        let events = (0..1_000).map(|_| event(0, 1)).collect();
        try_append(&store, 1, commit(&key, number * 1_000, None, events)).unwrap();
    }
    let nobody = FeedFilter {
        actor: Some("nobody".to_owned()),
        ..FeedFilter::default()
    };
    let history = History::new(key, nobody);
    let limit = PageLimit {
        events: 10,
        bytes: 1 << 20,
    };
    let (mut pages, mut next) = (0, None);
    loop {
        let page = history.page(&store, next, Direction::Forward, limit).unwrap();
        assert!(page.events.is_empty());
        pages += 1;
        next = page.next;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(pages, 3);
}
