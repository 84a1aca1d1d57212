//! Numbers, byte strings and texts as they are stored.
//!
//! ```text
//! number   LEB128, at most 10 bytes
//! bytes    number (length), bytes
//! option   number: 0 none, else length + 1, bytes
//! text     number: 1 a UUID in its usual form, as 16 bytes; n ≥ 2 UTF-8 of n - 2 bytes; 0 none
//! ```

use bytes::{BufMut, Bytes};

/// Bytes that do not say what they should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub(in crate::store) struct Malformed(pub(in crate::store) &'static str);

pub(super) const UUID: u64 = 1;
pub(super) const TEXT: u64 = 2;

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
        if let Some(uuid) = uuid_from(value) {
            self.number(UUID);
            self.extend_from_slice(&uuid);
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

fn uuid_from(text: &str) -> Option<[u8; 16]> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let mut uuid = [0; 16];
    let mut digits = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if HYPHENS.contains(&at) {
            if *byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        let slot = uuid.get_mut(digits / 2)?;
        *slot = *slot << 4 | digit;
        digits += 1;
    }
    Some(uuid)
}

pub(super) fn uuid_text(uuid: [u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for byte in uuid {
        if HYPHENS.contains(&text.len()) {
            text.push('-');
        }
        for digit in [byte >> 4, byte & 0xf] {
            text.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_round_trip(number: u64, blob: Vec<u8>, text in "\\PC{0,50}", uuid: [u8; 16], some: bool) {
            let uuid = uuid_text(uuid);
            let mut bytes = Vec::new();
            bytes.number(number);
            bytes.blob(&blob);
            bytes.blob_or_none(some.then_some(&blob));
            bytes.text(&text);
            bytes.text(&uuid);
            bytes.text_or_none(some.then_some(&text));
            let bytes = Bytes::from(bytes);
            let mut reader = Reader::new(&bytes);
            let own = |text: &str| Some(text.to_owned());
            prop_assert_eq!(reader.number().unwrap(), number);
            prop_assert_eq!(&reader.blob().unwrap()[..], &blob[..]);
            prop_assert_eq!(reader.blob_or_none().unwrap().map(|found| found.to_vec()), some.then_some(blob));
            prop_assert_eq!(reader.text(own).unwrap(), text.clone());
            prop_assert_eq!(reader.text(own).unwrap(), uuid);
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
    fn only_the_usual_form_of_a_uuid_is_shortened() {
        for text in [
            "0190F3E2-7b5c-7000-8000-000000000001",
            "0190f3e27b5c-7000-8000-0000-00000001",
        ] {
            assert_eq!(uuid_from(text), None, "{text}");
        }
        assert!(uuid_from("0190f3e2-7b5c-7000-8000-000000000001").is_some());
    }
}
