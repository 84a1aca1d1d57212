//! Counting: how much of the log it reads, and what it says when that is not enough.

use crate::{
    store::{
        EventCount, EventStore as _, FeedFilter, LocalStore, StoreOptions,
        conformance::{appended, event, key},
        log::CHUNK_READS,
    },
    vocabulary::{EventType, NewEvent, Position},
};

/// The store, once all that was written is in the index, and in nothing else.
fn indexed(directory: &std::path::Path, fill: impl FnOnce(&LocalStore)) -> LocalStore {
    let store = LocalStore::open(directory, StoreOptions::default()).unwrap();
    fill(&store);
    store.close();
    drop(store);
    LocalStore::open(directory, StoreOptions::default()).unwrap()
}

/// A count, and how many chunks were read for it.
fn count(store: &LocalStore, after: u64, filter: &FeedFilter) -> (EventCount, u64) {
    let before = CHUNK_READS.get();
    let found = store.count(Position(after), filter).unwrap();
    (found, CHUNK_READS.get() - before)
}

fn exactly(events: u64) -> EventCount {
    EventCount {
        events,
        is_exact: true,
    }
}

/// A count that begins inside a stretch reads it, but not a gigabyte of large events.
#[test]
fn a_part_of_a_stretch_of_large_events_is_read_in_part() {
    const EVENTS: u64 = 60;
    let directory = tempfile::tempdir().unwrap();
    let kinds = ["account", "order"].map(|kind| key(kind, "a"));
    let store = indexed(directory.path(), |store| {
        for (number, target) in (0..EVENTS).zip(kinds.iter().cycle()) {
            appended(store, target, vec![event(number, 200_000)]);
        }
    });
    let orders = FeedFilter::of_type(kinds[1].aggregate_type.clone());
    assert_eq!(count(&store, 0, &orders), (exactly(EVENTS / 2), 0));
    let all = FeedFilter::default();
    assert_eq!(
        count(&store, 7, &all),
        (exactly(EVENTS - 7), 0),
        "all of a stretch"
    );
    let nobodys = FeedFilter::of_type(key("nobody", "a").aggregate_type);
    assert_eq!(
        count(&store, 7, &nobodys),
        (exactly(0), 0),
        "nothing of a stretch"
    );
    // 4 MiB of it, after a search for where to begin.
    let (found, reads) = count(&store, 1, &orders);
    assert!(!found.is_exact && found.events >= EVENTS / 2, "{found:?}");
    assert!(
        found.events <= EVENTS / 2 + 1,
        "no more than the index knows: {found:?}"
    );
    assert!(reads < 30, "{reads} chunks were read");
    let (found, reads) = count(&store, EVENTS - 10, &orders);
    assert_eq!(found, exactly(5));
    assert!(reads < 20, "{reads} chunks were read");
}

/// Kinds without a number are looked for in the log, as far as that takes a bounded time.
#[test]
fn what_has_no_number_is_counted_as_far_as_it_is_read() {
    const NUMBERED: u64 = 16_384;
    const EVENTS: u64 = 150_000;
    const COMMIT: u64 = 500;
    let directory = tempfile::tempdir().unwrap();
    let target = key("account", "a");
    let store = indexed(directory.path(), |store| {
        for first in (0..EVENTS).step_by(COMMIT as usize) {
            let named = |number| NewEvent {
                event_type: event_type(number),
                ..event(0, 10)
            };
            appended(store, &target, (first..first + COMMIT).map(named).collect());
        }
    });
    let of = |number| FeedFilter {
        event_types: vec![event_type(number)],
        ..FeedFilter::default()
    };
    for number in [5, NUMBERED + 5] {
        let (found, reads) = count(&store, 0, &of(number));
        assert!(!found.is_exact, "{found:?}");
        assert!((1..=EVENTS - NUMBERED).contains(&found.events), "{found:?}");
        assert!(reads <= 65_536 / COMMIT + 4, "{reads} chunks were read");
        // From further on there is less to be read.
        assert_eq!(count(&store, EVENTS - 40_000, &of(number)).0, exactly(0));
    }
    let last = count(&store, EVENTS - 40_000, &of(EVENTS - 1)).0;
    assert_eq!(last, exactly(1));
}

fn event_type(number: u64) -> EventType {
    EventType::parse(&format!("e{number}")).unwrap()
}
