//! What a receiver's answer means.

use std::time::Duration;

use http::{HeaderMap, StatusCode, header};

use crate::vocabulary::Millis;

/// How much of an answer is kept for people, characters.
const EXCERPT_CHARS: usize = 200;

/// Why a request did not do what it was for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failure {
    /// For people.
    pub(super) reason: String,
    pub(super) kind: Kind,
}

/// What follows from a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The event is sent again later. It is the receiver that failed, as far as can be told.
    Again,
    /// The event is sent again later. The receiver is up, and does not take this one.
    Refused,
    /// The receiver wants to be left alone for so long.
    Wait(Duration),
    /// The receiver wants nothing any more.
    Gone,
}

impl Failure {
    pub(super) fn again(reason: String) -> Self {
        Self {
            reason,
            kind: Kind::Again,
        }
    }
}

/// Whether the receiver has taken what was sent. `start` is the beginning of the answer's body.
pub(super) fn judge(
    status: StatusCode,
    headers: &HeaderMap,
    start: &[u8],
    now: Millis,
) -> Result<(), Failure> {
    if status.is_success() {
        return Ok(());
    }
    let kind = match status {
        StatusCode::GONE => Kind::Gone,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            retry_after(headers, now).map_or(Kind::Again, Kind::Wait)
        }
        _ if is_about_events(status) => Kind::Refused,
        _ => Kind::Again,
    };
    let mut reason = format!("the receiver answered {status}");
    let location = headers.get(header::LOCATION);
    if let Some(location) = location.filter(|_| status.is_redirection()) {
        let location = excerpt(location.as_bytes());
        reason.push_str(&format!(
            " to `{location}`: redirects are not followed, so put the final URL into the webhook"
        ));
    } else if !start.is_empty() {
        reason.push_str(&format!(": {}", excerpt(start)));
    }
    Err(Failure { reason, kind })
}

/// Whether a receiver that answers so has looked at what was sent. The other 4xx come from one that is not set up for us or
/// cannot take anything now, whatever it is sent.
fn is_about_events(status: StatusCode) -> bool {
    const ABOUT_US: [u16; 9] = [401, 403, 404, 405, 407, 408, 421, 425, 429];
    status.is_client_error() && !ABOUT_US.contains(&status.as_u16())
}

/// Seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Millis) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More than can be counted is for ever, until it is cut.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()?;
    let until = Millis::try_from(date.as_millisecond()).ok()?;
    Some(Duration::from_millis(until.saturating_sub(now)))
}

/// The beginning of a text that somebody else has written.
fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words
        .chars()
        .take(EXCERPT_CHARS)
        .flat_map(char::escape_debug)
        .collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn judged(status: u16, headers: &[(header::HeaderName, &str)], body: &str) -> Result<(), Failure> {
        let pairs = headers
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
        judge(
            StatusCode::from_u16(status).unwrap(),
            &pairs.collect(),
            body.as_bytes(),
            784_111_777_000,
        )
    }

    #[test]
    fn only_2xx_is_success_and_some_answers_say_more() {
        let seconds = |seconds| Kind::Wait(Duration::from_secs(seconds));
        let retry = header::RETRY_AFTER;
        let date = "Sun, 06 Nov 1994 08:50:37 GMT";
        let past = "Sun, 06 Nov 1994 08:00:00 GMT";
        for status in [200, 201, 204, 299] {
            assert_eq!(judged(status, &[], "no"), Ok(()));
        }
        for (status, headers, kind, says) in [
            (
                500,
                vec![],
                Kind::Again,
                "500 Internal Server Error: out of cheese",
            ),
            (404, vec![], Kind::Again, "404 Not Found"),
            (429, vec![], Kind::Again, "429"),
            (429, vec![(retry.clone(), "7")], seconds(7), "429"),
            (429, vec![(retry.clone(), "0")], seconds(0), "429"),
            (
                429,
                vec![(retry.clone(), "99999999999999999999")],
                seconds(u64::MAX),
                "429",
            ),
            (429, vec![(retry.clone(), "-1")], Kind::Again, "429"),
            (429, vec![(retry.clone(), "")], Kind::Again, "429"),
            (503, vec![(retry.clone(), past)], seconds(0), "503"),
            (503, vec![(retry.clone(), date)], seconds(60), "503"),
            (503, vec![(retry.clone(), "soon")], Kind::Again, "503"),
            (500, vec![(retry, "7")], Kind::Again, "500"),
            (410, vec![], Kind::Gone, "410 Gone"),
            (
                302,
                vec![(header::LOCATION, "http://127.0.0.1/")],
                Kind::Again,
                "`http://127.0.0.1/`: redirects are not",
            ),
            // Without an address it is no redirect.
            (
                304,
                vec![],
                Kind::Again,
                "the receiver answered 304 Not Modified: out of cheese",
            ),
        ] {
            let failure = judged(status, &headers, "out of\n cheese").unwrap_err();
            assert_eq!(failure.kind, kind, "{status}");
            assert!(failure.reason.contains(says), "{}", failure.reason);
        }
    }

    #[test]
    fn some_answers_are_about_the_event_and_others_about_the_receiver() {
        let kind = |status| judged(status, &[], "").unwrap_err().kind;
        for status in [
            400, 402, 406, 409, 411, 412, 413, 414, 415, 418, 422, 423, 424, 431, 451, 499,
        ] {
            assert_eq!(kind(status), Kind::Refused, "{status}");
        }
        for status in [
            300, 301, 304, 307, 401, 403, 404, 405, 407, 408, 421, 425, 429, 500, 501, 502, 503, 504, 507,
            599,
        ] {
            assert_eq!(kind(status), Kind::Again, "{status}");
        }
    }

    #[test]
    fn what_others_wrote_is_shortened_and_made_visible() {
        assert_eq!(excerpt(b"a\x1b[2J\xff  b"), "a\\u{1b}[2J\u{fffd} b");
        assert_eq!(excerpt(&[b'a'; 1_000]).len(), EXCERPT_CHARS);
    }
}
