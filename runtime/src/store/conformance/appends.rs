//! Checks of what is written, and what is refused.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use super::{Subject, appended, commit, event, key, try_append};
use crate::{
    store::{AppendError, Direction, EventStore, PageLimit, Proposal},
    vocabulary::{Commit, Committed, LaneEpoch, Position, Version},
};

pub(super) fn wrong_head_conflicts(subject: &Subject<'_>) {
    let store = subject.store();
    let key = key("account", "alice");
    appended(&*store, &key, vec![event(1, 10), event(2, 10)]);
    for wrong in [0, 1, 3, 1_000] {
        let result = try_append(
            &*store,
            100 + wrong,
            commit(&key, wrong, None, vec![event(3, 10)]),
        );
        assert_eq!(result, Err(AppendError::Conflict { head: Version(2) }));
    }
    let mut crooked = commit(&key, 2, None, vec![event(3, 10)]);
    crooked.first_version = Version(9);
    let (sender, receiver) = mpsc::channel();
    let proposal = Proposal {
        lane_epoch: LaneEpoch(7),
        expected: Version(2),
        commit: crooked,
    };
    store.append(proposal, Box::new(move |result| sender.send(result).unwrap()));
    let result = receiver.recv().unwrap();
    assert_eq!(
        result,
        Err(AppendError::Conflict { head: Version(2) }),
        "it does not follow what it expects"
    );
    assert_eq!(store.last_position(), Position(2));
    assert_eq!(store.head(&key).unwrap().version, Version(2));
}

pub(super) fn failed_life_is_superseded(subject: &Subject<'_>) {
    let store = subject.store();
    let (alice, bob) = (key("account", "alice"), key("account", "bob"));
    assert!(try_append(&*store, 5, commit(&alice, 3, None, vec![event(1, 10)])).is_err());
    let again = try_append(&*store, 5, commit(&alice, 0, None, vec![event(1, 10)]));
    assert_eq!(again, Err(AppendError::Superseded));
    try_append(&*store, 5, commit(&bob, 0, None, vec![event(1, 10)])).unwrap();
    try_append(&*store, 6, commit(&alice, 0, None, vec![event(1, 10)])).unwrap();
    try_append(&*store, 6, commit(&alice, 1, None, vec![event(1, 10)])).unwrap();
}

fn queue(
    store: &dyn EventStore,
    life: u64,
    commits: Vec<Commit>,
) -> Vec<Result<Arc<Committed>, AppendError>> {
    let (sender, receiver) = mpsc::channel();
    let count = commits.len();
    for (index, commit) in commits.into_iter().enumerate() {
        let sender = sender.clone();
        let proposal = Proposal {
            lane_epoch: LaneEpoch(life),
            expected: Version(commit.first_version.0 - 1),
            commit,
        };
        let done = Box::new(move |result| sender.send((index, result)).unwrap());
        // Either way of handing over keeps the order.
        if index % 5 == 0 {
            store.append_here(proposal, done);
        } else {
            store.append(proposal, done);
        }
    }
    let answers: Vec<_> = receiver.iter().take(count).collect();
    let order: Vec<_> = answers.iter().map(|(index, _)| *index).collect();
    assert_eq!(
        order,
        (0..count).collect::<Vec<_>>(),
        "answers come in the order of the proposals"
    );
    answers.into_iter().map(|(_, result)| result).collect()
}

pub(super) fn queued_proposals_chain(subject: &Subject<'_>) {
    let store = subject.store();
    let key = key("account", "hot");
    let good = queue(
        &*store,
        1,
        (0..200)
            .map(|version| commit(&key, version, None, vec![event(version, 50)]))
            .collect(),
    );
    let positions: Vec<_> = good
        .iter()
        .map(|result| result.as_ref().unwrap().first_position.0)
        .collect();
    assert_eq!(positions, (1..=200).collect::<Vec<_>>());
    let broken = (200..300).map(|version| {
        let expected = if version == 250 { 999 } else { version };
        commit(&key, expected, None, vec![event(version, 50)])
    });
    let mixed = queue(&*store, 2, broken.collect());
    assert!(mixed[..50].iter().all(Result::is_ok));
    assert!(matches!(mixed[50], Err(AppendError::Conflict { .. })));
    assert!(
        mixed[51..]
            .iter()
            .all(|result| *result == Err(AppendError::Superseded))
    );
    assert_eq!(store.head(&key).unwrap().version, Version(250));
}

