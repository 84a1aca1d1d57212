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
    consumer_body,
    extract::{NoParameters, Path, Query, read_body},
    media_type::{check_content_type, negotiate},
    problem::Problem,
    webhook_body::SecretBody,
};

/// Largest body with a secret, bytes.
const SECRET_BYTES: usize = 1_024;

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
    negotiate(&headers, &["application/json"])?;
    check_content_type(&headers, &["application/json"])?;
    let body = read_body(&app, body, "the secret", SECRET_BYTES).await?;
    let body: SecretBody = consumer_body::read(&body, "the secret", "{}")?;
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
