//! Numbers, byte strings and texts as they are stored.
//!
//! ```text
//! number   LEB128, at most 10 bytes
//! bytes    number (length), bytes
//! option   number: 0 none, else length + 1, bytes
//! text     number: 1 a UUID in its usual form, as 16 bytes; 2 32 lower hexadecimal digits, as 16 bytes;
//!          n ≥ 3 UTF-8 of n - 3 bytes; 0 none
//! ```

use std::ops::Range;

use bytes::{BufMut, Bytes};

use crate::vocabulary::{hex, hex_pair};

/// Bytes that do not say what they should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub(in crate::store) struct Malformed(pub(in crate::store) &'static str);

pub(super) const UUID: u64 = 1;
pub(super) const HEX: u64 = 2;
pub(super) const TEXT: u64 = 3;

/// Where bytes are put.
pub(in crate::store) trait Sink {
    /// A number.
    fn number(&mut self, value: u64);
    /// A byte string.
    fn blob(&mut self, value: &[u8]);
    /// Perhaps a byte string.
    fn blob_or_none(&mut self, value: Option<&[u8]>);
    /// A text.
    fn text(&mut self, value: &str);
    /// Perhaps a text.
    fn text_or_none(&mut self, value: Option<&str>);
}

impl Sink for Vec<u8> {
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put_u8((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.put_u8(value as u8);
    }

    fn blob(&mut self, value: &[u8]) {
        self.number(value.len() as u64);
        self.extend_from_slice(value);
    }

    fn blob_or_none(&mut self, value: Option<&[u8]>) {
        match value {
            None => self.number(0),
            Some(value) => {
                self.number(value.len() as u64 + 1);
                self.extend_from_slice(value);
            }
        }
    }

    fn text(&mut self, value: &str) {
        let short = match value.len() {
            32 => hex_from(value.as_bytes()).map(|half| (HEX, half)),
            36 => uuid_from(value.as_bytes()).map(|half| (UUID, half)),
            _ => None,
        };
        if let Some((form, half)) = short {
            self.number(form);
            self.extend_from_slice(&half);
        } else {
            self.number(value.len() as u64 + TEXT);
            self.extend_from_slice(value.as_bytes());
        }
    }

    fn text_or_none(&mut self, value: Option<&str>) {
        match value {
            None => self.number(0),
            Some(value) => self.text(value),
        }
    }
}

/// A number, byte by byte.
pub(super) fn read_number(mut byte: impl FnMut() -> Result<u8, Malformed>) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = byte()?;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            break;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed("number"))
}

/// Takes bytes apart; byte strings share the memory of the whole.
#[derive(Debug)]
pub(in crate::store) struct Reader<'a> {
    whole: &'a Bytes,
    at: usize,
}

impl<'a> Reader<'a> {
    /// Starts at the beginning.
    pub(in crate::store) fn new(whole: &'a Bytes) -> Self {
        Self { whole, at: 0 }
    }

    /// The next `N` bytes.
    pub(in crate::store) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self
            .whole
            .get(self.at..)
            .and_then(<[u8]>::first_chunk::<N>)
            .ok_or(Malformed("record: it is too short"))?;
        self.at += N;
        Ok(*bytes)
    }

    /// One byte.
    pub(in crate::store) fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A number.
    pub(in crate::store) fn number(&mut self) -> Result<u64, Malformed> {
        read_number(|| self.byte())
    }

    /// A number that counts something held in memory.
    pub(in crate::store) fn count(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.number()?).map_err(|_| Malformed("count"))
    }

    /// The next bytes, of a length known.
    pub(in crate::store) fn take(&mut self, len: usize) -> Result<Bytes, Malformed> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.whole.len());
        let end = end.ok_or(Malformed("length: it goes beyond the end"))?;
        let bytes = self.whole.slice(self.at..end);
        self.at = end;
        Ok(bytes)
    }

    /// A byte string.
    pub(in crate::store) fn blob(&mut self) -> Result<Bytes, Malformed> {
        let len = self.count()?;
        self.take(len)
    }

    /// Perhaps a byte string.
    pub(in crate::store) fn blob_or_none(&mut self) -> Result<Option<Bytes>, Malformed> {
        match self.count()? {
            0 => Ok(None),
            more => self.take(more - 1).map(Some),
        }
    }

    /// A text, parsed where it lies.
    pub(in crate::store) fn text<T>(
        &mut self,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, Malformed> {
        self.text_or_none(parse)?.ok_or(Malformed("text: it is missing"))
    }

    /// Perhaps a text.
    pub(in crate::store) fn text_or_none<T>(
        &mut self,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, Malformed> {
        let wrong = Malformed("text");
        match self.number()? {
            0 => Ok(None),
            UUID => parse(&uuid_text(self.array()?)).map(Some).ok_or(wrong),
            HEX => parse(&hex_text(self.array()?)).map(Some).ok_or(wrong),
            more => {
                let len = usize::try_from(more - TEXT).map_err(|_| Malformed("count"))?;
                let end = self.at.checked_add(len).ok_or(Malformed("count"))?;
                let bytes = self
                    .whole
                    .get(self.at..end)
                    .ok_or(Malformed("length: it goes beyond the end"))?;
                self.at = end;
                let text = std::str::from_utf8(bytes).map_err(|_| Malformed("text: it is not UTF-8"))?;
                parse(text).map(Some).ok_or(wrong)
            }
        }
    }

    /// Nothing may be left.
    pub(in crate::store) fn end(self) -> Result<(), Malformed> {
        if self.at == self.whole.len() {
            Ok(())
        } else {
            Err(Malformed("record: something follows its end"))
        }
    }
}

const HYPHENS: [usize; 4] = [8, 13, 18, 23];

/// What a byte is as a lower hexadecimal digit; 16 when it is none.
fn digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        b'a'..=b'f' => byte - b'a' + 10,
        _ => 16,
    }
}

