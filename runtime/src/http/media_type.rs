//! Media types: which one a body has, and which one an answer should have.

use axum::http::{HeaderMap, header};

use crate::vocabulary::is_json;

use super::{extract::header_text, problem::Problem};

/// The names that are in use for JSON, one value a line.
pub(super) const NDJSON: [&str; 3] = ["application/x-ndjson", "application/ndjson", "application/jsonl"];

/// Checks that a body's media type is the one expected. None means the expected one.
pub(super) fn check_content_type(headers: &HeaderMap, expected: &[&str]) -> Result<(), Problem> {
    let Some(found) = header_text(headers, header::CONTENT_TYPE.as_str())? else {
        return Ok(());
    };
    if expected.contains(&found) {
        return Ok(());
    }
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
    // What most clients send takes anything, or is asked for as we offer it.
    let mut values = headers.get_all(header::ACCEPT).iter();
    if let (Some(only), None) = (values.next(), values.next())
        && (only.as_bytes() == b"*/*" || only.as_bytes() == first.as_bytes())
    {
        return Ok(first);
    }
    let accept: Vec<String> = headers
        .get_all(header::ACCEPT)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
        .collect();
    if accept.is_empty() {
        return Ok(first);
    }
    let accept = accept.join(",");
    let ranges: Vec<MediaRange> = accept.split(',').enumerate().filter_map(media_range).collect();
    let rated = offered.iter().filter_map(|media_type| {
        // The most specific range that covers a media type speaks for it, also when it says no.
        let speaks = ranges.iter().filter(|range| range.covers(media_type));
        let speaks = speaks.min_by_key(|range| (range.breadth(), range.at))?;
        (speaks.quality > 0.0).then_some((speaks, *media_type))
    });
    let best = rated.min_by(|(a, _), (b, _)| {
        let order = b.quality.total_cmp(&a.quality);
        order.then((a.breadth(), a.at).cmp(&(b.breadth(), b.at)))
    });
    if let Some((_, media_type)) = best {
        return Ok(media_type);
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

/// One element of `Accept`.
struct MediaRange {
    name: String,
    quality: f32,
    /// Its place in the header: of equals, the first is preferred.
    at: usize,
}

impl MediaRange {
    fn covers(&self, media_type: &str) -> bool {
        let family = self.name.strip_suffix("/*");
        self.name == "*/*"
            || self.name == media_type
            || family.is_some_and(|family| media_type.split('/').next() == Some(family))
    }

    /// 0 for one media type, 1 for a family, 2 for all.
    fn breadth(&self) -> usize {
        self.name.matches('*').count()
    }
}

fn media_range((at, text): (usize, &str)) -> Option<MediaRange> {
    let mut parts = text.split(';').map(str::trim);
    let name = parts
        .next()
        .filter(|range| !range.is_empty())?
        .to_ascii_lowercase();
    let quality = |part: &str| {
        let (name, value) = part.split_once('=')?;
        name.trim()
            .eq_ignore_ascii_case("q")
            .then(|| value.trim().parse().unwrap_or(0.0))
    };
    let quality = parts.find_map(quality).unwrap_or(1.0);
    Some(MediaRange { name, quality, at })
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};

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
            ("application/json;q=0, */*", Some("text/event-stream")),
            ("*/*;q=0.1, text/event-stream;q=0.1", Some("text/event-stream")),
            ("text/event-stream, application/json", Some("text/event-stream")),
            ("application/json; Q=0.2, text/*; q=0.1", Some("application/json")),
            ("*/*;q=0", None),
            ("*/*;q=high", None),
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
}
