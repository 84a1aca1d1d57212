//! A parked event that cannot be read any more.

use std::collections::BTreeMap;

use super::{changes::Way, *};
use crate::store::conformance::Intercepted;

/// It ends the replay of its own aggregate, says why, and stops nobody else. What is behind it can be had.
#[tokio::test]
async fn a_damaged_event_stops_only_the_replay_of_its_aggregate() {
    let store: Arc<Intercepted<Way>> = Arc::default();
    let house = House::over(Arc::clone(&store) as Arc<dyn EventStore>, Limits::default());
    let consumers = house.open();
    append(&house.store, &["a", "a", "a", "a", "b"]);
    consumers
        .put(&name(), Definition::default(), Start::Beginning)
        .unwrap();
    let park = Refusal {
        park: true,
        ..Refusal::default()
    };
    let lost = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    consumers.nack(&name(), "m", &leases(&lost), &park).await.unwrap();
    *store.damaged.lock().unwrap() = Some(("a".parse().unwrap(), Version(3)));
    assert_eq!(consumers.replay(&name(), None), Ok(2));
    append(&house.store, &["c"]);

    let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for _ in 0..6 {
        let delivered = consumers.fetch(&name(), &fetch("m")).await.unwrap();
        for (id, version) in ids(&delivered) {
            seen.entry(id.to_owned()).or_default().push(version);
        }
        consumers.ack(&name(), "m", &leases(&delivered)).await.unwrap();
    }
    let of = |id: &str, versions: &[u64]| (id.to_owned(), versions.to_vec());
    let all_but_the_damaged = [of("a", &[1, 2]), of("b", &[1]), of("c", &[1])];
    assert_eq!(seen, BTreeMap::from(all_but_the_damaged));

    // A restart finds it so as well.
    drop(consumers);
    let consumers = house.open();
    let parked = consumers.parked(&name(), None, 2).unwrap();
    assert_eq!(parked.len(), 1);
    let left = &parked[0].parked;
    assert_eq!((left.replaying, left.first, left.count), (false, Version(3), 2));
    assert_eq!(left.error, "damaged: the events of `account/a`");
    let skip = |through| consumers.skip(&name(), &parked[0].lane, Some(Version(through)), "lost".into());
    assert_eq!(skip(3), Ok(1));
    consumers.replay(&name(), None).unwrap();
    let rest = consumers.fetch(&name(), &fetch("m")).await.unwrap();
    assert_eq!(ids(&rest), [("a", 4)]);
    consumers.stop();
}
