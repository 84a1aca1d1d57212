//! What a consumer is asked to be.

use serde::{Deserialize, Serialize};

use super::webhook::Webhook;
use crate::{
    store::FeedFilter,
    vocabulary::{Millis, Position},
};

/// Largest values of a definition, each with its reason.
pub mod most {
    use super::Millis;

    /// Events in one batch: one answer is built in memory.
    pub const BATCH: u32 = 1_000;
    /// Leases that are out at a time: each event is held in memory.
    pub const CONCURRENCY: u32 = 10_000;
    /// Time for an acknowledgement, milliseconds: a member that died is noticed within it.
    pub const ACK_DEADLINE_MS: Millis = 3_600_000;
    /// Attempts before an event is parked.
    pub const ATTEMPTS: u32 = 1_000;
    /// Pause between two attempts, milliseconds.
    pub const PAUSE_MS: Millis = 86_400_000;
}

/// Which events wait for each other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// An aggregate's next event is not delivered before its previous one is acknowledged or parked.
    #[default]
    Aggregate,
    /// None: each event is by itself.
    None,
}

/// What happens after an attempt that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retry {
    /// Attempts before the event is parked, the first one included.
    pub attempts: u32,
    /// Pause after the first attempt that a member refused, milliseconds; it doubles with each further one.
    pub first_pause_ms: Millis,
    /// The longest pause, milliseconds.
    pub longest_pause_ms: Millis,
}

impl Retry {
    /// The pause after so many attempts that failed.
    #[must_use]
    pub fn pause_ms(&self, attempts: u32) -> Millis {
        let doublings = attempts.saturating_sub(1).min(62);
        self.first_pause_ms
            .saturating_mul(1 << doublings)
            .min(self.longest_pause_ms)
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_pause_ms: 1_000,
            longest_pause_ms: 60_000,
        }
    }
}

/// How a consumer reads the feed and what it promises its members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// Which events it wants.
    pub filter: FeedFilter,
    /// Events in one batch, when a member does not say.
    pub batch: u32,
    /// Time within which a delivered event is to be acknowledged, milliseconds.
    pub ack_deadline_ms: Millis,
    /// What happens after an attempt that failed.
    pub retry: Retry,
    /// Leases that may be out at a time, over all members.
    pub concurrency: u32,
    /// Which events wait for each other.
    pub ordering: Order,
    /// Where events are posted to; none when members fetch them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

impl Default for Definition {
    fn default() -> Self {
        Self {
            filter: FeedFilter::default(),
            batch: 100,
            ack_deadline_ms: 30_000,
            retry: Retry::default(),
            concurrency: 1_000,
            ordering: Order::default(),
            webhook: None,
        }
    }
}

/// A value of a definition that is out of bounds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is {found}; it must be from {least} to {most}")]
pub struct OutOfBounds {
    /// Which value.
    pub name: &'static str,
    /// What was asked for.
    pub found: u64,
    /// The smallest that is taken.
    pub least: u64,
    /// The largest that is taken.
    pub most: u64,
}

impl Definition {
    /// Checks every value.
    ///
    /// # Errors
    /// [`OutOfBounds`] names the first one that is not within its bounds.
    pub fn check(&self) -> Result<(), OutOfBounds> {
        for (name, found, least, most) in [
            ("batch", u64::from(self.batch), 1, u64::from(most::BATCH)),
            ("ack_deadline_ms", self.ack_deadline_ms, 1, most::ACK_DEADLINE_MS),
            (
                "retry.attempts",
                u64::from(self.retry.attempts),
                1,
                u64::from(most::ATTEMPTS),
            ),
            (
                "retry.first_pause_ms",
                self.retry.first_pause_ms,
                0,
                most::PAUSE_MS,
            ),
            (
                "retry.longest_pause_ms",
                self.retry.longest_pause_ms,
                self.retry.first_pause_ms,
                most::PAUSE_MS,
            ),
            (
                "concurrency",
                u64::from(self.concurrency),
                1,
                u64::from(most::CONCURRENCY),
            ),
        ] {
            if !(least..=most).contains(&found) {
                return Err(OutOfBounds {
                    name,
                    found,
                    least,
                    most,
                });
            }
        }
        Ok(())
    }
}

/// Where a consumer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the first event of the log.
    Beginning,
    /// With what is committed from now on.
    Now,
    /// After a position.
    After(Position),
    /// With what was recorded at this time or later.
    Time(Millis),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retry = Retry {
            attempts: 10,
            first_pause_ms: 100,
            longest_pause_ms: 1_000,
        };
        let pauses: Vec<Millis> = [1, 2, 3, 4, 5, 200]
            .map(|attempts| retry.pause_ms(attempts))
            .into();
        assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000]);
    }

    #[test]
    fn values_out_of_bounds_are_named() {
        Definition::default().check().unwrap();
        let definition = |change: fn(&mut Definition)| {
            let mut definition = Definition::default();
            change(&mut definition);
            definition.check().unwrap_err().to_string()
        };
        let message = definition(|definition| definition.batch = 0);
        assert_eq!(message, "`batch` is 0; it must be from 1 to 1000");
        let message = definition(|definition| definition.retry.longest_pause_ms = 1);
        assert_eq!(
            message,
            "`retry.longest_pause_ms` is 1; it must be from 1000 to 86400000"
        );
    }
}
