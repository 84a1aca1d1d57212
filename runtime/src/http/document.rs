//! JSON objects written member by member, straight into the bytes of an answer: for what is sent with nearly every
//! request.

use std::io::Write as _;

/// An object that is being written.
#[derive(Debug)]
pub(super) struct Object<'a> {
    out: &'a mut Vec<u8>,
    members: usize,
}

impl<'a> Object<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, members: 0 }
    }

    /// Names a member; what is put next is its value. Names are ours and need no escapes.
    pub(super) fn member(&mut self, name: &'static str) -> &mut Vec<u8> {
        self.out
            .extend_from_slice(if self.members == 0 { b"\"" } else { b",\"" });
        self.members += 1;
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    pub(super) fn text(&mut self, name: &'static str, value: &str) {
        text(value, self.member(name));
    }

    pub(super) fn text_if(&mut self, name: &'static str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(name, value);
        }
    }

    pub(super) fn number(&mut self, name: &'static str, value: u64) {
        number(value, self.member(name));
    }

    /// A value that is JSON already, on one line.
    pub(super) fn raw(&mut self, name: &'static str, json: &[u8]) {
        raw(json, self.member(name));
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }
}

/// A string, with escapes where they are needed.
pub(super) fn text(value: &str, out: &mut Vec<u8>) {
    // All bytes are looked at, so that many are at a time.
    let is_plain = value.bytes().fold(true, |plain, byte| {
        plain & (byte >= b' ') & (byte != b'"') & (byte != b'\\')
    });
    if is_plain {
        out.push(b'"');
        out.extend_from_slice(value.as_bytes());
        out.push(b'"');
    } else if serde_json::to_writer(&mut *out, value).is_err() {
        // Writing text into memory does not fail.
        out.extend_from_slice(b"null");
    }
}

pub(super) fn number(value: u64, out: &mut Vec<u8>) {
    let digits = digits(value);
    let used = value.checked_ilog10().unwrap_or(0) as usize + 1;
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// A number with as many digits as the largest has, so that they sort as texts.
pub(super) fn padded(value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(&digits(value));
}

fn digits(value: u64) -> [u8; 20] {
    let mut digits = [b'0'; 20];
    let mut rest = value;
    for digit in digits.iter_mut().rev() {
        if rest == 0 {
            break;
        }
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

/// JSON as it is kept, on one line, as streams need it. Line ends inside JSON are white space only: within strings they
/// are escaped.
pub(super) fn raw(json: &[u8], out: &mut Vec<u8>) {
    let mut rest = json;
    while let Some(at) = memchr::memchr2(b'\n', b'\r', rest) {
        let (line, end) = rest.split_at(at);
        out.extend_from_slice(line);
        out.push(b' ');
        rest = end.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
}

/// Anything that can be displayed and needs no escapes, in quotes.
pub(super) fn quoted(value: impl std::fmt::Display, out: &mut Vec<u8>) {
    out.push(b'"');
    // Writing into memory does not fail.
    drop(write!(out, "{value}"));
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn objects_have_their_members_in_order() {
        let mut out = Vec::new();
        let mut object = Object::begin(&mut out);
        object.text("a", "x");
        object.text_if("none", None);
        object.number("b", 0);
        object.raw("c", b"{\"d\":\n1}");
        quoted(7, object.member("e"));
        object.end();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"a\":\"x\",\"b\":0,\"c\":{\"d\": 1},\"e\":\"7\"}"
        );
    }

    proptest! {
        #[test]
        fn texts_and_numbers_are_what_serde_makes_of_them(value in any::<String>(), count in any::<u64>()) {
            let mut out = Vec::new();
            text(&value, &mut out);
            out.push(b' ');
            number(count, &mut out);
            out.push(b' ');
            padded(count, &mut out);
            let expected = format!("{} {count} {count:020}", serde_json::to_string(&value).unwrap());
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
