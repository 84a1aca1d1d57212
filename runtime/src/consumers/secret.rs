//! Secrets that webhooks are signed with. They are kept beside a consumer's progress, not in its definition, which is an
//! event and can be read in the feed.

use std::{fmt, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::vocabulary::Millis;

const PREFIX: &str = "whsec_";
/// What Standard Webhooks asks for, bytes.
const BYTES: std::ops::RangeInclusive<usize> = 24..=64;
/// Size of the secrets that the server makes, bytes.
const MADE_BYTES: usize = 32;

/// A key for signatures, as Standard Webhooks writes it: `whsec_` and base64. It does not show itself in logs.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret(Vec<u8>);

/// A text that is not a secret. It is not repeated: it may nearly be one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the secret of the webhook is not `whsec_` followed by 24 to 64 bytes in base64")]
pub struct NotASecret;

impl Secret {
    /// A new one, from the operating system's randomness.
    ///
    /// # Errors
    /// When there is none.
    pub fn draw() -> std::io::Result<Self> {
        let mut bytes = vec![0; MADE_BYTES];
        getrandom::fill(&mut bytes).map_err(std::io::Error::other)?;
        Ok(Self(bytes))
    }

    /// The key.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The text that its receiver is given.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }
}

impl FromStr for Secret {
    type Err = NotASecret;

    fn from_str(text: &str) -> Result<Self, NotASecret> {
        let digits = text.strip_prefix(PREFIX).ok_or(NotASecret)?;
        let bytes = STANDARD.decode(digits).map_err(|_| NotASecret)?;
        if BYTES.contains(&bytes.len()) {
            Ok(Self(bytes))
        } else {
            Err(NotASecret)
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// The secret in force, and the one before it while receivers may still go by that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    current: Secret,
    /// With the end of its time, by the wall clock.
    previous: Option<(Secret, Millis)>,
}

impl Secrets {
    pub(super) fn new(secret: Secret) -> Self {
        Self {
            current: secret,
            previous: None,
        }
    }

    /// Puts another one in force; the one before signs beside it until a time.
    pub(super) fn rotated(self, secret: Secret, until: Millis) -> Self {
        if self.current == secret {
            return self;
        }
        Self {
            current: secret,
            previous: Some((self.current, until)),
        }
    }

    /// Those that sign at a time, the newest first.
    pub fn at(&self, now: Millis) -> impl Iterator<Item = &Secret> {
        let previous = self.previous.as_ref().filter(|(_, until)| now < *until);
        std::iter::once(&self.current).chain(previous.map(|(secret, _)| secret))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_round_trip_and_do_not_show_themselves() {
        let drawn = Secret::draw().unwrap();
        let text = drawn.reveal();
        assert_eq!(text.parse::<Secret>(), Ok(drawn.clone()));
        assert_ne!(Secret::draw().unwrap(), drawn);
        let digits = text.strip_prefix(PREFIX).unwrap();
        assert!(!format!("{:?}", Secrets::new(drawn)).contains(digits));
    }

    #[test]
    fn other_texts_are_no_secrets() {
        let short = format!("{PREFIX}{}", STANDARD.encode([1; 23]));
        let long = format!("{PREFIX}{}", STANDARD.encode([1; 65]));
        for text in [
            "",
            "whsec_",
            "whsec_!",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            &short,
            &long,
        ] {
            assert_eq!(text.parse::<Secret>(), Err(NotASecret), "{text}");
        }
    }

    #[test]
    fn an_old_secret_signs_beside_the_new_one_for_its_time() {
        let [one, two] = [1, 2].map(|byte| Secret(vec![byte; 24]));
        let secrets = Secrets::new(one.clone());
        assert_eq!(secrets.clone().rotated(one.clone(), 100), secrets);
        let secrets = secrets.rotated(two.clone(), 100);
        assert_eq!(secrets.at(99).collect::<Vec<_>>(), [&two, &one]);
        assert_eq!(secrets.at(100).collect::<Vec<_>>(), [&two]);
    }
}
