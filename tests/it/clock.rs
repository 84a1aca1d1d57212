//! No correctness from wall clocks: the clock may jump by years either way, and still times of one aggregate never go
//! backwards, versions stay dense, and keys answer as before.

use std::sync::{Arc, mpsc};

use annals::{
    aggregates::{Aggregates, Answer, CommandError, CommandRequest, Preconditions},
    modules::Modules,
    store::{Direction, EventStore, LocalStore, PageLimit, StoreOptions},
    vocabulary::{AggregateKey, Clock, Limits, ManualClock, Version},
    wasm::{Host, HostOptions},
};
use annals_tests::guests;
use bytes::Bytes;

const YEAR_MS: u64 = 365 * 24 * 3_600 * 1_000;

fn send(aggregates: &Aggregates, key: &AggregateKey, idempotency: &str) -> Result<Answer, CommandError> {
    let (reply, answer) = mpsc::channel();
    let request = CommandRequest {
        key: key.clone(),
        command: "add".parse().unwrap(),
        payload: Bytes::from_static(b"{\"by\":1}"),
        idempotency: Some(idempotency.parse().unwrap()),
        preconditions: Preconditions::default(),
        actor: None,
        correlation_id: None,
        causation_id: None,
        traceparent: None,
    };
    aggregates.send(request, Box::new(move |result| reply.send(result).unwrap()));
    answer.recv().unwrap()
}

#[test]
fn time_may_jump_either_way() {
    let data = tempfile::tempdir().unwrap();
    let store = LocalStore::open(&data.path().join("data"), StoreOptions::default()).unwrap();
    let store: Arc<dyn EventStore> = Arc::new(store);
    let clock = Arc::new(ManualClock::at(50 * YEAR_MS));
    let shared: Arc<dyn Clock> = Arc::<ManualClock>::clone(&clock);
    let limits = Arc::new(Limits::default());
    let aggregates = Arc::new(Aggregates::start(&store, &shared, &limits, 1).unwrap());
    let options = HostOptions {
        limits: Limits::default(),
        cache_dir: None,
        cache_key: [0; 32],
    };
    let modules = Modules::open(&store, Host::new(options).unwrap(), &aggregates, &shared).unwrap();
    modules.upload(&guests::counter(), false).unwrap();
    let key = AggregateKey::new("counter".parse().unwrap(), "a".parse().unwrap());
    let mut first_answers = Vec::new();
    for (number, now) in [
        50 * YEAR_MS,
        60 * YEAR_MS,
        40 * YEAR_MS,
        40 * YEAR_MS,
        0,
        u64::MAX / 2,
    ]
    .into_iter()
    .enumerate()
    {
        clock.set(now);
        let name = format!("key-{number}");
        first_answers.push((name.clone(), send(&aggregates, &key, &name).unwrap()));
    }
    clock.set(1);
    for (name, first) in &first_answers {
        let again = send(&aggregates, &key, name).unwrap();
        assert!(again.replayed);
        assert_eq!(again.committed, first.committed);
    }
    let limit = PageLimit {
        events: 100,
        bytes: usize::MAX,
    };
    let events = store
        .history(&key, Version(1), Direction::Forward, limit)
        .unwrap();
    let versions: Vec<u64> = events.iter().map(|event| event.version.0).collect();
    assert_eq!(versions, [1, 2, 3, 4, 5, 6]);
    let times: Vec<u64> = events.iter().map(|event| event.recorded_at / YEAR_MS).collect();
    assert_eq!(
        times.first_chunk(),
        Some(&[50, 60, 60, 60, 60]),
        "never earlier than the event before"
    );
    aggregates.stop();
    store.close();
}
