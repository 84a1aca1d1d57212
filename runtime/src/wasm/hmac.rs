//! HMAC-SHA-256 (RFC 2104), which `sha2` does not have.

use sha2::{Digest, Sha256};

const BLOCK_BYTES: usize = 64;

/// The keyed hash of the parts, one after the other.
pub(super) fn hmac_sha256(key: &[u8; 32], parts: &[&[u8]]) -> [u8; 32] {
    let padded = |pad: u8| {
        let mut block = [pad; BLOCK_BYTES];
        for (byte, key_byte) in block.iter_mut().zip(key) {
            *byte ^= key_byte;
        }
        block
    };
    let mut inner = Sha256::new_with_prefix(padded(0x36));
    for part in parts {
        inner.update(part);
    }
    let mut outer = Sha256::new_with_prefix(padded(0x5c));
    outer.update(inner.finalize());
    outer.finalize().into()
}

/// Compares without telling by its duration where the difference is.
pub(super) fn equal(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.iter()
        .zip(right)
        .fold(0, |difference, (a, b)| difference | (a ^ b))
        == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, cases 1 and 2; shorter keys are padded with zeros, which is what the RFC does with them.
    #[test]
    fn the_standard_test_cases_hold() {
        let short = [0x0b; 20];
        let cases = [
            (
                &short[..],
                &b"Hi There"[..],
                "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
            ),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
        ];
        for (key, text, expected) in cases {
            let mut padded = [0; 32];
            padded[..key.len()].copy_from_slice(key);
            let (front, back) = text.split_at(3);
            let hash = hmac_sha256(&padded, &[front, back]);
            let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex, expected);
            assert!(equal(&hash, &hash));
            let mut other = hash;
            other[31] ^= 1;
            assert!(!equal(&hash, &other));
        }
    }
}
