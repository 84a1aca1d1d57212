//! Bytes in hexadecimal digits, lower case.

/// Appends two digits for each byte.
pub fn push_hex(bytes: &[u8], text: &mut Vec<u8>) {
    let from = text.len();
    text.resize(from + bytes.len() * 2, b'0');
    let pairs = text.get_mut(from..).unwrap_or_default().chunks_exact_mut(2);
    for (pair, byte) in pairs.zip(bytes) {
        pair.copy_from_slice(&hex_pair(*byte));
    }
}

/// The two digits of a byte. Without a table, so that many are made at a time.
#[must_use]
pub fn hex_pair(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|half| if half < 10 { b'0' + half } else { b'a' - 10 + half })
}

/// Two digits for each byte.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = Vec::new();
    push_hex(bytes, &mut text);
    // Digits are ASCII.
    String::from_utf8(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_two_digits() {
        let all: Vec<u8> = (0..=255).collect();
        let expected: String = all.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex(&all), expected);
        assert_eq!(hex(&[]), "");
    }
}
