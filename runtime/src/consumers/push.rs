//! What webhooks need of consumers: to be told which there are, what they sign with, and to give back what they could not
//! send.

#[cfg(test)]
mod tests;

use tokio::sync::watch;

use super::{
    consumer::Consumer,
    definition::Definition,
    error::ConsumerError,
    fetch::Settled,
    journal::Change,
    keeper,
    lease::LeaseId,
    secret::{Secret, Secrets},
    service::Consumers,
};
use crate::vocabulary::ConsumerName;

/// A consumer with a webhook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// Its name.
    pub name: ConsumerName,
    /// What it was asked to be.
    pub definition: Definition,
    /// Whether it delivers nothing at the moment.
    pub paused: bool,
    /// Another number whenever somebody has resumed it, paused or not, or given it another secret: its receiver is then to
    /// be tried at once.
    pub wishes: u64,
}

impl Consumers {
    /// Changes with each change of what consumers are.
    #[must_use]
    pub fn turns(&self) -> watch::Receiver<u64> {
        self.turns.subscribe()
    }

    pub(super) fn turned(&self) {
        self.turns.send_modify(|turn| *turn = turn.wrapping_add(1));
    }

    /// Every consumer with a webhook and a secret for it.
    #[must_use]
    pub fn pushed(&self) -> Vec<Pushed> {
        let found = self.names().into_iter().filter_map(|name| self.find(&name).ok());
        let pushed = found.filter_map(|consumer| {
            let state = consumer.lock();
            let is_pushed =
                state.described.definition.webhook.is_some() && state.secrets.is_some() && !state.deleted;
            is_pushed.then(|| Pushed {
                name: consumer.name.clone(),
                definition: state.described.definition.clone(),
                paused: state.described.paused,
                wishes: state.wishes,
            })
        });
        pushed.collect()
    }

    /// What a consumer's webhook signs with; none when it has no webhook.
    ///
    /// # Errors
    /// [`ConsumerError::Unknown`].
    pub fn secrets(&self, name: &ConsumerName) -> Result<Option<Secrets>, ConsumerError> {
        Ok(self.find(name)?.lock().secrets.clone())
    }

    /// Puts another secret in force, the given one or a new one; the one before signs beside it for a while. It blocks.
    ///
    /// # Errors
    /// [`ConsumerError`].
    pub fn rotate_secret(&self, name: &ConsumerName, given: Option<Secret>) -> Result<Secret, ConsumerError> {
        let _changing = self.change();
        let consumer = self.find(name)?;
        if consumer.lock().described.definition.webhook.is_none() {
            return Err(ConsumerError::NoWebhook(name.clone()));
        }
        let secret = given.map_or_else(drawn, Ok)?;
        let before = consumer.lock().secrets.clone();
        let secrets = self.succeeding(before, secret.clone());
        self.store
            .save_consumers(&[keeper::secrets_row(name, Some(&secrets))])?;
        self.put_in_force(name, Some(secrets))?;
        self.turned();
        Ok(secret)
    }

    /// Makes sure that a webhook's secret is kept before the webhook is there. Gives those in force from then on, and the
    /// one that was made for it.
    pub(super) fn secrets_for(
        &self,
        name: &ConsumerName,
        known: Option<&Consumer>,
        definition: &Definition,
        given: Option<Secret>,
    ) -> Result<(Option<Secrets>, Option<Secret>), ConsumerError> {
        let Some(webhook) = &definition.webhook else {
            return Ok((None, None));
        };
        let requests = u32::try_from(self.limits.webhook_requests).unwrap_or(u32::MAX);
        webhook.check(definition.ack_deadline_ms, requests)?;
        let others = self.pushed().iter().filter(|pushed| pushed.name != *name).count();
        if others >= self.limits.webhooks {
            return Err(ConsumerError::TooManyWebhooks {
                limit: self.limits.webhooks,
            });
        }
        let before = known.and_then(|consumer| consumer.lock().secrets.clone());
        let (secrets, made) = match (&before, given) {
            (Some(_), None) => return Ok((before, None)),
            (_, Some(given)) => (self.succeeding(before.clone(), given), None),
            (None, None) => {
                let made = drawn()?;
                (Secrets::new(made.clone()), Some(made))
            }
        };
        if before.as_ref() != Some(&secrets) {
            self.store
                .save_consumers(&[keeper::secrets_row(name, Some(&secrets))])?;
        }
        Ok((Some(secrets), made))
    }

