//! Consumers over a store in memory.

use std::{sync::Arc, time::Duration};

use crate::{
    bus::Bus,
    store::{
        EventStore, MemoryStore, PageLimit,
        conformance::{appended, event, key},
    },
    vocabulary::{Clock, ConsumerName, Limits, ManualClock, Position, Version},
};

use super::*;

mod changes;
mod damage;
mod kept;
mod lags;
mod replays;

struct House {
    store: Arc<dyn EventStore>,
    bus: Bus,
    clock: Arc<ManualClock>,
    limits: Arc<Limits>,
}

impl House {
    fn new() -> Self {
        Self::over(Arc::new(MemoryStore::new()), Limits::default())
    }

    fn over(store: Arc<dyn EventStore>, limits: Limits) -> Self {
        let limits = Arc::new(limits);
        let bus = Bus::new(&store, &limits);
        let clock = Arc::new(ManualClock::at(1_000));
        Self {
            store,
            bus,
            clock,
            limits,
        }
    }

    fn open(&self) -> Consumers {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Consumers::open(&self.store, &self.bus, &clock, &self.limits).unwrap()
    }
}

fn name() -> ConsumerName {
    ConsumerName::parse("billing").unwrap()
}

fn fetch(member: &str) -> Fetch {
    Fetch {
        member: member.to_owned(),
        most: None,
        wait: Duration::ZERO,
    }
}

fn append(store: &Arc<dyn EventStore>, ids: &[&str]) {
    for (salt, id) in ids.iter().enumerate() {
        appended(&**store, &key("account", id), vec![event(salt as u64, 8)]);
    }
}

fn ids(delivered: &[Delivered]) -> Vec<(&str, u64)> {
    let events = delivered.iter().map(|delivered| &delivered.event);
    events
        .map(|event| (event.key.aggregate_id.as_str(), event.version.0))
        .collect()
}

fn leases(delivered: &[Delivered]) -> Vec<LeaseId> {
    delivered.iter().map(|delivered| delivered.lease).collect()
}

#[tokio::test]
async fn an_aggregates_events_come_one_after_the_other() {
    let house = House::new();
    let consumers = house.open();
    append(&house.store, &["a", "a", "b"]);
    assert_eq!(
        consumers.put(&name(), Definition::default(), Start::Beginning),
        Ok(Some(true))
    );
    let first = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    assert_eq!(ids(&first), [("a", 1), ("b", 1)]);
    assert_eq!(consumers.fetch(&name(), &fetch("n")).await.unwrap(), []);
    let settled = consumers.ack(&name(), "m", &leases(&first)).await.unwrap();
    assert_eq!((settled.done, settled.already), (2, 0));
    let again = consumers.ack(&name(), "m", &leases(&first)).await.unwrap();
    assert_eq!((again.done, again.already), (0, 2));
    let second = consumers.fetch(&name(), &fetch("n")).await.unwrap();
    assert_eq!(ids(&second), [("a", 2)]);
    consumers.stop();
}

#[tokio::test]
async fn what_is_acknowledged_survives_and_what_is_not_comes_again() {
    let house = House::new();
    let consumers = house.open();
    append(&house.store, &["a", "b", "c"]);
    consumers
        .put(&name(), Definition::default(), Start::Beginning)
        .unwrap();
    let delivered = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    consumers
        .ack(&name(), "m", &[delivered[2].lease, delivered[0].lease])
        .await
        .unwrap();
    drop(consumers);
    let consumers = house.open();
    assert_eq!(consumers.status(&name()).unwrap().checkpoint, Position(1));
    let delivered = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    assert_eq!(ids(&delivered), [("b", 1)]);
    consumers.stop();
}

