//! How far behind a consumer is: in seconds, and at most.

use super::*;
use crate::store::FeedFilter;

/// The time of the first event of an aggregate; the next ones are a second apart.
const FIRST: u64 = 1_700_000_000_000;

#[tokio::test]
async fn it_is_behind_by_the_age_of_the_oldest_event_that_is_not_done() {
    let house = House::new();
    let consumers = house.open();
    append(&house.store, &["a", "a"]);
    house.clock.set(FIRST + 5_000);
    consumers
        .put(&name(), Definition::default(), Start::Beginning)
        .unwrap();
    let behind = |expected| assert_eq!(consumers.lag(&name()).unwrap().oldest_ms, expected);
    // As the log says, and then as what is in memory does.
    behind(Some(5_000));
    let first = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    behind(Some(5_000));
    house.clock.set(FIRST + 60_000);
    behind(Some(60_000));
    consumers.ack(&name(), "m", &leases(&first)).await.unwrap();
    behind(Some(59_000));
    // A clock that was set back makes nothing negative.
    house.clock.set(1_000);
    behind(Some(0));
    let second = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    consumers.ack(&name(), "m", &leases(&second)).await.unwrap();
    behind(None);
    consumers.stop();
}

#[tokio::test]
async fn at_most_is_never_less_than_what_is_to_come() {
    let limits = Limits {
        consumer_events: 2,
        page_events: 2,
        ..Limits::default()
    };
    let house = House::over(Arc::new(MemoryStore::new()), limits);
    let consumers = house.open();
    append(&house.store, &["b", "a1", "b", "b", "a2", "a1", "b", "a3", "b"]);
    let definition = Definition {
        filter: FeedFilter {
            id_prefix: Some("a".to_owned()),
            ..FeedFilter::default()
        },
        ..Definition::default()
    };
    consumers.put(&name(), definition, Start::Beginning).unwrap();
    let mut to_come = 4;
    while to_come > 0 {
        let lag = consumers.lag(&name()).unwrap();
        assert!(!lag.is_exact && lag.events >= to_come, "{to_come}: {lag:?}");
        let delivered = consumers.fetch(&name(), &fetch("m")).await.unwrap();
        assert!(!delivered.is_empty(), "{to_come} are lost");
        consumers.ack(&name(), "m", &leases(&delivered)).await.unwrap();
        to_come -= delivered.len() as u64;
    }
    assert_eq!(consumers.fetch(&name(), &fetch("m")).await.unwrap(), []);
    assert_eq!(consumers.lag(&name()).unwrap().events, 0);
    consumers.stop();
}
