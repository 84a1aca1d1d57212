//! How events are sent: as a page, as lines, or as server-sent events.

use axum::http::HeaderMap;

use super::super::{
    extract::header_text,
    media_type::{NDJSON, negotiate},
    problem::Problem,
};

const BATCH: &str = "application/cloudevents-batch+json";
const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";
const OFFERED: [&str; 6] = {
    let [ndjson, second, third] = NDJSON;
    [BATCH, JSON, ndjson, second, third, EVENT_STREAM]
};

/// How events are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Form {
    /// An array.
    Page(&'static str),
    /// JSON, one value a line, as long as there is more.
    Lines(&'static str),
    /// Server-sent events.
    ServerSent,
}

impl Form {
    /// The form that a client accepts.
    pub(in crate::http) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        Ok(match negotiate(headers, &OFFERED)? {
            EVENT_STREAM => Self::ServerSent,
            media_type if NDJSON.contains(&media_type) => Self::Lines(media_type),
            media_type => Self::Page(media_type),
        })
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Page(media_type) | Self::Lines(media_type) => media_type,
            Self::ServerSent => EVENT_STREAM,
        }
    }

    /// Whether it goes on beyond the head of the log.
    pub(in crate::http) fn follows(self, asked: Option<bool>) -> Result<bool, Problem> {
        match (self, asked) {
            (Self::ServerSent, Some(false)) => Err(Problem::malformed(
                "`follow=false`: server-sent events always go on with what happens",
                format!("accept `{}`, which ends at the head of the log", NDJSON[0]),
            )),
            (Self::Page(_), Some(true)) => Err(Problem::malformed(
                "`follow=true`: a page does not go on",
                format!("accept `{}` or `{EVENT_STREAM}`", NDJSON[0]),
            )),
            (Self::ServerSent, _) => Ok(true),
            (_, asked) => Ok(asked.unwrap_or(false)),
        }
    }
}

/// `Last-Event-ID`: where a client of a stream has got to. An empty one is none.
pub(in crate::http) fn last_event_id(headers: &HeaderMap, form: Form) -> Result<Option<&str>, Problem> {
    let id = header_text(headers, "last-event-id")?.filter(|id| !id.is_empty());
    if id.is_some() && matches!(form, Form::Page(_)) {
        let fix = format!(
            "accept `{EVENT_STREAM}` or `{}`, or name the place in the query",
            NDJSON[0]
        );
        return Err(Problem::malformed("`Last-Event-ID` is for streams", fix));
    }
    Ok(id)
}