#[tokio::test]
async fn a_fetch_waits_for_a_commit() {
    let house = House::new();
    let consumers = Arc::new(house.open());
    consumers.put(&name(), Definition::default(), Start::Now).unwrap();
    let waiting = tokio::spawn({
        let consumers = Arc::clone(&consumers);
        let wait = Duration::from_secs(30);
        async move { consumers.fetch(&name(), &Fetch { wait, ..fetch("m") }).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    append(&house.store, &["a"]);
    assert_eq!(ids(&waiting.await.unwrap().unwrap()), [("a", 1)]);
    let stopped = tokio::spawn({
        let consumers = Arc::clone(&consumers);
        let wait = Duration::from_secs(30);
        async move { consumers.fetch(&name(), &Fetch { wait, ..fetch("m") }).await }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    house.bus.close();
    assert_eq!(stopped.await.unwrap(), Err(ConsumerError::Closing));
    consumers.stop();
}

#[tokio::test]
async fn parked_events_are_read_replayed_and_skipped() {
    let house = House::new();
    let consumers = house.open();
    append(&house.store, &["a", "a", "a", "b"]);
    consumers
        .put(&name(), Definition::default(), Start::Beginning)
        .unwrap();
    let delivered = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    let refusal = Refusal {
        reason: "no such customer".into(),
        park: true,
        ..Refusal::default()
    };
    consumers
        .nack(&name(), "m", &leases(&delivered), &refusal)
        .await
        .unwrap();
    let consumers = {
        consumers.stop();
        house.open()
    };
    let parked = consumers.parked(&name(), None, 10).unwrap();
    assert_eq!(parked.len(), 2);
    assert_eq!(
        (parked[0].parked.count, parked[0].parked.error.as_str()),
        (3, "no such customer")
    );
    let lane = &parked[0].lane;
    let page = PageLimit {
        events: 2,
        bytes: 1_000,
    };
    let found = consumers.parked_events(&name(), lane, None, page).unwrap();
    assert_eq!((found.events.len(), found.next), (2, Some(Version(3))));
    assert_eq!(
        consumers.skip(&name(), lane, Some(Version(1)), "a test".into()),
        Ok(1)
    );
    assert_eq!(consumers.replay(&name(), None), Ok(2));
    consumers.written_down(&name()).await.unwrap();
    let refused = consumers
        .skip(&name(), lane, None, "too late".into())
        .unwrap_err();
    assert!(refused.to_string().contains("being replayed"), "{refused}");
    let delivered = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    assert_eq!(ids(&delivered), [("a", 2), ("b", 1)]);
    consumers.ack(&name(), "m", &leases(&delivered)).await.unwrap();
    let delivered = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    assert_eq!(ids(&delivered), [("a", 3)]);
    consumers.ack(&name(), "m", &leases(&delivered)).await.unwrap();
    assert_eq!(consumers.parked(&name(), None, 10).unwrap(), []);
    let lag = consumers.lag(&name()).unwrap();
    assert_eq!((lag.events, lag.is_exact, lag.oldest_ms), (0, true, None));
    consumers.stop();
}

#[tokio::test]
async fn a_reset_and_a_new_life_void_what_was_before() {
    let house = House::new();
    let consumers = house.open();
    append(&house.store, &["a", "b"]);
    consumers
        .put(&name(), Definition::default(), Start::Beginning)
        .unwrap();
    let delivered = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    consumers
        .ack(&name(), "m", &leases(&delivered)[..1])
        .await
        .unwrap();
    consumers.reset(&name(), Start::Beginning).unwrap();
    let settled = consumers.ack(&name(), "m", &leases(&delivered)).await.unwrap();
    assert!(
        settled
            .refused
            .iter()
            .all(|(_, refused)| *refused == LeaseRefused::OtherGeneration)
    );
    assert_eq!(settled.refused.len(), 2);
    assert_eq!(consumers.fetch(&name(), &fetch("m")).await.unwrap().len(), 2);

    consumers.delete(&name()).unwrap();
    let unknown = consumers.fetch(&name(), &fetch("m")).await.unwrap_err();
    assert_eq!(unknown, ConsumerError::Unknown(name()));
    consumers
        .put(&name(), Definition::default(), Start::After(Position(1)))
        .unwrap();
    let delivered = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    assert_eq!(ids(&delivered), [("b", 1)]);
    consumers.stop();
    let consumers = house.open();
    assert_eq!(consumers.status(&name()).unwrap().checkpoint, Position(1));
    consumers.stop();
}

/// Whoever waits for something that will never be written down is told so.
#[tokio::test]
async fn nobody_waits_for_a_deleted_consumer_or_a_stopped_server() {
    let house = House::new();
    let consumers = house.open();
    append(&house.store, &["a"]);
    consumers
        .put(&name(), Definition::default(), Start::Beginning)
        .unwrap();
    let delivered = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    let consumer = consumers.find(&name()).unwrap();
    let change = consumer.lock().changed();
    consumers.delete(&name()).unwrap();
    let soon = Duration::from_secs(20);
    let told = tokio::time::timeout(soon, consumer.durable(change)).await;
    assert_eq!(told, Ok(Err(ConsumerError::Unknown(name()))));

    consumers
        .put(&name(), Definition::default(), Start::Beginning)
        .unwrap();
    let again = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    assert_eq!(ids(&again), ids(&delivered));
    consumers.stop();
    let acked = tokio::time::timeout(soon, consumers.ack(&name(), "m", &leases(&again))).await;
    let refused = acked.expect("an answer").unwrap_err();
    assert!(refused.to_string().contains("shutting down"), "{refused}");
}

/// What is read ahead is all of one aggregate, which is parked while a member waits: there is room for the rest.
#[tokio::test]
async fn a_member_that_waits_gets_what_parking_makes_room_for() {
    let mut house = House::new();
    house.limits = Arc::new(Limits {
        page_events: 2,
        ..Limits::default()
    });
    let consumers = house.open();
    append(&house.store, &["a", "a", "b"]);
    let definition = Definition {
        ack_deadline_ms: 200,
        concurrency: 1,
        retry: Retry {
            attempts: 1,
            ..Retry::default()
        },
        ..Definition::default()
    };
    consumers.put(&name(), definition, Start::Beginning).unwrap();
    let lost = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    assert_eq!(ids(&lost), [("a", 1)]);
    let patient = Fetch {
        wait: Duration::from_secs(60),
        ..fetch("n")
    };
    let soon = tokio::time::timeout(Duration::from_secs(20), consumers.fetch(&name(), &patient)).await;
    assert_eq!(
        ids(&soon.expect("it waits beside a backlog").unwrap()),
        [("b", 1)]
    );
    consumers.stop();
}

/// Leases that are soon over.
fn short() -> Definition {
    Definition {
        ack_deadline_ms: 100,
        ..Definition::default()
    }
}

/// A lease that ran out counts, also when it is the late acknowledgement that notices.
#[tokio::test]
async fn a_late_acknowledgement_writes_the_failed_attempt_down() {
    let house = House::new();
    let consumers = house.open();
    append(&house.store, &["a"]);
    consumers.put(&name(), short(), Start::Beginning).unwrap();
    let delivered = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(150)).await;
    let settled = consumers.ack(&name(), "m", &leases(&delivered)).await.unwrap();
    assert_eq!(settled.refused, [(delivered[0].lease, LeaseRefused::Expired)]);
    consumers.stop();
    let consumers = house.open();
    let delivered = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    assert_eq!(delivered[0].lease.attempt, 2);
    consumers.stop();
}

#[tokio::test]
async fn pausing_and_changing_keep_the_place() {
    let house = House::new();
    let consumers = house.open();
    append(&house.store, &["a", "b"]);
    consumers
        .put(&name(), Definition::default(), Start::Beginning)
        .unwrap();
    consumers.pause(&name(), true).unwrap();
    assert_eq!(consumers.fetch(&name(), &fetch("m")).await.unwrap(), []);
    consumers.stop();
    let consumers = house.open();
    assert!(consumers.status(&name()).unwrap().paused);
    consumers.pause(&name(), false).unwrap();
    let changed = Definition {
        batch: 1,
        ..Definition::default()
    };
    assert_eq!(
        consumers.put(&name(), changed.clone(), Start::Now),
        Ok(Some(false))
    );
    assert_eq!(consumers.put(&name(), changed, Start::Now), Ok(None));
    assert_eq!(consumers.fetch(&name(), &fetch("m")).await.unwrap().len(), 1);
    let unordered = Definition {
        ordering: Order::None,
        ..Definition::default()
    };
    let fixed = consumers.put(&name(), unordered, Start::Now).unwrap_err();
    assert_eq!(fixed, ConsumerError::OrderingFixed(name()));
    consumers.stop();
}

#[tokio::test]
async fn it_begins_where_it_is_told_to() {
    let house = House::new();
    let consumers = house.open();
    for id in ["a", "a", "a", "a"] {
        append(&house.store, &[id]);
    }
    // Events of one aggregate are recorded a second apart.
    let second = 1_700_000_000_000 + 1_000;
    for (start, versions) in [
        (Start::Time(second), 2),
        (Start::Time(second + 1), 3),
        (Start::Time(0), 1),
        (Start::After(Position(3)), 4),
    ] {
        consumers.put(&name(), Definition::default(), start).unwrap();
        let delivered = consumers.fetch(&name(), &fetch("m")).await.unwrap();
        assert_eq!(ids(&delivered), [("a", versions)], "{start:?}");
        consumers.delete(&name()).unwrap();
    }
    consumers
        .put(&name(), Definition::default(), Start::Time(second * 2))
        .unwrap();
    assert_eq!(consumers.fetch(&name(), &fetch("m")).await.unwrap(), []);
    consumers.stop();
}