    /// The webhook that these were kept for did not come to be: those of before are kept again.
    pub(super) fn put_back(&self, name: &ConsumerName, known: Option<&Consumer>, kept: Option<&Secrets>) {
        let before = known.and_then(|consumer| consumer.lock().secrets.clone());
        if kept.is_none() || kept == before.as_ref() {
            return;
        }
        let row = keeper::secrets_row(name, before.as_ref());
        if let Err(error) = self.store.save_consumers(&[row]) {
            tracing::warn!(%error, consumer = %name, "the secret of a webhook that was not taken stays where it is kept");
        }
    }

    /// From now on these sign; with none, what was kept is taken away.
    pub(super) fn put_in_force(
        &self,
        name: &ConsumerName,
        secrets: Option<Secrets>,
    ) -> Result<(), ConsumerError> {
        let consumer = self.find(name)?;
        let mut state = consumer.lock();
        let has_ended = secrets.is_none() && state.secrets.is_some();
        if state.secrets != secrets {
            state.secrets = secrets;
            state.wishes = state.wishes.wrapping_add(1);
        }
        drop(state);
        if has_ended && let Err(error) = self.store.save_consumers(&[keeper::secrets_row(name, None)]) {
            tracing::warn!(%error, consumer = %name, "the secret of a webhook that is no more stays where it is kept");
        }
        Ok(())
    }

    fn succeeding(&self, before: Option<Secrets>, secret: Secret) -> Secrets {
        let overlap = u64::try_from(self.limits.webhook_secret_overlap.as_millis()).unwrap_or(u64::MAX);
        let until = self.clock.now().saturating_add(overlap);
        match before {
            Some(before) => before.rotated(secret, until),
            None => Secrets::new(secret),
        }
    }

    /// Gives leases back as if they had not been given out: their events can be delivered again at once, and no attempt is
    /// counted. Nothing of it is written down.
    ///
    /// # Errors
    /// [`ConsumerError::Unknown`].
    pub fn release(
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
            settled.note(*lease, state.progress.release(*lease, member, now).map(|()| true));
        }
        drop(state);
        consumer.wake();
        if expired {
            self.keep(&consumer);
        }
        Ok(settled)
    }

    /// Stops delivering, or goes on. What is leased can be acknowledged meanwhile. Going on has the receiver of a webhook
    /// tried at once, also when nothing was paused. It blocks.
    ///
    /// # Errors
    /// [`ConsumerError`].
    pub fn pause(&self, name: &ConsumerName, paused: bool) -> Result<(), ConsumerError> {
        let _changing = self.change();
        let consumer = self.find(name)?;
        self.set_paused(&consumer, paused, None)?;
        if !paused {
            let mut state = consumer.lock();
            state.wishes = state.wishes.wrapping_add(1);
        }
        self.turned();
        Ok(())
    }

    /// Stops delivering, although nobody asked for it, if the consumer is still the one that this is about: of a receiver
    /// that was left, or of a time before somebody looked at it, nothing follows. It blocks.
    ///
    /// # Errors
    /// [`ConsumerError`].
    pub fn pause_because(&self, pushed: &Pushed, reason: String) -> Result<(), ConsumerError> {
        let _changing = self.change();
        let consumer = self.find(&pushed.name)?;
        let state = consumer.lock();
        let is_same =
            state.wishes == pushed.wishes && state.described.definition.webhook == pushed.definition.webhook;
        drop(state);
        if is_same {
            self.set_paused(&consumer, true, Some(reason))?;
            self.turned();
        }
        Ok(())
    }

    /// To be called by whoever may change something, and tells of it.
    fn set_paused(
        &self,
        consumer: &Consumer,
        paused: bool,
        paused_because: Option<String>,
    ) -> Result<(), ConsumerError> {
        let mut described = consumer.lock().described.clone();
        if described.paused == paused {
            return Ok(());
        }
        described.paused = paused;
        described.paused_because = paused_because;
        let change = if paused { Change::Paused } else { Change::Resumed };
        let changed_at = self.record(&consumer.name, change, &described)?;
        let mut state = consumer.lock();
        state.described = described;
        state.changed_at = changed_at;
        drop(state);
        consumer.wake();
        Ok(())
    }
}

fn drawn() -> Result<Secret, ConsumerError> {
    Secret::draw().map_err(|error| ConsumerError::NoSecret {
        reason: error.to_string(),
    })
}
