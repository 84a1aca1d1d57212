//! The positions in cursors, read as cheaply as can be: of one log they differ in their last digits alone.

use std::io;

use annals::vocabulary::Cursor;

/// Reads cursors of one log, one after the other.
#[derive(Debug, Default)]
pub struct Places {
    /// What the last one that was read in full began with, before its position.
    beginning: Vec<u8>,
}

impl Places {
    /// The position in a cursor.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(&mut self, cursor: &[u8]) -> io::Result<u64> {
        if let Some((position, digits)) = self.known(cursor)
            && digits == cursor.len()
        {
            return Ok(position);
        }
        let text = String::from_utf8_lossy(cursor);
        let read: Cursor = text.parse().map_err(io::Error::other)?;
        let digits = format!("{:x}", read.position.0).len();
        self.beginning = cursor[..cursor.len() - digits].to_vec();
        Ok(read.position.0)
    }

    /// The position in the cursor that a text begins with, and how long that cursor is; none when it is not of the log
    /// that was read last.
    pub fn known(&self, text: &[u8]) -> Option<(u64, usize)> {
        if self.beginning.is_empty() {
            return None;
        }
        let digits = text.strip_prefix(self.beginning.as_slice())?;
        let (position, length) = number(digits)?;
        Some((position, self.beginning.len() + length))
    }
}

/// The number that a text begins with, and how many digits it has.
fn number(text: &[u8]) -> Option<(u64, usize)> {
    let mut number = 0;
    let mut length = 0;
    for byte in text {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => break,
        };
        number = (number << 4) | u64::from(value);
        length += 1;
    }
    let is_one = length > 0 && length <= 16 && (length == 1 || text[0] != b'0');
    is_one.then_some((number, length))
}

#[cfg(test)]
mod tests {
    use annals::vocabulary::{Epoch, LogId, Position};

    use super::*;

    #[test]
    fn positions_are_those_of_the_cursors_and_other_text_is_refused() {
        let mut places = Places::default();
        for (log, epoch, position) in [
            (1, 1, 7),
            (1, 1, u64::MAX),
            (1, 2, 0xabc_def0),
            (2, 2, 0),
            (2, 2, 1),
        ] {
            let cursor = Cursor::new(LogId([log; 16]), Epoch(epoch), Position(position));
            assert_eq!(places.read(cursor.to_string().as_bytes()).unwrap(), position);
        }
        let good = Cursor::new(LogId([2; 16]), Epoch(2), Position(9)).to_string();
        let upper = good.replace('9', "A");
        for bad in ["", "7", &good[1..], &good[..10], &upper, &format!("{good}g")] {
            assert!(places.read(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
