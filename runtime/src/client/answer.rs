//! What came back: the value, and the bytes it was read from.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, StatusCode};
use serde::de::DeserializeOwned;

use super::error::ClientError;

/// A successful answer.
#[derive(Debug, Clone)]
pub struct Answer<T> {
    /// The status, always 2xx.
    pub status: StatusCode,
    /// All headers.
    pub headers: HeaderMap,
    /// The body exactly as the server wrote it.
    pub body: Bytes,
    /// The body, read.
    pub value: T,
}

impl<T> Answer<T> {
    /// A header's value, when it is there and text.
    #[must_use]
    pub fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether this is the recorded answer to an earlier request with the same idempotency key.
    #[must_use]
    pub fn is_replayed(&self) -> bool {
        self.header(&HeaderName::from_static("idempotency-replayed")) == Some("true")
    }
}

impl Answer<()> {
    /// Reads the body.
    pub(crate) fn read<T: DeserializeOwned>(self, what: &str) -> Result<Answer<T>, ClientError> {
        let value = serde_json::from_slice(&self.body).map_err(|error| ClientError::Unexpected {
            what: what.to_owned(),
            problem: format!("its body could not be read: {error}"),
        })?;
        Ok(Answer {
            status: self.status,
            headers: self.headers,
            body: self.body,
            value,
        })
    }
}
