//! Aggregates in process and on one shard, above a store in memory that is watched.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use annals::{
    aggregates::{
        Aggregates, Answer, CommandError, CommandRequest, Preconditions, RenderedState, StateRequest,
        StateView,
    },
    modules::Modules,
    store::{EventStore, conformance::Intercepted},
    vocabulary::{AggregateKey, Clock, Limits, SystemClock, Version},
    wasm::{Host, HostOptions},
};
use annals_tests::guests;
use bytes::Bytes;

use crate::watched::Watched;

/// Longest time for one answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// No snapshots, so that a history is applied whole; single commands with ten thousand events, so that one is long.
pub(crate) fn long_histories() -> Limits {
    Limits {
        snapshot_every: 1_000_000,
        snapshot_on_eviction: 1_000_000,
        events_per_command: 10_000,
        ..Limits::default()
    }
}

/// A server without HTTP, on one shard.
pub(crate) struct Bench {
    pub(crate) store: Arc<Intercepted<Watched>>,
    pub(crate) aggregates: Arc<Aggregates>,
    pub(crate) modules: Modules,
}

impl Bench {
    pub(crate) fn new(limits: Limits) -> Self {
        let bench = Self::on(&Arc::new(Intercepted::default()), limits);
        bench.modules.upload(&guests::counter(), false).unwrap();
        bench
    }

    pub(crate) fn on(store: &Arc<Intercepted<Watched>>, limits: Limits) -> Self {
        let shared: Arc<dyn EventStore> = Arc::<Intercepted<Watched>>::clone(store);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let options = HostOptions {
            limits: limits.clone(),
            cache_dir: None,
            cache_key: [0; 32],
        };
        let aggregates = Arc::new(Aggregates::start(&shared, &clock, &Arc::new(limits), 1).unwrap());
        let modules = Modules::open(&shared, Host::new(options).unwrap(), &aggregates, &clock).unwrap();
        Self {
            store: Arc::clone(store),
            aggregates,
            modules,
        }
    }

    /// The same log with everything cold.
    pub(crate) fn restarted(self, limits: Limits) -> Self {
        self.aggregates.stop();
        self.store.forget();
        Self::on(&self.store, limits)
    }

    pub(crate) fn send(
        &self,
        id: &str,
        command: &str,
        payload: &str,
    ) -> mpsc::Receiver<Result<Answer, CommandError>> {
        let (reply, answer) = mpsc::channel();
        let request = CommandRequest {
            key: key(id),
            command: command.parse().unwrap(),
            payload: Bytes::from(payload.to_owned()),
            idempotency: None,
            preconditions: Preconditions::default(),
            actor: None,
            correlation_id: None,
            causation_id: None,
            traceparent: None,
        };
        self.aggregates
            .send(request, Box::new(move |result| drop(reply.send(result))));
        answer
    }

    #[track_caller]
    pub(crate) fn done(&self, id: &str, command: &str, payload: &str) -> Version {
        let answer = self.send(id, command, payload).recv_timeout(PATIENCE).unwrap();
        answer.unwrap().committed.commit.last_version()
    }

    pub(crate) fn read(&self, id: &str) -> mpsc::Receiver<Result<StateView, CommandError>> {
        let (reply, answer) = mpsc::channel();
        let request = StateRequest {
            key: key(id),
            known: Vec::new(),
        };
        self.aggregates
            .state(request, Box::new(move |result| drop(reply.send(result))));
        answer
    }

    #[track_caller]
    pub(crate) fn sum(&self, id: &str) -> (u64, u64) {
        sum(&self.read(id).recv_timeout(PATIENCE).unwrap().unwrap())
    }

    /// An aggregate of so many times ten thousand events.
    pub(crate) fn make_long(&self, id: &str, times: u64) {
        for _ in 0..times {
            self.done(id, "ten-thousand", "{\"by\":1}");
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.store.let_reads_go();
        self.store.let_commits_go();
        self.aggregates.stop();
    }
}

/// `type/id`, or the id of a counter.
pub(crate) fn key(id: &str) -> AggregateKey {
    let (aggregate_type, id) = id.split_once('/').unwrap_or(("counter", id));
    AggregateKey::new(aggregate_type.parse().unwrap(), id.parse().unwrap())
}

/// Version and sum.
pub(crate) fn sum(view: &StateView) -> (u64, u64) {
    match &view.state {
        RenderedState::Json(json) => {
            let digits: String = json.chars().filter(char::is_ascii_digit).collect();
            (view.version.0, digits.parse().unwrap())
        }
        other => panic!("{other:?}"),
    }
}
