//! Everything that can go wrong between a client and a server.

use std::time::Duration;

use super::problem::Problem;

/// Why a request has no successful answer.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection could be made, so the request was not sent.
    #[error("cannot reach a server at {address}: {cause}")]
    Unreachable {
        /// The address that was tried.
        address: String,
        /// What the operating system said.
        cause: String,
    },
    /// The connection was lost before the whole answer was there; the request may have been carried out.
    #[error("the connection to {address} was lost before the answer: {cause}")]
    Lost {
        /// The address of the server.
        address: String,
        /// What was seen.
        cause: String,
    },
    /// No answer came in time; the request may have been carried out.
    #[error("{address} gave no answer within {} s", limit.as_secs())]
    TimedOut {
        /// The address of the server.
        address: String,
        /// How long was waited.
        limit: Duration,
    },
    /// The server answered with a problem.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// Something answered, but not the way an annals server does.
    #[error("{what}: {problem}")]
    Unexpected {
        /// The request.
        what: String,
        /// What was wrong with the answer.
        problem: String,
    },
    /// The request cannot be written: a header or path is not valid HTTP.
    #[error("the request cannot be written: {0}")]
    Request(String),
}

impl ClientError {
    /// Whether it is certain that the server changed nothing, so that the request can be sent again as it is.
    #[must_use]
    pub fn nothing_happened(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Request(_) => true,
            Self::Lost { .. } | Self::TimedOut { .. } | Self::Unexpected { .. } => false,
            Self::Problem(problem) => problem.nothing_happened(),
        }
    }

    /// What the person at the other end can do about it, when there is something.
    #[must_use]
    pub fn fix(&self) -> Option<String> {
        match self {
            Self::Unreachable { .. } => Some(
                "start a server with `annals serve --data DIR`, or name another one with --server URL \
                 (or ANNALS_SERVER)"
                    .to_owned(),
            ),
            Self::Lost { .. } | Self::TimedOut { .. } => Some(
                "the request may have been carried out: look before you send it again, or use an idempotency \
                 key, with which sending again is safe"
                    .to_owned(),
            ),
            Self::Problem(problem) => problem.fix.clone(),
            Self::Unexpected { .. } => {
                Some("check that the address is that of an annals server of this version".to_owned())
            }
            Self::Request(_) => None,
        }
    }
}
