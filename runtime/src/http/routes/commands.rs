//! Sending a command, and looking its outcome up.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use tokio::sync::oneshot;

use crate::{
    aggregates::{Answer, CommandError, CommandRequest},
    vocabulary::{self, CommandName, Committed, IdempotencyKey, Outcome, RecordedEvent, is_json},
};

use super::super::{
    app::{App, Running},
    cloudevent::{CloudEvent, payload, raw_json, rfc3339},
    etag::{preconditions, version_headers},
    extract::{
        IDEMPOTENCY_REPLAYED, NoParameters, Path, Query, check_content_type, idempotency_key, negotiate,
        opaque_id, read_body, traceparent,
    },
    problem::{Problem, rejected, unknown_type},
};

#[derive(Serialize)]
struct CommandAnswer<'a> {
    #[serde(rename = "type")]
    aggregate_type: &'a str,
    id: &'a str,
    version: u64,
    position: String,
    events: Vec<CloudEvent<'a>>,
    reply: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reply_base64: Option<String>,
    fuel: u64,
}

/// `POST /v1/aggregates/{type}/{id}/commands/{command}`
pub(super) async fn send(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let key = path.aggregate()?;
    let command: CommandName = path.parse("command")?;
    negotiate(&headers, &["application/json"])?;
    let Some(active) = running.modules.active(&key.aggregate_type) else {
        return Err(unknown_type(key.aggregate_type.as_str()));
    };
    let encoding = active.module.manifest().payload_encoding.as_str();
    let payload = read_body(
        &app,
        body,
        "the payload of the command",
        app.limits().payload_bytes,
    )
    .await?;
    if !payload.is_empty() {
        check_content_type(&headers, &[encoding])?;
        check_payload(encoding, &payload)?;
    }
    let request = CommandRequest {
        key,
        command,
        payload,
        idempotency: idempotency_key(&headers)?,
        preconditions: preconditions(&headers)?,
        actor: None,
        correlation_id: opaque_id(&headers, "correlation-id")?,
        causation_id: opaque_id(&headers, "causation-id")?,
        traceparent: traceparent(&headers),
    };
    let answer = decide(&running, request).await?;
    Ok(render(&running, &answer))
}

/// Checks that a payload is JSON, where the module takes JSON.
pub(in crate::http) fn check_payload(encoding: &str, payload: &[u8]) -> Result<(), Problem> {
    if !is_json(encoding) {
        return Ok(());
    }
    let Err(problem) = vocabulary::check_json(payload) else {
        return Ok(());
    };
    let found: String = String::from_utf8_lossy(payload)
        .chars()
        .take(80)
        .flat_map(char::escape_debug)
        .collect();
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
    let (status, body) = body(running, &answer.committed);
    let content_type = if status == StatusCode::OK {
        "application/json"
    } else {
        "application/problem+json"
    };
    let content_type = [(header::CONTENT_TYPE, HeaderValue::from_static(content_type))];
    let version = version_headers(commit.last_version(), &commit.module);
    let mut response = (status, content_type, version, body).into_response();
    if answer.replayed {
        response
            .headers_mut()
            .insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// What a decision is answered with, on one line.
pub(in crate::http) fn body(running: &Running, committed: &Committed) -> (StatusCode, String) {
    let commit = &committed.commit;
    match &commit.outcome {
        Outcome::Accepted { reply, fuel } => {
            let events: Vec<RecordedEvent> = committed.recorded_events().collect();
            let json = running.modules.writes_json(&commit.module);
            let (reply, reply_base64) = reply.as_ref().map_or((None, None), |reply| payload(reply, json));
            let answer = CommandAnswer {
                aggregate_type: commit.key.aggregate_type.as_str(),
                id: commit.key.aggregate_id.as_str(),
                version: commit.last_version().0,
                position: running.cursor(committed.last_position()).to_string(),
                events: events
                    .iter()
                    .map(|event| CloudEvent::new(running, event))
                    .collect(),
                reply,
                reply_base64,
                fuel: *fuel,
            };
            // Serialising strings and numbers into memory does not fail.
            (StatusCode::OK, serde_json::to_string(&answer).unwrap_or_default())
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
            let document = rejected(
                code,
                message,
                details.unwrap_or(Value::Null),
                commit.last_version().0,
            )
            .document();
            (StatusCode::UNPROCESSABLE_ENTITY, document.to_string())
        }
    }
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
    let (status, body) = body(&running, &committed);
    let outcome = OutcomeAnswer {
        key: idempotency.as_str(),
        status: status.as_u16(),
        recorded_at: rfc3339(committed.commit.context.now),
        body: raw_json(body.as_bytes()),
    };
    Ok(super::json_text(
        serde_json::to_string(&outcome).unwrap_or_default(),
    ))
}
