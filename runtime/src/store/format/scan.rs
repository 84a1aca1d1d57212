//! A commit's bytes, looked at where they lie: for whoever handles many of them and needs a few fields of
//! each. Nothing is copied, and texts keep their encoding.

use std::borrow::Cow;

use super::{
    FORMAT, Malformed, Sink as _, Stored,
    bytes::{HEX, TEXT, UUID, UUID_PARTS, digits, hex_text, read_number, uuid_text},
    record::{FLAG_DERIVED_SEED, FLAGS_KNOWN},
};
use crate::vocabulary::AggregateKey;

/// Goes over encoded bytes without taking them apart.
#[derive(Debug, Clone)]
pub(in crate::store) struct Walk<'a> {
    whole: &'a [u8],
    at: usize,
}

impl<'a> Walk<'a> {
    /// Starts at the beginning.
    pub(in crate::store) fn new(whole: &'a [u8]) -> Self {
        Self { whole, at: 0 }
    }

    /// Where it is.
    pub(in crate::store) fn at(&self) -> usize {
        self.at
    }

    /// Whether nothing is left.
    pub(in crate::store) fn is_end(&self) -> bool {
        self.at >= self.whole.len()
    }

    /// What is left.
    pub(in crate::store) fn rest(&self) -> &'a [u8] {
        self.whole.get(self.at..).unwrap_or_default()
    }

    /// Everything since a place it was at.
    pub(in crate::store) fn since(&self, start: usize) -> &'a [u8] {
        self.whole.get(start..self.at).unwrap_or_default()
    }

    /// The next bytes, of a length known.
    pub(in crate::store) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let bytes = self
            .at
            .checked_add(len)
            .and_then(|end| self.whole.get(self.at..end));
        let bytes = bytes.ok_or(Malformed("length: it goes beyond the end"))?;
        self.at += len;
        Ok(bytes)
    }

    /// The next `N` bytes.
    pub(in crate::store) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Malformed> {
        let bytes = self.whole.get(self.at..).and_then(<[u8]>::first_chunk::<N>);
        let bytes = bytes.ok_or(Malformed("record: it is too short"))?;
        self.at += N;
        Ok(bytes)
    }

    /// One byte.
    pub(in crate::store) fn byte(&mut self) -> Result<u8, Malformed> {
        let byte = self
            .whole
            .get(self.at)
            .ok_or(Malformed("record: it is too short"))?;
        self.at += 1;
        Ok(*byte)
    }

    /// A number.
    pub(in crate::store) fn number(&mut self) -> Result<u64, Malformed> {
        read_number(|| self.byte())
    }

    /// A number that counts something held in memory.
    pub(in crate::store) fn count(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.number()?).map_err(|_| Malformed("count"))
    }

    /// A byte string.
    pub(in crate::store) fn blob(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.count()?;
        self.take(len)
    }

    /// Perhaps a byte string.
    pub(in crate::store) fn blob_or_none(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match self.count()? {
            0 => Ok(None),
            more => self.take(more - 1).map(Some),
        }
    }

    /// A text as it is encoded; `0` alone when there is none.
    pub(in crate::store) fn text_or_none(&mut self) -> Result<&'a [u8], Malformed> {
        let start = self.at;
        match self.number()? {
            0 => {}
            UUID | HEX => drop(self.take(16)?),
            more => drop(self.take(usize::try_from(more - TEXT).map_err(|_| Malformed("count"))?)?),
        }
        Ok(self.since(start))
    }

    /// A text as it is encoded.
    pub(in crate::store) fn text(&mut self) -> Result<&'a [u8], Malformed> {
        match self.text_or_none()? {
            [0] => Err(Malformed("text: it is missing")),
            text => Ok(text),
        }
    }
}

/// An aggregate's name as it is encoded in a commit: type text | id text.
pub(in crate::store) fn aggregate_bytes(key: &AggregateKey) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(96);
    bytes.text(key.aggregate_type.as_str());
    bytes.text(key.aggregate_id.as_str());
    bytes
}

/// What an encoded text says.
pub(in crate::store) fn text_of(encoded: &[u8]) -> Result<Cow<'_, str>, Malformed> {
    let mut walk = Walk::new(encoded);
    match walk.number()? {
        UUID => return Ok(Cow::Owned(uuid_text(*walk.array()?))),
        HEX => return Ok(Cow::Owned(hex_text(*walk.array()?))),
        _ => {}
    }
    let text = std::str::from_utf8(walk.rest()).map_err(|_| Malformed("text: it is not UTF-8"))?;
    Ok(Cow::Borrowed(text))
}

