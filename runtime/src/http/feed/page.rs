//! Events as a page: an array, with an ETag, and with leave to keep it for ever where it can never be another.

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use percent_encoding::utf8_percent_encode;

use crate::vocabulary::{Position, RecordedEvent};

use super::super::{
    app::Running,
    cloudevent::{CloudEvent, ID},
    extract::form_decoded,
};

/// About what a small event takes as a CloudEvent.
const EVENT_BYTES: usize = 768;
/// For a page that is still open.
const ASK_AGAIN: &str = "no-cache";
/// For a page that is closed: a year, which stands for ever.
const KEEP: &str = "private, max-age=31536000, immutable";

/// A page on its way out.
#[derive(Debug)]
pub(in crate::http) struct PageAnswer<'a> {
    pub(in crate::http) media_type: &'static str,
    pub(in crate::http) events: &'a [RecordedEvent],
    /// Everything up to here has been looked at.
    pub(in crate::http) scanned: Position,
    /// Whether there is more, as the page's headers say.
    pub(in crate::http) more: bool,
    /// Whether the same address will give the same bytes at any time: it names the branch of the log, and all that can
    /// be on the page is.
    pub(in crate::http) is_closed: bool,
    /// Headers beside those of a page.
    pub(in crate::http) headers: HeaderMap,
}

impl PageAnswer<'_> {
    /// The answer, without a body when the client has it already.
    pub(in crate::http) fn answer(self, running: &Running, request: &HeaderMap) -> Response {
        let etag = self.etag(running);
        let cache = if self.is_closed { KEEP } else { ASK_AGAIN };
        let mut headers = self.headers;
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
        headers.insert(header::VARY, HeaderValue::from_static("accept"));
        let is_known = is_known(request, &etag);
        if let Ok(etag) = HeaderValue::from_maybe_shared(Bytes::from(etag)) {
            headers.insert(header::ETAG, etag);
        }
        if is_known {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media_type));
        let mut body = Vec::with_capacity(self.events.len() * EVENT_BYTES + 2);
        body.push(b'[');
        for (index, event) in self.events.iter().enumerate() {
            if index > 0 {
                body.push(b',');
            }
            CloudEvent::from(event).write(running, &mut body);
        }
        body.push(b']');
        (headers, body).into_response()
    }

    /// Tells pages under one address from each other: events never change, so which ones there are is all.
    fn etag(&self, running: &Running) -> String {
        let place = running.cursor(self.scanned);
        let position = |event: Option<&RecordedEvent>| event.map_or(0, |event| event.position.0);
        let first = position(self.events.first());
        let last = position(self.events.last());
        let end = if self.more { "more" } else { "end" };
        let count = self.events.len();
        let form = self.media_type.len();
        format!(
            "\"{place}-{first}-{last}-{count}-{end}-{form}-{}\"",
            env!("CARGO_PKG_VERSION")
        )
    }
}

/// Whether `If-None-Match` names a tag. What is no entity tag there matches nothing.
fn is_known(request: &HeaderMap, etag: &str) -> bool {
    let values = request.get_all(header::IF_NONE_MATCH).iter();
    let values = values.filter_map(|value| value.to_str().ok());
    let mut tags = values.flat_map(|value| value.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

/// The address of the next page: that of this one, with some parameters in place of theirs.
pub(in crate::http) fn next_target(path: &str, uri: &Uri, replaced: &[(&str, String)]) -> String {
    let mut target = path.to_owned();
    let mut separator = '?';
    let mut add = |name: &str, value: &str| {
        target.push(separator);
        target.push_str(name);
        target.push('=');
        target.extend(utf8_percent_encode(value, ID));
        separator = '&';
    };
    for part in uri.query().unwrap_or_default().split('&') {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let (name, value) = (form_decoded(name), form_decoded(value));
        if !name.is_empty() && !replaced.iter().any(|(replaced, _)| *replaced == name) {
            add(&name, &value);
        }
    }
    for (name, value) in replaced {
        add(name, value);
    }
    target
}

/// Whether a page reached the end of the feed.
pub(in crate::http) const CAUGHT_UP: HeaderName = HeaderName::from_static("caught-up");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_has_every_parameter_of_this_one() {
        let uri: Uri =
            "/v1/events?%61fter=0a&type=a,b&id_prefix=x%26y+z&limit=7&since=2026-01-01T00:00:00%2B01:00"
                .parse()
                .unwrap();
        let replaced = [("after", "0b".to_owned()), ("limit", "7".to_owned())];
        assert_eq!(
            next_target("/v1/events", &uri, &replaced),
            "/v1/events?type=a%2Cb&id_prefix=x%26y%20z&since=2026-01-01T00%3A00%3A00%2B01%3A00&after=0b&limit=7"
        );
        let bare: Uri = "/v1/events".parse().unwrap();
        assert_eq!(
            next_target("/v1/events", &bare, &replaced),
            "/v1/events?after=0b&limit=7"
        );
    }

    #[test]
    fn tags_are_known_in_any_list() {
        for (value, known) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", \"a\"", true),
            ("*", true),
            ("\"b\"", false),
            ("a", false),
        ] {
            let request = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(value))]);
            assert_eq!(is_known(&request, "\"a\""), known, "{value}");
        }
        assert!(!is_known(&HeaderMap::new(), "\"a\""));
    }
}
