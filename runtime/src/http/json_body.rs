//! Bodies that are small JSON documents, from the headers to the value.

use axum::{body::Body, http::HeaderMap};
use serde::de::DeserializeOwned;

use crate::vocabulary::json_problem;

use super::{
    app::App,
    extract::read_body,
    media_type::{check_content_type, negotiate},
    problem::Problem,
};

/// What a body is.
#[derive(Debug)]
pub(super) struct JsonBody {
    /// Its name in problems, with its article.
    pub(super) what: &'static str,
    /// The most it may have, bytes.
    pub(super) limit: usize,
    /// One that would be taken.
    pub(super) example: &'static str,
}

impl JsonBody {
    /// Takes JSON and answers with JSON. An empty body is `{}`.
    pub(super) async fn read<T: DeserializeOwned>(
        &self,
        app: &App,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<T, Problem> {
        negotiate(headers, &["application/json"])?;
        check_content_type(headers, &["application/json"])?;
        let body = read_body(app, body, self.what, self.limit).await?;
        let body: &[u8] = if body.is_empty() { b"{}" } else { &body };
        serde_json::from_slice(body).map_err(|error| {
            let detail = format!("{} cannot be read: {}", self.what, json_problem(&error, body));
            Problem::malformed(detail, format!("send for example `{}`", self.example))
        })
    }
}
