//! What redb and the disk do to us, reduced to what we do about it; and the guard around every call into redb.

use std::{
    any::Any,
    io,
    panic::{AssertUnwindSafe, catch_unwind},
};

/// Something went wrong below.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::store) enum Fault {
    /// No space is left.
    #[error("no space is left on the disk: {0}")]
    Full(String),
    /// The disk or the system refused.
    #[error("{0}")]
    Io(String),
    /// The file's bytes make no sense.
    #[error("{0}")]
    Damaged(String),
    /// redb panicked, which it does on some damaged files.
    #[error("the storage engine panicked: {0}")]
    Panicked(String),
}

impl Fault {
    /// Whether the bytes, rather than the disk's mood, are the trouble.
    pub(in crate::store) fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged(_) | Self::Panicked(_))
    }

    /// A fault of the system, told apart by what it is.
    pub(in crate::store) fn from_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error.to_string()),
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => Self::Damaged(error.to_string()),
            _ => Self::Io(error.to_string()),
        }
    }
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::Io(error) => Self::from_io(&error),
            redb::Error::PreviousIo | redb::Error::DatabaseClosed => Self::Io(error.to_string()),
            other => Self::Damaged(other.to_string()),
        }
    }
}

/// A write that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct WriteFault {
    /// What happened.
    pub(in crate::store) fault: Fault,
    /// Whether some or all of it may be durable all the same.
    pub(in crate::store) maybe_written: bool,
}

/// Calls into redb. A panic is a fault like any other.
pub(in crate::store) fn guarded<T>(call: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, Fault> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(Fault::from),
        Err(panic) => Err(Fault::Panicked(message_of(&*panic))),
    }
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a message".to_owned())
}
