//! Taking requests apart. What is wrong with one is answered with a problem, never with a bare string.

use axum::{
    BoxError,
    body::HttpBody,
    extract::{FromRequestParts, Query as AxumQuery, RawPathParams},
    http::{HeaderMap, HeaderName, Uri, request::Parts},
};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::vocabulary::{AggregateKey, AggregateType, IdempotencyKey, shown};

use super::{app::App, problem::Problem};

/// The parameters of the path, percent-decoded.
#[derive(Debug)]
pub(super) struct Path(Vec<(String, String)>);

impl FromRequestParts<App> for Path {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let params = RawPathParams::from_request_parts(parts, app)
            .await
            .map_err(|_| not_utf8("path", parts.uri.path()))?;
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

/// Text of a path or query that decodes to bytes that are not UTF-8. The offending part is what lies between separators.
pub(super) fn not_utf8(what: &str, encoded: &str) -> Problem {
    let undecodable = |part: &&str| percent_decode_str(part).decode_utf8().is_err();
    let part = encoded
        .split(['/', '&', '='])
        .find(undecodable)
        .unwrap_or(encoded);
    let found = shown(part);
    let detail = format!("`{found}` in the {what} does not decode to UTF-8");
    Problem::malformed(detail, "percent-encode the UTF-8 bytes of the text").with("found", found)
}

/// The query, with unknown parameters refused.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<App> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        query(&parts.uri).map(Self)
    }
}

/// The same, where nothing else of the request is extracted.
pub(super) fn query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let encoded = uri.query().unwrap_or_default();
    // Form decoding would put replacement characters there, and the parameter would mean something else.
    if percent_decode_str(encoded).decode_utf8().is_err() {
        return Err(not_utf8("query", encoded));
    }
    match AxumQuery::<T>::try_from_uri(uri) {
        Ok(AxumQuery(query)) => Ok(query),
        Err(error) => {
            let text = error.body_text();
            let problem = text.strip_prefix("Failed to deserialize query string: ");
            let (detail, fix) = wrong_parameter(problem.unwrap_or(&text), encoded);
            Err(Problem::malformed(detail, fix))
        }
    }
}

/// What is wrong with a query, and what to do, from what serde says of it: the parameter, a colon, and the problem in its own
/// words.
fn wrong_parameter(problem: &str, encoded: &str) -> (String, String) {
    let openapi = || "GET /openapi.json lists the parameters of each path".to_owned();
    let (name, rest) = problem.split_once(": ").unwrap_or(("", problem));
    let found = found_in(encoded, name);
    // A name that is not known may have a colon itself, and a value may have these words.
    let is_value = rest.starts_with(&format!("unknown variant `{found}`"));
    if let Some((_, unknown)) = problem.split_once("unknown field `").filter(|_| !is_value) {
        return unknown_parameter(unknown);
    }
    let problem = rest;
    if let Some(twice) = problem.strip_prefix("duplicate field ") {
        return (
            format!("the parameter {twice} is there twice"),
            "send it once".to_owned(),
        );
    }
    let expected = match problem {
        "provided string was not `true` or `false`" => "`true` or `false`",
        // All that is left to read as a number is one without a sign, of 64 bits.
        "invalid digit found in string" | "cannot parse integer from empty string" => {
            "a whole number of at least 0, in digits alone"
        }
        "number too large to fit in target type" => "a whole number of at most 18446744073709551615",
        _ => match problem.rsplit_once(", expected ") {
            Some((_, expected)) => expected.strip_prefix("one of ").unwrap_or(expected),
            None => return (format!("the query `{}`: {problem}", shown(encoded)), openapi()),
        },
    };
    (
        format!("`{name}` is `{}`, where {expected} should stand", shown(&found)),
        format!("write {expected}"),
    )
}

/// From its name on: the closing backtick, and the names that there are.
fn unknown_parameter(unknown: &str) -> (String, String) {
    let (found, known) = unknown.rsplit_once("`, expected ").unwrap_or_else(|| {
        let found = unknown.strip_suffix("`, there are no fields");
        (found.unwrap_or(unknown), "")
    });
    let found = shown(found);
    if known.is_empty() {
        let detail = format!("`{found}` is no parameter of this path, which takes none");
        return (detail, "leave it out".to_owned());
    }
    let known = known.strip_prefix("one of ").unwrap_or(known);
    (
        format!("`{found}` is no parameter of this path"),
        format!("leave it out; those that it takes are {known}"),
    )
}

/// The value of a parameter as it was meant.
fn found_in(encoded: &str, name: &str) -> String {
    let mut pairs = encoded
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let found = pairs.find(|(found, _)| form_decoded(found) == name);
    found.map_or_else(String::new, |(_, value)| form_decoded(value))
}

/// A name or a value of a query as it was meant.
pub(super) fn form_decoded(text: &str) -> String {
    let text = text.replace('+', " ");
    percent_decode_str(&text).decode_utf8_lossy().into_owned()
}

/// For paths that take no query.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NoParameters {}

