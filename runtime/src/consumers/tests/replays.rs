//! Many parked aggregates at once, and skips that meet replays.

use std::collections::BTreeMap;

use super::*;
use crate::store::{
    Direction, FeedFilter,
    conformance::{Intercepted, wait_until},
};

use super::changes::Way;

const EVENTS: usize = 256;
const AGGREGATES: u64 = 200;
const EACH: u64 = 100;

/// Fetches, and has what comes parked.
async fn park(consumers: &Consumers) -> Vec<Delivered> {
    let refusal = Refusal {
        reason: "no such customer".into(),
        park: true,
        ..Refusal::default()
    };
    let delivered = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    consumers
        .nack(&name(), "m", &leases(&delivered), &refusal)
        .await
        .unwrap();
    delivered
}

/// Parks the first event of whatever is delivered, until nothing is.
async fn park_all(consumers: &Consumers) {
    while !park(consumers).await.is_empty() {}
}

/// Takes what comes, in order within each aggregate. Gives how many events were delivered.
async fn take(consumers: &Consumers, seen: &mut BTreeMap<String, u64>) -> usize {
    let delivered = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    for (id, version) in ids(&delivered) {
        let last = seen.insert(id.to_owned(), version).unwrap_or(0);
        assert_eq!(version, last + 1, "{id}");
    }
    let settled = consumers.ack(&name(), "m", &leases(&delivered)).await.unwrap();
    assert_eq!(settled.done, delivered.len() as u64);
    let held = consumers.find(&name()).unwrap().lock().progress.held_events();
    assert!(held <= EVENTS + EVENTS / 4, "{held} events are held");
    delivered.len()
}

#[tokio::test]
async fn replaying_everything_keeps_to_the_memory_and_lets_others_pass() {
    let limits = Limits {
        consumer_events: EVENTS,
        ..Limits::default()
    };
    let house = House::over(Arc::new(MemoryStore::new()), limits);
    let consumers = house.open();
    for id in 0..AGGREGATES {
        let events = (0..EACH).map(|salt| event(salt, 8)).collect();
        appended(&*house.store, &key("account", &format!("p{id}")), events);
    }
    let definition = Definition {
        batch: 20,
        ..Definition::default()
    };
    consumers.put(&name(), definition, Start::Beginning).unwrap();
    park_all(&consumers).await;
    let parked = consumers.status(&name()).unwrap();
    assert_eq!(
        (parked.parked_aggregates as u64, parked.parked_events),
        (AGGREGATES, AGGREGATES * EACH)
    );

    assert_eq!(consumers.replay(&name(), None), Ok(AGGREGATES as usize));
    let mut seen = BTreeMap::new();
    let (mut live, mut fetches) = (0, 0);
    while consumers.status(&name()).unwrap().parked_aggregates > 0 {
        if fetches % 50 == 0 {
            // What is recorded meanwhile is not behind all that is replayed.
            append(&house.store, &["live", "p7"]);
            live += 1;
            for _ in 0..3 {
                take(&consumers, &mut seen).await;
            }
            assert_eq!(seen.get("live"), Some(&live), "after {fetches} fetches");
        }
        take(&consumers, &mut seen).await;
        fetches += 1;
        assert!(fetches < 10_000, "it does not end");
    }
    while take(&consumers, &mut seen).await > 0 {}
    for id in 0..AGGREGATES {
        let more = if id == 7 { live } else { 0 };
        assert_eq!(seen.get(&format!("p{id}")), Some(&(EACH + more)), "p{id}");
    }
    consumers.stop();
}

#[tokio::test]
async fn an_endless_backlog_does_not_keep_a_replay_waiting() {
    let limits = Limits {
        consumer_events: EVENTS,
        ..Limits::default()
    };
    let house = House::over(Arc::new(MemoryStore::new()), limits);
    let consumers = house.open();
    append(&house.store, &["a", "a"]);
    consumers
        .put(&name(), Definition::default(), Start::Beginning)
        .unwrap();
    park_all(&consumers).await;
    for id in 0..100 {
        append(&house.store, &[&format!("l{id}"), &format!("l{id}")]);
    }
    let two = Fetch {
        most: Some(2),
        ..fetch("m")
    };
    consumers.fetch(&name(), &two).await.unwrap();
    consumers.replay(&name(), None).unwrap();
    let delivered = consumers.fetch(&name(), &two).await.unwrap();
    assert!(ids(&delivered).contains(&("a", 1)), "{:?}", ids(&delivered));
    consumers.stop();
}

