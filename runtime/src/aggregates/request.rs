//! What the lanes are asked, and what they answer.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{
    store::{AppendError, ReadError},
    vocabulary::{
        AggregateKey, AggregateType, CommandName, Committed, IdempotencyKey, ModuleDigest, RequestHash,
        Version,
    },
    wasm::Fault,
};

/// Delivers an answer, once. It must not block: it is called on a shard's thread.
pub type Reply<T> = Box<dyn FnOnce(T) + Send>;

/// A command, parsed and within its limits.
#[derive(Debug, Clone)]
pub struct CommandRequest {
    /// For which aggregate.
    pub key: AggregateKey,
    /// Wire name.
    pub command: CommandName,
    /// The body as it came.
    pub payload: Bytes,
    /// Makes a retry safe.
    pub idempotency: Option<IdempotencyKey>,
    /// What the caller wants to be true of the version.
    pub preconditions: Preconditions,
    /// Who asks.
    pub actor: Option<String>,
    /// Given by the caller, else the command's own id.
    pub correlation_id: Option<String>,
    /// What caused the command.
    pub causation_id: Option<String>,
    /// W3C trace context, as received.
    pub traceparent: Option<String>,
}

impl CommandRequest {
    /// What an idempotency key is bound to: command name, body and actor, never the preconditions.
    #[must_use]
    pub fn hash(&self) -> RequestHash {
        let mut hasher = Sha256::new();
        let actor = self.actor.as_deref();
        for part in [
            Some(self.command.as_str().as_bytes()),
            Some(&self.payload),
            actor.map(str::as_bytes),
        ] {
            // Lengths keep the parts apart; a missing part differs from an empty one.
            hasher.update(part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
            hasher.update(part.unwrap_or_default());
        }
        RequestHash(hasher.finalize().into())
    }
}

/// `If-Match` and `If-None-Match: *`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preconditions {
    /// The aggregate must be at one of these versions.
    pub any_of: Option<Vec<Version>>,
    /// The aggregate must exist (`If-Match: *`).
    pub must_exist: bool,
    /// The aggregate must not exist (`If-None-Match: *`).
    pub must_not_exist: bool,
}

impl Preconditions {
    /// Checks them against the version that the decision would be made on.
    ///
    /// # Errors
    /// [`CommandError::AlreadyExists`] or [`CommandError::PreconditionFailed`], with the version.
    pub fn check(&self, version: Version) -> Result<(), CommandError> {
        if self.must_not_exist && version > Version(0) {
            return Err(CommandError::AlreadyExists { version });
        }
        let matches = self
            .any_of
            .as_ref()
            .is_none_or(|versions| versions.contains(&version));
        if !matches || (self.must_exist && version == Version(0)) {
            return Err(CommandError::PreconditionFailed { version });
        }
        Ok(())
    }
}

/// A decision that is durable, or that had nothing to record.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The decision with its events and place.
    pub committed: Arc<Committed>,
    /// Whether an idempotency key led to an earlier decision.
    pub replayed: bool,
}

