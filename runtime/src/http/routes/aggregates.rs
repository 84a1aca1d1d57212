//! Types, the aggregates of a type, and the state of one.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
};
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::oneshot;

use crate::{
    aggregates::{CommandError, RenderedState, StateRequest, StateView},
    vocabulary::{AggregateKey, push_hex},
};

use super::super::{
    app::{App, Running},
    cloudevent::{ID, rfc3339},
    document::Object,
    etag::{known_states, version_headers},
    extract::{NoParameters, Path, Query, query},
    feed::{Wait, WaitQuery},
    media_type::negotiate,
    problem::{Problem, unknown_aggregate, unknown_type},
};

/// `GET /v1/aggregates`
pub(super) async fn types(
    running: Running,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    negotiate(&headers, &["application/json"])?;
    let types: Vec<_> = running
        .modules
        .all_active()
        .iter()
        .map(|(aggregate_type, active)| {
            let manifest = active.module.manifest();
            json!({
                "type": aggregate_type.as_str(),
                "module": active.module.digest().to_string(),
                "module_version": manifest.module_version,
                "deployed_at": rfc3339(active.deployment.deployed_at),
                "commands": manifest.commands.iter().map(|command| command.name.as_str()).collect::<Vec<_>>(),
                "events": manifest.records.iter().map(|event| event.event_type.as_str()).collect::<Vec<_>>(),
            })
        })
        .collect();
    Ok(super::json(&json!({ "types": types })))
}

/// Which page of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListPage {
    after: Option<String>,
    limit: Option<String>,
    wait_for: Option<String>,
    timeout: Option<String>,
}

/// `GET /v1/aggregates/{type}`
pub(super) async fn of_type(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(page): Query<ListPage>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let aggregate_type = path.aggregate_type()?;
    negotiate(&headers, &["application/json"])?;
    let (wait_for, timeout) = (page.wait_for.as_deref(), page.timeout.as_deref());
    let wait = Wait::of(&running, app.limits(), wait_for, timeout)?;
    if running.modules.active(&aggregate_type).is_none() && !aggregate_type.is_system() {
        return Err(unknown_type(aggregate_type.as_str()));
    }
    let after = page.after.map(|id| id.parse()).transpose()?;
    let limit = super::page_limit(&app, page.limit.as_deref())?;
    Wait::over(wait, &running).await?;
    let (store, of_type) = (running.store.clone(), aggregate_type.clone());
    let mut found = super::blocking(move || store.aggregates(&of_type, after.as_ref(), limit + 1)).await??;
    let more = found.len() > limit;
    found.truncate(limit);
    let aggregates: Vec<_> = found
        .iter()
        .map(|(id, head)| {
            json!({ "id": id.as_str(), "version": head.version.0, "recorded_at": rfc3339(head.recorded_at) })
        })
        .collect();
    let mut response = super::json(&json!({ "aggregates": aggregates }));
    if let Some((last, _)) = found.last().filter(|_| more) {
        let after = utf8_percent_encode(last.as_str(), ID);
        super::link_next(
            response.headers_mut(),
            &format!("/v1/aggregates/{aggregate_type}?after={after}&limit={limit}"),
        );
    }
    Ok(response)
}

/// `GET /v1/aggregates/{type}/{id}`
pub(in super::super) async fn state(
    app: &App,
    key: AggregateKey,
    parts: &Parts,
) -> Result<Response, Problem> {
    let running = app.running()?;
    let wait = wait(app, running, &parts.uri)?;
    negotiate(&parts.headers, &["application/json"])?;
    let known = known_states(&parts.headers)?;
    Wait::over(wait, running).await?;
    let request = StateRequest {
        key: key.clone(),
        known: known.states,
    };
    let (reply, answer) = oneshot::channel();
    running
        .aggregates
        .state(request, Box::new(move |view| drop(reply.send(view))));
    let stopped = || CommandError::Unavailable {
        reason: "the server is shutting down".into(),
        retry_after: std::time::Duration::from_secs(1),
    };
    let mut view = answer.await.unwrap_or_else(|_| Err(stopped()))?;
    if known.any && matches!(view.state, RenderedState::Json(_) | RenderedState::NoView) {
        view.state = RenderedState::NotModified;
    }
    render(&key, &view)
}

fn wait(app: &App, running: &Running, uri: &Uri) -> Result<Option<Wait>, Problem> {
    if uri.query().is_none() {
        return Ok(None);
    }
    query::<WaitQuery>(uri)?.wait(running, app.limits())
}

fn render(key: &AggregateKey, view: &StateView) -> Result<Response, Problem> {
    let version = version_headers(view.version, &view.module);
    let state = match &view.state {
        RenderedState::Missing => {
            return Err(unknown_aggregate(key));
        }
        RenderedState::Ended => {
            return Err(Problem::new(
                410,
                "ended",
                "The aggregate has ended",
                format!("`{key}` has ended"),
            )
            .fix(format!("its history stays readable: GET {}/events", path_of(key)))
            .with("version", view.version.0));
        }
        RenderedState::NotModified => return Ok((StatusCode::NOT_MODIFIED, version).into_response()),
        RenderedState::NoView => "null",
        RenderedState::Json(json) => json,
    };
    let mut body = Vec::with_capacity(state.len() + 256);
    let mut object = Object::begin(&mut body);
    object.text("type", key.aggregate_type.as_str());
    object.text("id", key.aggregate_id.as_str());
    object.number("version", view.version.0);
    let module = object.member("module");
    module.push(b'"');
    push_hex(&view.module.0, module);
    module.push(b'"');
    object.raw("state", state.as_bytes());
    object.end();
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    Ok((version, headers, body).into_response())
}

pub(super) fn path_of(key: &AggregateKey) -> String {
    format!(
        "/v1/aggregates/{}/{}",
        key.aggregate_type,
        utf8_percent_encode(key.aggregate_id.as_str(), ID)
    )
}
