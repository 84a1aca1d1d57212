//! Checks of idempotency.

use std::sync::{Arc, Mutex, mpsc};

use super::{Subject, appended, commit, event, key, try_append};
use crate::{
    store::{AppendError, Proposal},
    vocabulary::{Committed, IdempotencyKey, LaneEpoch, Position, Version},
};

pub(super) fn key_is_bound_once(subject: &Subject<'_>) {
    let store = subject.store();
    let (alice, bob) = (key("account", "alice"), key("account", "bob"));
    let name = IdempotencyKey::parse("retry-1").unwrap();
    assert_eq!(store.outcome(&alice, &name).unwrap(), None);
    let first = try_append(&*store, 1, commit(&alice, 0, Some("retry-1"), vec![event(1, 10)])).unwrap();
    appended(&*store, &alice, vec![event(2, 10)]);
    for expected in [0, 2, 7] {
        let again = commit(&alice, expected, Some("retry-1"), vec![event(9, 10)]);
        let result = try_append(&*store, 50 + expected, again);
        assert_eq!(result, Err(AppendError::Duplicate(Arc::clone(&first))));
    }
    assert_eq!(store.head(&alice).unwrap().version, Version(2));
    assert_eq!(
        store.outcome(&bob, &name).unwrap(),
        None,
        "the scope of a key is the aggregate"
    );
    try_append(&*store, 1, commit(&bob, 0, Some("retry-1"), vec![event(1, 10)])).unwrap();
    let store = subject.again(store);
    assert_eq!(store.outcome(&alice, &name).unwrap(), Some(Arc::clone(&first)));
    let after = try_append(
        &*store,
        99,
        commit(&alice, 2, Some("retry-1"), vec![event(9, 10)]),
    );
    assert_eq!(after, Err(AppendError::Duplicate(first)));
}

pub(super) fn key_is_bound_once_in_group(subject: &Subject<'_>) {
    let store = subject.store();
    let key = key("account", "alice");
    let (sender, receiver) = mpsc::channel();
    for life in 0..100 {
        let sender = sender.clone();
        let proposal = Proposal {
            lane_epoch: LaneEpoch(life),
            expected: Version(0),
            commit: commit(&key, 0, Some("once"), vec![event(life, 10)]),
        };
        store.append(proposal, Box::new(move |result| sender.send(result).unwrap()));
    }
    let results: Vec<_> = receiver.iter().take(100).collect();
    let first = results[0].clone().unwrap();
    for result in &results[1..] {
        assert_eq!(*result, Err(AppendError::Duplicate(Arc::clone(&first))));
    }
    assert_eq!(store.last_position(), Position(1));
}

pub(super) fn without_events(subject: &Subject<'_>) {
    let store = subject.store();
    let key = key("account", "alice");
    let heard: Arc<Mutex<Vec<Arc<Committed>>>> = Arc::default();
    let sink = Arc::clone(&heard);
    store.listen(Box::new(move |committed| {
        sink.lock().unwrap().push(Arc::clone(committed))
    }));
    let before = try_append(&*store, 1, commit(&key, 0, Some("before"), Vec::new())).unwrap();
    assert_eq!(
        (before.first_position, before.last_position()),
        (Position(1), Position(0))
    );
    assert_eq!(store.head(&key).unwrap().version, Version(0));
    let opened = appended(&*store, &key, vec![event(1, 10)]);
    assert_eq!(opened.first_position, Position(1));
    let after = try_append(&*store, 1, commit(&key, 1, Some("after"), Vec::new())).unwrap();
    assert_eq!(
        (after.first_position, after.last_position()),
        (Position(2), Position(1))
    );
    assert_eq!(store.last_position(), Position(1));
    assert_eq!(
        *heard.lock().unwrap(),
        [Arc::clone(&before), opened, Arc::clone(&after)]
    );
    let store = subject.again(store);
    for (text, expected) in [("before", before), ("after", after)] {
        let name = IdempotencyKey::parse(text).unwrap();
        assert_eq!(store.outcome(&key, &name).unwrap(), Some(expected));
    }
}
