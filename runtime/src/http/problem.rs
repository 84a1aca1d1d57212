//! Problems (RFC 9457): documents with a status, a stable type, words and a fix.

use std::time::Duration;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::{Map, Value};

use crate::vocabulary::{AggregateKey, Cursor, Version};

/// A problem document, with extension members of its kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem(Box<Content>);

#[derive(Debug, Clone, PartialEq)]
struct Content {
    status: StatusCode,
    slug: &'static str,
    title: &'static str,
    detail: String,
    fix: String,
    retry_after: Option<Duration>,
    members: Map<String, Value>,
}

impl Problem {
    pub(super) fn new(
        status: u16,
        slug: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self(Box::new(Content {
            status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            slug,
            title,
            detail: detail.into(),
            fix: String::new(),
            retry_after: None,
            members: Map::new(),
        }))
    }

    pub(super) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.0.fix = fix.into();
        self
    }

    pub(super) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.members.insert(name.to_owned(), value.into());
        self
    }

    pub(super) fn retry_after(mut self, after: Duration) -> Self {
        self.0.retry_after = Some(after);
        self
    }

    pub(super) fn malformed(detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(400, "malformed-request", "The request is malformed", detail).fix(fix)
    }

    pub(super) fn unavailable(reason: impl std::fmt::Display) -> Self {
        Self::new(
            503,
            "unavailable",
            "Not available at the moment",
            reason.to_string(),
        )
        .fix("try again after the time in Retry-After")
        .retry_after(Duration::from_secs(1))
    }

    pub(super) fn busy(what: &str, limit: usize) -> Self {
        Self::new(
            429,
            "busy",
            "Too many requests at once",
            format!("{what} is used up: the limit is {limit}"),
        )
        .fix("try again after the time in Retry-After")
        .retry_after(Duration::from_secs(1))
        .with("limit", limit)
    }

    pub(super) fn too_large(what: &str, limit: usize) -> Self {
        Self::new(
            413,
            "too-large",
            "Too large",
            format!("{what} is larger than {limit} bytes, the limit"),
        )
        .fix("send less at once")
        .with("limit_bytes", limit)
    }

    /// The status of the answer.
    pub(super) fn status(&self) -> u16 {
        self.0.status.as_u16()
    }

    /// Seconds after which it is worth trying again.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        self.0.retry_after.map(|after| after.as_secs().max(1))
    }

    /// The document, for streams and recorded outcomes.
    pub(super) fn document(&self) -> Value {
        let mut document = Map::new();
        document.insert(
            "type".into(),
            format!("urn:annals:problem:{}", self.0.slug).into(),
        );
        document.insert("title".into(), self.0.title.into());
        document.insert("status".into(), self.0.status.as_u16().into());
        document.insert("detail".into(), self.0.detail.clone().into());
        if !self.0.fix.is_empty() {
            document.insert("fix".into(), self.0.fix.clone().into());
        }
        document.extend(self.0.members.clone());
        Value::Object(document)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let headers = [
            (
                header::CONTENT_TYPE,
                HeaderValue::from_static("application/problem+json"),
            ),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        let mut response = (self.0.status, headers, self.document().to_string()).into_response();
        if let Some(seconds) = self.retry_after_seconds() {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

pub(super) fn unknown_type(aggregate_type: &str) -> Problem {
    let detail = format!("no module serves the aggregate type `{aggregate_type}`");
    Problem::new(404, "unknown-type", "No such aggregate type", detail)
        .fix("upload a module for it (POST /v1/modules); GET /v1/aggregates lists the types there are")
        .with("aggregate_type", aggregate_type)
}

pub(super) fn unknown_aggregate(key: &AggregateKey) -> Problem {
    let detail = format!("`{key}` does not exist: it has no events");
    Problem::new(404, "unknown-aggregate", "No such aggregate", detail)
        .fix("send it a command that creates it")
}

pub(super) fn unknown_module(detail: String) -> Problem {
    Problem::new(404, "unknown-module", "No such module", detail).fix("GET /v1/modules lists those there are")
}

/// A domain's no, to what was at a version and a position.
pub(super) fn rejected(
    code: &str,
    message: &str,
    details: Value,
    version: Version,
    position: Cursor,
) -> Problem {
    Problem::new(422, "rejected", "The domain rejected the command", message)
        .fix("nothing was appended; `code` and `details` say why, for programs")
        .with("code", code)
        .with("message", message)
        .with("details", details)
        .with("version", version.0)
        .with("position", position.to_string())
}

pub(super) async fn not_found(uri: axum::http::Uri) -> Problem {
    Problem::new(
        404,
        "not-found",
        "Nothing is there",
        format!("`{}` is not a path of this server", uri.path()),
    )
    .fix("GET /openapi.json lists the paths")
}

pub(super) async fn method_not_allowed(method: axum::http::Method, uri: axum::http::Uri) -> Problem {
    let detail = format!("`{}` does not take {method}", uri.path());
    Problem::new(405, "method-not-allowed", "Not with this method", detail)
        .fix("GET /openapi.json lists the methods of each path")
}

pub(super) fn panicked(_: Box<dyn std::any::Any + Send + 'static>) -> Response {
    Problem::new(
        500,
        "internal",
        "The server failed",
        "a handler ended unexpectedly",
    )
    .fix("this is a defect of the server; please report it with the server's log")
    .into_response()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::aggregates::CommandError;

    #[test]
    fn documents_have_type_status_words_and_fix() {
        let problem: Problem = CommandError::PreconditionFailed {
            version: crate::vocabulary::Version(7),
        }
        .into();
        assert_eq!(
            problem.document(),
            json!({
                "type": "urn:annals:problem:precondition-failed",
                "title": "The aggregate has moved on",
                "status": 412,
                "detail": "the aggregate is at version 7, not where `If-Match` wants it",
                "fix": "read the state again and decide on it",
                "version": 7
            })
        );
    }
}
