//! Checks of filters and of counting, against a look at every event.

use super::{Rng, Subject, commit, event, key, try_append};
use crate::{
    store::{EventStore, FeedFilter, PageLimit},
    vocabulary::{AggregateType, EventType, Position, RecordedEvent},
};

const EVENTS: u64 = 200;
/// Filters that are tried.
const FILTERS: u64 = 80;

/// Appends events of several types, aggregates, actors and times. What is rare comes in a few places only.
fn fill(store: &dyn EventStore) {
    let mut rng = Rng::new(7);
    let mut position = 0;
    while position < EVENTS {
        let kind = match rng.below(40) {
            0 => "rare",
            1..4 => "annals-deployment",
            4..20 => "account",
            _ => "order",
        };
        let target = key(
            kind,
            ["a", "a1", "a10", "b", "0190f3e2-7b5c-7000-8000-0000000000ff"][rng.below(5) as usize],
        );
        let head = store.head(&target).unwrap().version.0;
        // Mostly of one name for a while, so that stretches of the log lack the others.
        let salt = |rng: &mut Rng| {
            if rng.one_in(20) {
                rng.number()
            } else {
                position / 50
            }
        };
        let events: Vec<_> = (0..rng.below(4)).map(|_| event(salt(&mut rng), 90)).collect();
        position += events.len() as u64;
        let mut made = commit(&target, head, Some(&format!("k-{}", rng.number())), events);
        made.context.actor = match rng.below(3) {
            0 => None,
            1 => Some("anna".to_owned()),
            _ => Some("bert".to_owned()),
        };
        made.context.now = 1_000 + position / 10;
        try_append(store, 1, made).unwrap();
    }
}

fn some_filter(rng: &mut Rng) -> FeedFilter {
    let some = |rng: &mut Rng, names: &[&'static str]| -> Vec<&'static str> {
        let most = rng.below(3) as usize;
        (0..most)
            .map(|_| names[rng.below(names.len() as u64) as usize])
            .collect()
    };
    let types = some(rng, &["account", "order", "rare", "annals-deployment", "unknown"]);
    let names = some(rng, &["deposited", "withdrawn", "Closed.v2", "unknown"]);
    let time = |rng: &mut Rng| 1_000 + rng.below(EVENTS / 10 + 4);
    FeedFilter {
        aggregate_types: types
            .into_iter()
            .map(|name| AggregateType::parse(name).unwrap())
            .collect(),
        event_types: names
            .into_iter()
            .map(|name| EventType::parse(name).unwrap())
            .collect(),
        id_prefix: rng
            .one_in(3)
            .then(|| ["a", "a1", "0190", "c", ""][rng.below(5) as usize].to_owned()),
        actor: rng.one_in(4).then(|| "anna".to_owned()),
        since: rng.one_in(4).then(|| time(rng)),
        until: rng.one_in(4).then(|| time(rng)),
        include_system: rng.one_in(2),
    }
}

/// Everything a filter lets through, page by page, from a position on.
fn read(
    store: &dyn EventStore,
    after: Position,
    filter: &FeedFilter,
    limit: PageLimit,
) -> Vec<RecordedEvent> {
    let last = store.last_position();
    let mut events = Vec::new();
    let mut at = after;
    loop {
        let page = store.feed(at, filter, limit).unwrap();
        assert!(page.events.len() <= limit.events);
        assert!(
            page.events
                .iter()
                .all(|event| at < event.position && event.position <= page.scanned)
        );
        events.extend(page.events);
        if page.at_head {
            assert_eq!(page.scanned, last.max(at), "{filter:?}");
            return events;
        }
        assert!(
            page.scanned > at,
            "{filter:?}: the feed does not move on from {at}"
        );
        at = page.scanned;
    }
}

/// The events after a position that a filter wants, and how many its types let through.
fn expected(all: &[RecordedEvent], after: Position, filter: &FeedFilter) -> (Vec<RecordedEvent>, u64) {
    let behind = || all.iter().filter(move |event| event.position > after);
    let of_kind = behind().filter(|event| filter.wants_kind(&event.key.aggregate_type, &event.event_type));
    (
        behind().filter(|event| filter.wants(event)).cloned().collect(),
        of_kind.count() as u64,
    )
}

pub(super) fn filters_hold_together(subject: &Subject<'_>) {
    let store = subject.store();
    fill(&*store);
    let check = |store: &dyn EventStore| {
        let plenty = PageLimit {
            events: 1_000,
            bytes: 1 << 30,
        };
        let all = read(store, Position(0), &FeedFilter::everything(), plenty);
        let mut rng = Rng::new(1);
        for _ in 0..FILTERS {
            let filter = some_filter(&mut rng);
            let after = Position(if rng.one_in(2) { 0 } else { rng.below(EVENTS + 20) });
            let (wanted, _) = expected(&all, after, &filter);
            for limit in [
                plenty,
                PageLimit { events: 3, ..plenty },
                PageLimit { bytes: 200, ..plenty },
            ] {
                assert_eq!(
                    read(store, after, &filter, limit),
                    wanted,
                    "after {after}: {filter:?}"
                );
            }
        }
    };
    check(&*store);
    check(&*subject.again(store));
}

pub(super) fn events_are_counted(subject: &Subject<'_>) {
    let store = subject.store();
    let found = store.count(Position(0), &FeedFilter::everything()).unwrap();
    assert!(found.events == 0 && found.is_exact);
    fill(&*store);
    let check = |store: &dyn EventStore| {
        let plenty = PageLimit {
            events: 1_000,
            bytes: 1 << 30,
        };
        let all = read(store, Position(0), &FeedFilter::everything(), plenty);
        let mut rng = Rng::new(2);
        for _ in 0..FILTERS {
            let filter = some_filter(&mut rng);
            for after in [0, rng.below(EVENTS), all.len() as u64, EVENTS + 100, u64::MAX] {
                let (wanted, counted) = expected(&all, Position(after), &filter);
                let found = store.count(Position(after), &filter).unwrap();
                assert_eq!(found.events, counted, "after {after}: {filter:?}");
                assert_eq!(found.is_exact, filter.is_by_kind_alone(), "{filter:?}");
                assert!(found.events >= wanted.len() as u64);
                assert!(
                    found.events == wanted.len() as u64 || !found.is_exact,
                    "{filter:?}"
                );
            }
        }
    };
    check(&*store);
    check(&*subject.again(store));
}
