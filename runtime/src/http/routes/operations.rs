//! For operators and tools: liveness, readiness, and the description of the interface.

use axum::{extract::State, http::HeaderMap, response::Response};
use serde_json::json;

use super::super::{
    app::{App, Running},
    extract::{NoParameters, Query},
    media_type::negotiate,
    openapi,
    problem::Problem,
};

/// `GET /`
pub(super) async fn root(
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    negotiate(&headers, &["application/json"])?;
    Ok(super::json(&json!({
        "name": "annals",
        "version": env!("CARGO_PKG_VERSION"),
        "types": "/v1/aggregates",
        "events": "/v1/events",
        "modules": "/v1/modules",
        "openapi": "/openapi.json",
    })))
}

/// `GET /livez`: the process answers. Probes have no opinion about media types, so that `Accept` is not looked at.
pub(super) async fn live(Query(NoParameters {}): Query<NoParameters>) -> Response {
    super::json(&json!({ "status": "live" }))
}

/// `GET /readyz`: the store is open and commands are taken.
pub(super) async fn ready(
    State(app): State<App>,
    Query(NoParameters {}): Query<NoParameters>,
) -> Result<Response, Problem> {
    let running = app.running()?;
    Ok(super::json(&json!({
        "status": "ready",
        "log_id": running.store.identity().log_id.to_string(),
        "position": running.cursor(running.store.last_position()).to_string(),
        "types": running.modules.all_active().len(),
    })))
}

/// `GET /openapi.json`
pub(super) async fn openapi(
    running: Running,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    negotiate(&headers, &["application/json"])?;
    Ok(super::json(&openapi::document(&running.modules.all_active())))
}