/// Why a command was not decided. Nothing was appended, except where `NotWritten` says that it is not known.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CommandError {
    /// No module serves the type.
    #[error("no module serves the aggregate type `{0}`")]
    UnknownType(AggregateType),
    /// The module has no such command.
    #[error("`{aggregate_type}` has no command `{command}`")]
    UnknownCommand {
        /// The type asked.
        aggregate_type: AggregateType,
        /// The command asked for.
        command: CommandName,
        /// The commands there are.
        known: Vec<CommandName>,
    },
    /// The payload does not decode.
    #[error("the payload of `{command}` does not decode: {problem}")]
    Malformed {
        /// The command.
        command: CommandName,
        /// JSON pointer to the offending value.
        pointer: String,
        /// What was expected and found.
        problem: String,
    },
    /// `If-Match` does not hold.
    #[error("the aggregate is at version {version}, not where `If-Match` wants it")]
    PreconditionFailed {
        /// Its version.
        version: Version,
    },
    /// `If-None-Match: *` does not hold.
    #[error("the aggregate exists, at version {version}")]
    AlreadyExists {
        /// Its version.
        version: Version,
    },
    /// The key was first used for another command, body or actor.
    #[error("the idempotency key `{key}` was first used for another request")]
    KeyReused {
        /// The key.
        key: IdempotencyKey,
        /// The command that it is bound to.
        first_command: CommandName,
    },
    /// The decision would break what the module says must always hold.
    #[error("the decision would break an invariant: {}", .broken.join("; "))]
    InvariantBroken {
        /// The broken ones, in words.
        broken: Vec<String>,
    },
    /// The module failed: a trap, a limit, a result that cannot be used.
    #[error("the module failed: {fault}")]
    Fault {
        /// What happened.
        fault: Fault,
        /// Found again in the log under this id.
        diagnosis: String,
    },
    /// The module cannot follow the aggregate's history.
    #[error("the history of `{key}` cannot be applied at version {version}: {problem}")]
    Broken {
        /// Which aggregate.
        key: AggregateKey,
        /// The event at which replay stops.
        version: Version,
        /// What the module says.
        problem: String,
        /// The module that was asked.
        module: ModuleDigest,
    },
    /// A queue is full.
    #[error("{what} is full: {limit} are waiting")]
    Busy {
        /// Which queue.
        what: &'static str,
        /// Its limit.
        limit: usize,
    },
    /// The server is not taking requests.
    #[error("not available: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// The store did not take it.
    #[error(transparent)]
    NotWritten(AppendError),
    /// The store could not be read.
    #[error(transparent)]
    NotRead(#[from] ReadError),
}

/// The state of an aggregate, as its module renders it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateView {
    /// Its version; durable.
    pub version: Version,
    /// The module that rendered it.
    pub module: ModuleDigest,
    /// What it looks like.
    pub state: RenderedState,
}

/// What a read of the state found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderedState {
    /// JSON.
    Json(String),
    /// The caller has this version already, as rendered by the same module.
    NotModified,
    /// Deleted, or closed for good.
    Ended,
    /// The module offers no view.
    NoView,
    /// Version 0.
    Missing,
}

/// A read of the state.
#[derive(Debug, Clone)]
pub struct StateRequest {
    /// Which aggregate.
    pub key: AggregateKey,
    /// The representations that the caller has: versions with the start of the module digest.
    pub known: Vec<(Version, String)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(command: &str, payload: &'static [u8], actor: Option<&str>) -> RequestHash {
        CommandRequest {
            key: AggregateKey::new("account".parse().unwrap(), "alice".parse().unwrap()),
            command: command.parse().unwrap(),
            payload: Bytes::from_static(payload),
            idempotency: None,
            preconditions: Preconditions {
                any_of: Some(vec![Version(1)]),
                ..Preconditions::default()
            },
            actor: actor.map(str::to_owned),
            correlation_id: None,
            causation_id: None,
            traceparent: None,
        }
        .hash()
    }

    #[test]
    fn a_key_is_bound_to_command_body_and_actor() {
        let first = request("deposit", b"1", None);
        assert_eq!(first, request("deposit", b"1", None));
        assert_ne!(first, request("deposit", b"2", None));
        assert_ne!(first, request("deposit1", b"", None));
        assert_ne!(first, request("deposit", b"1", Some("")));
        assert_ne!(
            request("deposit", b"1", Some("a")),
            request("deposit", b"1", Some("b"))
        );
    }

    #[test]
    fn preconditions_look_at_the_version_alone() {
        let at = |versions: &[u64]| Preconditions {
            any_of: Some(versions.iter().copied().map(Version).collect()),
            ..Preconditions::default()
        };
        let exists = Preconditions {
            must_exist: true,
            ..Preconditions::default()
        };
        let create = Preconditions {
            must_not_exist: true,
            ..Preconditions::default()
        };
        for (preconditions, version, holds) in [
            (Preconditions::default(), 0, true),
            (Preconditions::default(), 7, true),
            (at(&[7]), 7, true),
            (at(&[6, 7]), 7, true),
            (at(&[6]), 7, false),
            (at(&[0]), 0, true),
            (exists.clone(), 0, false),
            (exists, 1, true),
            (create.clone(), 0, true),
            (create, 1, false),
        ] {
            assert_eq!(
                preconditions.check(Version(version)).is_ok(),
                holds,
                "{preconditions:?} at {version}"
            );
        }
    }
}
