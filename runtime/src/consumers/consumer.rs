//! One consumer: its progress behind a lock that is held for a moment only, who waits for it, and how far it is written
//! down.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{
    error::ConsumerError,
    journal::Described,
    progress::{LaneKey, Now, Parked, Progress, Record},
    secret::Secrets,
};
use crate::{
    store::AppendError,
    vocabulary::{ConsumerName, Millis, Position},
};

/// How far a consumer's changes have been written down.
#[derive(Debug, Clone, Default)]
pub(super) struct Saved {
    /// Changes up to this number were in the last attempt.
    pub(super) upto: u64,
    /// Why it failed.
    pub(super) failed: Option<AppendError>,
}

/// What is to be written down of a consumer.
#[derive(Debug)]
pub(super) struct Changes {
    /// The number of the last change in it.
    pub(super) upto: u64,
    pub(super) record: Record,
    /// Lanes, and what is parked of them now.
    pub(super) parked: Vec<(LaneKey, Option<Parked>)>,
}

/// What can change.
#[derive(Debug)]
pub(super) struct State {
    pub(super) progress: Progress,
    pub(super) described: Described,
    pub(super) changed_at: Millis,
    pub(super) deleted: bool,
    /// What its webhook signs with.
    pub(super) secrets: Option<Secrets>,
    /// Raised when somebody resumes it or gives it another secret: its receiver is to be tried.
    pub(super) wishes: u64,
    /// The number of the last change that is to be written down.
    changes: u64,
    /// Where the checkpoint was when it was last taken to be written down.
    taken: Position,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) name: ConsumerName,
    state: Mutex<State>,
    /// Whoever reads ahead for it.
    pub(super) reading: tokio::sync::Mutex<()>,
    moves: watch::Sender<()>,
    saved: watch::Sender<Saved>,
}

impl Consumer {
    pub(super) fn new(
        name: ConsumerName,
        progress: Progress,
        described: Described,
        changed_at: Millis,
    ) -> Self {
        Self {
            name,
            state: Mutex::new(State {
                taken: progress.checkpoint(),
                progress,
                described,
                changed_at,
                deleted: false,
                secrets: None,
                wishes: 0,
                changes: 0,
            }),
            reading: tokio::sync::Mutex::new(()),
            moves: watch::Sender::new(()),
            saved: watch::Sender::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes those who wait for something to deliver.
    pub(super) fn wake(&self) {
        self.moves.send_replace(());
    }

    /// Notices every [`Self::wake`] from now on.
    pub(super) fn wakes(&self) -> watch::Receiver<()> {
        self.moves.subscribe()
    }

    /// What is to be written down. None for one that was deleted.
    pub(super) fn take_changes(&self) -> Option<Changes> {
        let mut state = self.lock();
        let parked = state.progress.take_parked_changes();
        state.taken = state.progress.checkpoint();
        (!state.deleted).then(|| Changes {
            upto: state.changes,
            record: state.progress.record(),
            parked,
        })
    }

    /// These were not written down.
    pub(super) fn again(&self, lanes: Vec<LaneKey>) {
        self.lock().progress.parked_again(lanes);
    }

    /// Whether the last attempt to write its changes down failed.
    pub(super) fn has_failed(&self) -> bool {
        self.saved.borrow().failed.is_some()
    }

    /// Whether every change so far is written down.
    pub(super) fn is_written_down(&self) -> bool {
        let changes = self.lock().changes;
        let saved = self.saved.borrow();
        saved.upto >= changes && saved.failed.is_none()
    }

    /// Tells those who wait; whoever was told of a later change stays told.
    pub(super) fn saved(&self, saved: Saved) {
        self.saved.send_if_modified(|before| {
            let is_later = saved.upto >= before.upto;
            if is_later {
                *before = saved;
            }
            is_later
        });
    }

    /// No change will be written down any more: it was deleted, or the server is shutting down.
    pub(super) fn never_saved(&self, failed: Option<AppendError>) {
        self.saved(Saved {
            upto: u64::MAX,
            failed,
        });
    }

    /// Waits until a change is written down.
    pub(super) async fn durable(&self, change: u64) -> Result<(), ConsumerError> {
        let mut saved = self.saved.subscribe();
        let settled = saved.wait_for(|saved| saved.upto >= change).await;
        match settled.map(|saved| saved.failed.clone()) {
            Ok(Some(error)) => Err(error.into()),
            _ if self.lock().deleted => Err(ConsumerError::Unknown(self.name.clone())),
            // The sender is a part of this consumer, so it is there.
            Ok(None) | Err(_) => Ok(()),
        }
    }
}

impl State {
    /// Whether the checkpoint has come further by more than so many positions since it was last taken to be written down.
    pub(super) fn has_come_by(&self, positions: u64) -> bool {
        self.progress.checkpoint().0 > self.taken.0.saturating_add(positions)
    }

    /// Takes note of a change that is to be written down, and numbers it.
    pub(super) fn changed(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }

    /// Takes back what is leased for too long. True when that is to be written down.
    pub(super) fn expire(&mut self, now: Now) -> bool {
        let expired = self.progress.expire(now);
        if expired {
            self.changed();
        }
        expired
    }
}
