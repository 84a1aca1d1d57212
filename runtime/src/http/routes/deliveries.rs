//! Fetching events for a consumer, and saying what became of them.

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    consumers::{ConsumerError, Delivered, Fetch, LeaseId, Refusal, Settled, most},
    vocabulary::{ConsumerName, IdempotencyKey, Millis, shown},
};

use super::super::{
    app::{App, Running},
    cloudevent::CloudEvent,
    document::Object,
    extract::{NoParameters, Path, Query},
    feed::{Wait, WaitQuery},
    json_body::JsonBody,
    media_type::negotiate,
    objects::or_null,
    problem::Problem,
    whole::Whole,
};

/// Largest body that names leases, bytes: the most that can be out at a time.
const LEASES_BYTES: usize = 1024 * 1024;
const FETCH: JsonBody = JsonBody {
    what: "the fetch",
    limit: LEASES_BYTES,
    example: "{\"member\": \"a\", \"max\": 100}",
};
const ACK: JsonBody = JsonBody {
    what: "the acknowledgement",
    limit: LEASES_BYTES,
    example: "{\"member\": \"a\", \"leases\": [\"…\"]}",
};
const NACK: JsonBody = JsonBody {
    what: "the refusal",
    limit: LEASES_BYTES,
    example: "{\"member\": \"a\", \"leases\": [\"…\"], \"reason\": \"no such customer\"}",
};
const EXTENSION: JsonBody = JsonBody {
    what: "the extension",
    ..ACK
};
const EVENT_STREAM: &str = "text/event-stream";
/// Who a member is that does not say.
const ANYBODY: &str = "anybody";
/// Milliseconds after which a client that lost its stream comes back.
const RETRY_MS: u32 = 1_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FetchBody {
    member: Option<String>,
    max: Option<Whole<1, { most::BATCH as u64 }>>,
    wait_ms: Option<Millis>,
}

/// `POST /v1/consumers/{name}/fetch`
pub(super) async fn fetch(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(wait_for): Query<WaitQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name: ConsumerName = path.parse("name")?;
    let body: FetchBody = FETCH.read(&app, &headers, body).await?;
    let fetch = Fetch {
        member: member(body.member)?,
        most: body.max.map(|most| batch(most.into())).transpose()?,
        wait: wait(&app, body.wait_ms.unwrap_or(0))?,
    };
    running.consumers.check_known(&name)?;
    wait_for.over(&running, app.limits()).await?;
    // Whoever waits takes a place, as a stream does.
    let _place = if fetch.wait.is_zero() {
        None
    } else {
        Some(running.bus.place()?)
    };
    let delivered = running.consumers.fetch(&name, &fetch).await?;
    let mut document = Vec::with_capacity(delivered.len() * 1_024 + 64);
    let mut object = Object::begin(&mut document);
    let events = object.member("events");
    events.push(b'[');
    for (index, delivered) in delivered.iter().enumerate() {
        if index > 0 {
            events.push(b',');
        }
        write(&running, delivered, events);
    }
    events.push(b']');
    object.end();
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, document).into_response())
}

fn write(running: &Running, delivered: &Delivered, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    object.text("lease", &delivered.lease.to_string());
    object.number("attempt", u64::from(delivered.lease.attempt));
    object.text_if("last_error", delivered.last_error.as_deref());
    CloudEvent::from(&delivered.event).write(running, object.member("event"));
    object.end();
}

fn member(asked: Option<String>) -> Result<String, Problem> {
    let member = asked.unwrap_or_else(|| ANYBODY.to_owned());
    match IdempotencyKey::check(&member) {
        Ok(()) => Ok(member),
        Err(error) => Err(Problem::malformed(
            format!("`member` `{}` {}", error.found, error.problem),
            "name members with 1 to 255 bytes of text without control characters",
        )),
    }
}

fn batch(asked: u64) -> Result<usize, Problem> {
    let most = usize::try_from(asked).ok();
    let within = most.filter(|most| (1..=most::BATCH as usize).contains(most));
    within.ok_or_else(|| no_batch(&asked.to_string()))
}

/// The same as text.
fn batch_of(asked: &str) -> Result<usize, Problem> {
    let within = super::whole(asked).and_then(|most| batch(most as u64).ok());
    within.ok_or_else(|| no_batch(&format!("`{}`", shown(asked))))
}

fn no_batch(found: &str) -> Problem {
    Problem::malformed(
        format!(
            "`max` is {found}; it must be a whole number from 1 to {}",
            most::BATCH
        ),
        "ask for as many as that",
    )
    .with("limit", most::BATCH)
}

