//! Waiting: for a position, so that a client reads what it knows of, and for the first event of a page.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use tokio::time::{Instant, timeout_at};

use crate::{
    bus::{Delivery, Subscription},
    vocabulary::{Limits, Position, shown},
};

use super::{
    super::{app::Running, problem::Problem},
    cursor,
};

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// The query of what may wait for a position and takes no other parameters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct WaitQuery {
    wait_for: Option<String>,
    timeout: Option<String>,
}

impl WaitQuery {
    /// Waits until the position is readable, where one is named.
    pub(in crate::http) async fn over(&self, running: &Running, limits: &Limits) -> Result<(), Problem> {
        Wait::over(self.wait(running, limits)?, running).await
    }

    /// What is to be waited for.
    pub(in crate::http) fn wait(&self, running: &Running, limits: &Limits) -> Result<Option<Wait>, Problem> {
        Wait::of(running, limits, self.wait_for.as_deref(), self.timeout.as_deref())
    }
}

/// `wait_for` with its `timeout`.
#[derive(Debug)]
pub(in crate::http) struct Wait {
    position: Position,
    cursor: String,
    within: Duration,
}

impl Wait {
    /// What a query asks for; nothing without `wait_for`.
    pub(in crate::http) fn of(
        running: &Running,
        limits: &Limits,
        wait_for: Option<&str>,
        timeout: Option<&str>,
    ) -> Result<Option<Self>, Problem> {
        let Some(text) = wait_for else {
            return match timeout {
                None => Ok(None),
                Some(_) => Err(Problem::malformed(
                    "`timeout` goes with `wait_for`, which is not there",
                    "name the cursor to wait for, or leave `timeout` out",
                )),
            };
        };
        let within = timeout
            .map(|text| seconds(text, limits.wait_longest))
            .transpose()?;
        Ok(Some(Self {
            position: cursor(running, text)?,
            cursor: text.to_owned(),
            within: within.unwrap_or(limits.wait.min(limits.wait_longest)),
        }))
    }

    /// Waits until the position is readable, when one was asked for. Who waits takes a place among those who follow.
    pub(in crate::http) async fn over(wait: Option<Self>, running: &Running) -> Result<(), Problem> {
        match wait {
            Some(wait) if wait.position > running.store.last_position() => {
                let _place = running.bus.place()?;
                wait.reached(running).await
            }
            _ => Ok(()),
        }
    }

    async fn reached(&self, running: &Running) -> Result<(), Problem> {
        match tokio::time::timeout(self.within, running.bus.reached(self.position)).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Problem::unavailable("the server is shutting down")),
            Err(_) => {
                let within = self.within.as_secs_f64();
                let detail = format!("the log did not reach `{}` within {within} s", self.cursor);
                let last = running.cursor(running.store.last_position()).to_string();
                Err(Problem::new(504, "not-reached", "The position is not there yet", detail)
                    .fix("ask again after the time in Retry-After; if it stays so, the cursor was not given out by this log")
                    .retry_after(Duration::from_secs(1))
                    .with("cursor", self.cursor.as_str())
                    .with("position", last))
            }
        }
    }
}

/// Seconds, perhaps with a fraction.
fn seconds(text: &str, longest: Duration) -> Result<Duration, Problem> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let seconds = text.parse().ok().filter(|_| is_plain);
    match seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok()) {
        Some(within) if within <= longest => Ok(within),
        _ => {
            let found = shown(text);
            let longest = longest.as_secs_f64();
            let detail = format!("`timeout={found}` is not a number of seconds from 0 to {longest}");
            Err(Problem::malformed(
                detail,
                format!("wait for at most {longest} s, the limit, and ask again"),
            ))
        }
    }
}

/// `Prefer: wait=5` (RFC 7240), in whole seconds and cut to the limit. A preference that is not understood is left out, as
/// that specification demands.
pub(in crate::http) fn preferred_wait(headers: &HeaderMap, limits: &Limits) -> Option<Duration> {
    let values = headers
        .get_all(PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let preferences = values.flat_map(|value| value.split(','));
    let wait = preferences.filter_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then_some(value)
    });
    // Of several the first counts.
    let seconds: u64 = wait
        .map(|value| value.trim().trim_matches('"'))
        .next()?
        .parse()
        .ok()?;
    let seconds = seconds.min(limits.wait_longest.as_secs());
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

/// Says which preference was heeded.
pub(in crate::http) fn preference_applied(headers: &mut HeaderMap, wait: Duration) {
    if let Ok(value) = HeaderValue::try_from(format!("wait={}", wait.as_secs())) {
        headers.insert(PREFERENCE_APPLIED, value);
    }
}

/// Waits for the first event of a subscription: the place before it, or how far the looking got in that time.
pub(in crate::http) async fn first_event(
    mut subscription: Subscription,
    within: Duration,
) -> Result<Position, Problem> {
    let give_up = Instant::now() + within;
    loop {
        match timeout_at(give_up, subscription.next()).await {
            Ok(Ok(Delivery::Event(event))) => return Ok(Position(event.position().0.saturating_sub(1))),
            Ok(Ok(Delivery::Closed)) | Err(_) => return Ok(subscription.reached()),
            Ok(Ok(_)) => {}
            Ok(Err(error)) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_or_left_out() {
        for (values, expected) in [
            (&["wait=5"][..], Some(5)),
            (&["respond-async, Wait = \"7\"; x=y"], Some(7)),
            (&["handling=lenient", "wait=1, wait=2"], Some(1)),
            (&["wait=3600"], Some(60)),
            (&["wait=0"], None),
            (&["wait=soon"], None),
            (&["wait"], None),
            (&["waiting=5"], None),
            (&[], None),
        ] {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(PREFER, HeaderValue::from_static(value));
            }
            let wait = preferred_wait(&headers, &Limits::default());
            assert_eq!(wait.map(|wait| wait.as_secs()), expected, "{values:?}");
        }
    }

    #[test]
    fn timeouts_are_seconds_within_the_limit() {
        let longest = Duration::from_secs(60);
        for (text, expected) in [("0", 0), ("5", 5_000), ("0.25", 250), ("60", 60_000)] {
            assert_eq!(seconds(text, longest).unwrap().as_millis(), expected, "{text}");
        }
        for wrong in ["", "61", "-1", "+1", "1e1", "inf", "NaN", "5s", "1.2.3", "."] {
            let detail = seconds(wrong, longest).unwrap_err().document()["detail"].to_string();
            assert!(detail.contains("60"), "{wrong}: {detail}");
        }
    }
}
