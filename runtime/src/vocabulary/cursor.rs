//! Cursors: positions as clients see them. Opaque to them; inside, the log, the branch and the position.
//!
//! ```text
//! 2 | log id, its first 8 digits | digits of the epoch, less one | epoch | position      12 to 34 digits
//! ```
//!
//! All of it is hexadecimal, epoch and position without leading zeros: each event that a subscriber is sent has its cursor
//! twice.

use std::{fmt, str::FromStr};

use super::{Epoch, LogId, Position};

const FORMAT: u8 = b'2';
/// Digits before those of the epoch.
const FIXED_DIGITS: usize = 10;
const DIGITS_MAX: usize = 34;

/// A place in one branch of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The first four bytes of the log id: enough to notice a cursor of another log.
    pub log: [u8; 4],
    /// The branch it was given out on.
    pub epoch: Epoch,
    /// The last position that its holder has seen.
    pub position: Position,
}

/// A text that is not a cursor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{found}` is not a cursor: take one from `position`, from an SSE `id:` or from a `next` link, unchanged"
)]
pub struct CursorError {
    /// What was given, shortened.
    pub found: String,
}

impl Cursor {
    /// The cursor of a position.
    #[must_use]
    pub fn new(log_id: LogId, epoch: Epoch, position: Position) -> Self {
        Self {
            log: log_prefix(log_id),
            epoch,
            position,
        }
    }

    /// Appends its digits.
    pub fn push(&self, text: &mut Vec<u8>) {
        text.push(FORMAT);
        super::push_hex(&self.log, text);
        let epoch = u64::from(self.epoch.0);
        text.extend(b"01234567".get(digits(epoch) - 1));
        push_number(epoch, text);
        push_number(self.position.0, text);
    }

    /// Whether the cursor was given out by this log.
    #[must_use]
    pub fn is_of(&self, log_id: LogId) -> bool {
        self.log == log_prefix(log_id)
    }
}

fn log_prefix(log_id: LogId) -> [u8; 4] {
    let [a, b, c, d, ..] = log_id.0;
    [a, b, c, d]
}

/// How many digits a number has.
fn digits(number: u64) -> usize {
    (number.checked_ilog2().unwrap_or(0) / 4 + 1) as usize
}

/// Appends a number without leading zeros.
fn push_number(number: u64, text: &mut Vec<u8>) {
    let all = super::hex::sixteen_digits(number);
    let (_, used) = all.split_at(all.len() - digits(number));
    text.extend_from_slice(used);
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(DIGITS_MAX);
        self.push(&mut text);
        // Digits are ASCII.
        f.write_str(&String::from_utf8(text).unwrap_or_default())
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let cursor = Self::read(text.as_bytes()).filter(|cursor| cursor.to_string() == text);
        cursor.ok_or_else(|| CursorError {
            found: super::shown(text),
        })
    }
}

impl Cursor {
    /// What the digits stand for, in whatever way they are written.
    fn read(text: &[u8]) -> Option<Self> {
        let (&[FORMAT, a, b, c, d, e, f, g, h, length], rest) = text.split_first_chunk::<FIXED_DIGITS>()?
        else {
            return None;
        };
        let length = number(&[length])? as usize + 1;
        let (epoch, position) = rest.split_at_checked(length)?;
        let log = u32::try_from(number(&[a, b, c, d, e, f, g, h])?).ok()?;
        Some(Self {
            log: log.to_be_bytes(),
            epoch: Epoch(u32::try_from(number(epoch)?).ok()?),
            position: Position(number(position)?),
        })
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(digits).ok()?;
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn cursors_round_trip(log: [u8; 16], epoch: u32, position: u64) {
            let cursor = Cursor::new(LogId(log), Epoch(epoch), Position(position));
            prop_assert_eq!(cursor.to_string().parse::<Cursor>().unwrap(), cursor);
            prop_assert!(cursor.is_of(LogId(log)));
        }

        #[test]
        fn cursors_have_no_digit_too_many(log: [u8; 16], epoch in 0_u32..300, position in 0_u64..70_000) {
            let text = Cursor::new(LogId(log), Epoch(epoch), Position(position)).to_string();
            let numbers = format!("{}{epoch:x}{position:x}", format!("{epoch:x}").len() - 1);
            prop_assert_eq!(text, format!("2{}{numbers}", super::super::hex(&log[..4])));
        }

        #[test]
        fn other_text_is_refused(text in "\\PC{0,40}|2?[0-9a-fA-F+]{0,36}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }

    #[test]
    fn a_cursor_is_written_in_one_way() {
        let cursor = Cursor::new(LogId([0xab; 16]), Epoch(0x10), Position(7));
        assert_eq!(cursor.to_string(), "2abababab1107");
        for wrong in [
            "",
            "2abababab1",
            "2abababab110",
            "1abababab1107",
            "2ABABABAB1107",
            "2abababab20107",
            "2abababab11007",
            "2abababab1+107",
            "2abababab8123456789",
            "2abababab11010000000000000000",
            "2abababab1107 ",
        ] {
            let refused = wrong.parse::<Cursor>().unwrap_err();
            assert!(refused.to_string().contains("is not a cursor"), "{refused}");
        }
        let last = Cursor::new(LogId([0xab; 16]), Epoch(u32::MAX), Position(u64::MAX));
        assert_eq!(last.to_string().len(), DIGITS_MAX);
    }
}
