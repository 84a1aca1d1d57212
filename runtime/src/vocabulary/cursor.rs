//! Cursors: positions as clients see them. Opaque to them; inside, the log, the branch and the position.
//!
//! ```text
//! hex( format u8 = 1 | log id, first 4 bytes | epoch u32 BE | position u64 BE )   34 digits
//! ```

use std::{fmt, str::FromStr};

use super::{Epoch, LogId, Position};

const FORMAT: u8 = 1;
const BYTES: usize = 17;

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

    /// What its digits stand for.
    #[must_use]
    pub fn bytes(&self) -> [u8; BYTES] {
        let [a, b, c, d] = self.log;
        let [e, f, g, h] = self.epoch.0.to_be_bytes();
        let [i, j, k, l, m, n, o, p] = self.position.0.to_be_bytes();
        [FORMAT, a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]
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

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&super::hex(&self.bytes()))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let wrong = || CursorError {
            found: super::shown(text),
        };
        let canonical =
            text.len() == BYTES * 2 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if !canonical {
            return Err(wrong());
        }
        let part = |from: usize, to: usize| {
            text.get(from..to)
                .and_then(|digits| u64::from_str_radix(digits, 16).ok())
                .ok_or_else(wrong)
        };
        if part(0, 2)? != u64::from(FORMAT) {
            return Err(wrong());
        }
        let log = u32::try_from(part(2, 10)?).map_err(|_| wrong())?.to_be_bytes();
        let epoch = Epoch(u32::try_from(part(10, 18)?).map_err(|_| wrong())?);
        Ok(Self {
            log,
            epoch,
            position: Position(part(18, 34)?),
        })
    }
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
        fn other_text_is_refused_with_a_message(text in "\\PC{0,40}") {
            if let Ok(cursor) = text.parse::<Cursor>() {
                prop_assert_eq!(cursor.to_string(), text);
            }
        }
    }
}
