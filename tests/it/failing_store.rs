//! Commits that fail, below the lanes: no answer says success, nobody sees a state that is not durable, and the next command
//! decides on what is.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use annals::{
    aggregates::{
        Aggregates, Answer, CommandError, CommandRequest, Preconditions, RenderedState, StateRequest,
        StateView,
    },
    modules::Modules,
    store::{
        AppendError, Completion, EventStore, MemoryStore, Proposal,
        conformance::{Intercept, Intercepted},
    },
    vocabulary::{AggregateKey, Clock, Limits, SystemClock, Version},
    wasm::{Host, HostOptions},
};
use annals_tests::guests;
use bytes::Bytes;

/// What becomes of one append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Written,
    /// Not written, and the store knows it.
    Refused,
    /// Not written, but the store cannot know.
    Lost,
    /// Written, but the store cannot know.
    WrittenUnknown,
    /// Said to be in conflict, as after a write by somebody else.
    Conflict,
}

/// Each append has its fate, in order; those after the last are written.
#[derive(Debug, Default)]
struct Failing {
    fates: Mutex<VecDeque<Fate>>,
}

impl Intercept for Failing {
    fn append(&self, store: &MemoryStore, proposal: Proposal, done: Completion) {
        let fate = self.fates.lock().unwrap().pop_front().unwrap_or(Fate::Written);
        let unknown = || AppendError::Unknown {
            reason: "injected".into(),
        };
        match fate {
            Fate::Written => store.append(proposal, done),
            Fate::WrittenUnknown => {
                let (written, is_written) = mpsc::channel();
                store.append(
                    proposal,
                    Box::new(move |result| written.send(result.is_ok()).unwrap()),
                );
                assert!(is_written.recv().unwrap());
                done(Err(unknown()));
            }
            Fate::Lost => done(Err(unknown())),
            Fate::Refused => done(Err(AppendError::Unavailable {
                reason: "injected".into(),
                retry_after: Duration::from_secs(1),
            })),
            Fate::Conflict => done(Err(AppendError::Conflict {
                head: proposal.expected,
            })),
        }
    }
}

struct Bench {
    store: Arc<Intercepted<Failing>>,
    aggregates: Arc<Aggregates>,
    modules: Modules,
    key: AggregateKey,
}

impl Bench {
    fn new() -> Self {
        let store = Arc::new(Intercepted::<Failing>::default());
        let shared: Arc<dyn EventStore> = Arc::<Intercepted<Failing>>::clone(&store);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let aggregates =
            Arc::new(Aggregates::start(&shared, &clock, &Arc::new(Limits::default()), 1).unwrap());
        let options = HostOptions {
            limits: Limits::default(),
            cache_dir: None,
            cache_key: [0; 32],
        };
        let modules = Modules::open(&shared, Host::new(options).unwrap(), &aggregates, &clock).unwrap();
        modules.upload(&guests::counter(), false).unwrap();
        let key = AggregateKey::new("counter".parse().unwrap(), "a".parse().unwrap());
        Self {
            store,
            aggregates,
            modules,
            key,
        }
    }

    fn fate(&self, fates: &[Fate]) {
        self.store.fates.lock().unwrap().extend(fates);
    }

    fn add(&self, idempotency: Option<&str>) -> Result<Answer, CommandError> {
        self.start(idempotency, Preconditions::default())
            .recv_timeout(Duration::from_secs(30))
            .expect("every request is answered")
    }

    /// Sends a command and does not wait for its answer.
    fn start(
        &self,
        idempotency: Option<&str>,
        preconditions: Preconditions,
    ) -> mpsc::Receiver<Result<Answer, CommandError>> {
        let (reply, answer) = mpsc::channel();
        let request = CommandRequest {
            key: self.key.clone(),
            command: "add".parse().unwrap(),
            payload: Bytes::from_static(b"{\"by\":1}"),
            idempotency: idempotency.map(|key| key.parse().unwrap()),
            preconditions,
            actor: None,
            correlation_id: None,
            causation_id: None,
            traceparent: None,
        };
        self.aggregates
            .send(request, Box::new(move |result| reply.send(result).unwrap()));
        answer
    }

