//! Where the threads of the aggregates leave answers, and the task of the stream picks them up, many at a time.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

use crate::aggregates::{Answer, CommandError};

use super::window::Place;

/// What became of a command.
pub(super) type Decided = Result<Answer, CommandError>;

/// Answers that have arrived. There are never more than the window has places.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    arrived: Mutex<Vec<(Place, Decided)>>,
    /// Told when there is something where there was nothing.
    pub(super) filled: Notify,
}

impl Mailbox {
    /// Exchanges what has arrived for an empty list.
    pub(super) fn collect(&self, empty: &mut Vec<(Place, Decided)>) {
        debug_assert!(empty.is_empty(), "what it holds would be lost");
        std::mem::swap(
            &mut *self.arrived.lock().unwrap_or_else(PoisonError::into_inner),
            empty,
        );
    }

    fn leave(&self, place: Place, decided: Decided) {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.push((place, decided));
        let is_first = arrived.len() == 1;
        drop(arrived);
        if is_first {
            self.filled.notify_one();
        }
    }
}

/// The right to leave one answer. Lost with a thread that ends, it leaves word of that.
#[derive(Debug)]
pub(super) struct Slip(Option<(Arc<Mailbox>, Place)>);

impl Slip {
    pub(super) fn new(mailbox: &Arc<Mailbox>, place: Place) -> Self {
        Self(Some((Arc::clone(mailbox), place)))
    }

    pub(super) fn answer(mut self, decided: Decided) {
        if let Some((mailbox, place)) = self.0.take() {
            mailbox.leave(place, decided);
        }
    }
}

impl Drop for Slip {
    fn drop(&mut self) {
        if let Some((mailbox, place)) = self.0.take() {
            let lost = CommandError::Unavailable {
                reason: "the server is shutting down".into(),
                retry_after: Duration::from_secs(1),
            };
            mailbox.leave(place, Err(lost));
        }
    }
}