pub(super) fn racing_proposals_do_not_fork(subject: &Subject<'_>) {
    let store = subject.store();
    let key = key("account", "contended");
    let lives = AtomicUsize::new(0);
    let won = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for racer in 0..8_u64 {
            let (store, key, lives, won) = (&store, &key, &lives, &won);
            scope.spawn(move || {
                for attempt in 0..40 {
                    let head = store.head(key).unwrap().version.0;
                    let life = lives.fetch_add(1, Ordering::Relaxed) as u64;
                    let events = vec![event(racer * 1_000 + attempt, 20)];
                    match try_append(&**store, life, commit(key, head, None, events)) {
                        Ok(_) => {
                            won.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(AppendError::Conflict { head: found }) => assert!(found.0 > head),
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
    });
    let won = won.into_inner();
    let limit = PageLimit {
        events: 1_000,
        bytes: 1 << 30,
    };
    let history = store
        .history(&key, Version(1), Direction::Forward, limit)
        .unwrap();
    assert_eq!(history.len(), won, "as many events as winners");
    assert!(
        (1..)
            .zip(&history)
            .all(|(version, event)| event.version == Version(version))
    );
}

pub(super) fn listeners_miss_nothing(subject: &Subject<'_>) {
    let store = subject.store();
    let heard: Arc<Mutex<Vec<u64>>> = Arc::default();
    let mut from = None;
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let store = &store;
            scope.spawn(move || {
                let key = key("account", &format!("w{writer}"));
                for round in 0..100 {
                    let committed = appended(&**store, &key, vec![event(round, 20)]);
                    assert!(
                        store.last_position() >= committed.last_position(),
                        "it was published before"
                    );
                }
            });
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
        let sink = Arc::clone(&heard);
        from = Some(store.listen(Box::new(move |committed: &Arc<Committed>| {
            sink.lock().unwrap().push(committed.last_position().0);
        })));
    });
    let heard = heard.lock().unwrap();
    let expected: Vec<u64> = (from.unwrap().0 + 1..=400).collect();
    assert_eq!(*heard, expected, "every position once, in order, from {from:?}");
}

pub(super) fn closed_store_refuses(subject: &Subject<'_>) {
    let store = subject.store();
    let answered = Arc::new(AtomicUsize::new(0));
    let key = key("account", "alice");
    std::thread::scope(|scope| {
        for writer in 0..4_u64 {
            let (store, answered) = (&store, &answered);
            let key = &key;
            scope.spawn(move || {
                for attempt in 0..200 {
                    let answered = Arc::clone(answered);
                    let proposal = Proposal {
                        lane_epoch: LaneEpoch(writer * 1_000 + attempt),
                        expected: Version(0),
                        commit: commit(key, 0, None, vec![event(1, 10)]),
                    };
                    let count = move |_: Result<_, _>| {
                        answered.fetch_add(1, Ordering::SeqCst);
                    };
                    if attempt % 2 == 0 {
                        store.append(proposal, Box::new(count));
                    } else {
                        store.append_here(proposal, Box::new(count));
                    }
                }
            });
        }
        store.close();
    });
    store.close();
    assert_eq!(
        answered.load(Ordering::SeqCst),
        800,
        "every proposal is answered once"
    );
    let late = try_append(&*store, 1, commit(&key, 0, None, vec![event(1, 10)]));
    assert!(matches!(late, Err(AppendError::Unavailable { .. })), "{late:?}");
}
