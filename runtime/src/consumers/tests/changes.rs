//! Definitions that are changed or refused while other things go on, and what a start writes.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
    mpsc::{self, Receiver, Sender},
};

use super::*;
use crate::{
    store::{
        AppendError, Completion, ConsumerRow, Direction, FeedFilter, FeedPage, Proposal, ReadError,
        conformance::{Intercept, Intercepted},
    },
    vocabulary::{AggregateId, AggregateKey, RecordedEvent},
};

/// What a test puts in the store's way.
#[derive(Debug, Default)]
pub(super) struct Way {
    /// Commits are refused.
    full: AtomicBool,
    /// What consumers have reached is not kept.
    forgetful: AtomicBool,
    /// How often it was kept.
    pub(super) saves: AtomicUsize,
    /// This event cannot be read.
    pub(super) damaged: Mutex<Option<(AggregateId, Version)>>,
    /// The next read of the feed tells that it is there, and waits.
    gate: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

fn full() -> AppendError {
    AppendError::Full {
        reason: "a test".to_owned(),
    }
}

impl Intercept for Way {
    fn append(&self, store: &MemoryStore, proposal: Proposal, done: Completion) {
        if self.full.load(Ordering::SeqCst) {
            done(Err(full()));
        } else {
            store.append(proposal, done);
        }
    }

    fn history(
        &self,
        store: &MemoryStore,
        key: &AggregateKey,
        from: Version,
        direction: Direction,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let events = store.history(key, from, direction, limit)?;
        let damaged = self.damaged.lock().unwrap().clone();
        let is_damaged = |event: &RecordedEvent| {
            damaged
                .as_ref()
                .is_some_and(|(id, version)| event.key.aggregate_id == *id && event.version == *version)
        };
        if events.iter().any(is_damaged) {
            return Err(ReadError::Damaged {
                what: format!("the events of `{key}`"),
            });
        }
        Ok(events)
    }

    fn feed(
        &self,
        store: &MemoryStore,
        after: Position,
        filter: &FeedFilter,
        limit: PageLimit,
    ) -> Result<FeedPage, ReadError> {
        let gate = self.gate.lock().unwrap().take();
        if let Some((reached, open)) = gate {
            reached.send(()).unwrap();
            open.recv().unwrap();
        }
        store.feed(after, filter, limit)
    }

