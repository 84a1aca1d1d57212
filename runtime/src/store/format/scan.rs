//! A commit's canonical bytes, looked at where they lie: for whoever handles many of them and needs a few fields of
//! each. Nothing is copied, and texts keep their encoding.

use std::borrow::Cow;

use super::{
    FORMAT, Malformed, Sink as _,
    bytes::{TEXT, UUID, uuid_text},
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
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
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
            UUID => drop(self.take(16)?),
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
    if walk.number()? == UUID {
        return Ok(Cow::Owned(uuid_text(*walk.array()?)));
    }
    let text = std::str::from_utf8(walk.rest()).map_err(|_| Malformed("text: it is not UTF-8"))?;
    Ok(Cow::Borrowed(text))
}

/// Appends what an encoded text says.
pub(in crate::store) fn put_text_of(encoded: &[u8], bytes: &mut Vec<u8>) -> Result<(), Malformed> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut walk = Walk::new(encoded);
    if walk.number()? != UUID {
        bytes.extend_from_slice(walk.rest());
        return Ok(());
    }
    for (index, byte) in walk.array::<16>()?.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            bytes.push(b'-');
        }
        let digits =
            [byte >> 4, byte & 0xf].map(|digit| DIGITS.get(usize::from(digit)).copied().unwrap_or(b'0'));
        bytes.extend_from_slice(&digits);
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
pub(in crate::store) fn aggregate_of(canonical: &[u8]) -> Result<&[u8], Malformed> {
    aggregate(&mut Walk::new(canonical))
}

fn aggregate<'a>(walk: &mut Walk<'a>) -> Result<&'a [u8], Malformed> {
    if walk.array::<2>()? != &[FORMAT, 0] {
        return Err(Malformed("record: its format is not known here"));
    }
    let start = walk.at();
    walk.text()?;
    walk.text()?;
    Ok(walk.since(start))
}

impl<'a> Scan<'a> {
    /// Looks at a commit.
    pub(in crate::store) fn new(canonical: &'a [u8]) -> Result<Self, Malformed> {
        let mut walk = Walk::new(canonical);
        let aggregate = aggregate(&mut walk)?;
        let first_version = walk.number()?;
        if first_version == 0 {
            return Err(Malformed("version: it is 0"));
        }
        let command = walk.text()?;
        walk.blob_or_none()?;
        let now = walk.number()?;
        walk.array::<16>()?;
        let actor = walk.text_or_none()?;
        let command_id = walk.text()?;
        let correlation_id = walk.text_or_none()?;
        let causation_id = walk.text_or_none()?;
        let traceparent = walk.text_or_none()?;
        let module = walk.array::<32>()?;
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
            module,
            idempotency,
            events: walk.count()?,
            bodies: walk.rest(),
        })
    }

    /// The version of the last event.
    pub(in crate::store) fn last_version(&self) -> u64 {
        self.first_version + self.events as u64 - 1
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

/// The commits of a chunk that has been checked, one after the other: where each lies in the body, and its canonical
/// bytes.
#[derive(Debug)]
pub(in crate::store) struct Frames<'a>(Walk<'a>);

impl<'a> Frames<'a> {
    /// All commits of a chunk's body.
    pub(in crate::store) fn of_body(body: &'a [u8]) -> Self {
        Self(Walk::new(body))
    }

    /// The commit that lies at a place in a chunk's body.
    pub(in crate::store) fn one(body: &'a [u8], at: usize) -> Result<&'a [u8], Malformed> {
        Self(Walk { whole: body, at }).frame()
    }

    fn frame(&mut self) -> Result<&'a [u8], Malformed> {
        let len = u32::from_be_bytes(*self.0.array()?);
        self.0.array::<4>()?;
        self.0.take(len as usize)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<(usize, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let at = self.0.at;
        (!self.0.is_end()).then(|| self.frame().map(|canonical| (at, canonical)))
    }
}

/// A hash of bytes under the seed of a log: for tables in memory and for filters on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Hashing {
    seed: u64,
    end: u64,
}

impl Hashing {
    /// Seeded by a log, so that nobody can choose names that collide in all of them.
    pub(in crate::store) fn of(log_id: crate::vocabulary::LogId) -> Self {
        let number = u128::from_be_bytes(log_id.0);
        Self {
            seed: number as u64 ^ 0x9e37_79b9_7f4a_7c15,
            end: (number >> 64) as u64 | 1,
        }
    }

    /// The hash of bytes.
    pub(in crate::store) fn hash(self, bytes: &[u8]) -> u64 {
        self.with(self.seed, bytes)
    }

    /// The hash of an aggregate's idempotency key.
    pub(in crate::store) fn outcome(self, aggregate: u64, idempotency: &[u8]) -> u64 {
        self.with(aggregate, idempotency)
    }

    fn with(self, start: u64, bytes: &[u8]) -> u64 {
        let mut state = start ^ bytes.len() as u64;
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            state = fold(state ^ u64::from_be_bytes(*word), 0xe703_7ed1_a0b4_28db);
        }
        let rest = rest.iter().fold(1, |word, byte| word << 8 | u64::from(*byte));
        fold(fold(state ^ rest, 0x8ebc_6af0_9c88_c6e3), self.end)
    }
}

/// The two halves of a product, one over the other.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}