/// Appends what an encoded text says.
pub(in crate::store) fn put_text_of(encoded: &[u8], bytes: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut walk = Walk::new(encoded);
    match walk.number()? {
        UUID => {
            let digits = digits(walk.array()?);
            let mut text = [b'-'; 36];
            for (to, from) in UUID_PARTS {
                if let (Some(from), Some(to)) = (digits.get(from), text.get_mut(to)) {
                    to.copy_from_slice(from);
                }
            }
            bytes.extend_from_slice(&text);
        }
        HEX => bytes.extend_from_slice(&digits(walk.array()?)),
        _ => bytes.extend_from_slice(walk.rest()),
    }
    Ok(())
}

/// What a commit says, where it says it. Texts are as they are encoded.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Scan<'a> {
    /// Type text | id text.
    pub(in crate::store) aggregate: &'a [u8],
    pub(in crate::store) first_version: u64,
    pub(in crate::store) command: &'a [u8],
    pub(in crate::store) now: u64,
    pub(in crate::store) actor: &'a [u8],
    pub(in crate::store) command_id: &'a [u8],
    pub(in crate::store) correlation_id: &'a [u8],
    pub(in crate::store) causation_id: &'a [u8],
    pub(in crate::store) traceparent: &'a [u8],
    pub(in crate::store) module: &'a [u8; 32],
    /// The idempotency key.
    pub(in crate::store) idempotency: Option<&'a [u8]>,
    /// How many events.
    pub(in crate::store) events: usize,
    /// Each: type text | schema number | payload bytes.
    pub(in crate::store) bodies: &'a [u8],
}

/// The aggregate of a commit: type text | id text.
pub(in crate::store) fn aggregate_of(record: &[u8]) -> Result<&[u8], Malformed> {
    let mut walk = Walk::new(record);
    flags(&mut walk)?;
    aggregate(&mut walk)
}

fn flags(walk: &mut Walk<'_>) -> Result<u8, Malformed> {
    match walk.array()? {
        [FORMAT, flags] if flags & !FLAGS_KNOWN == 0 => Ok(*flags),
        _ => Err(Malformed("record: its format is not known here")),
    }
}

fn aggregate<'a>(walk: &mut Walk<'a>) -> Result<&'a [u8], Malformed> {
    let start = walk.at();
    walk.text()?;
    walk.text()?;
    Ok(walk.since(start))
}

impl<'a> Scan<'a> {
    /// Looks at a commit.
    pub(in crate::store) fn new(stored: Stored<'a>) -> Result<Self, Malformed> {
        let mut walk = Walk::new(stored.record);
        let flags = flags(&mut walk)?;
        let aggregate = aggregate(&mut walk)?;
        let first_version = walk.number()?;
        if first_version == 0 {
            return Err(Malformed("version: it is 0"));
        }
        let command = walk.text()?;
        walk.blob_or_none()?;
        let now = walk.number()?;
        if flags & FLAG_DERIVED_SEED == 0 {
            walk.array::<16>()?;
        }
        let actor = walk.text_or_none()?;
        let command_id = walk.text()?;
        let correlation_id = walk.text_or_none()?;
        let causation_id = walk.text_or_none()?;
        let traceparent = walk.text_or_none()?;
        let idempotency = match walk.byte()? {
            0 => None,
            1 => {
                let key = walk.text()?;
                walk.array::<32>()?;
                Some(key)
            }
            _ => return Err(Malformed("idempotency record")),
        };
        pass_outcome(&mut walk)?;
        Ok(Self {
            aggregate,
            first_version,
            command,
            now,
            actor,
            command_id,
            correlation_id,
            causation_id,
            traceparent,
            module: stored.module,
            idempotency,
            events: walk.count()?,
            bodies: walk.rest(),
        })
    }

    /// The version of the last event.
    pub(in crate::store) fn last_version(&self) -> u64 {
        self.first_version + self.events as u64 - 1
    }

    /// The type of the aggregate.
    pub(in crate::store) fn aggregate_type(&self) -> Result<&'a [u8], Malformed> {
        Walk::new(self.aggregate).text()
    }

    /// The type of each event.
    pub(in crate::store) fn event_types(
        &self,
    ) -> impl Iterator<Item = Result<&'a [u8], Malformed>> + use<'a> {
        let mut walk = Walk::new(self.bodies);
        (0..self.events).map(move |_| {
            let event_type = walk.text()?;
            walk.number()?;
            walk.blob()?;
            Ok(event_type)
        })
    }
}

fn pass_outcome(walk: &mut Walk<'_>) -> Result<(), Malformed> {
    match walk.byte()? {
        0 => {
            walk.blob_or_none()?;
        }
        1 => {
            walk.text()?;
            walk.text()?;
            walk.blob_or_none()?;
        }
        _ => return Err(Malformed("outcome")),
    }
    walk.number().map(drop)
}

/// A hash of bytes under the seed of a log: for tables in memory and for filters on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Hashing {
    seed: u64,
    end: u64,
    /// The bits that count: all of them, outside of tests.
    mask: u64,
}

