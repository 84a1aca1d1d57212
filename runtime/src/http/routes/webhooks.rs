//! The secrets of webhooks.

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use serde_json::json;

use crate::{consumers::Secret, vocabulary::ConsumerName};

use super::super::{
    app::{App, Running},
    extract::{NoParameters, Path, Query},
    json_body::JsonBody,
    problem::Problem,
    webhook_body::SecretBody,
};

const SECRET: JsonBody = JsonBody {
    what: "the secret",
    limit: 1_024,
    example: "{}",
};

/// `POST /v1/consumers/{name}/webhook/secret`: puts another one in force, and shows it this once.
pub(super) async fn rotate(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name: ConsumerName = path.parse("name")?;
    let body: SecretBody = SECRET.read(&app, &headers, body).await?;
    let given = body.into_secret()?;
    let secret = super::blocking(move || running.consumers.rotate_secret(&name, given)).await??;
    let response = super::json(&json!({ "secret": secret.reveal() }));
    Ok(unstored(response))
}

/// Shows a secret in the document of a consumer that has just been given it.
pub(super) fn show(document: &mut serde_json::Value, secret: &Secret) {
    if let Some(webhook) = document
        .get_mut("webhook")
        .and_then(serde_json::Value::as_object_mut)
    {
        webhook.insert("secret".to_owned(), secret.reveal().into());
    }
}

/// An answer that nobody is to keep.
pub(super) fn unstored(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
