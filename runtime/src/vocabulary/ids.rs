//! Names and numbers with a meaning, each a type of its own. Parsing is the only way in, so that a
//! value of one of these types is always within its limits.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// A name or id that is not acceptable: what it was for, what was found and what is allowed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{found}` {problem}")]
pub struct InvalidName {
    /// What the name is for, for example `aggregate type`.
    pub what: &'static str,
    /// The offending value, shortened and with control characters escaped.
    pub found: String,
    /// Why it is refused and what would be accepted.
    pub problem: String,
}

impl InvalidName {
    fn new(what: &'static str, found: &str, problem: impl Into<String>) -> Self {
        let shown = super::shown(found);
        let found = if found.chars().count() > super::shown::SHOWN_CHARS {
            format!("{shown}…")
        } else {
            shown
        };
        Self {
            what,
            found,
            problem: problem.into(),
        }
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(Arc<str>);

        impl $type {
            /// Checks and takes the name.
            ///
            /// # Errors
            /// [`InvalidName`] says what is wrong with it and what is accepted.
            pub fn parse(name: &str) -> Result<Self, InvalidName> {
                Self::check(name)?;
                Ok(Self(name.into()))
            }

            /// Checks a name without taking it.
            ///
            /// # Errors
            /// As for [`Self::parse`].
            pub fn check(name: &str) -> Result<(), InvalidName> {
                let check: fn(&str) -> Result<(), InvalidName> = $check;
                check(name)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;
            fn from_str(name: &str) -> Result<Self, InvalidName> {
                Self::parse(name)
            }
        }

        impl TryFrom<String> for $type {
            type Error = InvalidName;
            fn try_from(name: String) -> Result<Self, InvalidName> {
                Self::parse(&name)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0.as_ref().to_owned()
            }
        }
    };
}

/// Longest aggregate type, command name or event type, in bytes.
pub const NAME_BYTES_MAX: usize = 63;
/// Longest aggregate id or idempotency key, in bytes.
pub const ID_BYTES_MAX: usize = 255;
/// Types that begin with this are the server's own.
pub const SYSTEM_TYPE_PREFIX: &str = "annals-";

name!(
    /// The kind of aggregate, `account`: `[a-z][a-z0-9-]{0,62}`.
    AggregateType,
    |name| check_plain_name("aggregate type", name)
);

name!(
    /// The name of a durable consumer, `billing`: `[a-z][a-z0-9-]{0,62}`.
    ConsumerName,
    |name| check_plain_name("consumer", name)
);

name!(
    /// Which aggregate, `alice`: UTF-8 without control characters, 1 to 255 bytes, neither `.` nor `..`
    /// (clients and proxies rewrite those in paths).
    AggregateId,
    |id| {
        let what = "aggregate id";
        check_text(what, id)?;
        if id == "." || id == ".." {
            return Err(InvalidName::new(what, id, "is refused, because clients and proxies rewrite it in paths"));
        }
        Ok(())
    }
);

name!(
    /// The wire name of a command, `deposit`: `[A-Za-z][A-Za-z0-9._-]{0,62}`.
    CommandName,
    |name| check_wire_name("command name", name)
);

name!(
    /// The wire name of an event, `deposited`: `[A-Za-z][A-Za-z0-9._-]{0,62}`.
    EventType,
    |name| check_wire_name("event type", name)
);

name!(
    /// Chosen by the client so that a command can be retried safely: 1 to 255 bytes of UTF-8 without
    /// control characters. Its scope is (aggregate type, aggregate id, key).
    IdempotencyKey,
    |key| check_text("idempotency key", key)
);

impl AggregateType {
    /// Whether the type is one of the server's own, left out of feeds unless asked for.
    #[must_use]
    pub fn is_system(&self) -> bool {
        self.0.starts_with(SYSTEM_TYPE_PREFIX)
    }
}

fn check_length(what: &'static str, name: &str, max: usize) -> Result<(), InvalidName> {
    if name.is_empty() {
        return Err(InvalidName::new(what, name, "is empty"));
    }
    if name.len() > max {
        return Err(InvalidName::new(
            what,
            name,
            format!("has {} bytes; the limit is {max}", name.len()),
        ));
    }
    Ok(())
}

fn check_plain_name(what: &'static str, name: &str) -> Result<(), InvalidName> {
    check_length(what, name, NAME_BYTES_MAX)?;
    let fits = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits {
        Ok(())
    } else {
        Err(InvalidName::new(what, name, "must match [a-z][a-z0-9-]{0,62}"))
    }
}

fn check_text(what: &'static str, text: &str) -> Result<(), InvalidName> {
    check_length(what, text, ID_BYTES_MAX)?;
    if text.chars().any(char::is_control) {
        return Err(InvalidName::new(what, text, "contains a control character"));
    }
    Ok(())
}

fn check_wire_name(what: &'static str, name: &str) -> Result<(), InvalidName> {
    check_length(what, name, NAME_BYTES_MAX)?;
    let fits = name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if fits {
        Ok(())
    } else {
        Err(InvalidName::new(
            what,
            name,
            "must match [A-Za-z][A-Za-z0-9._-]{0,62}",
        ))
    }
}

/// One aggregate: its type and id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AggregateKey {
    /// The kind of aggregate.
    pub aggregate_type: AggregateType,
    /// Which one.
    pub aggregate_id: AggregateId,
}