fn wait(app: &App, asked: Millis) -> Result<Duration, Problem> {
    let limit = app.limits().consumer_wait;
    let wait = Duration::from_millis(asked);
    if wait > limit {
        return Err(Problem::malformed(
            format!("`wait_ms` is {asked}; the limit is {}", limit.as_millis()),
            "wait for less long, and ask again",
        )
        .with("limit_ms", u64::try_from(limit.as_millis()).unwrap_or(u64::MAX)));
    }
    Ok(wait)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LeasesBody {
    member: Option<String>,
    leases: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusalBody {
    member: Option<String>,
    leases: Vec<String>,
    reason: String,
    delay_ms: Option<Whole<0, { most::PAUSE_MS }>>,
    #[serde(default, deserialize_with = "or_null")]
    park: bool,
}

/// `POST /v1/consumers/{name}/ack`. Acknowledged means written down: it runs to its end even when the client goes away.
pub(super) async fn ack(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name: ConsumerName = path.parse("name")?;
    let body: LeasesBody = ACK.read(&app, &headers, body).await?;
    let (member, leases) = (member(body.member)?, leases(&body.leases)?);
    let settled = running.consumers.ack(&name, &member, &leases).await?;
    render(&settled, "acked")
}

/// `POST /v1/consumers/{name}/nack`
pub(super) async fn nack(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name: ConsumerName = path.parse("name")?;
    let body: RefusalBody = NACK.read(&app, &headers, body).await?;
    let (member, leases) = (member(body.member)?, leases(&body.leases)?);
    let delay_ms = body.delay_ms.map(Millis::from);
    if body.park && delay_ms.is_some() {
        return Err(Problem::malformed(
            "`park` and `delay_ms` exclude each other: what is parked is not tried again",
            "send one of them",
        ));
    }
    if let Some(found) = delay_ms.filter(|found| *found > most::PAUSE_MS) {
        return Err(Problem::malformed(
            format!("`delay_ms` is {found}; the limit is {}", most::PAUSE_MS),
            "use a shorter delay, or `\"park\": true`",
        )
        .with("limit_ms", most::PAUSE_MS));
    }
    let refusal = Refusal {
        reason: body.reason,
        delay_ms,
        park: body.park,
    };
    let settled = running.consumers.nack(&name, &member, &leases, &refusal).await?;
    render(&settled, "nacked")
}

/// `POST /v1/consumers/{name}/extend`
pub(super) async fn extend(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(NoParameters {}): Query<NoParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let name: ConsumerName = path.parse("name")?;
    let body: LeasesBody = EXTENSION.read(&app, &headers, body).await?;
    let (member, leases) = (member(body.member)?, leases(&body.leases)?);
    let settled = running.consumers.extend(&name, &member, &leases)?;
    render(&settled, "extended")
}

fn leases(texts: &[String]) -> Result<Vec<LeaseId>, Problem> {
    let leases: Result<Vec<LeaseId>, _> = texts.iter().map(|text| text.parse()).collect();
    leases.map_err(|error| {
        Problem::new(400, "bad-lease", "Not a lease", error.to_string())
            .fix("send leases as they were delivered; nothing was done with the others")
            .with("lease", error.found)
    })
}

/// What was done; when a lease was refused, that is the answer.
fn render(settled: &Settled, done: &str) -> Result<Response, Problem> {
    if settled.refused.is_empty() {
        return Ok(super::json(
            &json!({ done: settled.done, "already": settled.already }),
        ));
    }
    let refused = settled.refused.iter().map(|(lease, refused)| {
        json!({ "lease": lease.to_string(), "reason": refused.code(), "detail": refused.to_string() })
    });
    let refused: Vec<Value> = refused.collect();
    let first = settled.refused.first().map(|(_, refused)| refused.to_string());
    let detail = format!(
        "{} of the leases {} refused; the first: {}",
        refused.len(),
        if refused.len() == 1 { "is" } else { "are" },
        first.unwrap_or_default()
    );
    Err(Problem::new(409, "lease-refused", "Not a lease that is out", detail)
        .fix("`refused` names them and why; what is not named there was done. What is delivered again has a new lease")
        .with(done, settled.done)
        .with("already", settled.already)
        .with("refused", refused))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamQuery {
    member: Option<String>,
    max: Option<String>,
    wait_for: Option<String>,
    timeout: Option<String>,
}

/// `GET /v1/consumers/{name}/stream`: leases as it sends. What the consumer's concurrency does not allow waits until
/// something is acknowledged.
pub(super) async fn stream(
    State(app): State<App>,
    running: Running,
    path: Path,
    Query(query): Query<StreamQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let name: ConsumerName = path.parse("name")?;
    negotiate(&headers, &[EVENT_STREAM])?;
    let (wait_for, timeout) = (query.wait_for.as_deref(), query.timeout.as_deref());
    let wait = Wait::of(&running, app.limits(), wait_for, timeout)?;
    let fetch = Fetch {
        member: member(query.member)?,
        most: query.max.as_deref().map(batch_of).transpose()?,
        wait: app.limits().heartbeat,
    };
    // An unknown consumer is a problem, not a stream that ends.
    running.consumers.check_known(&name)?;
    Wait::over(wait, &running).await?;
    let place = running.bus.place()?;
    let start = Streaming {
        running,
        name,
        fetch,
        phase: Phase::Greeting,
    };
    let frames = stream::unfold((start, place), |(mut streaming, place)| async move {
        let frame = streaming.frame().await?;
        Some((Ok::<Bytes, Infallible>(frame), (streaming, place)))
    });
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, Body::from_stream(frames)).into_response())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Greeting,
    Delivering,
    Ended,
}

struct Streaming {
    running: Running,
    name: ConsumerName,
    fetch: Fetch,
    phase: Phase,
}

impl Streaming {
    /// What is sent next: one batch, a heartbeat, or the end.
    async fn frame(&mut self) -> Option<Bytes> {
        match self.phase {
            Phase::Ended => return None,
            Phase::Greeting => {
                self.phase = Phase::Delivering;
                return Some(format!("retry: {RETRY_MS}\n\n").into());
            }
            Phase::Delivering => {}
        }
        match self.running.consumers.fetch(&self.name, &self.fetch).await {
            Ok(delivered) if delivered.is_empty() => Some(Bytes::from_static(b": heartbeat\n\n")),
            Ok(delivered) => {
                let mut frame = Vec::with_capacity(delivered.len() * 1_024);
                for delivered in &delivered {
                    frame.extend_from_slice(format!("id: {}\ndata: ", delivered.lease).as_bytes());
                    write(&self.running, delivered, &mut frame);
                    frame.extend_from_slice(b"\n\n");
                }
                Some(frame.into())
            }
            Err(ConsumerError::Closing) => None,
            Err(error) => {
                self.phase = Phase::Ended;
                let problem = Problem::from(error).document();
                Some(format!("event: failed\ndata: {problem}\n\n").into())
            }
        }
    }
}
