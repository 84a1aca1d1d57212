//! Whoever waits for a place is woken when it is reached, and not before.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::*;
use crate::{
    store::{
        EventStore, MemoryStore,
        conformance::{appended, event, key},
    },
    vocabulary::Limits,
};

/// Far longer than any wait here takes.
const PATIENCE: Duration = Duration::from_secs(30);

fn bus() -> (Arc<dyn EventStore>, Bus) {
    let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
    let bus = Bus::new(&store, &Arc::new(Limits::default()));
    (store, bus)
}

fn append(store: &Arc<dyn EventStore>, events: u64) {
    for salt in 0..events {
        appended(&**store, &key("account", "alice"), vec![event(salt, 8)]);
    }
}

#[tokio::test]
async fn what_is_there_is_not_waited_for_and_what_is_not_is() {
    let (store, bus) = bus();
    assert!(bus.reached(Position(0)).await);
    append(&store, 2);
    assert!(bus.moved(Position(1)).await);
    assert!(bus.reached(Position(2)).await);
    let short = Duration::from_millis(20);
    assert!(timeout(short, bus.moved(Position(2))).await.is_err());
    let waiting = tokio::spawn({
        let bus = bus.clone();
        async move { bus.reached(Position(4)).await }
    });
    append(&store, 1);
    tokio::time::sleep(short).await;
    assert!(!waiting.is_finished());
    append(&store, 1);
    assert!(timeout(PATIENCE, waiting).await.unwrap().unwrap());
}

#[tokio::test]
async fn closing_ends_every_wait() {
    let (_store, bus) = bus();
    let waiting = tokio::spawn({
        let bus = bus.clone();
        async move { bus.moved(Position(0)).await }
    });
    tokio::task::yield_now().await;
    bus.close();
    assert!(!timeout(PATIENCE, waiting).await.unwrap().unwrap());
    assert!(!bus.moved(Position(0)).await);
}

/// Each waits for the very next position, so that it subscribes while the writer commits: a wake-up that is lost would
/// leave it waiting for a commit that never comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost() {
    const EVENTS: u64 = 5_000;
    let (store, bus) = bus();
    let waiters: Vec<_> = (0..4)
        .map(|_| {
            let (store, bus) = (Arc::clone(&store), bus.clone());
            tokio::spawn(async move {
                let mut last = Position(0);
                while last < Position(EVENTS) {
                    assert!(bus.moved(last).await);
                    assert!(store.last_position() > last);
                    last = Position(last.0 + 1);
                }
            })
        })
        .collect();
    let writer = std::thread::spawn(move || append(&store, EVENTS));
    for waiter in waiters {
        timeout(PATIENCE, waiter).await.unwrap().unwrap();
    }
    writer.join().unwrap();
}
