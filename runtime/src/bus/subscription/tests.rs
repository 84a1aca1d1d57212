//! Real subscriptions on a store in memory: both sources, while the writer writes.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::*;
use crate::{
    bus::{
        History,
        tests::{append, bus, next},
    },
    store::{EventStore, FeedFilter, conformance::key},
    vocabulary::{EventType, Limits, Version},
};

fn add(store: &Arc<dyn EventStore>, id: &str, events: usize) {
    append(store, &key("account", id), &vec![8; events]);
}

/// The positions of the next events, with what comes between them passed over.
async fn events(subscription: &mut Subscription, count: usize) -> Vec<u64> {
    let mut found = Vec::new();
    while found.len() < count {
        if let Delivery::Event(event) = next(subscription).await {
            found.push(event.position().0);
        }
    }
    found
}

async fn caught_up(subscription: &mut Subscription) -> Position {
    loop {
        if let Delivery::CaughtUp(position) = next(subscription).await {
            return position;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_sources_give_every_event_while_the_writer_writes() {
    // A tiny broadcast and small pages, so that subscribers fall behind again and again; some commits are too large for it.
    let (store, bus) = bus(Limits {
        bus_commits: 4,
        bus_commit_bytes: 600,
        stream_page_events: 3,
        ..Limits::default()
    });
    let of_alice = || History::new(key("account", "alice"), FeedFilter::default());
    let followers: Vec<_> = (0..3)
        .flat_map(|_| [Source::from(FeedFilter::default()), of_alice().into()])
        .map(|source| {
            let is_feed = matches!(source, Source::Feed(_));
            let mut subscription = bus.subscribe(Position(0), source).unwrap();
            let count = if is_feed { 3_000 } else { 1_000 };
            tokio::spawn(async move { (is_feed, events(&mut subscription, count).await) })
        })
        .collect();
    let writing = Arc::clone(&store);
    let writer = std::thread::spawn(move || {
        for round in 0..500 {
            add(&writing, "alice", 2);
            add(&writing, "bob", if round % 10 == 0 { 13 } else { 3 });
        }
    });
    for follower in followers {
        let (is_feed, found) = follower.await.unwrap();
        let increases = found.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(increases, "{is_feed}");
        if is_feed {
            assert_eq!(found, (1..=3_000).collect::<Vec<_>>());
        }
    }
    writer.join().unwrap();
    let head = store.head(&key("account", "alice")).unwrap();
    assert_eq!(head.version, Version(1_000));
}

#[tokio::test]
async fn a_history_is_followed_from_any_version_and_any_position() {
    let (store, bus) = bus(Limits::default());
    for _ in 0..3 {
        add(&store, "alice", 2);
        add(&store, "bob", 2);
    }
    // Positions of alice: 1, 2, 5, 6, 9, 10.
    let history = || History::new(key("account", "alice"), FeedFilter::default());
    for (after, source, expected) in [
        (0, history(), vec![1, 2, 5, 6, 9, 10]),
        (1, history(), vec![2, 5, 6, 9, 10]),
        (4, history(), vec![5, 6, 9, 10]),
        (9, history(), vec![10]),
        (12, history(), vec![]),
        (0, history().from_version(Version(4)), vec![6, 9, 10]),
        (0, history().from_version(Version(7)), vec![]),
    ] {
        let mut subscription = bus.subscribe(Position(after), source).unwrap();
        assert_eq!(events(&mut subscription, expected.len()).await, expected);
        assert_eq!(caught_up(&mut subscription).await, Position(12));
    }
    let mut later = bus
        .subscribe(Position(0), history().from_version(Version(8)))
        .unwrap();
    assert_eq!(caught_up(&mut later).await, Position(12));
    add(&store, "bob", 1);
    add(&store, "alice", 2);
    assert_eq!(events(&mut later, 1).await, [15]);
}

#[tokio::test]
async fn what_is_not_wanted_moves_the_place() {
    let (store, bus) = bus(Limits {
        checkpoint_positions: 10,
        stream_page_events: 4,
        ..Limits::default()
    });
    let filter = FeedFilter {
        event_types: vec![EventType::parse("nothing").unwrap()],
        ..FeedFilter::default()
    };
    add(&store, "alice", 25);
    let mut subscription = bus.subscribe(Position(0), filter).unwrap();
    // From the store, however long its stretches are, and then live.
    assert_eq!(caught_up(&mut subscription).await, Position(25));
    assert_eq!(subscription.checkpoint(), None);
    for _ in 0..3 {
        add(&store, "alice", 3);
    }
    assert!(
        timeout(Duration::from_millis(50), subscription.next())
            .await
            .is_err()
    );
    assert_eq!(subscription.checkpoint(), Some(Position(34)));
    assert_eq!(subscription.checkpoint(), None);
    for _ in 0..4 {
        add(&store, "alice", 3);
    }
    let Delivery::Checkpoint(place) = next(&mut subscription).await else {
        panic!("no checkpoint");
    };
    assert_eq!(place, Position(46));
}

#[tokio::test]
async fn room_for_large_pages_is_kept_until_they_are_delivered() {
    let (store, bus) = bus(Limits {
        stream_page_events: 4,
        large_pages: 1,
        ..Limits::default()
    });
    add(&store, "alice", 100);
    let mut subscription = bus.subscribe(Position(0), FeedFilter::default()).unwrap();
    let mut was_large = false;
    for _ in 0..99 {
        assert_eq!(events(&mut subscription, 1).await.len(), 1);
        let is_large = bus.room.available_permits() == 0;
        assert!(
            is_large || !was_large,
            "an event of a large page is still to be delivered"
        );
        was_large = is_large;
    }
    assert!(was_large, "whoever takes everything at once gets large pages");
    caught_up(&mut subscription).await;
    assert_eq!(bus.room.available_permits(), 1);
}
