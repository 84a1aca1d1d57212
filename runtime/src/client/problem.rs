//! RFC 9457 problems, as the server writes them.

use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};

const TYPE_PREFIX: &str = "urn:annals:problem:";

/// A problem document: what went wrong, with the values that matter and the fix.
#[derive(Debug, Clone, PartialEq)]
pub struct Problem {
    /// The stable name, `unknown-type`: `type` without its prefix.
    pub slug: String,
    /// The HTTP status.
    pub status: u16,
    /// What kind of problem it is.
    pub title: String,
    /// What happened, with the values.
    pub detail: String,
    /// What to do about it.
    pub fix: Option<String>,
    /// The other members of the document.
    pub members: Map<String, Value>,
    /// Seconds after which the server asks to be tried again, from `Retry-After`.
    pub retry_after_seconds: Option<u64>,
    /// Whether this is the recorded answer to an earlier request with the same idempotency key.
    pub is_replayed: bool,
    /// The document exactly as the server wrote it.
    pub body: Bytes,
}

impl Problem {
    /// Reads a problem document; `None` when it is not one.
    #[must_use]
    pub fn read(status: u16, retry_after_seconds: Option<u64>, body: Bytes) -> Option<Self> {
        let mut members: Map<String, Value> = serde_json::from_slice(&body).ok()?;
        let slug = text(&mut members, "type")?.strip_prefix(TYPE_PREFIX)?.to_owned();
        members.remove("status");
        Some(Self {
            slug,
            status,
            title: text(&mut members, "title").unwrap_or_default(),
            detail: text(&mut members, "detail").unwrap_or_default(),
            fix: text(&mut members, "fix"),
            members,
            retry_after_seconds,
            is_replayed: false,
            body,
        })
    }

    /// Reads a problem document that came in a stream, where only the document itself tells the status; `None` when it
    /// is not one.
    #[must_use]
    pub fn in_stream(document: &str) -> Option<Self> {
        #[derive(Deserialize)]
        struct Status {
            status: u16,
        }
        let Status { status } = serde_json::from_str(document).ok()?;
        Self::read(status, None, Bytes::copy_from_slice(document.as_bytes()))
    }

    /// Whether it is certain that nothing was changed and that the same request may fare better later.
    #[must_use]
    pub fn is_temporary(&self) -> bool {
        matches!(self.status, 429 | 503) && self.nothing_happened()
    }

    /// Whether it is certain that nothing was changed. A 5xx that is not a refusal may have come after the
    /// command was carried out.
    #[must_use]
    pub fn nothing_happened(&self) -> bool {
        match self.slug.as_str() {
            "outcome-unknown" => false,
            "module-trapped" | "unavailable" | "disk-full" => true,
            _ => self.status < 500,
        }
    }

    /// The code of the domain's rejection.
    #[must_use]
    pub fn rejection_code(&self) -> Option<&str> {
        if self.slug != "rejected" {
            return None;
        }
        self.member("code")
    }

    /// A member that is text.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&str> {
        self.members.get(name).and_then(Value::as_str)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.detail.is_empty() {
            write!(f, "{} ({} {})", self.title, self.status, self.slug)
        } else {
            write!(f, "{} ({} {})", self.detail, self.status, self.slug)
        }
    }
}

fn text(members: &mut Map<String, Value>, name: &str) -> Option<String> {
    match members.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_read_with_its_members() {
        let body = r#"{"type":"urn:annals:problem:rejected","title":"Rejected","status":422,
            "detail":"balance 10 is less than 11","fix":"deposit first","code":"insufficient-funds",
            "version":3}"#;
        let problem = Problem::read(422, None, Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!((problem.slug.as_str(), problem.status), ("rejected", 422));
        assert_eq!(problem.rejection_code(), Some("insufficient-funds"));
        assert_eq!(problem.fix.as_deref(), Some("deposit first"));
        assert_eq!(problem.members.get("version"), Some(&Value::from(3)));
        assert!(!problem.is_temporary());
    }

    #[test]
    fn other_documents_are_not_problems() {
        for body in [
            "",
            "<html>",
            "[]",
            r#"{"type":"about:blank"}"#,
            r#"{"error":"x"}"#,
        ] {
            assert_eq!(Problem::read(500, None, Bytes::from(body)), None, "{body}");
        }
    }

    #[test]
    fn only_certain_refusals_are_safe_to_repeat() {
        let cases = [
            ("busy", 429, true, true),
            ("unavailable", 503, true, true),
            ("outcome-unknown", 503, false, false),
            ("disk-full", 507, true, false),
            ("module-trapped", 500, true, false),
            ("damaged", 500, false, false),
            ("something-new", 503, false, false),
            ("unknown-type", 404, true, false),
        ];
        for (slug, status, nothing_happened, temporary) in cases {
            let body = format!(r#"{{"type":"urn:annals:problem:{slug}"}}"#);
            let problem = Problem::read(status, None, body.into()).unwrap();
            assert_eq!(problem.nothing_happened(), nothing_happened, "{slug}");
            assert_eq!(problem.is_temporary(), temporary, "{slug}");
        }
    }
}
