//! Events that a consumer could not handle.

use axum::{body::Body, extract::State, http::HeaderMap, response::Response};
use percent_encoding::utf8_percent_encode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    consumers::{LaneKey, ParkedLane},
    store::PageLimit,
    vocabulary::{AggregateKey, ConsumerName, Version},
};

use super::super::{
    app::{App, Running},
    cloudevent::{CloudEvent, ID, rfc3339},
    document::Object,
    extract::{NoParameters, Path, Query},
    feed::Wait,
    json_body::JsonBody,
    media_type::negotiate,
    objects::or_null,
    problem::Problem,
};

const JSON: &str = "application/json";
/// Largest body of a replay or a skip, bytes.
const BODY_BYTES: usize = 16 * 1024;
const REPLAY: JsonBody = JsonBody {
    what: "the replay",
    limit: BODY_BYTES,
    example: "{\"type\": \"account\", \"id\": \"alice\"}",
};
const SKIP: JsonBody = JsonBody {
    what: "the skip",
    limit: BODY_BYTES,
    example: "{\"type\": \"account\", \"id\": \"alice\", \"reason\": \"a test account\"}",
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LanesPage {
    after_type: Option<String>,
    after_id: Option<String>,
    after_version: Option<u64>,
    limit: Option<String>,
    wait_for: Option<String>,
    timeout: Option<String>,
}

/// `GET /v1/consumers/{name}/parked`
pub(super) async fn lanes(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(page): Query<LanesPage>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name: ConsumerName = path.parse("name")?;
    negotiate(&headers, &[JSON])?;
    let (wait_for, timeout) = (page.wait_for.as_deref(), page.timeout.as_deref());
    let wait = Wait::of(&running, app.limits(), wait_for, timeout)?;
    let after = match (page.after_type, page.after_id) {
        (Some(aggregate_type), Some(id)) => {
            let key = AggregateKey::new(aggregate_type.parse()?, id.parse()?);
            Some(LaneKey::of(key, page.after_version.map(Version)))
        }
        (None, None) if page.after_version.is_none() => None,
        _ => {
            return Err(Problem::malformed(
                "`after_type` and `after_id` belong together, and `after_version` to both",
                "follow the `next` link",
            ));
        }
    };
    let limit = super::page_limit(&app, page.limit.as_deref())?;
    running.consumers.check_known(&name)?;
    Wait::over(wait, &running).await?;
    let mut lanes = running.consumers.parked(&name, after.as_ref(), limit + 1)?;
    let more = lanes.len() > limit;
    lanes.truncate(limit);
    let documents: Vec<Value> = lanes.iter().map(document).collect();
    let mut response = super::json(&json!({ "parked": documents }));
    if let Some(ParkedLane { lane, .. }) = lanes.last().filter(|_| more) {
        let key = &lane.aggregate;
        let id = utf8_percent_encode(key.aggregate_id.as_str(), ID);
        let mut next = format!(
            "/v1/consumers/{name}/parked?after_type={}&after_id={id}&limit={limit}",
            key.aggregate_type
        );
        if let Some(version) = lane.alone {
            next.push_str(&format!("&after_version={version}"));
        }
        super::link_next(response.headers_mut(), &next);
    }
    Ok(response)
}

fn document(parked: &ParkedLane) -> Value {
    let ParkedLane { lane, parked } = parked;
    json!({
        "type": lane.aggregate.aggregate_type.as_str(),
        "id": lane.aggregate.aggregate_id.as_str(),
        "alone": lane.alone.map(|version| version.0),
        "first_version": parked.first.0,
        "events": parked.count,
        "attempts": parked.attempts,
        "last_error": parked.error,
        "parked_at": rfc3339(parked.parked_at),
        "replaying": parked.replaying,
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsPage {
    /// The version of an event that is parked by itself.
    version: Option<u64>,
    from: Option<u64>,
    limit: Option<String>,
    wait_for: Option<String>,
    timeout: Option<String>,
}

/// `GET /v1/consumers/{name}/parked/{type}/{id}`
pub(super) async fn events(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(page): Query<EventsPage>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name: ConsumerName = path.parse("name")?;
    let key = path.aggregate()?;
    negotiate(&headers, &[JSON])?;
    let limit = super::page_limit(&app, page.limit.as_deref())?;
    let (wait_for, timeout) = (page.wait_for.as_deref(), page.timeout.as_deref());
    let wait = Wait::of(&running, app.limits(), wait_for, timeout)?;
    running.consumers.check_known(&name)?;
    Wait::over(wait, &running).await?;
    let bounds = PageLimit {
        events: limit,
        bytes: app.limits().page_bytes,
    };
    let lane = LaneKey::of(key.clone(), page.version.map(Version));
    let (consumers, named) = (running.consumers.clone(), name.clone());
    let from = page.from.map(Version);
    let found = super::blocking(move || consumers.parked_events(&named, &lane, from, bounds)).await??;
    let mut body = Vec::new();
    let mut object = Object::begin(&mut body);
    object.raw("parked", document(&found.lane).to_string().as_bytes());
    let events = object.member("events");
    events.push(b'[');
    for (index, event) in found.events.iter().enumerate() {
        if index > 0 {
            events.push(b',');
        }
        CloudEvent::from(event).write(&running, events);
    }
    events.push(b']');
    object.end();
    let mut response = super::json_bytes(body);
    if let Some(next) = found.next {
        let id = utf8_percent_encode(key.aggregate_id.as_str(), ID);
        let path = format!("/v1/consumers/{name}/parked/{}/{id}", key.aggregate_type);
        super::link_next(
            response.headers_mut(),
            &format!("{path}?from={next}&limit={limit}"),
        );
    }
    Ok(response)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayBody {
    #[serde(rename = "type")]
    aggregate_type: Option<String>,
    id: Option<String>,
    version: Option<u64>,
    #[serde(default, deserialize_with = "or_null")]
    all: bool,
}

/// `POST /v1/consumers/{name}/replay`. It runs to its end even when the client goes away.
pub(super) async fn replay(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name: ConsumerName = path.parse("name")?;
    let body: ReplayBody = REPLAY.read(&app, &headers, body).await?;
    let lane = match (body.aggregate_type, body.id, body.all) {
        (Some(aggregate_type), Some(id), false) => {
            let key = AggregateKey::new(aggregate_type.parse()?, id.parse()?);
            Some(LaneKey::of(key, body.version.map(Version)))
        }
        (None, None, true) if body.version.is_none() => None,
        _ => {
            return Err(Problem::malformed(
                "a replay is of one aggregate, or of all",
                "send `{\"type\": …, \"id\": …}` or `{\"all\": true}`",
            ));
        }
    };
    let (consumers, named) = (running.consumers.clone(), name.clone());
    let came = super::blocking(move || consumers.replay(&named, lane.as_ref())).await?;
    let replaying = running.consumers.once_written(&name, came).await?;
    Ok(super::json(&json!({ "replaying_aggregates": replaying })))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SkipBody {
    #[serde(rename = "type")]
    aggregate_type: String,
    id: String,
    version: Option<u64>,
    through: Option<u64>,
    reason: String,
}

/// `POST /v1/consumers/{name}/skip`. It runs to its end even when the client goes away.
pub(super) async fn skip(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name: ConsumerName = path.parse("name")?;
    let body: SkipBody = SKIP.read(&app, &headers, body).await?;
    if body.reason.trim().is_empty() {
        return Err(Problem::malformed(
            "`reason` is empty",
            "say why the events are left out: it stays in the consumer's history",
        ));
    }
    if body.through == Some(0) {
        return Err(Problem::malformed(
            "`through` is 0; versions begin at 1",
            "name the version of the last event that is to be left out, or no `through` for all",
        ));
    }
    let key = AggregateKey::new(body.aggregate_type.parse()?, body.id.parse()?);
    let lane = LaneKey::of(key, body.version.map(Version));
    let (consumers, named) = (running.consumers.clone(), name.clone());
    let through = body.through.map(Version);
    let came = super::blocking(move || consumers.skip(&named, &lane, through, body.reason)).await?;
    let skipped = running.consumers.once_written(&name, came).await?;
    Ok(super::json(&json!({ "skipped": skipped })))
}