fn hex_from(text: &[u8]) -> Option<[u8; 16]> {
    let pairs = text.as_chunks::<2>().0.as_array::<16>()?;
    let (mut half, mut wrong) = ([0; 16], 0);
    for (slot, [high, low]) in half.iter_mut().zip(pairs) {
        let [high, low] = [digit(*high), digit(*low)];
        *slot = high << 4 | low;
        wrong |= high | low;
    }
    (wrong < 16).then_some(half)
}

fn uuid_from(text: &[u8]) -> Option<[u8; 16]> {
    if HYPHENS.iter().any(|at| text.get(*at) != Some(&b'-')) {
        return None;
    }
    let mut digits = [0; 32];
    for (from, to) in UUID_PARTS {
        digits.get_mut(to)?.copy_from_slice(text.get(from)?);
    }
    hex_from(&digits)
}

/// Where the digits of a UUID stand, and where they stand without hyphens.
pub(super) const UUID_PARTS: [(Range<usize>, Range<usize>); 5] = [
    (0..8, 0..8),
    (9..13, 8..12),
    (14..18, 12..16),
    (19..23, 16..20),
    (24..36, 20..32),
];

/// The digits of 16 bytes.
pub(in crate::store) fn digits(bytes: &[u8; 16]) -> [u8; 32] {
    let mut digits = [0; 32];
    for (pair, byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = hex_pair(*byte);
    }
    digits
}

pub(super) fn hex_text(half: [u8; 16]) -> String {
    hex(&half)
}

pub(super) fn uuid_text(uuid: [u8; 16]) -> String {
    let digits = hex_text(uuid);
    let parts: Vec<_> = UUID_PARTS
        .into_iter()
        .filter_map(|(_, part)| digits.get(part))
        .collect();
    parts.join("-")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_round_trip(number: u64, blob: Vec<u8>, text in "\\PC{0,50}", uuid: [u8; 16], some: bool) {
            let hex = hex_text(uuid);
            let uuid = uuid_text(uuid);
            let mut bytes = Vec::new();
            bytes.number(number);
            bytes.blob(&blob);
            bytes.blob_or_none(some.then_some(&blob));
            bytes.text(&text);
            bytes.text(&uuid);
            bytes.text(&hex);
            bytes.text_or_none(some.then_some(&text));
            let bytes = Bytes::from(bytes);
            let mut reader = Reader::new(&bytes);
            let own = |text: &str| Some(text.to_owned());
            prop_assert_eq!(reader.number().unwrap(), number);
            prop_assert_eq!(&reader.blob().unwrap()[..], &blob[..]);
            prop_assert_eq!(reader.blob_or_none().unwrap().map(|found| found.to_vec()), some.then_some(blob));
            prop_assert_eq!(reader.text(own).unwrap(), text.clone());
            prop_assert_eq!(reader.text(own).unwrap(), uuid);
            prop_assert_eq!(reader.text(own).unwrap(), hex);
            prop_assert_eq!(reader.text_or_none(own).unwrap(), some.then_some(text));
            reader.end().unwrap();
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            let mut reader = Reader::new(&bytes);
            while reader.number().is_ok() && reader.blob().is_ok() && reader.text(|_| Some(())).is_ok() {}
        }
    }

    #[test]
    fn only_the_usual_forms_are_shortened() {
        let bytes_of = |text: &str| {
            let mut bytes = Vec::new();
            bytes.text(text);
            bytes.len()
        };
        for text in [
            "0190F3E2-7b5c-7000-8000-000000000001",
            "0190f3e27b5c-7000-8000-0000-00000001",
            "0190f3e27b5c70008000000000000A01",
            "0190f3e27b5c7000800000000000000g",
        ] {
            assert_eq!(bytes_of(text), 1 + text.len(), "{text}");
        }
        assert_eq!(bytes_of("0190f3e2-7b5c-7000-8000-000000000001"), 17);
        assert_eq!(bytes_of("0190f3e27b5c70008000000000000001"), 17);
    }
}
