//! Sending a command, and looking its outcome up.

use axum::{
    body::{Body, HttpBody},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use tokio::sync::oneshot;

use crate::{
    aggregates::{Answer, CommandError, CommandRequest},
    vocabulary::{self, AggregateKey, CommandName, Committed, IdempotencyKey, Outcome, is_json},
};

use super::super::{
    app::{App, Running},
    cloudevent::{CloudEvent, raw_json, rfc3339, write_payload},
    document::{Object, number},
    etag::{preconditions, version_headers},
    extract::{
        IDEMPOTENCY_REPLAYED, NoParameters, Path, Query, idempotency_key, no_query, opaque_id, read_body,
        traceparent,
    },
    media_type::{check_content_type, negotiate},
    problem::{Problem, rejected, unknown_type},
};

/// Room for an answer with one small event.
const ANSWER_BYTES: usize = 1_024;
/// Headers of an answer, those included that are added on the way out.
const HEADERS: usize = 8;

/// `POST /v1/aggregates/{type}/{id}/commands/{command}`
pub(in super::super) async fn send<B>(
    app: &App,
    key: AggregateKey,
    command: CommandName,
    parts: &Parts,
    body: B,
) -> Result<Response, Problem>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<axum::BoxError>,
{
    let running = app.running()?;
    let headers = &parts.headers;
    no_query(&parts.uri)?;
    negotiate(headers, &["application/json"])?;
    let Some(active) = running.modules.active(&key.aggregate_type) else {
        return Err(unknown_type(key.aggregate_type.as_str()));
    };
    let encoding = active.module.manifest().payload_encoding.as_str();
    let limit = app.limits().payload_bytes;
    let payload = read_body(app, body, "the payload of the command", limit).await?;
    if !payload.is_empty() {
        check_content_type(headers, &[encoding])?;
        check_payload(encoding, &payload)?;
    }
    let request = CommandRequest {
        key,
        command,
        payload,
        idempotency: idempotency_key(headers)?,
        preconditions: preconditions(headers)?,
        actor: None,
        correlation_id: opaque_id(headers, "correlation-id")?,
        causation_id: opaque_id(headers, "causation-id")?,
        traceparent: traceparent(headers),
    };
    let answer = decide(running, request).await?;
    Ok(render(running, &answer))
}

/// Checks that a payload is JSON, where the module takes JSON.
pub(in crate::http) fn check_payload(encoding: &str, payload: &[u8]) -> Result<(), Problem> {
    if !is_json(encoding) {
        return Ok(());
    }
    let Err(problem) = vocabulary::check_json(payload) else {
        return Ok(());
    };
    let found = vocabulary::shown(&String::from_utf8_lossy(payload.get(..320).unwrap_or(payload)));
    let detail = format!("the payload is not JSON: {problem}");
    Err(Problem::malformed(detail, "send one JSON value that fits the command's schema").with("found", found))
}

/// The answer is delivered even when the client goes away: the lane does not depend on who waits.
async fn decide(running: &Running, request: CommandRequest) -> Result<Answer, CommandError> {
    let (reply, answer) = oneshot::channel();
    running
        .aggregates
        .send(request, Box::new(move |answer| drop(reply.send(answer))));
    answer.await.unwrap_or_else(|_| {
        Err(CommandError::Unavailable {
            reason: "the server is shutting down".into(),
            retry_after: std::time::Duration::from_secs(1),
        })
    })
}

/// The same answer for the same decision, at any time.
fn render(running: &Running, answer: &Answer) -> Response {
    let commit = &answer.committed.commit;
    let mut body = Vec::with_capacity(ANSWER_BYTES);
    write_body(running, &answer.committed, &mut body);
    let status = status(&answer.committed);
    let content_type = if status == StatusCode::OK {
        "application/json"
    } else {
        "application/problem+json"
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.reserve(HEADERS);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in version_headers(commit.last_version(), &commit.module) {
        headers.insert(name, value);
    }
    if answer.replayed {
        headers.insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// The status of a decision.
pub(in crate::http) fn status(committed: &Committed) -> StatusCode {
    match committed.commit.outcome {
        Outcome::Accepted { .. } => StatusCode::OK,
        Outcome::Rejected { .. } => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

/// Appends what a decision is answered with, on one line.
pub(in crate::http) fn write_body(running: &Running, committed: &Committed, out: &mut Vec<u8>) {
    let commit = &committed.commit;
    match &commit.outcome {
        Outcome::Accepted { reply, fuel } => {
            write_accepted(running, committed, reply.as_ref(), *fuel, out);
        }
        Outcome::Rejected {
            code,
            message,
            details,
            ..
        } => {
            let details = details
                .as_ref()
                .and_then(|details| serde_json::from_slice(details).ok());
            let details = details.unwrap_or(Value::Null);
            let position = running.cursor(committed.last_position());
            let document = rejected(code, message, details, commit.last_version(), position).document();
            out.extend_from_slice(document.to_string().as_bytes());
        }
    }
}

fn write_accepted(
    running: &Running,
    committed: &Committed,
    reply: Option<&Bytes>,
    fuel: u64,
    out: &mut Vec<u8>,
) {
    let commit = &committed.commit;
    let mut object = Object::begin(out);
    object.text("type", commit.key.aggregate_type.as_str());
    object.text("id", commit.key.aggregate_id.as_str());
    number(commit.last_version().0, object.member("version"));
    let position = object.member("position");
    position.push(b'"');
    running.cursor(committed.last_position()).push(position);
    position.push(b'"');
    let events = object.member("events");
    events.push(b'[');
    for (index, event) in CloudEvent::of(committed).enumerate() {
        if index > 0 {
            events.push(b',');
        }
        event.write(running, events);
    }
    events.push(b']');
    match reply {
        Some(reply) if running.modules.writes_json(&commit.module) => object.raw("reply", reply),
        Some(reply) => {
            object.raw("reply", b"null");
            write_payload(reply, false, object.member("reply_base64"));
        }
        None => object.raw("reply", b"null"),
    }
    object.number("fuel", fuel);
    object.end();
}

#[derive(Serialize)]
struct OutcomeAnswer<'a> {
    key: &'a str,
    status: u16,
    recorded_at: String,
    /// To the byte what the first answer was.
    body: Option<Box<RawValue>>,
}

/// `GET /v1/aggregates/{type}/{id}/outcomes/{key}`
pub(super) async fn outcome(
    running: Running,
    path: Path,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = path.aggregate()?;
    let idempotency: IdempotencyKey = path.parse("key")?;
    negotiate(&headers, &["application/json"])?;
    let (store, aggregate, asked) = (running.store.clone(), key.clone(), idempotency.clone());
    let found = super::blocking(move || store.outcome(&aggregate, &asked)).await??;
    let Some(committed) = found else {
        let detail =
            format!("no command with the idempotency key `{idempotency}` has been decided for `{key}`");
        return Err(Problem::new(404, "unknown-outcome", "No such outcome", detail)
            .fix("nothing was recorded under this key: the command can be sent, with the same key"));
    };
    let status = status(&committed);
    let mut body = Vec::new();
    write_body(&running, &committed, &mut body);
    let outcome = OutcomeAnswer {
        key: idempotency.as_str(),
        status: status.as_u16(),
        recorded_at: rfc3339(committed.commit.context.now),
        body: raw_json(&body),
    };
    Ok(super::json_text(
        serde_json::to_string(&outcome).unwrap_or_default(),
    ))
}
