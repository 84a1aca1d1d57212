//! Where a consumer's events are posted to.

use serde::{Deserialize, Serialize};

use super::definition::OutOfBounds;
use crate::vocabulary::Millis;

/// The longest URL, bytes.
const URL_BYTES: usize = 2_048;

/// What one request carries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One event, as a structured CloudEvent.
    #[default]
    Event,
    /// A batch of CloudEvents.
    Batch,
}

/// A consumer's webhook. Its secret is kept elsewhere, since a definition is an event that others can read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// The receiver.
    pub url: String,
    /// What one request carries.
    pub mode: Mode,
    /// Time for one request from its beginning to the head of its answer, milliseconds.
    pub timeout_ms: Millis,
    /// Requests that may be under way at a time.
    pub requests: u32,
}

impl Webhook {
    /// The longest time for one request, milliseconds: a receiver that works for longer takes the event and works on.
    pub const TIMEOUT_MS_MAX: Millis = 120_000;

    /// A webhook with everything but its URL left at its default.
    #[must_use]
    pub fn to(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            mode: Mode::default(),
            timeout_ms: 10_000,
            requests: 8,
        }
    }

    /// The same with no more time for a request than there may be where an event is to be acknowledged within a deadline.
    #[must_use]
    pub fn within(self, deadline_ms: Millis) -> Self {
        Self {
            timeout_ms: self.timeout_ms.min(longest_ms(deadline_ms)).max(1),
            ..self
        }
    }

    /// Checks every number. `deadline_ms` is the time within which an event is to be acknowledged, of which a request takes
    /// three quarters at most, and `requests` the most requests of one webhook.
    pub(super) fn check(&self, deadline_ms: Millis, requests: u32) -> Result<(), OutOfBounds> {
        for (name, found, least, most) in [
            ("webhook.url (bytes)", self.url.len() as u64, 1, URL_BYTES as u64),
            (
                "webhook.requests",
                u64::from(self.requests),
                1,
                u64::from(requests),
            ),
            ("webhook.timeout_ms", self.timeout_ms, 1, longest_ms(deadline_ms)),
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

fn longest_ms(deadline_ms: Millis) -> Millis {
    Webhook::TIMEOUT_MS_MAX.min(deadline_ms - deadline_ms / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_bounds_are_named() {
        let usual = Webhook::to("https://example.com/");
        usual.check(30_000, 64).unwrap();
        let slow = Webhook {
            timeout_ms: 22_501,
            ..usual.clone()
        };
        let message = slow.check(30_000, 64).unwrap_err().to_string();
        assert_eq!(
            message,
            "`webhook.timeout_ms` is 22501; it must be from 1 to 22500"
        );
        let many = Webhook {
            requests: 65,
            ..usual
        };
        let message = many.check(30_000, 64).unwrap_err().to_string();
        assert_eq!(message, "`webhook.requests` is 65; it must be from 1 to 64");
    }
}
