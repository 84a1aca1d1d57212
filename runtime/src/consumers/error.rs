//! What can go wrong with a consumer.

use crate::{
    store::{AppendError, ReadError},
    vocabulary::{AggregateKey, ConsumerName},
};

use super::{definition::OutOfBounds, progress::ParkedRefused};

/// Why a consumer did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsumerError {
    /// There is none of this name.
    #[error("there is no consumer `{0}`")]
    Unknown(ConsumerName),
    /// No more are taken.
    #[error("there are {limit} consumers already, which is the limit")]
    TooMany {
        /// The limit.
        limit: usize,
    },
    /// No more webhooks are taken.
    #[error("there are {limit} consumers with a webhook already, which is the limit")]
    TooManyWebhooks {
        /// The limit.
        limit: usize,
    },
    /// It has no webhook.
    #[error("the consumer `{0}` has no webhook")]
    NoWebhook(ConsumerName),
    /// The system gives no randomness for a secret.
    #[error("no secret can be made: {reason}")]
    NoSecret {
        /// What the system says.
        reason: String,
    },
    /// A value of the definition is not taken.
    #[error(transparent)]
    OutOfBounds(#[from] OutOfBounds),
    /// The filter was changed too often while one event was waited for.
    #[error(
        "there have been {limit} other filters since the event behind the checkpoint was first wanted, which is the limit"
    )]
    TooManyFilters {
        /// The limit.
        limit: usize,
    },
    /// What was read ahead stands in the order that was asked for.
    #[error("the consumer `{0}` exists, and its ordering cannot be changed")]
    OrderingFixed(ConsumerName),
    /// Parked events that cannot be replayed or skipped.
    #[error("`{aggregate}`: {refused}")]
    Parked {
        /// Whose events.
        aggregate: AggregateKey,
        /// Why.
        refused: ParkedRefused,
    },
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Closing,
    /// The store could not be read.
    #[error(transparent)]
    NotRead(#[from] ReadError),
    /// The store did not take it, or it is not known whether it did.
    #[error(transparent)]
    NotWritten(#[from] AppendError),
}