/// The same as [`NoParameters`], where nothing else of the request is extracted.
pub(super) fn no_query(uri: &Uri) -> Result<(), Problem> {
    match uri.query() {
        None => Ok(()),
        Some(_) => query::<NoParameters>(uri).map(drop),
    }
}

/// Reads a whole body of at most `limit` bytes.
pub(super) async fn read_body<B>(app: &App, body: B, what: &str, limit: usize) -> Result<Bytes, Problem>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let declared = body.size_hint().exact();
    if declared.is_some_and(|size| size > limit as u64) {
        return Err(Problem::too_large(what, limit));
    }
    let announced = declared.and_then(|size| usize::try_from(size).ok());
    let _room = app.room_for(announced.unwrap_or(limit))?;
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

/// One header as text; given twice, it is refused.
pub(super) fn header_text<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
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
    Ok(Some(text))
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
    check_opaque_id(name, text)?;
    Ok(Some(text.to_owned()))
}

/// Checks a correlation or causation id, under its name in the request.
pub(super) fn check_opaque_id(name: &str, text: &str) -> Result<(), Problem> {
    match IdempotencyKey::check(text) {
        Ok(()) => Ok(()),
        Err(error) => Err(Problem::malformed(
            format!("`{name}: {}` {}", error.found, error.problem),
            "send 1 to 255 bytes of text without control characters",
        )),
    }
}

/// `traceparent` of W3C Trace Context; one that is not well-formed, or one of several, is left out, as that
/// specification demands.
pub(super) fn traceparent(headers: &HeaderMap) -> Option<String> {
    let text = header_text(headers, "traceparent").ok()??;
    is_traceparent(text).then(|| text.to_owned())
}

/// Whether a trace context is well-formed.
pub(super) fn is_traceparent(text: &str) -> bool {
    let hex = text
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f' | b'-'));
    let mut lengths = text.split('-').map(str::len);
    let begins = [2, 32, 16, 2]
        .iter()
        .all(|length| lengths.next() == Some(*length));
    hex && begins && text.len() <= 255
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
    fn what_is_wrong_with_a_query_is_told_in_words() {
        #[derive(Debug, serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "read only")]
        struct Parameters {
            from: Option<u64>,
            follow: Option<bool>,
            order: Option<Order>,
        }
        #[derive(Debug, serde::Deserialize)]
        #[serde(rename_all = "lowercase")]
        enum Order {
            First,
            Last,
        }
        let number = "a whole number of at least 0, in digits alone";
        for (encoded, told, fix) in [
            (
                "from=-1",
                &*format!("`from` is `-1`, where {number} should stand"),
                number,
            ),
            (
                "from=",
                &*format!("`from` is ``, where {number} should stand"),
                number,
            ),
            (
                "follow=true&%66rom=1+2",
                &*format!("`from` is `1 2`, where {number} should stand"),
                number,
            ),
            (
                "from=99999999999999999999",
                "`from` is `99999999999999999999`, where a whole number of at most 18446744073709551615 should stand",
                "at most 18446744073709551615",
            ),
            (
                "order=number",
                "`order` is `number`, where `first` or `last` should stand",
                "`first` or `last`",
            ),
            (
                "order=unknown%20field%20`x`",
                "`order` is `unknown field `x``, where `first` or `last` should stand",
                "`first` or `last`",
            ),
            (
                "order=,%20expected%20peace",
                "`order` is `, expected peace`, where `first` or `last` should stand",
                "`first` or `last`",
            ),
            (
                "follow=yes",
                "`follow` is `yes`, where `true` or `false` should stand",
                "`true` or `false`",
            ),
            (
                "order=up",
                "`order` is `up`, where `first` or `last` should stand",
                "`first` or `last`",
            ),
            (
                "surprise=1",
                "`surprise` is no parameter of this path",
                "`from`, `follow`, `order`",
            ),
            (
                "a:%20b=1",
                "`a: b` is no parameter of this path",
                "`from`, `follow`",
            ),
            (
                "from=1&from=2",
                "the parameter `from` is there twice",
                "send it once",
            ),
        ] {
            let uri = format!("/x?{encoded}").parse().unwrap();
            let document = query::<Parameters>(&uri).unwrap_err().document();
            assert_eq!(document["detail"], told, "{document}");
            assert!(document["fix"].as_str().unwrap().contains(fix), "{document}");
        }
        let none = query::<NoParameters>(&"/x?a=1".parse().unwrap())
            .unwrap_err()
            .document();
        assert_eq!(
            none["detail"],
            "`a` is no parameter of this path, which takes none"
        );
        assert!(query::<Parameters>(&"/x?order=last&from=7".parse().unwrap()).is_ok());
    }

    #[test]
    fn traceparents_are_kept_when_well_formed() {
        let name = HeaderName::from_static("traceparent");
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(traceparent(&with(name.clone(), good)).as_deref(), Some(good));
        assert_eq!(traceparent(&with(name, "00-nothex")), None);
    }
}
