use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    bus::Bus,
    consumers::{Delivered, Fetch, Refusal, Start, Webhook},
    store::{
        EventStore, MemoryStore,
        conformance::{appended, event, key},
    },
    vocabulary::{Clock, Limits, ManualClock, Position},
};

struct House {
    store: Arc<dyn EventStore>,
    limits: Arc<Limits>,
    clock: Arc<ManualClock>,
}

impl House {
    /// A store with one event for each of these.
    fn with(ids: &[&str]) -> Self {
        let store: Arc<dyn EventStore> = Arc::new(MemoryStore::new());
        for (salt, id) in ids.iter().enumerate() {
            appended(&*store, &key("account", id), vec![event(salt as u64, 8)]);
        }
        let limits = Limits {
            webhooks: 1,
            webhook_secret_overlap: Duration::from_millis(100),
            ..Limits::default()
        };
        Self {
            store,
            limits: Arc::new(limits),
            clock: Arc::new(ManualClock::at(1_000)),
        }
    }

    fn open(&self) -> Consumers {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let bus = Bus::new(&self.store, &self.limits);
        Consumers::open(&self.store, &bus, &clock, &self.limits).unwrap()
    }
}

fn name(name: &str) -> ConsumerName {
    ConsumerName::parse(name).unwrap()
}

fn pushing() -> Definition {
    Definition {
        webhook: Some(Webhook::to("https://example.com/")),
        ..Definition::default()
    }
}

fn put(consumers: &Consumers, of: &str, definition: Definition, given: Option<Secret>) -> Option<Secret> {
    consumers
        .put_with(&name(of), definition, Start::Beginning, given)
        .unwrap()
        .secret
}

fn in_force(consumers: &Consumers, now: u64) -> Vec<Secret> {
    let secrets = consumers.secrets(&name("a")).unwrap();
    secrets
        .map(|secrets| secrets.at(now).cloned().collect())
        .unwrap_or_default()
}

#[test]
fn secrets_outlive_the_process_and_end_with_the_webhook() {
    let house = House::with(&[]);
    let consumers = house.open();
    let first = put(&consumers, "a", pushing(), None).unwrap();
    assert_eq!(put(&consumers, "a", pushing(), None), None);
    let second = consumers.rotate_secret(&name("a"), None).unwrap();
    let both = [second.clone(), first];
    assert_eq!(in_force(&consumers, 1_099), both);
    assert_eq!(in_force(&consumers, 1_100), both[..1]);
    consumers.stop();
    let consumers = house.open();
    assert_eq!(in_force(&consumers, 1_099), both);
    assert_eq!(consumers.pushed().len(), 1);

    assert_eq!(put(&consumers, "a", Definition::default(), None), None);
    assert_eq!((in_force(&consumers, 0), consumers.pushed()), (vec![], vec![]));
    let refused = consumers.rotate_secret(&name("a"), None).unwrap_err();
    assert_eq!(refused, ConsumerError::NoWebhook(name("a")));
    assert_ne!(put(&consumers, "a", pushing(), None), Some(second.clone()));
    let given = Secret::draw().unwrap();
    assert_eq!(put(&consumers, "a", pushing(), Some(given.clone())), None);
    assert_eq!(in_force(&consumers, 5_000), std::slice::from_ref(&given));
    consumers.delete(&name("a")).unwrap();
    consumers.stop();
    assert_eq!(house.store.consumer_rows().unwrap(), []);
}

#[test]
fn there_is_a_limit_of_webhooks() {
    let house = House::with(&[]);
    let consumers = house.open();
    put(&consumers, "a", pushing(), None);
    let refused = consumers
        .put(&name("b"), pushing(), Start::Beginning)
        .unwrap_err();
    assert_eq!(refused, ConsumerError::TooManyWebhooks { limit: 1 });
    put(&consumers, "b", Definition::default(), None);
    put(&consumers, "a", pushing(), None);
    consumers.stop();
}

fn fetch() -> Fetch {
    Fetch {
        member: "m".to_owned(),
        most: Some(1),
        wait: Duration::ZERO,
    }
}

fn leases(delivered: &[Delivered]) -> Vec<LeaseId> {
    delivered.iter().map(|delivered| delivered.lease).collect()
}

