//! Durable consumers: what they are and how they stand.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    consumers::{ConsumerError, Lag, Status},
    vocabulary::ConsumerName,
};

use super::super::{
    app::{App, Running},
    cloudevent::rfc3339,
    consumer_body::{self, DefinitionBody, ResetBody},
    extract::{NoParameters, Path, Query},
    feed::WaitQuery,
    json_body::JsonBody,
    media_type::negotiate,
    problem::Problem,
    webhook_body,
};
use super::webhooks;

/// A filter may name many types.
const DEFINITION: JsonBody = JsonBody {
    what: "the definition",
    limit: 64 * 1024,
    example: "{\"filter\": {\"types\": [\"account\"]}, \"start\": \"beginning\"}",
};
const RESET: JsonBody = JsonBody {
    what: "the reset",
    limit: 4_096,
    example: "{\"start\": \"beginning\"}",
};

/// Of those that need nothing but their path.
const NOTHING: JsonBody = JsonBody {
    what: "the body",
    limit: 1_024,
    example: "{}",
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct NoMembers {}

/// Consumers of one page: each one that is behind is looked up in the log.
const PAGE: usize = 100;

/// Which page of the list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListPage {
    after: Option<String>,
    limit: Option<String>,
}

/// `GET /v1/consumers`
pub(super) async fn all(
    running: Running,
    Query(page): Query<ListPage>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    negotiate(&headers, &["application/json"])?;
    let after: Option<ConsumerName> = page.after.map(|name| name.parse()).transpose()?;
    let limit = super::limit_within(PAGE, page.limit.as_deref())?;
    let mut names = running.consumers.names_after(after.as_ref(), limit + 1);
    let more = names.len() > limit;
    names.truncate(limit);
    let next = names.last().filter(|_| more).cloned();
    let consumers = super::blocking(move || {
        let documents = names.iter().map(|name| stand(&running, name));
        // One that is deleted in between is none.
        let there = documents.filter(|document| !matches!(document, Err(ConsumerError::Unknown(_))));
        there.collect::<Result<Vec<Value>, ConsumerError>>()
    })
    .await??;
    let mut response = super::json(&json!({ "consumers": consumers }));
    if let Some(name) = next {
        let next = format!("/v1/consumers?after={name}&limit={limit}");
        super::link_next(response.headers_mut(), &next);
    }
    Ok(response)
}

/// `GET /v1/consumers/{name}`
pub(super) async fn one(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(wait): Query<WaitQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    negotiate(&headers, &["application/json"])?;
    let name: ConsumerName = path.parse("name")?;
    running.consumers.check_known(&name)?;
    wait.over(&running, app.limits()).await?;
    respond(StatusCode::OK, running, name).await
}

/// `PUT /v1/consumers/{name}`. It runs to its end even when the client goes away.
pub(super) async fn put(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name: ConsumerName = path.parse("name")?;
    let body: DefinitionBody = DEFINITION.read(&app, &headers, body).await?;
    let (definition, start, given) = body.into_definition(&app, &running).await?;
    let (consumers, named) = (running.consumers.clone(), name.clone());
    let put = super::blocking(move || consumers.put_with(&named, definition, start, given)).await??;
    if put.is_new != Some(true) {
        // Also where nothing had to change: what one before it changed may not have been written down.
        running.consumers.written_down(&name).await?;
    }
    let status = if put.is_new == Some(true) {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut document = super::blocking(move || stand(&running, &name)).await??;
    if let Some(secret) = &put.secret {
        webhooks::show(&mut document, secret);
    }
    Ok(webhooks::unstored(
        (status, super::json(&document)).into_response(),
    ))
}

/// `DELETE /v1/consumers/{name}`
pub(super) async fn delete(
    running: Running,
    path: Path,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Response, Problem> {
    let name: ConsumerName = path.parse("name")?;
    super::blocking(move || running.consumers.delete(&name)).await??;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// `POST /v1/consumers/{name}/pause`
pub(super) async fn pause(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let _: Option<NoMembers> = NOTHING.read(&app, &headers, body).await?;
    set_paused(running, &path, true).await
}

/// `POST /v1/consumers/{name}/resume`
pub(super) async fn resume(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let _: Option<NoMembers> = NOTHING.read(&app, &headers, body).await?;
    set_paused(running, &path, false).await
}

async fn set_paused(running: Running, path: &Path, paused: bool) -> Result<Response, Problem> {
    let name: ConsumerName = path.parse("name")?;
    let (consumers, named) = (running.consumers.clone(), name.clone());
    super::blocking(move || consumers.pause(&named, paused)).await??;
    respond(StatusCode::OK, running, name).await
}

/// `POST /v1/consumers/{name}/reset`
pub(super) async fn reset(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name: ConsumerName = path.parse("name")?;
    let body: ResetBody = RESET.read(&app, &headers, body).await?;
    let start = body.start.into_start(&running).await?;
    let (consumers, named) = (running.consumers.clone(), name.clone());
    super::blocking(move || consumers.reset(&named, start)).await??;
    respond(StatusCode::OK, running, name).await
}

async fn respond(status: StatusCode, running: Running, name: ConsumerName) -> Result<Response, Problem> {
    let document = super::blocking(move || stand(&running, &name)).await??;
    Ok((status, super::json(&document)).into_response())
}

/// A consumer as it stands. It blocks.
fn stand(running: &Running, name: &ConsumerName) -> Result<Value, ConsumerError> {
    let status = running.consumers.status(name)?;
    let lag = running.consumers.lag(name)?;
    let mut document = consumer_body::document(&status.definition);
    if let Some(webhook) = &status.definition.webhook {
        let shown = webhook_body::standing(running, name, webhook);
        document
            .as_object_mut()
            .and_then(|members| members.insert("webhook".to_owned(), shown));
    }
    if let (Value::Object(members), Value::Object(more)) = (&mut document, standing(running, &status, lag)) {
        members.extend(more);
    }
    Ok(document)
}

fn standing(running: &Running, status: &Status, lag: Lag) -> Value {
    json!({
        "name": status.name.as_str(),
        "paused": status.paused,
        "paused_because": status.paused_because,
        "changed_at": rfc3339(status.changed_at),
        "checkpoint": consumer_body::cursor(running, status.checkpoint),
        "leased": status.leases.values().sum::<usize>(),
        "members": status.leases,
        "parked": { "aggregates": status.parked_aggregates, "events": status.parked_events },
        "lag": {
            "events": lag.events,
            "exact": lag.is_exact,
            "seconds": lag.oldest_ms.map(|millis| millis as f64 / 1e3),
        },
    })
}
