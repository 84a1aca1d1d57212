//! Taking requests apart. What is wrong with one is answered with a problem, never with a bare string.

use axum::{
    body::Body,
    extract::{FromRequestParts, Query as AxumQuery, RawPathParams},
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::vocabulary::{AggregateKey, AggregateType, IdempotencyKey, is_json};

use super::{app::App, problem::Problem};

/// The parameters of the path, percent-decoded.
#[derive(Debug)]
pub(super) struct Path(Vec<(String, String)>);

impl FromRequestParts<App> for Path {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, app)
            .await
            .map_err(|error| {
                Problem::malformed(
                    error.to_string(),
                    "percent-encode the UTF-8 bytes of each part of the path",
                )
            })?;
        Ok(Self(
            params
                .iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        ))
    }
}

impl Path {
    /// One parameter as text.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value.as_str())
    }

    /// One parameter, parsed.
    pub(super) fn parse<T>(&self, name: &str) -> Result<T, Problem>
    where
        T: std::str::FromStr,
        Problem: From<T::Err>,
    {
        Ok(self.text(name).parse()?)
    }

    /// `{type}` and `{id}`.
    pub(super) fn aggregate(&self) -> Result<AggregateKey, Problem> {
        Ok(AggregateKey::new(self.parse("type")?, self.parse("id")?))
    }

    /// `{type}`.
    pub(super) fn aggregate_type(&self) -> Result<AggregateType, Problem> {
        self.parse("type")
    }
}

/// The query, with unknown parameters refused.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        match AxumQuery::<T>::try_from_uri(&parts.uri) {
            Ok(AxumQuery(query)) => Ok(Self(query)),
            Err(error) => {
                let detail = format!(
                    "the query `{}`: {}",
                    parts.uri.query().unwrap_or_default(),
                    error.body_text()
                );
                Err(Problem::malformed(
                    detail,
                    "GET /openapi.json lists the parameters of each path",
                ))
            }
        }
    }
}

/// For paths that take no query.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParameters {}

/// Reads a whole body of at most `limit` bytes.
pub(super) async fn read_body(app: &App, body: Body, what: &str, limit: usize) -> Result<Bytes, Problem> {
    let declared = body_size(&body);
    if declared.is_some_and(|size| size > limit as u64) {
        return Err(Problem::too_large(what, limit));
    }
    let within = app.limits().request_read;
    let collected = tokio::time::timeout(within, Limited::new(body, limit).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Problem::too_large(what, limit)),
        Ok(Err(error)) => Err(Problem::malformed(
            format!("{what} could not be read: {error}"),
            "send the whole body",
        )),
        Err(_) => Err(Problem::new(
            408,
            "request-timeout",
            "The request came too slowly",
            format!("{what} did not arrive within {} s", within.as_secs()),
        )
        .fix("send it faster, or in smaller parts")),
    }
}

fn body_size(body: &Body) -> Option<u64> {
    axum::body::HttpBody::size_hint(body).exact()
}

/// One header as text; given twice, it is refused.
pub(super) fn header_text(headers: &HeaderMap, name: &str) -> Result<Option<String>, Problem> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(Problem::malformed(
            format!("`{name}` is given more than once"),
            "send it once",
        ));
    }
    let text = std::str::from_utf8(value.as_bytes())
        .map_err(|_| Problem::malformed(format!("`{name}` is not UTF-8"), "send UTF-8 text"))?;
    Ok(Some(text.to_owned()))
}

/// `Idempotency-Key`.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let key = header_text(headers, "idempotency-key")?;
    Ok(key.map(|key| key.parse()).transpose()?)
}

/// `Correlation-Id` and the like: opaque text within the limits of an idempotency key.
pub(super) fn opaque_id(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, Problem> {
    let Some(text) = header_text(headers, name)? else {
        return Ok(None);
    };
    let checked: Result<IdempotencyKey, _> = text.parse();
    match checked {
        Ok(_) => Ok(Some(text)),
        Err(error) => Err(Problem::malformed(
            format!("`{name}: {}` {}", error.found, error.problem),
            "send 1 to 255 bytes of text without control characters",
        )),
    }
}

/// `traceparent` of W3C Trace Context; one that is not well-formed is left out, as that specification demands.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let lengths: Vec<usize> = text.split('-').map(str::len).collect();
    let hex = text
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    (hex && lengths.len() >= 4 && lengths.starts_with(&[2, 32, 16, 2]) && text.len() <= 255)
        .then(|| text.to_owned())
}