#[tokio::test]
async fn what_is_given_back_was_no_attempt() {
    let house = House::with(&["a"]);
    let consumers = house.open();
    put(&consumers, "a", pushing(), None);
    let name = name("a");
    for _ in 0..10 {
        let delivered = consumers.fetch(&name, &fetch()).await.unwrap();
        assert_eq!(delivered[0].lease.attempt, 1);
        assert_eq!(
            consumers
                .release(&name, "other", &leases(&delivered))
                .unwrap()
                .refused
                .len(),
            1
        );
        assert_eq!(
            consumers.release(&name, "m", &leases(&delivered)).unwrap().done,
            1
        );
        assert_eq!(
            consumers
                .release(&name, "m", &leases(&delivered))
                .unwrap()
                .refused
                .len(),
            1
        );
    }
    let delivered = consumers.fetch(&name, &fetch()).await.unwrap();
    let refusal = Refusal {
        delay_ms: Some(0),
        ..Refusal::default()
    };
    consumers
        .nack(&name, "m", &leases(&delivered), &refusal)
        .await
        .unwrap();
    let delivered = consumers.fetch(&name, &fetch()).await.unwrap();
    assert_eq!(delivered[0].lease.attempt, 2);
    consumers.stop();
}

#[tokio::test]
async fn one_that_goes_on_where_it_was_comes_past_all() {
    let house = House::with(&["a", "b", "c", "a"]);
    let consumers = house.open();
    put(&consumers, "a", pushing(), None);
    let mut last = Position(0);
    for expected in [1, 2, 3, 1, 2] {
        let delivered = consumers.fetch_after(&name("a"), &fetch(), last).await.unwrap();
        last = delivered[0].lease.position;
        assert_eq!((delivered.len(), last), (1, Position(expected)));
        consumers.release(&name("a"), "m", &leases(&delivered)).unwrap();
    }
    consumers.stop();
}

fn pushed(consumers: &Consumers) -> Pushed {
    consumers.pushed().remove(0)
}

#[test]
fn whoever_resumes_a_consumer_or_gives_it_a_secret_wants_its_receiver_tried() {
    let house = House::with(&[]);
    let consumers = house.open();
    put(&consumers, "a", pushing(), None);
    let mut turns = consumers.turns();
    let mut before = pushed(&consumers);
    let mut changes = |what: &str, expected: bool| {
        let after = pushed(&consumers);
        assert_eq!(after != before, expected, "{what}");
        assert!(turns.has_changed().unwrap() || !expected, "{what}");
        turns.mark_unchanged();
        before = after;
    };
    changes("nothing", false);
    put(&consumers, "a", pushing(), None);
    changes("the same again", false);
    consumers.pause(&name("a"), false).unwrap();
    changes("resumed, although it was not paused", true);
    consumers.rotate_secret(&name("a"), None).unwrap();
    changes("another secret", true);
    let given = Secret::draw().unwrap();
    put(&consumers, "a", pushing(), Some(given.clone()));
    changes("a given secret", true);
    put(&consumers, "a", pushing(), Some(given));
    changes("the same secret", false);
    consumers.pause(&name("a"), true).unwrap();
    changes("paused", true);
    consumers.pause(&name("a"), true).unwrap();
    changes("paused again", false);
    consumers.stop();
}

#[test]
fn a_receiver_that_was_left_pauses_nobody() {
    let house = House::with(&[]);
    let consumers = house.open();
    put(&consumers, "a", pushing(), None);
    let old = pushed(&consumers);
    let moved = Definition {
        webhook: Some(Webhook::to("https://example.com/new")),
        ..Definition::default()
    };
    put(&consumers, "a", moved, None);
    consumers.pause_because(&old, "moved out".into()).unwrap();
    assert!(!pushed(&consumers).paused);
    let before = pushed(&consumers);
    consumers.pause(&name("a"), false).unwrap();
    consumers.pause_because(&before, "it was gone".into()).unwrap();
    assert!(!pushed(&consumers).paused, "somebody has looked at it since");
    consumers
        .pause_because(&pushed(&consumers), "it is gone".into())
        .unwrap();
    assert!(pushed(&consumers).paused);
    consumers.stop();
}

#[test]
fn a_pause_keeps_its_reason_and_each_change_is_told() {
    let house = House::with(&[]);
    let consumers = house.open();
    let mut turns = consumers.turns();
    put(&consumers, "a", pushing(), None);
    assert!(turns.has_changed().unwrap());
    turns.mark_unchanged();
    consumers
        .pause_because(&pushed(&consumers), "it is gone".into())
        .unwrap();
    assert!(turns.has_changed().unwrap() && consumers.pushed()[0].paused);
    consumers.stop();
    let consumers = house.open();
    assert_eq!(
        consumers.status(&name("a")).unwrap().paused_because.as_deref(),
        Some("it is gone")
    );
    consumers.pause(&name("a"), false).unwrap();
    let status = consumers.status(&name("a")).unwrap();
    assert_eq!((status.paused, status.paused_because), (false, None));
    consumers.stop();
}
