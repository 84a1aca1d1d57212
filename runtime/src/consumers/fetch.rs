//! Delivering: leasing, and taking back what members say.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::vocabulary::{ConsumerName, Millis, Position};

use super::{
    consumer::Consumer,
    error::ConsumerError,
    lease::{LeaseId, LeaseRefused},
    progress::{Delivered, Now, Progress, Refusal},
    service::Consumers,
};

/// How long a fetch looks for the first wanted event although it does not wait for one to be committed.
const SEARCH: Duration = Duration::from_millis(200);

/// What a member asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// Who asks; leases belong to it.
    pub member: String,
    /// Most events; none for the consumer's batch.
    pub most: Option<usize>,
    /// How long to wait for the first one.
    pub wait: Duration,
}

/// What came of acknowledging, refusing or extending leases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// Leases for which it was done.
    pub done: u64,
    /// Leases for which it had been done before, of which the member may not have heard.
    pub already: u64,
    /// The others.
    pub refused: Vec<(LeaseId, LeaseRefused)>,
}

/// What was found at one look.
struct Leased {
    delivered: Vec<Delivered>,
    /// Whether leases had run out, which may have made room for more.
    expired: bool,
    /// When something more comes by itself, by the steady clock. It is of the same look: else somebody could make ready in
    /// between what this one would then sleep beside.
    due: Option<Millis>,
}

impl Consumers {
    /// Leases events to a member, waiting for the first one.
    ///
    /// # Errors
    /// [`ConsumerError`].
    pub async fn fetch(&self, name: &ConsumerName, fetch: &Fetch) -> Result<Vec<Delivered>, ConsumerError> {
        self.fetch_by(name, fetch, None).await
    }

    /// Leases at most one event to a member: the first that can be delivered after a position, or else the first of all.
    ///
    /// # Errors
    /// [`ConsumerError`].
    pub async fn fetch_after(
        &self,
        name: &ConsumerName,
        fetch: &Fetch,
        after: Position,
    ) -> Result<Vec<Delivered>, ConsumerError> {
        self.fetch_by(name, fetch, Some(after)).await
    }

    async fn fetch_by(
        &self,
        name: &ConsumerName,
        fetch: &Fetch,
        after: Option<Position>,
    ) -> Result<Vec<Delivered>, ConsumerError> {
        let begun = Instant::now();
        let consumer = self.find(name)?;
        loop {
            // From here on every change is noticed, also one that comes before the wait.
            let mut wakes = consumer.wakes();
            let last = self.store.last_position();
            let read = self.read_ahead(&consumer, fetch.most, last).await?;
            let leased = self.lease(&consumer, fetch, after)?;
            if !leased.delivered.is_empty() {
                return Ok(leased.delivered);
            }
            if (read || leased.expired) && begun.elapsed() < fetch.wait.max(SEARCH) {
                // It came past events that nobody wants, somebody else took what was ready, or there is room again; there are more.
                continue;
            }
            let left = fetch.wait.saturating_sub(begun.elapsed());
            if left.is_zero() {
                return Ok(Vec::new());
            }
            let due = leased
                .due
                .map(|due| Duration::from_millis(due.saturating_sub(self.now().steady)));
            let open = tokio::select! {
                open = self.bus.moved(last) => open,
                woken = wakes.changed() => woken.is_ok(),
                () = tokio::time::sleep(due.map_or(left, |due| due.min(left))) => true,
            };
            if !open {
                return Err(ConsumerError::Closing);
            }
        }
    }

    /// Leases what is ready.
    fn lease(
        &self,
        consumer: &Arc<Consumer>,
        fetch: &Fetch,
        after: Option<Position>,
    ) -> Result<Leased, ConsumerError> {
        let now = self.now();
        let mut state = consumer.lock();
        if state.deleted {
            return Err(ConsumerError::Unknown(consumer.name.clone()));
        }
        let expired = state.expire(now);
        let most = most_of(fetch.most, &state.progress);
        let delivered = if state.described.paused {
            Vec::new()
        } else {
            match after {
                Some(after) => state
                    .progress
                    .lease_after(&fetch.member, after, now)
                    .into_iter()
                    .collect(),
                None => state.progress.lease(&fetch.member, most, now),
            }
        };
        let due = state.progress.next_due();
        drop(state);
        if expired {
            self.keep(consumer);
        }
        Ok(Leased {
            delivered,
            expired,
            due,
        })
    }

    /// Acknowledges leases. What is acknowledged when this returns stays so.
    ///
    /// # Errors
    /// [`ConsumerError`]; `NotWritten` when it may be forgotten again: acknowledge again.
    pub async fn ack(
        &self,
        name: &ConsumerName,
        member: &str,
        leases: &[LeaseId],
    ) -> Result<Settled, ConsumerError> {
        self.settle(name, leases, |progress, lease, now| {
            progress.ack(lease, member, now)
        })
        .await
    }

    /// Gives leases back: their events are delivered again after a pause, or parked.
    ///
    /// # Errors
    /// As for [`Self::ack`].
    pub async fn nack(
        &self,
        name: &ConsumerName,
        member: &str,
        leases: &[LeaseId],
        refusal: &Refusal,
    ) -> Result<Settled, ConsumerError> {
        self.settle(name, leases, |progress, lease, now| {
            progress.nack(lease, member, refusal, now)
        })
        .await
    }

    /// Gives leases the whole time again. Nothing of it is written down.
    ///
    /// # Errors
    /// [`ConsumerError::Unknown`].
    pub fn extend(
        &self,
        name: &ConsumerName,
        member: &str,
        leases: &[LeaseId],
    ) -> Result<Settled, ConsumerError> {
        let consumer = self.find(name)?;
        let now = self.now();
        let mut state = consumer.lock();
        let expired = state.expire(now);
        let mut settled = Settled::default();
        for lease in leases {
            settled.note(*lease, state.progress.extend(*lease, member, now).map(|()| true));
        }
        drop(state);
        if expired {
            consumer.wake();
            self.keep(&consumer);
        }
        Ok(settled)
    }

    async fn settle(
        &self,
        name: &ConsumerName,
        leases: &[LeaseId],
        mut end: impl FnMut(&mut Progress, LeaseId, Now) -> Result<bool, LeaseRefused>,
    ) -> Result<Settled, ConsumerError> {
        let consumer = self.find(name)?;
        let now = self.now();
        let mut settled = Settled::default();
        let (expired, change) = {
            let mut state = consumer.lock();
            let expired = state.expire(now);
            for lease in leases {
                settled.note(*lease, end(&mut state.progress, *lease, now));
            }
            // Also what was acknowledged before may not have been written down.
            let is_told = settled.done + settled.already > 0;
            (expired, is_told.then(|| state.changed()))
        };
        if expired || change.is_some() {
            consumer.wake();
            self.keep(&consumer);
        }
        if let Some(change) = change {
            consumer.durable(change).await?;
        }
        Ok(settled)
    }
}

impl Settled {
    pub(super) fn note(&mut self, lease: LeaseId, ended: Result<bool, LeaseRefused>) {
        match ended {
            Ok(true) => self.done += 1,
            Ok(false) => self.already += 1,
            Err(refused) => self.refused.push((lease, refused)),
        }
    }
}

pub(super) fn most_of(asked: Option<usize>, progress: &Progress) -> usize {
    asked.unwrap_or(progress.rules().batch as usize)
}