/// Checks that a body's media type is the one expected. None means the expected one.
pub(super) fn check_content_type(headers: &HeaderMap, expected: &[&str]) -> Result<(), Problem> {
    let Some(found) = header_text(headers, header::CONTENT_TYPE.as_str())? else {
        return Ok(());
    };
    let essence = found
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let fits = |expected: &&str| essence == **expected || (is_json(expected) && is_json(&essence));
    if expected.iter().any(fits) {
        return Ok(());
    }
    Err(Problem::new(
        415,
        "unsupported-media-type",
        "A media type that is not taken here",
        format!("`Content-Type: {found}` is not taken here"),
    )
    .fix(format!("send `Content-Type: {}`", expected.join("` or `")))
    .with(
        "supported",
        expected
            .iter()
            .map(|&name| name.into())
            .collect::<Vec<serde_json::Value>>(),
    ))
}

/// The first of the offered media types that `Accept` takes; the first one when there is no such header.
pub(super) fn negotiate<'a>(headers: &HeaderMap, offered: &[&'a str]) -> Result<&'a str, Problem> {
    let first = offered.first().copied().unwrap_or_default();
    let accept: Vec<String> = headers
        .get_all(header::ACCEPT)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    if accept.is_empty() {
        return Ok(first);
    }
    let accept = accept.join(",");
    let mut ranges: Vec<(f32, String)> = accept.split(',').filter_map(media_range).collect();
    ranges.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let matches = |range: &str, media_type: &str| {
        let family = range.strip_suffix("/*");
        range == "*/*"
            || range == media_type
            || family.is_some_and(|family| media_type.split('/').next() == Some(family))
    };
    for (_, range) in &ranges {
        if let Some(found) = offered.iter().find(|media_type| matches(range, media_type)) {
            return Ok(found);
        }
    }
    Err(Problem::new(
        406,
        "not-acceptable",
        "No media type that you accept",
        format!("`Accept: {accept}` names nothing that is offered here"),
    )
    .fix(format!("accept `{}`", offered.join("` or `")))
    .with(
        "supported",
        offered
            .iter()
            .map(|&name| name.into())
            .collect::<Vec<serde_json::Value>>(),
    ))
}

fn media_range(text: &str) -> Option<(f32, String)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts
        .next()
        .filter(|range| !range.is_empty())?
        .to_ascii_lowercase();
    let quality = parts
        .find_map(|part| part.strip_prefix("q="))
        .map_or(1.0, |q| q.parse().unwrap_or(0.0));
    (quality > 0.0).then_some((quality, range))
}

/// The name of the header that tells a repeated answer from a first one.
pub(super) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(name: HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_static(value))])
    }

    #[test]
    fn accept_is_negotiated() {
        let offered = ["application/json", "text/event-stream"];
        for (accept, chosen) in [
            ("*/*", Some("application/json")),
            ("text/event-stream", Some("text/event-stream")),
            (
                "application/json;q=0.5, text/event-stream",
                Some("text/event-stream"),
            ),
            ("text/*", Some("text/event-stream")),
            ("image/png", None),
            ("application/json;q=0", None),
        ] {
            assert_eq!(
                negotiate(&with(header::ACCEPT, accept), &offered).ok(),
                chosen,
                "{accept}"
            );
        }
        assert_eq!(
            negotiate(&HeaderMap::new(), &offered).ok(),
            Some("application/json")
        );
    }

    #[test]
    fn content_types_are_checked() {
        for (found, taken) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("application/vnd.bank+json", true),
            ("application/x-www-form-urlencoded", false),
            ("text/plain", false),
        ] {
            let headers = with(header::CONTENT_TYPE, found);
            assert_eq!(
                check_content_type(&headers, &["application/json"]).is_ok(),
                taken,
                "{found}"
            );
        }
        assert!(check_content_type(&HeaderMap::new(), &["application/json"]).is_ok());
    }

    #[test]
    fn traceparents_are_kept_when_well_formed() {
        let name = HeaderName::from_static("traceparent");
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(traceparent(&with(name.clone(), good)).as_deref(), Some(good));
        assert_eq!(traceparent(&with(name, "00-nothex")), None);
    }
}
