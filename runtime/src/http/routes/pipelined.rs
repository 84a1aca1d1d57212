//! Many commands on one connection.

use axum::{
    body::{Body, HttpBody},
    extract::{FromRequestParts, State},
    http::{HeaderMap, HeaderValue, header, request::Parts},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde::Deserialize;

use super::super::{
    app::{App, Running},
    connection::Connection,
    extract::Query,
    media_type::{NDJSON, check_content_type, negotiate},
    pipeline::{self, Order},
    problem::Problem,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    #[serde(default)]
    order: Order,
}

impl FromRequestParts<App> for Connection {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let connection: Self = parts.extensions.get().cloned().unwrap_or_default();
        Ok(connection.of_request(parts.version))
    }
}

/// `POST /v1/commands`
pub(super) async fn commands(
    State(app): State<App>,
    running: Running,
    connection: Connection,
    Query(Parameters { order }): Query<Parameters>,
    headers: HeaderMap,
    mut body: Body,
) -> Result<Response, Problem> {
    let media_type = negotiate(&headers, &NDJSON)?;
    check_content_type(&headers, &NDJSON)?;
    let first = if headers.contains_key(header::EXPECT) {
        first_frame(&app, &mut body).await?
    } else {
        Bytes::new()
    };
    let answers = pipeline::answer(&app, running, &connection, order, first, body)?;
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, answers).into_response())
}

/// A client that waits for leave to send gets it when its body is asked for, and not after an answer has begun.
async fn first_frame(app: &App, body: &mut Body) -> Result<Bytes, Problem> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    let within = app.limits().request_read;
    let frame = tokio::time::timeout(within, body.frame()).await.map_err(|_| {
        Problem::new(
            408,
            "request-timeout",
            "The request came too slowly",
            format!("no line came within {} s", within.as_secs()),
        )
        .fix("send the first line sooner")
    })?;
    match frame {
        Some(Ok(frame)) => Ok(frame.into_data().unwrap_or_default()),
        Some(Err(error)) => Err(Problem::malformed(
            format!("the body could not be read: {error}"),
            "send the whole body",
        )),
        None => Ok(Bytes::new()),
    }
}