impl AggregateKey {
    /// Puts type and id together.
    #[must_use]
    pub fn new(aggregate_type: AggregateType, aggregate_id: AggregateId) -> Self {
        Self {
            aggregate_type,
            aggregate_id,
        }
    }
}

impl fmt::Display for AggregateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.aggregate_type, self.aggregate_id)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $type:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $type(pub $inner);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number!(
    /// The number of events of one aggregate: dense, from 1; 0 means that it does not exist yet.
    Version, u64
);
number!(
    /// The place of an event in the whole log: strictly increasing in commit order, from 1; 0 is before the
    /// first. Clients see it only inside a [`Cursor`](super::Cursor).
    Position, u64
);
number!(
    /// Which branch of the log: raised by a restore to an earlier position.
    Epoch, u32
);
number!(
    /// One life of a lane: raised whenever the lane drops its live object, so that the writer can refuse what
    /// was decided on a state that no longer counts.
    LaneEpoch, u64
);

impl Version {
    /// The version after `events` more events.
    #[must_use]
    pub fn plus(self, events: usize) -> Self {
        Self(self.0 + events as u64)
    }
}

macro_rules! bytes_id {
    ($(#[$doc:meta])* $type:ident, $len:literal, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub struct $type(pub [u8; $len]);

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&super::hex(&self.0))
            }
        }

        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $type {
            type Err = InvalidName;
            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let wrong = || InvalidName::new($what, text, format!("must be {} hexadecimal digits", $len * 2));
                if text.len() != $len * 2 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
                    return Err(wrong());
                }
                let mut bytes = [0; $len];
                for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
                    let pair = std::str::from_utf8(pair).map_err(|_| wrong())?;
                    *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
                }
                Ok(Self(bytes))
            }
        }
    };
}

bytes_id!(
    /// The SHA-256 of an uploaded module: its identity.
    ModuleDigest, 32, "module digest"
);
bytes_id!(
    /// Drawn once when a log is created; every record's checksum covers it.
    LogId, 16, "log id"
);
bytes_id!(
    /// SHA-256 over command name, body and actor: what an idempotency key is bound to.
    RequestHash, 32, "request hash"
);

impl LogId {
    /// The first half, by which events name their log: of a million logs, two share it by chance once in forty million times.
    #[must_use]
    pub fn half(&self) -> &[u8] {
        self.0.get(..self.0.len() / 2).unwrap_or_default()
    }
}

impl ModuleDigest {
    /// Length of [`ModuleDigest::short`], digits.
    pub const SHORT_LEN: usize = 8;

    /// The first half, by which events name their module: enough that nobody can make two modules that share it.
    #[must_use]
    pub fn half(&self) -> &[u8] {
        self.0.get(..self.0.len() / 2).unwrap_or_default()
    }

    /// The first eight hexadecimal digits, for people and ETags.
    #[must_use]
    pub fn short(&self) -> String {
        super::hex(self.0.get(..Self::SHORT_LEN / 2).unwrap_or_default())
    }
}

/// The beginning of a module's digest: enough of it to find the one that is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DigestBeginning(String);

impl DigestBeginning {
    /// Whether a digest begins so.
    #[must_use]
    pub fn is_of(&self, digest: &ModuleDigest) -> bool {
        digest.to_string().starts_with(&self.0)
    }
}

impl fmt::Display for DigestBeginning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DigestBeginning {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let (least, most) = (ModuleDigest::SHORT_LEN, 2 * size_of::<ModuleDigest>());
        if !(least..=most).contains(&text.len()) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let rule = format!("must be {most} hexadecimal digits, or the first {least} or more of them");
            return Err(InvalidName::new("module digest", text, rule));
        }
        Ok(Self(text.to_ascii_lowercase()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        let longest = "a".repeat(63);
        for good in ["account", "a", "a-1", longest.as_str()] {
            assert_eq!(AggregateType::parse(good).unwrap().as_str(), good);
        }
        let long = "a".repeat(64);
        for bad in ["", "A", "1a", "a_b", "a b", "é", long.as_str()] {
            assert!(AggregateType::parse(bad).is_err(), "{bad}");
        }
        let longest = "é".repeat(127) + "x";
        for good in ["alice", "a/b", "😀", "...", " ", longest.as_str()] {
            assert_eq!(AggregateId::parse(good).unwrap().as_str(), good);
        }
        let long = "x".repeat(256);
        for bad in ["", ".", "..", "a\nb", "\u{7f}", "\u{85}", long.as_str()] {
            assert!(AggregateId::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn messages_name_value_and_limit() {
        let message = AggregateId::parse(&"x".repeat(256)).unwrap_err().to_string();
        assert!(
            message.contains("256 bytes") && message.contains("255"),
            "{message}"
        );
        let message = AggregateId::parse("a\nb").unwrap_err().to_string();
        assert_eq!(message, "aggregate id `a\\nb` contains a control character");
    }

    #[test]
    fn digests_round_trip() {
        let digest = ModuleDigest([0xab; 32]);
        assert_eq!(digest.to_string().parse::<ModuleDigest>().unwrap(), digest);
        assert!("xyz".parse::<ModuleDigest>().is_err());
        assert_eq!(digest.short(), "abababab");
    }
}
