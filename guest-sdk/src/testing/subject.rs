//! An aggregate under test, with the checks that hold for every one.

use super::assert_same_bytes;
use crate::{Decide, Event, NewEvent, Recorded, live, snapshot};

/// The state and how it was reached.
#[derive(Debug)]
pub(crate) struct Subject<A> {
    pub(crate) state: A,
    pub(crate) version: u64,
}

impl<A: Decide> Subject<A> {
    #[track_caller]
    pub(crate) fn new() -> Self {
        let subject = Self {
            state: A::default(),
            version: 0,
        };
        subject.assert_survives_snapshot();
        subject
    }

    /// Records an event of the history.
    #[track_caller]
    pub(crate) fn record(&mut self, event: A::Event) {
        self.apply(&NewEvent::of(event), 0);
    }

    /// Applies an event as the server does: from its stored form.
    #[track_caller]
    pub(crate) fn apply(&mut self, event: &NewEvent, at: u64) {
        let NewEvent {
            event_type,
            schema,
            payload,
        } = event;
        match A::Event::decode(event_type, *schema, payload) {
            Ok(again) => assert_same_bytes(&format!("event `{event_type}`"), payload, &again.encode()),
            Err(error) => panic!("event `{event_type}` does not survive its encoding: {error}"),
        }
        self.version += 1;
        let recorded = Recorded {
            version: self.version,
            at,
        };
        if let Err(error) = live::apply(&mut self.state, event_type, *schema, payload, recorded) {
            panic!(
                "event {} (`{event_type}`) cannot be applied: {error:?}",
                self.version
            );
        }
        self.assert_survives_snapshot();
    }

    /// The saved state.
    #[track_caller]
    pub(crate) fn saved(&self) -> Vec<u8> {
        snapshot::save(&self.state).unwrap_or_else(|error| panic!("at version {}: {error}", self.version))
    }

    #[track_caller]
    fn assert_survives_snapshot(&self) {
        let saved = self.saved();
        let restored: A = match snapshot::restore(&saved) {
            Ok(restored) => restored,
            Err(error) => panic!(
                "the state at version {} does not survive a snapshot: {error}.\nserde's `skip_serializing_if`, \
                 `untagged` and `flatten`, and JSON values, need #[aggregate(snapshot_format = \"json\")]",
                self.version
            ),
        };
        let again =
            snapshot::save(&restored).unwrap_or_else(|error| panic!("at version {}: {error}", self.version));
        assert!(
            saved == again,
            "the state at version {} is saved differently after a restore. Does it hold a `HashMap` or `HashSet`? \
             Use `BTreeMap` and `BTreeSet`.\n  view before: {:?}\n   view after: {:?}",
            self.version,
            self.state.view(),
            restored.view()
        );
    }

    #[track_caller]
    pub(crate) fn assert_state(&self, predicate: impl FnOnce(&A) -> bool) {
        assert!(
            predicate(&self.state),
            "the state at version {} is not as expected; its view: {:?}",
            self.version,
            self.state.view()
        );
    }
}
