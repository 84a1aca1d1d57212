//! The history of one aggregate, and the whole feed.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};

use crate::{
    store::{Direction, FeedFilter, PageLimit},
    vocabulary::{AggregateType, Cursor, Position, RecordedEvent, Version},
};

use super::super::{
    app::{App, Running},
    cloudevent::CloudEvent,
    etag::AGGREGATE_VERSION,
    extract::{Path, Query, header_text},
    media_type::negotiate,
    problem::{Problem, unknown_type},
    sse,
};

const BATCH: &str = "application/cloudevents-batch+json";
const JSON: &str = "application/json";
const EVENT_STREAM: &str = "text/event-stream";
/// About what a small event takes as a CloudEvent.
const EVENT_BYTES: usize = 768;
/// Whether a page of the feed reached its end.
const CAUGHT_UP: HeaderName = HeaderName::from_static("caught-up");

/// Which page of a history.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryPage {
    from: Option<u64>,
    direction: Option<WireDirection>,
    limit: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
enum WireDirection {
    Forward,
    Backward,
}

/// `GET /v1/aggregates/{type}/{id}/events`
pub(super) async fn history(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(page): Query<HistoryPage>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = path.aggregate()?;
    let media_type = negotiate(&headers, &[BATCH, JSON])?;
    if running.modules.active(&key.aggregate_type).is_none() && !key.aggregate_type.is_system() {
        return Err(unknown_type(key.aggregate_type.as_str()));
    }
    let backward = page.direction == Some(WireDirection::Backward);
    if page.from == Some(0) {
        return Err(Problem::malformed(
            "`from=0`: versions start at 1",
            "leave `from` out, or start at 1",
        ));
    }
    let (direction, first) = if backward {
        (Direction::Backward, u64::MAX)
    } else {
        (Direction::Forward, 1)
    };
    let from = Version(page.from.unwrap_or(first));
    let limit = super::page_limit(&app, page.limit)?;
    let bounds = PageLimit {
        events: limit,
        bytes: app.limits().page_bytes,
    };
    let (store, asked) = (running.store.clone(), key.clone());
    let read = move || -> Result<_, crate::store::ReadError> {
        let head = store.head(&asked)?;
        Ok((head, store.history(&asked, from, direction, bounds)?))
    };
    let (head, events) = super::blocking(read).await??;
    if head.version == Version(0) {
        return Err(Problem::new(
            404,
            "unknown-aggregate",
            "No such aggregate",
            format!("`{key}` has no events"),
        )
        .fix("send it a command that creates it"));
    }
    let mut response = batch(&running, &events, media_type);
    response
        .headers_mut()
        .insert(AGGREGATE_VERSION, HeaderValue::from(head.version.0));
    let next = events.last().and_then(|last| match direction {
        Direction::Forward => (last.version < head.version).then(|| last.version.plus(1)),
        Direction::Backward => (last.version > Version(1)).then(|| Version(last.version.0 - 1)),
    });
    if let Some(next) = next {
        let name = if backward { "backward" } else { "forward" };
        let path = super::aggregates::path_of(&key);
        super::link_next(
            &mut response,
            &format!("{path}/events?from={next}&direction={name}&limit={limit}"),
        );
    }
    Ok(response)
}

/// Which stretch of the feed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FeedQuery {
    after: Option<String>,
    #[serde(rename = "type")]
    aggregate_type: Option<String>,
    include_system: Option<bool>,
    limit: Option<usize>,
}

/// `GET /v1/events`
pub(super) async fn feed(
    State(app): State<App>,
    running: Running,
    Query(query): Query<FeedQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let media_type = negotiate(&headers, &[BATCH, JSON, EVENT_STREAM])?;
    let aggregate_type = query
        .aggregate_type
        .as_deref()
        .map(str::parse::<AggregateType>)
        .transpose()?;
    let filter = FeedFilter {
        aggregate_types: aggregate_type.iter().cloned().collect(),
        include_system: query.include_system.unwrap_or(false),
        ..FeedFilter::default()
    };
    let resume = header_text(&headers, "last-event-id")?
        .filter(|id| !id.is_empty())
        .map(str::to_owned);
    if media_type == EVENT_STREAM {
        if query.limit.is_some() {
            return Err(Problem::malformed(
                "`limit` is for pages; a stream has none",
                "leave `limit` out",
            ));
        }
        // A reconnecting client repeats its first `after`: the id it saw last is the later word.
        let after = position(&running, resume.or(query.after))?;
        let subscription = running.bus.subscribe(after, filter)?;
        return Ok(sse::follow(running, subscription, app.limits().heartbeat));
    }
    if resume.is_some() {
        let fix = "accept `text/event-stream`, or name the place with `after=`";
        return Err(Problem::malformed("`Last-Event-ID` is for streams", fix));
    }
    let after = position(&running, query.after)?;
    let limit = super::page_limit(&app, query.limit)?;
    let bounds = PageLimit {
        events: limit,
        bytes: app.limits().page_bytes,
    };
    let store = running.store.clone();
    let page = super::blocking(move || store.feed(after, &filter, bounds)).await??;
    let mut response = batch(&running, &page.events, media_type);
    let caught_up = HeaderValue::from_static(if page.at_head { "true" } else { "false" });
    response.headers_mut().insert(CAUGHT_UP, caught_up);
    let mut next = format!("/v1/events?after={}&limit={limit}", running.cursor(page.scanned));
    if let Some(aggregate_type) = aggregate_type {
        next.push_str(&format!("&type={aggregate_type}"));
    }
    if query.include_system == Some(true) {
        next.push_str("&include_system=true");
    }
    super::link_next(&mut response, &next);
    Ok(response)
}

/// Where a cursor points to: nothing is the beginning, `now` the end.
fn position(running: &Running, cursor: Option<String>) -> Result<Position, Problem> {
    let last = running.store.last_position();
    let text = match cursor {
        None => return Ok(Position(0)),
        Some(text) if text == "now" => return Ok(last),
        Some(text) => text,
    };
    let cursor: Cursor = text.parse()?;
    let identity = running.store.identity();
    if !cursor.is_of(identity.log_id) {
        return Err(bad_cursor(&text, "belongs to another log"));
    }
    if cursor.epoch != identity.epoch {
        let detail = format!("the cursor `{text}` belongs to a branch of the log that a restore has ended");
        return Err(Problem::new(410, "dead-branch", "The branch has ended", detail)
            .fix("start again from the beginning, or from a cursor given out since")
            .with("cursor", text));
    }
    if cursor.position > last {
        return Err(bad_cursor(&text, "lies beyond the end of the log"));
    }
    Ok(cursor.position)
}

fn bad_cursor(text: &str, why: &str) -> Problem {
    Problem::new(
        400,
        "bad-cursor",
        "Not a cursor of this log",
        format!("the cursor `{text}` {why}"),
    )
    .fix("start without a cursor, or with one that this server gave out")
    .with("cursor", text)
}

fn batch(running: &Running, events: &[RecordedEvent], media_type: &'static str) -> Response {
    let mut body = Vec::with_capacity(events.len() * EVENT_BYTES + 2);
    body.push(b'[');
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        CloudEvent::from(event).write(running, &mut body);
    }
    body.push(b']');
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (headers, body).into_response()
}
