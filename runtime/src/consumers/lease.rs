//! Leases: what a member holds while it works on an event.
//!
//! ```text
//! hex( format u8 = 2 | owner u64 BE | generation u64 BE | position u64 BE | attempt u32 BE | checksum u32 BE )   66 digits
//! ```
//!
//! The owner tells consumers apart whose generations and places are the same; the checksum, over all before it, what was
//! given out from what was made up or changed by mistake. Neither is a secret.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};

use crate::vocabulary::{ConsumerName, Position, hex, shown};

const FORMAT: u8 = 2;
/// Before the checksum, bytes.
const CHECKED: usize = 29;
const DIGITS: usize = 2 * (CHECKED + 4);

/// Names one delivery of one event to one consumer. Opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId {
    /// Which consumer.
    pub owner: Owner,
    /// Which life of the consumer: raised when it is created anew or reset.
    pub generation: u64,
    /// The event.
    pub position: Position,
    /// The how-manieth delivery, from 1; those before it failed.
    pub attempt: u32,
}

/// What a consumer's leases are known by: the beginning of its name's SHA-256.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Owner(u64);

impl Owner {
    /// The consumer of this name.
    #[must_use]
    pub fn of(name: &ConsumerName) -> Self {
        let digest = Sha256::digest(name.as_str().as_bytes());
        let first = digest.iter().take(8);
        Self(first.fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }
}

/// A text that names no lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a lease: take it from `lease` of a delivered event, unchanged")]
pub struct NotALease {
    /// What was given, shortened.
    pub found: String,
}

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(CHECKED + 4);
        bytes.push(FORMAT);
        bytes.extend(self.owner.0.to_be_bytes());
        bytes.extend(self.generation.to_be_bytes());
        bytes.extend(self.position.0.to_be_bytes());
        bytes.extend(self.attempt.to_be_bytes());
        bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
        f.write_str(&hex(&bytes))
    }
}

impl FromStr for LeaseId {
    type Err = NotALease;

    fn from_str(text: &str) -> Result<Self, NotALease> {
        let wrong = || NotALease { found: shown(text) };
        let canonical = text.len() == DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !canonical {
            return Err(wrong());
        }
        let part = |from: usize, to: usize| {
            let digits = text.get(from..to).unwrap_or_default();
            u64::from_str_radix(digits, 16).map_err(|_| wrong())
        };
        if part(0, 2)? != u64::from(FORMAT) {
            return Err(wrong());
        }
        let lease = Self {
            owner: Owner(part(2, 18)?),
            generation: part(18, 34)?,
            position: Position(part(34, 50)?),
            attempt: u32::try_from(part(50, 2 * CHECKED)?).map_err(|_| wrong())?,
        };
        if lease.to_string() != text {
            // Its checksum is another.
            return Err(wrong());
        }
        Ok(lease)
    }
}

/// Why a lease cannot be used. Each names what was asked with which lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseRefused {
    /// Nothing of the kind is out.
    #[error("no such lease is out: it was never given out, or before the server was last started")]
    NotLeased,
    /// It is one of another consumer.
    #[error("the lease is one of another consumer")]
    OtherConsumer,
    /// Its time was over, so that the event is delivered again or was already.
    #[error(
        "the lease is over, and the event was not acknowledged with it: it is delivered again, or was, if it is still wanted"
    )]
    Expired,
    /// The event was refused with it.
    #[error("the event was refused with this lease: it is delivered again with another one, or parked")]
    Refused,
    /// Its time was over for the last attempt, or the event was refused.
    #[error("the event is parked: its last attempt ran out of time or was refused")]
    Parked,
    /// Somebody else has it.
    #[error("the lease belongs to member `{holder}`")]
    OtherMember {
        /// Who has it.
        holder: String,
    },
    /// The consumer has been reset, or deleted and created again.
    #[error("the consumer was reset or created anew after the lease was given out")]
    OtherGeneration,
    /// It was acknowledged.
    #[error("the event is acknowledged already")]
    Settled,
}

impl LeaseRefused {
    /// A word for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotLeased => "not-leased",
            Self::OtherConsumer => "other-consumer",
            Self::Expired => "expired",
            Self::Refused => "refused",
            Self::Parked => "parked",
            Self::OtherMember { .. } => "other-member",
            Self::OtherGeneration => "other-generation",
            Self::Settled => "settled",
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn leases_round_trip(owner: u64, generation: u64, position: u64, attempt: u32, digit in 0..DIGITS) {
            let lease = LeaseId { owner: Owner(owner), generation, position: Position(position), attempt };
            let mut text = lease.to_string();
            prop_assert_eq!(text.parse::<LeaseId>().unwrap(), lease);
            let other = if text.as_bytes()[digit] == b'0' { "1" } else { "0" };
            text.replace_range(digit..=digit, other);
            prop_assert!(text.parse::<LeaseId>().is_err(), "{text}");
        }

        #[test]
        fn other_text_is_refused_with_a_message(text in "\\PC{0,50}") {
            if let Ok(lease) = text.parse::<LeaseId>() {
                prop_assert_eq!(lease.to_string(), text);
            }
        }
    }
}