    fn wait_for_held(&self, count: usize) {
        let give_up = std::time::Instant::now() + Duration::from_secs(30);
        while self.store.held_commits() < count {
            assert!(
                std::time::Instant::now() < give_up,
                "{} of {count}",
                self.store.held_commits()
            );
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn sum(&self) -> (u64, String) {
        state_of(&self.start_read())
    }

    /// Asks for the state and does not wait for it.
    fn start_read(&self) -> mpsc::Receiver<Result<StateView, CommandError>> {
        let (reply, answer) = mpsc::channel();
        let request = StateRequest {
            key: self.key.clone(),
            known: Vec::new(),
        };
        self.aggregates
            .state(request, Box::new(move |result| reply.send(result).unwrap()));
        answer
    }
}

fn state_of(answer: &mpsc::Receiver<Result<StateView, CommandError>>) -> (u64, String) {
    let view = answer.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
    match view.state {
        RenderedState::Json(json) => (view.version.0, json),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_commit_that_fails_is_not_seen_by_anybody() {
    let bench = Bench::new();
    bench.add(None).unwrap();
    for fate in [Fate::Refused, Fate::Lost] {
        bench.fate(&[fate]);
        let error = bench.add(None).unwrap_err();
        assert!(matches!(error, CommandError::NotWritten(_)), "{fate:?}: {error}");
        assert_eq!(
            bench.sum(),
            (1, "{\"sum\":1}".into()),
            "{fate:?}: the live state went with the commit"
        );
    }
    assert_eq!(
        bench.add(None).unwrap().committed.commit.last_version(),
        Version(2)
    );
    assert_eq!(bench.sum(), (2, "{\"sum\":2}".into()));
}

#[test]
fn an_unknown_outcome_is_found_by_its_key_and_decided_once() {
    let bench = Bench::new();
    bench.fate(&[Fate::WrittenUnknown]);
    let error = bench.add(Some("k")).unwrap_err();
    assert!(
        matches!(error, CommandError::NotWritten(AppendError::Unknown { .. })),
        "{error}"
    );
    assert_eq!(
        bench.sum(),
        (1, "{\"sum\":1}".into()),
        "it was durable after all, and only that counts"
    );
    let again = bench.add(Some("k")).unwrap();
    assert!(again.replayed);
    bench.fate(&[Fate::Lost]);
    bench.add(Some("l")).unwrap_err();
    assert!(!bench.add(Some("l")).unwrap().replayed);
    assert_eq!(bench.sum(), (2, "{\"sum\":2}".into()));
}

#[test]
fn a_conflict_is_decided_again_a_few_times() {
    let bench = Bench::new();
    bench.fate(&[Fate::Conflict, Fate::Conflict]);
    assert_eq!(
        bench.add(None).unwrap().committed.commit.last_version(),
        Version(1)
    );
    bench.fate(&[Fate::Conflict; 4]);
    let error = bench.add(None).unwrap_err();
    assert!(
        matches!(error, CommandError::NotWritten(AppendError::Conflict { .. })),
        "{error}"
    );
    bench.add(None).unwrap();
    assert_eq!(bench.sum(), (2, "{\"sum\":2}".into()));
}

#[test]
fn a_deployment_that_failed_does_not_stand_in_the_way_of_the_next() {
    let bench = Bench::new();
    let other = guests::counter_with(&[("data", "(data (i32.const 1616) \"1.0.1\")")]);
    for fate in [Fate::Refused, Fate::Lost] {
        bench.fate(&[fate]);
        bench.modules.upload(&other, false).unwrap_err();
    }
    let deployed = bench.modules.upload(&other, false).unwrap();
    assert!(deployed.activated, "{deployed:?}");
}

/// How long nothing is heard of an answer that must not leave yet.
const SILENCE: Duration = Duration::from_millis(60);

#[test]
fn nothing_leaves_before_what_it_was_decided_on_is_durable() {
    let bench = Bench::new();
    bench.add(None).unwrap();
    bench.store.hold_commits();
    let first = bench.start(None, Preconditions::default());
    let second = bench.start(Some("k"), Preconditions::default());
    bench.wait_for_held(2);
    // All of these are decided on the two that are held: a failed precondition, a read, a repetition, one more command.
    let stale = Preconditions {
        any_of: Some(vec![Version(1)]),
        ..Preconditions::default()
    };
    let refused = bench.start(None, stale);
    let read = bench.start_read();
    let repeated = bench.start(Some("k"), Preconditions::default());
    let third = bench.start(None, Preconditions::default());
    bench.wait_for_held(3);
    assert!(first.recv_timeout(SILENCE).is_err() && second.try_recv().is_err());
    assert!(refused.try_recv().is_err() && read.try_recv().is_err());
    assert!(repeated.try_recv().is_err() && third.try_recv().is_err());
    bench.store.let_commits_go();
    let version = |answer: &mpsc::Receiver<Result<Answer, CommandError>>| {
        let answer = answer.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
        (answer.committed.commit.last_version().0, answer.replayed)
    };
    assert_eq!(
        [
            version(&first),
            version(&second),
            version(&repeated),
            version(&third)
        ],
        [(2, false), (3, false), (3, true), (4, false)]
    );
    let error = refused
        .recv_timeout(Duration::from_secs(30))
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(error, CommandError::PreconditionFailed { version: Version(3) }),
        "{error}"
    );
    assert_eq!(state_of(&read), (3, "{\"sum\":3}".into()));
}

#[test]
fn a_commit_that_fails_in_the_middle_of_speculation_takes_all_that_was_decided_on_it_along() {
    for (fate, survives) in [
        (Fate::Refused, false),
        (Fate::Lost, false),
        (Fate::WrittenUnknown, true),
    ] {
        let bench = Bench::new();
        bench.add(None).unwrap();
        bench.store.hold_commits();
        let doomed = bench.start(None, Preconditions::default());
        let next = bench.start(Some("k"), Preconditions::default());
        let repeated = bench.start(Some("k"), Preconditions::default());
        let expects = Preconditions {
            any_of: Some(vec![Version(3)]),
            ..Preconditions::default()
        };
        let expecting = bench.start(None, expects);
        let read = bench.start_read();
        bench.wait_for_held(3);
        bench.fate(&[fate]);
        bench.store.let_commits_go();
        let error = doomed.recv_timeout(Duration::from_secs(30)).unwrap().unwrap_err();
        assert!(matches!(error, CommandError::NotWritten(_)), "{fate:?}: {error}");
        // The others are decided again, in order, on what is durable.
        let base = if survives { 2 } else { 1 };
        for (answer, replayed) in [(next, false), (repeated, true)] {
            let answer = answer.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
            let version = answer.committed.commit.last_version().0;
            assert_eq!((version, answer.replayed), (base + 1, replayed), "{fate:?}");
        }
        let expecting = expecting.recv_timeout(Duration::from_secs(30)).unwrap();
        let seen = match expecting {
            Ok(answer) => answer.committed.commit.last_version().0,
            Err(CommandError::PreconditionFailed { version }) => version.0,
            Err(error) => panic!("{fate:?}: {error}"),
        };
        assert_eq!(seen, if survives { 4 } else { 2 }, "{fate:?}");
        let read = state_of(&read);
        assert_eq!(read, (seen, format!("{{\"sum\":{seen}}}")), "{fate:?}");
    }
}