impl Hashing {
    /// Seeded by a log, so that nobody can choose names that collide in all of them.
    pub(in crate::store) fn of(log_id: crate::vocabulary::LogId) -> Self {
        let number = u128::from_be_bytes(log_id.0);
        Self {
            seed: number as u64 ^ 0x9e37_79b9_7f4a_7c15,
            end: (number >> 64) as u64,
            mask: u64::MAX,
        }
    }

    /// One under which nearly everything collides.
    #[cfg(test)]
    pub(in crate::store) fn weak(log_id: crate::vocabulary::LogId) -> Self {
        Self {
            mask: 0x3 << 40,
            ..Self::of(log_id)
        }
    }

    /// The hash of bytes.
    pub(in crate::store) fn hash(self, bytes: &[u8]) -> u64 {
        self.with(self.seed, bytes)
    }

    /// The hash of an aggregate's idempotency key; never 0.
    pub(in crate::store) fn outcome(self, aggregate: u64, idempotency: &[u8]) -> u64 {
        self.with(aggregate, idempotency).max(1)
    }

    fn with(self, start: u64, bytes: &[u8]) -> u64 {
        let mut state = start ^ bytes.len() as u64;
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            state = fold(state ^ u64::from_be_bytes(*word), 0xe703_7ed1_a0b4_28db);
        }
        let rest = rest.iter().fold(1, |word, byte| word << 8 | u64::from(*byte));
        fold(
            fold(state ^ rest, 0x8ebc_6af0_9c88_c6e3) ^ self.end,
            0x5899_65cc_7537_4cc3,
        ) & self.mask
    }
}

/// The two halves of a product, one over the other. Only constants are multiplied with: a few numbers, such as
/// 0x0101…, would make nearly everything the same.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        store::{
            conformance::{commit, event, key},
            format::record_of,
        },
        vocabulary::LogId,
    };

    #[test]
    fn a_scan_agrees_with_the_commit() {
        for (expected, idempotency, events) in [
            (0, Some("k"), 0),
            (1, None, 2),
            (27, Some("0190f3e2-7b5c-7000-8000-000000000001"), 1),
        ] {
            let events = (0..events).map(|salt| event(salt, 20)).collect();
            let commit = commit(
                &key("account", "0190f3e2-7b5c-7000-8000-0000000000ff"),
                expected,
                idempotency,
                events,
            );
            let bytes = record_of(&commit);
            let stored = |record| Stored {
                module: &commit.module.0,
                record,
            };
            let scan = Scan::new(stored(&bytes)).unwrap();
            assert_eq!(scan.aggregate, aggregate_bytes(&commit.key));
            assert_eq!(aggregate_of(&bytes).unwrap(), scan.aggregate);
            assert_eq!(scan.first_version, expected + 1);
            assert_eq!(scan.last_version(), commit.last_version().0);
            assert_eq!(scan.now, commit.context.now);
            assert_eq!(scan.module, &commit.module.0);
            assert_eq!(scan.events, commit.events.len());
            assert_eq!(text_of(scan.command_id).unwrap(), commit.context.command_id);
            assert_eq!(text_of(scan.command).unwrap(), commit.command.name.as_str());
            let found = scan.idempotency.map(|key| text_of(key).unwrap().into_owned());
            assert_eq!(found.as_deref(), idempotency);
            for len in 0..bytes.len() - scan.bodies.len() {
                assert!(Scan::new(stored(&bytes[..len])).is_err(), "cut at {len}");
            }
        }
    }

    #[test]
    fn hashes_of_similar_names_differ() {
        let hashing = Hashing::of(LogId([7; 16]));
        let mut seen = std::collections::HashSet::new();
        for number in 0..200_000_u64 {
            for name in [
                format!("k-{number}"),
                format!("k-{number}-not"),
                format!("{number:032x}"),
            ] {
                assert!(seen.insert(hashing.hash(name.as_bytes())), "{name}");
                let aggregate = hashing.hash(&(number % 7).to_be_bytes());
                let outcome = hashing.outcome(aggregate, name.as_bytes());
                assert!(seen.insert(outcome), "{name}");
            }
        }
    }

    proptest! {
        #[test]
        fn texts_are_put_as_they_are_read(text in "\\PC{0,40}", uuid: [u8; 16]) {
            for text in [text, uuid_text(uuid), hex_text(uuid)] {
                let mut encoded = Vec::new();
                encoded.text(&text);
                let mut put = Vec::new();
                put_text_of(&encoded, &mut put).unwrap();
                prop_assert_eq!(&put[..], text.as_bytes());
                prop_assert_eq!(text_of(&encoded).unwrap(), text.as_str());
            }
        }

        #[test]
        fn any_bytes_are_walked_or_refused(bytes: Vec<u8>) {
            let mut walk = Walk::new(&bytes);
            while walk.number().is_ok() && walk.blob().is_ok() && walk.text().is_ok() && walk.blob_or_none().is_ok() {}
            let _ = Scan::new(Stored { module: &[0; 32], record: &bytes }).is_ok();
        }
    }
}
