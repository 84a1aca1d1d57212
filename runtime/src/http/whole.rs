//! Whole numbers, of which it is told within which bounds they should be where something else stands.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, Unexpected, Visitor},
};

/// A whole number that should be from `LEAST` to `MOST`, or without an end where `MOST` is the largest there is. One that is
/// not so is taken where it fits into 32 bits: its owner checks it, and names it as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Whole<const LEAST: u64, const MOST: u64>(u64);

impl<const LEAST: u64, const MOST: u64> From<Whole<LEAST, MOST>> for u64 {
    fn from(whole: Whole<LEAST, MOST>) -> Self {
        whole.0
    }
}

impl<const LEAST: u64, const MOST: u64> Whole<LEAST, MOST> {
    /// In 32 bits; what does not fit is the largest that does.
    pub(super) fn short(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl<'de, const LEAST: u64, const MOST: u64> Deserialize<'de> for Whole<LEAST, MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_u64(Reader)
    }
}

struct Reader<const LEAST: u64, const MOST: u64>;

impl<const LEAST: u64, const MOST: u64> Visitor<'_> for Reader<LEAST, MOST> {
    type Value = Whole<LEAST, MOST>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if MOST == u64::MAX {
            write!(f, "a whole number of at least {LEAST}")
        } else {
            write!(f, "a whole number from {LEAST} to {MOST}")
        }
    }

    fn visit_u64<E: Error>(self, found: u64) -> Result<Self::Value, E> {
        if found <= MOST.max(u32::MAX.into()) {
            Ok(Whole(found))
        } else {
            Err(E::invalid_value(Unexpected::Unsigned(found), &self))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_told() {
        let read = |text: &str| serde_json::from_str::<Whole<1, 9>>(text);
        assert_eq!(read("9").map(u64::from).ok(), Some(9));
        assert_eq!(read("10").map(u64::from).ok(), Some(10));
        for wrong in ["4294967296", "-1", "1.5", "1e30", "null", "\"1\"", "[1]", "true"] {
            let problem = read(wrong).unwrap_err().to_string();
            assert!(
                problem.contains("expected a whole number from 1 to 9"),
                "{wrong}: {problem}"
            );
        }
        let endless = serde_json::from_str::<Whole<1, { u64::MAX }>>("-1").unwrap_err();
        assert!(
            endless.to_string().contains("a whole number of at least 1"),
            "{endless}"
        );
    }
}