/// What was parked comes again whatever is wanted by then, and what comes later is judged by the filter of its time.
#[tokio::test]
async fn another_filter_takes_nothing_away_that_is_parked() {
    let house = House::new();
    let consumers = house.open();
    let wanting = |prefix: &str| Definition {
        filter: FeedFilter {
            id_prefix: Some(prefix.to_owned()),
            ..FeedFilter::default()
        },
        ..Definition::default()
    };
    consumers.put(&name(), wanting("f"), Start::Beginning).unwrap();
    append(&house.store, &["f0", "f0", "f2", "f0"]);
    park_all(&consumers).await;
    consumers.replay(&name(), None).unwrap();
    // The replay has begun, and fails again after the change.
    let out = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    assert_eq!(ids(&out), [("f0", 1), ("f2", 1)]);
    consumers.put(&name(), wanting("f2"), Start::Beginning).unwrap();
    append(&house.store, &["f0", "f2"]);
    let park = Refusal {
        park: true,
        ..Refusal::default()
    };
    consumers.nack(&name(), "m", &leases(&out), &park).await.unwrap();
    consumers.stop();
    let consumers = house.open();
    park_all(&consumers).await;
    let parked = consumers.parked(&name(), None, 10).unwrap();
    let counts: Vec<u64> = parked.iter().map(|lane| lane.parked.count).collect();
    assert_eq!(counts, [3, 2]);
    let page = PageLimit {
        events: 10,
        bytes: 1_000,
    };
    let found = consumers.parked_events(&name(), &parked[0].lane, None, page);
    assert_eq!(found.unwrap().events.len(), 3);
    assert_eq!(
        consumers.skip(&name(), &parked[0].lane, Some(Version(1)), "a test".into()),
        Ok(1)
    );
    consumers.replay(&name(), None).unwrap();
    let mut seen = BTreeMap::from([("f0".to_owned(), 1)]);
    while take(&consumers, &mut seen).await > 0 {}
    assert_eq!(seen, BTreeMap::from([("f0".to_owned(), 3), ("f2".to_owned(), 2)]));
    assert_eq!(consumers.parked(&name(), None, 10).unwrap(), []);
    consumers.stop();
}

fn happened(house: &House) -> Vec<String> {
    let page = PageLimit {
        events: 100,
        bytes: usize::MAX,
    };
    let of_consumer = key(CONSUMER_TYPE, "billing");
    let history = house
        .store
        .history(&of_consumer, Version(1), Direction::Forward, page)
        .unwrap();
    let types = history.iter().map(|event| event.event_type.as_str().to_owned());
    types.collect()
}

/// What stands in the history was done: a replay that comes while a skip is being recorded waits for it.
#[tokio::test]
async fn a_skip_that_is_recorded_is_not_refused() {
    let store: Arc<Intercepted<Way>> = Arc::default();
    let house = House::over(Arc::clone(&store) as Arc<dyn EventStore>, Limits::default());
    let consumers = Arc::new(house.open());
    append(&house.store, &["a", "a"]);
    consumers
        .put(&name(), Definition::default(), Start::Beginning)
        .unwrap();
    park_all(&consumers).await;
    let lane = consumers.parked(&name(), None, 1).unwrap().remove(0).lane;
    store.hold_commits();
    let (skipped, replayed) = std::thread::scope(|scope| {
        let skipping = scope.spawn(|| consumers.skip(&name(), &lane, None, "a test".into()));
        wait_until("the skip is being recorded", || store.held_commits() == 1);
        let replaying = scope.spawn(|| consumers.replay(&name(), Some(&lane)));
        std::thread::sleep(Duration::from_millis(50));
        store.let_commits_go();
        (skipping.join().unwrap(), replaying.join().unwrap())
    });
    assert_eq!(skipped, Ok(2));
    let refused = replayed.unwrap_err().to_string();
    assert!(
        refused.contains("no event of this aggregate is parked"),
        "{refused}"
    );
    assert_eq!(happened(&house), ["created", "skipped"]);
    consumers.stop();
}