    fn save_consumers(&self, store: &MemoryStore, rows: &[ConsumerRow]) -> Result<(), AppendError> {
        self.saves.fetch_add(1, Ordering::SeqCst);
        if self.forgetful.load(Ordering::SeqCst) {
            return Err(full());
        }
        store.save_consumers(rows)
    }
}

fn house() -> (House, Arc<Intercepted<Way>>) {
    let store: Arc<Intercepted<Way>> = Arc::default();
    let limits = Limits {
        consumers: 3,
        ..Limits::default()
    };
    let house = House::over(Arc::clone(&store) as Arc<dyn EventStore>, limits);
    (house, store)
}

fn named(name: &str) -> ConsumerName {
    ConsumerName::parse(name).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_filter_holds_for_all_that_is_committed_after_it() {
    let (house, way) = house();
    let consumers = Arc::new(house.open());
    append(&house.store, &["a"]);
    let others = Definition {
        filter: FeedFilter {
            aggregate_types: vec!["order".parse().unwrap()],
            ..FeedFilter::default()
        },
        ..Definition::default()
    };
    consumers.put(&name(), others, Start::Beginning).unwrap();
    let (reached, is_reached) = mpsc::channel();
    let (open, is_open) = mpsc::channel();
    *way.gate.lock().unwrap() = Some((reached, is_open));
    let fetching = tokio::spawn({
        let consumers = Arc::clone(&consumers);
        async move { consumers.fetch(&name(), &fetch("m")).await }
    });
    is_reached.recv_timeout(Duration::from_secs(20)).unwrap();
    consumers
        .put(&name(), Definition::default(), Start::Beginning)
        .unwrap();
    append(&house.store, &["b"]);
    open.send(()).unwrap();
    let mut delivered = fetching.await.unwrap().unwrap();
    delivered.extend(consumers.fetch(&name(), &fetch("m")).await.unwrap());
    assert!(ids(&delivered).contains(&("b", 1)), "{:?}", ids(&delivered));
    consumers.stop();
}

/// Somebody else may take what is ready before it is leased: then there is another look, unless no lease may be given out.
#[tokio::test]
async fn whoever_comes_too_late_looks_again() {
    let house = House::new();
    let consumers = house.open();
    append(&house.store, &["a", "b"]);
    let definition = Definition {
        concurrency: 1,
        ..Definition::default()
    };
    consumers.put(&name(), definition, Start::Beginning).unwrap();
    let consumer = consumers.find(&name()).unwrap();
    let last = house.store.last_position();
    for _ in 0..3 {
        assert_eq!(consumers.read_ahead(&consumer, Some(1), last).await, Ok(true));
    }
    let leased = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    assert_eq!(leased.len(), 1);
    assert_eq!(consumers.read_ahead(&consumer, Some(1), last).await, Ok(false));
    consumers.stop();
}

#[tokio::test]
async fn a_start_writes_nothing_that_need_not_be_written() {
    let (house, way) = house();
    let consumers = house.open();
    append(&house.store, &["a"]);
    for consumer in ["one", "two", "three"] {
        consumers
            .put(&named(consumer), Definition::default(), Start::Beginning)
            .unwrap();
        let delivered = consumers.fetch(&named(consumer), &fetch("m")).await.unwrap();
        consumers
            .ack(&named(consumer), "m", &leases(&delivered))
            .await
            .unwrap();
    }
    // The rows of two are left behind, those of the third are not.
    for (consumer, forgetful) in [("one", true), ("two", true), ("three", false)] {
        way.forgetful.store(forgetful, Ordering::SeqCst);
        consumers.delete(&named(consumer)).unwrap();
    }
    consumers.stop();
    assert_eq!(house.store.consumer_rows().unwrap().len(), 2);
    for expected in [1, 0] {
        way.saves.store(0, Ordering::SeqCst);
        house.open().stop();
        assert_eq!(way.saves.load(Ordering::SeqCst), expected);
        assert_eq!(house.store.consumer_rows().unwrap(), []);
    }
}

fn pushing(batch: u32, ordering: Order) -> Definition {
    Definition {
        batch,
        ordering,
        webhook: Some(Webhook::to("https://example.com/")),
        ..Definition::default()
    }
}

/// A PUT that is refused leaves the secret as it was, also after a restart.
#[test]
fn a_refused_definition_changes_no_secret() {
    let (house, way) = house();
    let consumers = house.open();
    let ordered = pushing(1, Order::Aggregate);
    let put = consumers.put_with(&name(), ordered, Start::Beginning, None);
    let first = put.unwrap().secret.unwrap();
    let rows = house.store.consumer_rows().unwrap();
    let refused = |of: &ConsumerName, definition: Definition| {
        let given = Some(Secret::draw().unwrap());
        consumers
            .put_with(of, definition, Start::Beginning, given)
            .unwrap_err()
    };
    let fixed = refused(&name(), pushing(1, Order::None));
    assert_eq!(fixed, ConsumerError::OrderingFixed(name()));
    way.full.store(true, Ordering::SeqCst);
    for of in [name(), named("other")] {
        let error = refused(&of, pushing(2, Order::Aggregate));
        assert_eq!(error, ConsumerError::NotWritten(full()));
    }
    way.full.store(false, Ordering::SeqCst);
    for other in ["two", "three"] {
        consumers
            .put(&named(other), Definition::default(), Start::Beginning)
            .unwrap();
    }
    let error = refused(&named("four"), pushing(1, Order::Aggregate));
    assert_eq!(error, ConsumerError::TooMany { limit: 3 });
    consumers.stop();
    assert_eq!(house.store.consumer_rows().unwrap(), rows);
    let consumers = house.open();
    let secrets = consumers.secrets(&name()).unwrap().unwrap();
    assert_eq!(secrets.at(0).collect::<Vec<_>>(), [&first]);
    consumers.stop();
}
