//! What outlives the process without anybody having acknowledged anything, and who is woken.

use std::sync::atomic::Ordering;

use super::{ahead::UNRECORDED, changes::Way, *};
use crate::store::{FeedFilter, conformance::Intercepted};

fn house() -> (House, Arc<Intercepted<Way>>) {
    let store: Arc<Intercepted<Way>> = Arc::default();
    let house = House::over(Arc::clone(&store) as Arc<dyn EventStore>, Limits::default());
    (house, store)
}

/// Wants nothing of what is there.
fn of_orders() -> Definition {
    Definition {
        filter: FeedFilter {
            aggregate_types: vec!["order".parse().unwrap()],
            ..FeedFilter::default()
        },
        ..Definition::default()
    }
}

async fn read_to_the_end(consumers: &Consumers, end: Position) {
    for _ in 0..1_000 {
        assert_eq!(consumers.fetch(&name(), &fetch("m")).await.unwrap(), []);
        if consumers.status(&name()).unwrap().checkpoint == end {
            return;
        }
    }
    panic!("it does not get to the end");
}

/// A checkpoint that has only come past what is not wanted is found again, but for a bounded number of positions.
#[tokio::test]
async fn what_was_only_read_past_is_not_read_again_without_bound() {
    let (house, way) = house();
    let consumers = house.open();
    consumers.put(&name(), of_orders(), Start::Beginning).unwrap();
    append(&house.store, &["a", "b"]);
    read_to_the_end(&consumers, house.store.last_position()).await;
    assert_eq!(
        way.saves.load(Ordering::SeqCst),
        0,
        "for a few it is not worth a write"
    );
    for commit in 0..20 {
        let events = (0..1_000).map(|salt| event(salt, 8)).collect();
        appended(&*house.store, &key("account", &format!("c{commit}")), events);
    }
    let end = house.store.last_position();
    read_to_the_end(&consumers, end).await;
    drop(consumers);
    let saves = way.saves.load(Ordering::SeqCst);
    assert!(saves <= 2, "{saves} writes");
    let consumers = house.open();
    let found = consumers.status(&name()).unwrap().checkpoint;
    assert!(found.0 + UNRECORDED >= end.0, "{found:?} of {end:?}");
    consumers.stop();
}

/// A server that is stopped leaves all of it behind: a wider filter then brings nothing of before the checkpoint.
#[tokio::test]
async fn a_stop_writes_down_how_far_was_read() {
    let (house, way) = house();
    let consumers = house.open();
    consumers.put(&name(), of_orders(), Start::Beginning).unwrap();
    append(&house.store, &["a", "b", "a"]);
    let end = house.store.last_position();
    read_to_the_end(&consumers, end).await;
    consumers.stop();
    let consumers = house.open();
    assert_eq!(consumers.status(&name()).unwrap().checkpoint, end);
    consumers
        .put(&name(), Definition::default(), Start::Beginning)
        .unwrap();
    assert_eq!(consumers.fetch(&name(), &fetch("m")).await.unwrap(), []);
    consumers.written_down(&name()).await.unwrap();
    consumers.stop();
    let consumers = house.open();
    way.saves.store(0, Ordering::SeqCst);
    consumers.stop();
    assert_eq!(way.saves.load(Ordering::SeqCst), 0, "nothing was new");
}

/// Whoever looks at a consumer and finds that a lease is over tells those who wait for its event.
#[tokio::test]
async fn a_look_that_finds_a_lease_over_wakes_who_waits() {
    let (house, _) = house();
    let consumers = house.open();
    append(&house.store, &["a"]);
    consumers.put(&name(), short(), Start::Beginning).unwrap();
    assert_eq!(consumers.fetch(&name(), &fetch("m")).await.unwrap().len(), 1);
    let consumer = consumers.find(&name()).unwrap();
    let wakes = consumer.wakes();
    tokio::time::sleep(Duration::from_millis(150)).await;
    consumers.status(&name()).unwrap();
    assert_eq!(wakes.has_changed().ok(), Some(true));
    consumers.stop();
}