#[tokio::test]
async fn a_skip_ends_where_it_says() {
    let house = House::new();
    let consumers = house.open();
    append(&house.store, &["a", "a", "a"]);
    consumers
        .put(&name(), Definition::default(), Start::Beginning)
        .unwrap();
    let lost = park(&consumers).await;
    let lane = consumers.parked(&name(), None, 1).unwrap().remove(0).lane;
    let skip = |through| consumers.skip(&name(), &lane, Some(Version(through)), "a test".into());
    // Nothing is parked before the first: nothing is done, and nothing recorded.
    assert_eq!(skip(0), Ok(0));
    assert_eq!(happened(&house), ["created"]);
    let refused = consumers.ack(&name(), "m", &leases(&lost)).await.unwrap().refused;
    assert_eq!(refused, [(lost[0].lease, LeaseRefused::Refused)]);
    assert_eq!(skip(2), Ok(2));
    let left = consumers.parked(&name(), None, 1).unwrap().remove(0).parked;
    assert_eq!((left.first, left.count), (Version(3), 1));
    assert_eq!(skip(u64::MAX), Ok(1));
    assert_eq!(consumers.parked(&name(), None, 1).unwrap(), []);
    consumers.stop();
}

/// What is parked while a skip is being recorded is none of it: it stays, and is not counted.
#[tokio::test]
async fn a_skip_leaves_what_is_parked_while_it_is_recorded() {
    let store: Arc<Intercepted<Way>> = Arc::default();
    let limits = Limits {
        page_events: 2,
        ..Limits::default()
    };
    let house = House::over(Arc::clone(&store) as Arc<dyn EventStore>, limits);
    let consumers = Arc::new(house.open());
    append(&house.store, &["a", "a", "a"]);
    consumers
        .put(&name(), Definition::default(), Start::Beginning)
        .unwrap();
    park(&consumers).await;
    let parked = consumers.parked(&name(), None, 1).unwrap().remove(0);
    assert_eq!(parked.parked.count, 2);
    store.hold_commits();
    let skipping = std::thread::spawn({
        let consumers = Arc::clone(&consumers);
        move || consumers.skip(&name(), &parked.lane, None, "a test".into())
    });
    wait_until("the skip is being recorded", || store.held_commits() == 1);
    assert_eq!(consumers.fetch(&name(), &fetch("m")).await.unwrap(), []);
    store.let_commits_go();
    assert_eq!(skipping.join().unwrap(), Ok(2));
    let left = consumers.parked(&name(), None, 1).unwrap().remove(0).parked;
    assert_eq!((left.first, left.count), (Version(3), 1));
    consumers.replay(&name(), None).unwrap();
    let again = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    assert_eq!(ids(&again), [("a", 3)]);
    consumers.stop();
}

/// Of a stretch that goes by a filter, the first version that may be parked need not be: leaving out those up to there is
/// nothing, and is not recorded.
#[tokio::test]
async fn a_skip_of_nothing_is_not_recorded() {
    let house = House::new();
    let consumers = house.open();
    let wanted = |salt, is_wanted| {
        let mut event = event(salt, 8);
        event.event_type = if is_wanted { "wanted" } else { "other" }.parse().unwrap();
        event
    };
    let events = vec![wanted(0, true), wanted(1, false), wanted(2, true)];
    appended(&*house.store, &key("account", "a"), events);
    let definition = Definition {
        filter: FeedFilter {
            event_types: vec!["wanted".parse().unwrap()],
            ..FeedFilter::default()
        },
        ..Definition::default()
    };
    consumers.put(&name(), definition, Start::Beginning).unwrap();
    park_all(&consumers).await;
    let lane = consumers.parked(&name(), None, 1).unwrap().remove(0).lane;
    let skip = |through| consumers.skip(&name(), &lane, Some(Version(through)), "a test".into());
    assert_eq!(skip(1), Ok(1));
    assert_eq!(skip(2), Ok(0));
    assert_eq!(happened(&house), ["created", "skipped"]);
    assert_eq!(skip(3), Ok(1));
    consumers.stop();
}
