//! Leases: what a member holds while it works on an event.
//!
//! ```text
//! hex( format u8 = 1 | generation u64 BE | position u64 BE | attempt u32 BE )   42 digits
//! ```

use std::{fmt, str::FromStr};

use crate::vocabulary::{Position, hex, shown};

const FORMAT: u8 = 1;
const DIGITS: usize = 42;

/// Names one delivery of one event to one consumer. Opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId {
    /// Which life of the consumer: raised when it is created anew or reset.
    pub generation: u64,
    /// The event.
    pub position: Position,
    /// The how-manieth delivery, from 1; those before it failed.
    pub attempt: u32,
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
        let mut bytes = vec![FORMAT];
        bytes.extend(self.generation.to_be_bytes());
        bytes.extend(self.position.0.to_be_bytes());
        bytes.extend(self.attempt.to_be_bytes());
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
        Ok(Self {
            generation: part(2, 18)?,
            position: Position(part(18, 34)?),
            attempt: u32::try_from(part(34, DIGITS)?).map_err(|_| wrong())?,
        })
    }
}

/// Why a lease cannot be used. Each names what was asked with which lease.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LeaseRefused {
    /// Nothing of the kind is out.
    #[error("no such lease is out: it was never given out, or before the server was last started")]
    NotLeased,
    /// Its time was over, so that the event is delivered again or was already.
    #[error("the lease has expired: the event is delivered again")]
    Expired,
    /// Its time was over for the last attempt.
    #[error("the lease has expired, and the event is parked, since that was the last attempt")]
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
            Self::Expired => "expired",
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
        fn leases_round_trip(generation: u64, position: u64, attempt: u32) {
            let lease = LeaseId { generation, position: Position(position), attempt };
            prop_assert_eq!(lease.to_string().parse::<LeaseId>().unwrap(), lease);
        }

        #[test]
        fn other_text_is_refused_with_a_message(text in "\\PC{0,50}") {
            if let Ok(lease) = text.parse::<LeaseId>() {
                prop_assert_eq!(lease.to_string(), text);
            }
        }
    }
}
