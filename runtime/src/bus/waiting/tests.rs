//! Whoever waits for a place is woken when it is reached, and not before.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::*;
use crate::{
    bus::tests::{PATIENCE, alice, append, bus},
    store::EventStore,
    vocabulary::Limits,
};

fn add(store: &Arc<dyn EventStore>, commits: u64) {
    for _ in 0..commits {
        append(store, &alice(), &[8]);
    }
}

#[tokio::test]
async fn what_is_there_is_not_waited_for_and_what_is_not_is() {
    let (store, bus) = bus(Limits::default());
    assert!(bus.reached(Position(0)).await);
    add(&store, 2);
    assert!(bus.moved(Position(1)).await);
    assert!(bus.reached(Position(2)).await);
    let short = Duration::from_millis(20);
    assert!(timeout(short, bus.moved(Position(2))).await.is_err());
    let waiting = tokio::spawn({
        let bus = bus.clone();
        async move { bus.reached(Position(4)).await }
    });
    add(&store, 1);
    tokio::time::sleep(short).await;
    assert!(!waiting.is_finished());
    add(&store, 1);
    assert!(timeout(PATIENCE, waiting).await.unwrap().unwrap());
}

#[tokio::test]
async fn closing_ends_every_wait() {
    let (_store, bus) = bus(Limits::default());
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
    let (store, bus) = bus(Limits::default());
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
    let writer = std::thread::spawn(move || add(&store, EVENTS));
    for waiter in waiters {
        timeout(PATIENCE, waiter).await.unwrap().unwrap();
    }
    writer.join().unwrap();
}
