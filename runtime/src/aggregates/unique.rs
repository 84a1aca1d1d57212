//! Ids that no other draw gives: for commands without a key, and for diagnoses.

use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest, Sha256};

use crate::vocabulary::hex;

/// A source of unique, unpredictable ids: the hash of a secret drawn at the start and a counter.
#[derive(Debug)]
pub struct UniqueIds {
    secret: [u8; 32],
    drawn: AtomicU64,
}

impl UniqueIds {
    /// Draws the secret from the operating system.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn new() -> std::io::Result<Self> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(std::io::Error::other)?;
        Ok(Self {
            secret,
            drawn: AtomicU64::new(0),
        })
    }

    /// 128 bits in hexadecimal.
    pub(crate) fn draw(&self) -> String {
        let mut hasher = Sha256::new();
        hasher.update(self.secret);
        hasher.update(self.drawn.fetch_add(1, Ordering::Relaxed).to_le_bytes());
        let drawn: [u8; 32] = hasher.finalize().into();
        hex(drawn.get(..16).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_equal() {
        let ids = UniqueIds::new().unwrap();
        let other = UniqueIds::new().unwrap();
        let (one, two, three) = (ids.draw(), ids.draw(), other.draw());
        assert_eq!(one.len(), 32);
        assert!(one != two && one != three);
    }
}
