//! The task of one webhook: it fetches as a member of the consumer, and sends what it is given.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
};

use super::{
    answer::{Failure, Kind},
    breaker::{Fault, Trial, Turn, spread},
    grouping::{Grouped, group},
    message::{Encode, Message},
    receiver::{Ground, Receiver},
    standing::{Record, random},
};
use crate::{
    consumers::{ConsumerError, Consumers, Delivered, Fetch, LeaseId, Mode, Pushed, Refusal, Webhook},
    vocabulary::{Millis, Position},
};

/// The member that fetches for a receiver.
pub(super) const MEMBER: &str = "webhook";
/// Before the store is asked again that has just failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// A consumer with its receiver.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) ground: Arc<Ground>,
    pub(super) consumers: Arc<Consumers>,
    pub(super) encode: Arc<dyn Encode>,
    /// The consumer as it was when this was made.
    pub(super) pushed: Pushed,
    pub(super) webhook: Webhook,
    pub(super) receiver: Receiver,
    pub(super) record: Arc<Record>,
}

/// Requests that are to be sent, each with its place among those under way.
type Sending = Vec<(Vec<Delivered>, Vec<OwnedSemaphorePermit>)>;

impl Sender {
    /// Sends until it is told to stop, and then waits for what is under way.
    pub(super) async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(self.webhook.requests as usize));
        let mut under_way = JoinSet::new();
        let mut last = Position(0);
        loop {
            while under_way.try_join_next().is_some() {}
            let sending = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break,
                // What it leases it returns at once, so nothing is lost when it is left.
                sending = self.next(&places, &mut last) => sending,
            };
            for (events, places) in sending {
                let sender = Arc::clone(&self);
                under_way.spawn(async move {
                    sender.deliver(&events).await;
                    drop(places);
                });
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    /// Waits for a place and for the receiver's turn, and then for events.
    async fn next(&self, places: &Arc<Semaphore>, last: &mut Position) -> Sending {
        let Ok(first) = Arc::clone(places).acquire_owned().await else {
            return Vec::new();
        };
        match self.record.turn() {
            Turn::Go => self.next_many(first, places).await,
            Turn::Probe => self.next_one(first, places, last).await,
            Turn::Wait(millis) => {
                drop(first);
                tokio::time::sleep(Duration::from_millis(millis)).await;
                Vec::new()
            }
        }
    }

    async fn next_many(&self, first: OwnedSemaphorePermit, places: &Arc<Semaphore>) -> Sending {
        let mut free = vec![first];
        while let Ok(place) = Arc::clone(places).try_acquire_owned() {
            free.push(place);
        }
        let most = match self.webhook.mode {
            Mode::Event => free.len(),
            Mode::Batch => self.pushed.definition.batch as usize,
        };
        let delivered = self
            .fetched(
                self.consumers
                    .fetch(&self.pushed.name, &self.fetch(Some(most)))
                    .await,
            )
            .await;
        if self.record.turn() != Turn::Go {
            // The receiver has failed while this was waited for.
            self.release(&leases(&delivered));
            return Vec::new();
        }
        let Grouped { requests, spare } = group(
            delivered,
            self.webhook.mode,
            free.len(),
            self.ground.limits.webhook_batch_bytes,
            |event| self.record.suspects(event),
        );
        if !spare.is_empty() {
            self.release(&spare);
        }
        requests
            .into_iter()
            .zip(free.into_iter().map(|place| vec![place]))
            .collect()
    }

    /// One event, to see whether the receiver is back; another one each time, since it may be the event that fails. It
    /// takes all places, so that nothing else is sent meanwhile.
    async fn next_one(
        &self,
        first: OwnedSemaphorePermit,
        places: &Arc<Semaphore>,
        last: &mut Position,
    ) -> Sending {
        let mut all = vec![first];
        let others = self.webhook.requests.saturating_sub(1);
        if others > 0 {
            match Arc::clone(places).acquire_many_owned(others).await {
                Ok(others) => all.push(others),
                Err(_) => return Vec::new(),
            }
        }
        if self.record.turn() != Turn::Probe {
            // One that was under way has answered.
            return Vec::new();
        }
        let fetched = self
            .consumers
            .fetch_after(&self.pushed.name, &self.fetch(None), *last)
            .await;
        let delivered = self.fetched(fetched).await;
        let Some(one) = delivered.first() else {
            return Vec::new();
        };
        *last = one.lease.position;
        self.record.probing();
        vec![(delivered, all)]
    }

    fn fetch(&self, most: Option<usize>) -> Fetch {
        Fetch {
            member: MEMBER.to_owned(),
            most,
            wait: self.ground.limits.consumer_wait,
        }
    }

    async fn fetched(&self, fetched: Result<Vec<Delivered>, ConsumerError>) -> Vec<Delivered> {
        match fetched {
            Ok(delivered) => delivered,
            Err(error) => {
                // One that is deleted, and the end of the server, are told by other means as well.
                if !matches!(error, ConsumerError::Unknown(_) | ConsumerError::Closing) {
                    tracing::warn!(consumer = %self.pushed.name, %error, "a webhook cannot fetch");
                    self.record.note(&error.to_string(), self.ground.clock.now());
                }
                tokio::time::sleep(STORE_PAUSE).await;
                Vec::new()
            }
        }
    }

    async fn deliver(&self, events: &[Delivered]) {
        let leases = leases(events);
        let outcome = match self.consumers.secrets(&self.pushed.name) {
            Ok(Some(secrets)) => {
                let now = self.ground.clock.now();
                let message = Message::of(events, self.webhook.mode, &*self.encode, &secrets, now);
                self.receiver.post(&message).await
            }
            // It was changed or deleted meanwhile.
            Ok(None) | Err(_) => return self.release(&leases),
        };
        match outcome {
            Ok(()) => self.taken(events, &leases).await,
            Err(failure) => self.failed(events, &leases, failure).await,
        }
    }

    async fn taken(&self, events: &[Delivered], leases: &[LeaseId]) {
        self.record.succeeded(&positions(events), self.ground.clock.now());
        let acked = self.consumers.ack(&self.pushed.name, MEMBER, leases).await;
        self.settled("acknowledge", acked.map(drop));
    }

    async fn failed(&self, events: &[Delivered], leases: &[LeaseId], failure: Failure) {
        let wall = self.ground.clock.now();
        let attempt = events.first().map_or(1, |event| event.lease.attempt);
        let Failure { reason, kind } = failure;
        tracing::debug!(consumer = %self.pushed.name, reason, "a webhook's request failed");
        let fault = match kind {
            Kind::Gone => return self.gone(leases, reason, wall).await,
            Kind::Wait(wait) => {
                let wait = wait.min(self.ground.limits.webhook_retry_after);
                self.record.told_to_wait(wait, &reason, wall);
                return self.release(leases);
            }
            Kind::Again => Fault::Receiver,
            Kind::Refused => Fault::Events {
                is_first: self.is_refused_first(events.len(), attempt),
            },
        };
        let trial = Trial {
            events: &positions(events),
            attempt,
            attempts: self.pushed.definition.retry.attempts,
        };
        if !self.record.failed(fault, trial, &reason, wall) {
            return self.release(leases);
        }
        let refusal = Refusal {
            reason,
            delay_ms: Some(spread(self.pushed.definition.retry.pause_ms(attempt), random())),
            park: false,
        };
        let nacked = self
            .consumers
            .nack(&self.pushed.name, MEMBER, leases, &refusal)
            .await;
        self.settled("refuse", nacked.map(drop));
    }

    /// Whether an event is refused by itself for the first time. What was refused together is sent apart at the next attempt.
    fn is_refused_first(&self, events: usize, attempt: u32) -> bool {
        let first = match self.webhook.mode {
            Mode::Event => 1,
            Mode::Batch => 2,
        };
        events == 1 && attempt <= first
    }

    /// The receiver wants nothing any more: the consumer is paused.
    async fn gone(&self, leases: &[LeaseId], reason: String, wall: Millis) {
        // That is no answer for a receiver to be back. If the pause cannot be written down, it is asked for again with the next
        // request: not at once.
        self.record.told_to_wait(Duration::ZERO, &reason, wall);
        let (consumers, pushed, because) = (Arc::clone(&self.consumers), self.pushed.clone(), reason);
        let paused = tokio::task::spawn_blocking(move || consumers.pause_because(&pushed, because)).await;
        if let Ok(paused) = paused {
            self.settled("pause", paused);
        }
        self.release(leases);
    }

    fn release(&self, leases: &[LeaseId]) {
        let released = self.consumers.release(&self.pushed.name, MEMBER, leases);
        self.settled("give back", released.map(drop));
    }

    /// What is not settled is delivered again when its lease ends.
    fn settled(&self, what: &'static str, settled: Result<(), ConsumerError>) {
        match settled {
            Ok(()) | Err(ConsumerError::Unknown(_)) => {}
            Err(error) => tracing::warn!(consumer = %self.pushed.name, %error, "a webhook cannot {what}"),
        }
    }
}

fn leases(events: &[Delivered]) -> Vec<LeaseId> {
    events.iter().map(|event| event.lease).collect()
}

fn positions(events: &[Delivered]) -> Vec<Position> {
    events.iter().map(|event| event.lease.position).collect()
}
