//! Which webhooks are sent to: as many tasks as there are consumers with one, told anew with each change.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use super::{
    allowed::{Allowed, Refused},
    message::Encode,
    receiver::{Ground, Receiver, Tls},
    sender::Sender,
    standing::{Record, Standing},
};
use crate::{
    consumers::{Consumers, Pushed, Webhook},
    vocabulary::{Clock, ConsumerName, Limits},
};

/// Before a task that has panicked is started again.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

/// Held by the task of a consumer for as long as it has requests under way.
type Place = Arc<tokio::sync::Mutex<()>>;

/// The handle to all webhooks.
pub struct Webhooks {
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    ground: Arc<Ground>,
    consumers: Arc<Consumers>,
    encode: Arc<dyn Encode>,
    records: Mutex<BTreeMap<ConsumerName, (String, Arc<Record>)>>,
}

impl Webhooks {
    /// Nothing is sent yet.
    #[must_use]
    pub fn open(
        consumers: &Arc<Consumers>,
        encode: Arc<dyn Encode>,
        allowed: Allowed,
        clock: &Arc<dyn Clock>,
        limits: &Arc<Limits>,
    ) -> Self {
        let ground = Ground {
            allowed,
            limits: Arc::clone(limits),
            clock: Arc::clone(clock),
            tls: Tls::default(),
        };
        let shared = Arc::new(Shared {
            ground: Arc::new(ground),
            consumers: Arc::clone(consumers),
            encode,
            records: Mutex::default(),
        });
        Self {
            shared,
            stop: watch::Sender::new(false),
            supervisor: Mutex::default(),
        }
    }

    /// Sends to every webhook that there is and will be, until [`Self::stop`]. Call it once, from within a tokio runtime.
    pub fn start(&self) {
        let supervisor = tokio::spawn(supervise(Arc::clone(&self.shared), self.stop.subscribe()));
        *self.supervisor.lock().unwrap_or_else(PoisonError::into_inner) = Some(supervisor);
    }

    /// Whether a webhook may be sent to, as far as its URL tells.
    ///
    /// # Errors
    /// [`Refused`].
    pub fn check(&self, webhook: &Webhook) -> Result<(), Refused> {
        self.shared.ground.allowed.check(&webhook.url).map(drop)
    }

    /// How a consumer's webhook stands.
    #[must_use]
    pub fn standing(&self, name: &ConsumerName, webhook: &Webhook) -> Standing {
        if let Err(refused) = self.check(webhook) {
            return Standing::off(format!("{refused}: {}", refused.fix()));
        }
        if let Some((url, record)) = self.shared.records().get(name)
            && *url == webhook.url
        {
            return record.standing();
        }
        match self.shared.consumers.secrets(name) {
            // Whoever sends to it has not got to it yet.
            Ok(Some(_)) => Record::new(&self.shared.ground.limits).standing(),
            Ok(None) | Err(_) => Standing::off("it has no secret: POST to its `webhook/secret`".to_owned()),
        }
    }

    /// Sends nothing any more, and waits for what is under way, for as long as a shutdown may take.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let supervisor = self
            .supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(supervisor) = supervisor
            && let Err(error) = supervisor.await
        {
            tracing::error!(%error, "the webhooks ended unexpectedly");
        }
    }
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks")
            .field("ground", &self.shared.ground)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn records(&self) -> MutexGuard<'_, BTreeMap<ConsumerName, (String, Arc<Record>)>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a webhook; of another receiver nothing is.
    fn record(&self, name: &ConsumerName, url: &str) -> Arc<Record> {
        let mut records = self.records();
        if let Some((known, record)) = records.get(name)
            && known == url
        {
            return Arc::clone(record);
        }
        let record = Arc::new(Record::new(&self.ground.limits));
        records.insert(name.clone(), (url.to_owned(), Arc::clone(&record)));
        record
    }

    /// The task of a webhook; none when it may not be sent to.
    fn sender(&self, pushed: &Pushed) -> Option<Sender> {
        let webhook = pushed.definition.webhook.clone()?;
        let record = self.record(&pushed.name, &webhook.url);
        if pushed.paused {
            return None;
        }
        let target = match self.ground.allowed.check(&webhook.url) {
            Ok(target) => target,
            Err(refused) => {
                tracing::warn!(consumer = %pushed.name, %refused, fix = refused.fix(), "a webhook is not sent to");
                return None;
            }
        };
        Some(Sender {
            ground: Arc::clone(&self.ground),
            consumers: Arc::clone(&self.consumers),
            encode: Arc::clone(&self.encode),
            pushed: pushed.clone(),
            receiver: Receiver::new(&self.ground, target, Duration::from_millis(webhook.timeout_ms)),
            webhook,
            record,
        })
    }
}

async fn supervise(shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let mut turns = shared.consumers.turns();
    let mut known: BTreeMap<ConsumerName, (Pushed, watch::Sender<bool>)> = BTreeMap::new();
    let mut places: BTreeMap<ConsumerName, Place> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        turns.mark_unchanged();
        while tasks.try_join_next().is_some() {}
        let mut wanted: BTreeMap<ConsumerName, Pushed> = shared
            .consumers
            .pushed()
            .into_iter()
            .map(|pushed| (pushed.name.clone(), pushed))
            .collect();
        shared.records().retain(|name, _| wanted.contains_key(name));
        known.retain(|name, (pushed, stop)| {
            let stays = wanted.get(name) == Some(&*pushed);
            if !stays {
                stop.send_replace(true);
            }
            stays
        });
        places.retain(|name, place| wanted.contains_key(name) || Arc::strong_count(place) > 1);
        wanted.retain(|name, _| !known.contains_key(name));
        for (name, pushed) in wanted {
            let stop = watch::Sender::new(false);
            if let Some(sender) = shared.sender(&pushed) {
                let place = Arc::clone(places.entry(name.clone()).or_default());
                tasks.spawn(keep_running(Arc::new(sender), place, stop.subscribe()));
            }
            known.insert(name, (pushed, stop));
        }
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            changed = turns.changed() => if changed.is_err() { break },
        }
    }
    for (_, stop) in known.values() {
        stop.send_replace(true);
    }
    let ended = timeout(shared.ground.limits.shutdown, async {
        while tasks.join_next().await.is_some() {}
    });
    if ended.await.is_err() {
        tracing::warn!("webhooks that did not answer are left: their events are sent again after the start");
    }
}

/// Runs a task to its end, again after a panic, and not before the one that was there before it has ended: together they
/// would have more requests under way than one may.
async fn keep_running(sender: Arc<Sender>, place: Place, mut stop: watch::Receiver<bool>) {
    let _place = tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => return,
        place = place.lock_owned() => place,
    };
    // Whoever changes or resumes it wants it to be tried.
    sender.record.begin_anew(&sender.ground.limits);
    loop {
        let mut running = JoinSet::new();
        running.spawn(Arc::clone(&sender).run(stop.clone()));
        match running.join_next().await {
            Some(Err(error)) if error.is_panic() => {
                tracing::error!(consumer = %sender.pushed.name, %error, "a webhook's task panicked");
                tokio::time::sleep(PANIC_PAUSE).await;
            }
            _ => return,
        }
    }
}
