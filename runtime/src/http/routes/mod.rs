//! The paths and their handlers.

pub(super) mod aggregates;
pub(super) mod commands;
mod consumers;
mod deliveries;
mod events;
mod history;
mod modules;
mod operations;
mod parked;
mod pipelined;
mod webhooks;

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use tower_http::{catch_panic::CatchPanicLayer, trace::TraceLayer};

pub(super) use commands::{check_payload, status as command_status, write_body as write_command_body};

use super::{
    app::App,
    direct,
    problem::{Problem, method_not_allowed, not_found, panicked},
};
use crate::vocabulary::shown;

/// Every path of the server; `/openapi.json` describes the same ones, which a test compares.
#[cfg(test)]
pub(super) const PATHS: [(&str, &[&str]); 30] = [
    ("/v1/aggregates", &["get"]),
    ("/v1/aggregates/{type}", &["get"]),
    ("/v1/aggregates/{type}/{id}", &["get"]),
    ("/v1/aggregates/{type}/{id}/commands/{command}", &["post"]),
    ("/v1/aggregates/{type}/{id}/events", &["get"]),
    ("/v1/aggregates/{type}/{id}/outcomes/{key}", &["get"]),
    ("/v1/commands", &["post"]),
    ("/v1/events", &["get"]),
    ("/v1/consumers", &["get"]),
    ("/v1/consumers/{name}", &["delete", "get", "put"]),
    ("/v1/consumers/{name}/fetch", &["post"]),
    ("/v1/consumers/{name}/stream", &["get"]),
    ("/v1/consumers/{name}/ack", &["post"]),
    ("/v1/consumers/{name}/nack", &["post"]),
    ("/v1/consumers/{name}/extend", &["post"]),
    ("/v1/consumers/{name}/parked", &["get"]),
    ("/v1/consumers/{name}/parked/{type}/{id}", &["get"]),
    ("/v1/consumers/{name}/replay", &["post"]),
    ("/v1/consumers/{name}/skip", &["post"]),
    ("/v1/consumers/{name}/pause", &["post"]),
    ("/v1/consumers/{name}/resume", &["post"]),
    ("/v1/consumers/{name}/reset", &["post"]),
    ("/v1/consumers/{name}/webhook/secret", &["post"]),
    ("/v1/modules", &["get", "post"]),
    ("/v1/modules/{digest}", &["get"]),
    ("/v1/deployments/{type}", &["get", "put"]),
    ("/livez", &["get"]),
    ("/readyz", &["get"]),
    ("/openapi.json", &["get"]),
    ("/", &["get"]),
];

/// The whole server as a service.
pub(super) fn router(app: App) -> Router {
    Router::new()
        .route("/", get(operations::root))
        .route("/v1/aggregates", get(aggregates::types))
        .route("/v1/aggregates/{type}", get(aggregates::of_type))
        .route("/v1/aggregates/{type}/{id}", get(direct::routed))
        .route(
            "/v1/aggregates/{type}/{id}/commands/{command}",
            post(direct::routed),
        )
        .route("/v1/aggregates/{type}/{id}/events", get(history::history))
        .route(
            "/v1/aggregates/{type}/{id}/outcomes/{key}",
            get(commands::outcome),
        )
        .route("/v1/commands", post(pipelined::commands))
        .route("/v1/events", get(events::feed))
        .merge(consumer_routes())
        .route("/v1/modules", get(modules::all).post(modules::upload))
        .route("/v1/modules/{digest}", get(modules::one))
        .route(
            "/v1/deployments/{type}",
            put(modules::activate).get(modules::deployments),
        )
        .route("/livez", get(operations::live))
        .route("/readyz", get(operations::ready))
        .route("/openapi.json", get(operations::openapi))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(TraceLayer::new_for_http().make_span_with(request_span))
        .with_state(app)
}

fn consumer_routes() -> Router<App> {
    Router::new()
        .route("/v1/consumers", get(consumers::all))
        .route(
            "/v1/consumers/{name}",
            get(consumers::one).put(consumers::put).delete(consumers::delete),
        )
        .route("/v1/consumers/{name}/fetch", post(deliveries::fetch))
        .route("/v1/consumers/{name}/stream", get(deliveries::stream))
        .route("/v1/consumers/{name}/ack", post(deliveries::ack))
        .route("/v1/consumers/{name}/nack", post(deliveries::nack))
        .route("/v1/consumers/{name}/extend", post(deliveries::extend))
        .route("/v1/consumers/{name}/parked", get(parked::lanes))
        .route("/v1/consumers/{name}/parked/{type}/{id}", get(parked::events))
        .route("/v1/consumers/{name}/replay", post(parked::replay))
        .route("/v1/consumers/{name}/skip", post(parked::skip))
        .route("/v1/consumers/{name}/pause", post(consumers::pause))
        .route("/v1/consumers/{name}/resume", post(consumers::resume))
        .route("/v1/consumers/{name}/reset", post(consumers::reset))
        .route("/v1/consumers/{name}/webhook/secret", post(webhooks::rotate))
}

pub(super) fn request_span<B>(request: &axum::http::Request<B>) -> tracing::Span {
    tracing::debug_span!("request", method = %request.method(), path = request.uri().path())
}

/// A JSON answer.
fn json(value: &serde_json::Value) -> Response {
    json_text(value.to_string())
}

/// A JSON answer that is text already.
fn json_text(text: String) -> Response {
    json_bytes(text.into_bytes())
}

/// The same as bytes.
fn json_bytes(text: Vec<u8>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, text).into_response()
}

/// Runs what may block on a thread that may.
pub(super) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    let span = tracing::Span::current();
    tokio::task::spawn_blocking(move || span.in_scope(call))
        .await
        .map_err(|error| {
            Problem::new(500, "internal", "The server failed", error.to_string())
                .fix("this is a defect of the server; please report it with the server's log")
        })
}

/// The page size asked for, within the limit.
fn page_limit(app: &App, asked: Option<&str>) -> Result<usize, Problem> {
    limit_within(app.limits().page_events, asked)
}

/// The same, within another one.
fn limit_within(max: usize, asked: Option<&str>) -> Result<usize, Problem> {
    let Some(asked) = asked else {
        return Ok(max);
    };
    match whole(asked) {
        Some(limit) if (1..=max).contains(&limit) => Ok(limit),
        _ => {
            let found = shown(asked);
            Err(Problem::malformed(
                format!("`limit={found}` is not a whole number from 1 to {max}"),
                format!("ask for 1 to {max} at a time and follow the `next` link"),
            ))
        }
    }
}

/// The number of events that a stream is to end after.
fn stream_limit(follow: bool, asked: Option<&str>) -> Result<Option<usize>, Problem> {
    let Some(asked) = asked else {
        return Ok(None);
    };
    match whole(asked) {
        Some(limit) if limit > 0 && !follow => Ok(Some(limit)),
        Some(limit) if limit > 0 => Err(Problem::malformed(
            "`limit` is for what ends; a stream that follows does not",
            "leave `limit` out, and close the stream when you have enough",
        )),
        _ => {
            let found = shown(asked);
            Err(Problem::malformed(
                format!("`limit={found}` is not a whole number of at least 1"),
                "ask for at least one event, in digits alone, or leave `limit` out",
            ))
        }
    }
}

/// Digits alone; more than can be counted is as much as can be.
fn whole(text: &str) -> Option<usize> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(usize::MAX))
}

/// Points to the next page.
fn link_next(headers: &mut HeaderMap, path: &str) {
    if let Ok(value) = HeaderValue::try_from(format!("<{path}>; rel=\"next\"")) {
        headers.insert(header::LINK, value);
    }
}
