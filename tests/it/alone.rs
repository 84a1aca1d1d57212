//! A shard that is asked by one client at a time commits on its own thread; as soon as more comes at once, the store's thread
//! does it, so that the shard goes on deciding.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use annals::{
    aggregates::{Aggregates, CommandRequest, Preconditions},
    modules::Modules,
    store::{EventStore, LocalStore, StoreOptions},
    vocabulary::{AggregateKey, Clock, Limits, SystemClock, Version},
    wasm::{Host, HostOptions},
};
use annals_tests::guests;
use bytes::Bytes;

const PATIENCE: Duration = Duration::from_secs(60);

struct Bench {
    aggregates: Arc<Aggregates>,
    _modules: Modules,
    _directory: tempfile::TempDir,
}

/// What an answer says: where the command ended up, and which thread said so.
type Said = mpsc::Receiver<(Version, String)>;

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = LocalStore::open(directory.path(), StoreOptions::default()).unwrap();
        let store: Arc<dyn EventStore> = Arc::new(store);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let limits = Limits::default();
        let aggregates = Arc::new(Aggregates::start(&store, &clock, &Arc::new(limits.clone()), 1).unwrap());
        let options = HostOptions {
            limits,
            cache_dir: None,
            cache_key: [0; 32],
        };
        let modules = Modules::open(&store, Host::new(options).unwrap(), &aggregates, &clock).unwrap();
        modules.upload(&guests::counter(), false).unwrap();
        Self {
            aggregates,
            _modules: modules,
            _directory: directory,
        }
    }

    fn send(&self, id: &str) -> Said {
        let (reply, said) = mpsc::channel();
        let request = CommandRequest {
            key: AggregateKey::new("counter".parse().unwrap(), id.parse().unwrap()),
            command: "add".parse().unwrap(),
            payload: Bytes::from_static(b"{\"by\":1}"),
            idempotency: None,
            preconditions: Preconditions::default(),
            actor: None,
            correlation_id: None,
            causation_id: None,
            traceparent: None,
        };
        let answer = move |result: Result<annals::aggregates::Answer, _>| {
            let thread = std::thread::current().name().unwrap_or_default().to_owned();
            let version = result.unwrap().committed.commit.last_version();
            drop(reply.send((version, thread)));
        };
        self.aggregates.send(request, Box::new(answer));
        said
    }

    /// Sends one command after another; which thread answered each, once the shard knows that there is only one client.
    fn one_by_one(&self, id: &str, before: u64) -> Vec<String> {
        let mut threads = Vec::new();
        for number in 1..=60 {
            let (version, thread) = self.send(id).recv_timeout(PATIENCE).unwrap();
            assert_eq!(version, Version(before + number));
            threads.push(thread);
            // The shard is asleep again.
            std::thread::sleep(Duration::from_millis(2));
        }
        threads.split_off(30)
    }
}

#[test]
fn one_client_is_answered_by_the_shard_and_many_by_the_store() {
    let bench = Bench::new();
    let here = |threads: &[String]| threads.iter().filter(|name| name.starts_with("shard")).count();
    let alone = bench.one_by_one("a", 0);
    assert!(here(&alone) > alone.len() / 2, "{alone:?}");

    // All at once, to two aggregates: each answer is right, and the shard waits for no commit.
    let waiting: Vec<_> = (0..400)
        .map(|number| bench.send(if number % 2 == 0 { "a" } else { "b" }))
        .collect();
    let mut answered = Vec::new();
    for (number, said) in waiting.into_iter().enumerate() {
        let (version, thread) = said.recv_timeout(PATIENCE).unwrap();
        let before = if number % 2 == 0 { 60 } else { 0 };
        assert_eq!(version, Version(before + number as u64 / 2 + 1));
        answered.push(thread);
    }
    assert!(
        here(&answered) <= 1,
        "only the first may have come alone: {answered:?}"
    );

    let again = bench.one_by_one("b", 200);
    assert!(here(&again) > again.len() / 2, "{again:?}");
    bench.aggregates.stop();
}
