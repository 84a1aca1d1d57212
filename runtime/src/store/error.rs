//! What can go wrong, one enum per kind of call.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crate::vocabulary::{Committed, Version};

/// Why a proposal was not written, or not known to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AppendError {
    /// The aggregate has moved on; the lane reloads the tail and decides again.
    #[error("the aggregate is at version {head}, not where the decision was made")]
    Conflict {
        /// Its version now.
        head: Version,
    },
    /// The idempotency key is recorded already; nothing was written.
    #[error("the idempotency key is recorded already")]
    Duplicate(Arc<Committed>),
    /// An earlier proposal of the same lane epoch was not committed, so this one has no ground.
    #[error("an earlier decision of the same lane was not committed")]
    Superseded,
    /// Nothing was written and nothing will be until the store is open again.
    #[error("the store is not taking writes: {reason}")]
    Unavailable {
        /// Why, for people.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// No space is left; nothing was written.
    #[error("the disk is full: {reason}")]
    Full {
        /// Why, for people.
        reason: String,
    },
    /// The write failed in a way that leaves open whether it is durable. The outcome can be looked up by
    /// idempotency key, or the head read, once the store is open again.
    #[error("the outcome is not known: {reason}")]
    Unknown {
        /// Why, for people.
        reason: String,
    },
}

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// Bytes that do not check out. They are never served.
    #[error("damaged: {what}")]
    Damaged {
        /// What is damaged, with type, id and version or position where they can be known.
        what: String,
    },
    /// The store is closed, reopening, or the disk does not answer.
    #[error("the store cannot be read: {reason}")]
    Unavailable {
        /// Why, for people.
        reason: String,
    },
}

/// Why a store could not be opened. Nothing was changed, beyond what a crash at this moment would leave as well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process has it open.
    #[error(
        "the data directory `{path}` is in use by {holder}: stop that process first, or give this one another directory"
    )]
    Locked {
        /// The directory.
        path: PathBuf,
        /// `process 1234`, or `another process` when its id is not known.
        holder: String,
    },
    /// The directory holds something else.
    #[error(
        "`{path}` is not a data directory of annals and is not empty (it holds `{found}`): give an empty or a new directory"
    )]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// One thing that is in it.
        found: String,
    },
    /// The directory, or a file in it, cannot be written.
    #[error(
        "`{path}` cannot be written ({source}): make it writable for this user, or give another directory"
    )]
    NotWritable {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file was written by a newer version of annals.
    #[error(
        "{what} has format {found}, and this version reads formats up to {supported}: use a newer annals"
    )]
    NewerFormat {
        /// The file.
        what: String,
        /// Its format.
        found: u32,
        /// The newest format known here.
        supported: u32,
    },
    /// Primary data does not check out. It is left untouched.
    #[error("{what}: restore the data directory from a backup")]
    Damaged {
        /// Which file, and what is wrong with it.
        what: String,
    },
    /// The system refused something else.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}
