//! Bytes in hexadecimal digits, lower case.

/// Appends two digits for each byte.
pub fn push_hex(bytes: &[u8], text: &mut Vec<u8>) {
    text.reserve(bytes.len() * 2);
    let (fours, rest) = bytes.as_chunks();
    for four in fours {
        text.extend_from_slice(&eight_digits(*four));
    }
    for byte in rest {
        text.extend_from_slice(&hex_pair(*byte));
    }
}

/// All digits of a number.
pub(super) fn sixteen_digits(number: u64) -> [u8; 16] {
    let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
    let mut digits = [0; 16];
    let (high, low) = digits.split_at_mut(8);
    high.copy_from_slice(&eight_digits([a, b, c, d]));
    low.copy_from_slice(&eight_digits([e, f, g, h]));
    digits
}

/// The digits of four bytes, made in the bytes of one word at a time.
fn eight_digits(bytes: [u8; 4]) -> [u8; 8] {
    let word = u64::from(u32::from_be_bytes(bytes));
    // A half of a byte into each byte, in order.
    let halves = (word | word << 16) & 0x0000_ffff_0000_ffff;
    let halves = (halves | halves << 8) & 0x00ff_00ff_00ff_00ff;
    let halves = (halves | halves << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // 1 where it is 10 or more, and a letter.
    let letters = (halves + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
    let to_letters = u64::from(b'a' - b'0' - 10);
    (halves + 0x3030_3030_3030_3030 + letters * to_letters).to_be_bytes()
}

/// The two digits of a byte.
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
    fn numbers_have_all_their_digits() {
        for number in [0, 7, 0xfedc_ba98_7654_3210, u64::MAX] {
            assert_eq!(sixteen_digits(number), *format!("{number:016x}").as_bytes());
        }
    }

    #[test]
    fn every_byte_has_its_two_digits() {
        let all: Vec<u8> = (0..=255).collect();
        let expected: String = all.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex(&all), expected);
        for length in 0..10 {
            assert_eq!(hex(&all[..length]), expected[..length * 2]);
            assert_eq!(hex(&all[256 - length..]), expected[512 - length * 2..]);
        }
    }
}
