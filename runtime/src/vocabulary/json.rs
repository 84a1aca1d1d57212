//! JSON that every reader can read. What is stored is embedded in documents with other people's events, so one value that
//! a common parser refuses would make a whole page unreadable.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

/// Checks that bytes are one JSON value, in UTF-8, nested at most 127 deep, with numbers that fit a double and strings
/// that are Unicode (no half of a surrogate pair).
///
/// # Errors
/// What is wrong and where, in words.
pub fn check_json(bytes: &[u8]) -> Result<(), String> {
    match serde_json::from_slice::<Readable>(bytes) {
        Ok(Readable) => Ok(()),
        Err(error) => Err(super::json_problem(&error, bytes)),
    }
}

/// Reads everything and keeps nothing. `IgnoredAny` would pass over strings and numbers without looking inside.
struct Readable;

impl<'de> Deserialize<'de> for Readable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Readable;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_str<E>(self, _: &str) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_unit<E>(self) -> Result<Readable, E> {
        Ok(Readable)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Readable, A::Error> {
        while items.next_element::<Readable>()?.is_some() {}
        Ok(Readable)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Readable, A::Error> {
        while members.next_entry::<Readable, Readable>()?.is_some() {}
        Ok(Readable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_every_reader_can_read_passes() {
        let nested = format!("{}{}", "[".repeat(127), "]".repeat(127));
        for good in [
            "null",
            " true ",
            "-0.5e-3",
            "123456789012345678901234567890",
            r#""\ud83e\udd80 \u0000""#,
            r#"{"a":[1,{"b":null}],"a":"again"}"#,
            &nested,
        ] {
            assert_eq!(check_json(good.as_bytes()), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_only_some_can_read_does_not() {
        let nested = format!("{}{}", "[".repeat(128), "]".repeat(128));
        for bad in [
            &b""[..],
            b"{",
            b"1 2",
            b"01",
            b"nan",
            b"1e999",
            br#""\ud800""#,
            br#"{"\udc00":1}"#,
            b"\"\xff\"",
            b"\xef\xbb\xbf1",
            nested.as_bytes(),
        ] {
            assert!(check_json(bad).is_err(), "{}", String::from_utf8_lossy(bad));
        }
        // The difference to a parser that only looks at the shape.
        assert!(serde_json::from_str::<serde::de::IgnoredAny>(r#""\ud800""#).is_ok());
    }
}
