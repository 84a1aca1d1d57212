//! The history of one aggregate: pages, and streams.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, Uri},
    response::Response,
};
use serde::Deserialize;

use crate::{
    bus::{History, HistoryPage},
    store::{Direction, PageLimit, ReadError},
    vocabulary::{AggregateKey, Position, Version},
};

use super::super::{
    app::{App, Running},
    connection::Connection,
    etag::AGGREGATE_VERSION,
    extract::{Path, Query},
    feed::{
        Criteria, Form, Order, PageAnswer, Wait, answer, first_event, last_event_id, next_target,
        preference_applied, preferred_wait, start,
    },
    problem::{Problem, unknown_aggregate, unknown_type},
};

/// Which part of a history.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    event_type: Option<String>,
    actor: Option<String>,
    since: Option<String>,
    until: Option<String>,
    from: Option<u64>,
    direction: Option<WireDirection>,
    after: Option<String>,
    limit: Option<String>,
    follow: Option<bool>,
    wait_for: Option<String>,
    timeout: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum WireDirection {
    Forward,
    Backward,
}

impl HistoryQuery {
    fn history(&self, app: &App, key: &AggregateKey) -> Result<History, Problem> {
        let criteria = Criteria {
            event_types: self.event_type.as_deref(),
            actor: self.actor.as_deref(),
            since: self.since.as_deref(),
            until: self.until.as_deref(),
            ..Criteria::default()
        };
        Ok(History::new(key.clone(), criteria.filter(app.limits())?))
    }

    fn direction(&self) -> Direction {
        match self.direction {
            Some(WireDirection::Backward) => Direction::Backward,
            Some(WireDirection::Forward) | None => Direction::Forward,
        }
    }

    /// Refuses what does not go together.
    fn check(&self, form: Form) -> Result<(), Problem> {
        let refused = |detail: &str, fix: &str| Err(Problem::malformed(detail, fix));
        let is_page = matches!(form, Form::Page(_));
        if self.from == Some(0) {
            return refused("`from=0`: versions start at 1", "leave `from` out, or start at 1");
        }
        if is_page && self.after.is_some() {
            return refused(
                "`after` is for streams; a page of a history goes by version",
                "name the first version with `from`, or follow the `next` link",
            );
        }
        if self.after.is_some() && self.from.is_some() {
            return refused("`after` and `from` both say where to begin", "send one of them");
        }
        if !is_page && self.direction() == Direction::Backward {
            return refused(
                "`direction=backward` is for pages; a stream goes forward",
                "accept `application/json`, or leave `direction` out",
            );
        }
        Ok(())
    }
}

/// `GET /v1/aggregates/{type}/{id}/events`
pub(super) async fn history(
    State(app): State<App>,
    running: Running,
    connection: Connection,
    path: Path,
    uri: Uri,
    Query(query): Query<HistoryQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = path.aggregate()?;
    let form = Form::of(&headers)?;
    if running.modules.active(&key.aggregate_type).is_none() && !key.aggregate_type.is_system() {
        return Err(unknown_type(key.aggregate_type.as_str()));
    }
    let follow = form.follows(query.follow)?;
    query.check(form)?;
    let history = query.history(&app, &key)?;
    let resume = last_event_id(&headers, form)?;
    let (wait_for, timeout) = (query.wait_for.as_deref(), query.timeout.as_deref());
    let wait = Wait::of(&running, app.limits(), wait_for, timeout)?;
    let Form::Page(media_type) = form else {
        let limit = super::stream_limit(follow, query.limit.as_deref())?;
        Wait::over(wait, &running).await?;
        if !follow {
            exists(&running, &key).await?;
        }
        let after = start(&running, resume, query.after.as_deref()).await?;
        let history = match query.from {
            Some(from) => history.from_version(Version(from)),
            None => history,
        };
        let subscription = running.bus.subscribe(after, history)?;
        let order = Order { form, follow, limit };
        return Ok(answer(app.limits(), running, &connection, subscription, order));
    };
    let mut request = Request {
        key: &key,
        query: &query,
        media_type,
        limit: super::page_limit(&app, query.limit.as_deref())?,
        wait: preferred_wait(&headers, app.limits()).filter(|_| query.direction() == Direction::Forward),
    };
    Wait::over(wait, &running).await?;
    let page = request.read(&app, &running, history).await?;
    if page.head.version == Version(0) {
        return Err(unknown_aggregate(&key));
    }
    let answer = request.render(&running, &uri, &page);
    Ok(answer.answer(&running, &headers))
}

/// A stream that ends at the head has nothing to say of an aggregate that does not exist; one that follows waits for it.
async fn exists(running: &Running, key: &AggregateKey) -> Result<(), Problem> {
    let (store, asked) = (running.store.clone(), key.clone());
    let head = super::blocking(move || store.head(&asked)).await??;
    if head.version == Version(0) {
        return Err(unknown_aggregate(key));
    }
    Ok(())
}

/// A page that is asked for.
struct Request<'a> {
    key: &'a AggregateKey,
    query: &'a HistoryQuery,
    media_type: &'static str,
    limit: usize,
    wait: Option<std::time::Duration>,
}

impl Request<'_> {
    /// The page; where it is empty and the client would rather wait, it waits, if it can.
    async fn read(&mut self, app: &App, running: &Running, history: History) -> Result<HistoryPage, Problem> {
        let bounds = PageLimit {
            events: self.limit,
            bytes: app.limits().page_bytes,
        };
        let (from, direction) = (self.query.from.map(Version), self.query.direction());
        let read = |history: History| {
            let store = running.store.clone();
            super::blocking(move || -> Result<_, ReadError> {
                let last = store.last_position();
                Ok((history.page(&*store, from, direction, bounds)?, last))
            })
        };
        let (page, last) = read(history.clone()).await??;
        let Some(wait) = self.wait.filter(|_| page.events.is_empty()) else {
            return Ok(page);
        };
        // There may be more behind a stretch that nothing is wanted of: that is for the next page to say.
        self.wait = self.wait.filter(|_| page.next.is_none());
        if self.wait.is_none() {
            return Ok(page);
        }
        let follows = match from {
            Some(from) => history.clone().from_version(from),
            None => history.clone(),
        };
        let Ok(subscription) = running.bus.subscribe(last, follows) else {
            // Waiting is a preference: while no more can wait, the empty page is an answer too.
            self.wait = None;
            return Ok(page);
        };
        first_event(subscription, wait).await?;
        let (page, _) = read(history).await??;
        Ok(page)
    }

    fn render<'a>(&self, running: &Running, uri: &Uri, page: &'a HistoryPage) -> PageAnswer<'a> {
        let direction = self.query.direction();
        let last = page.events.last();
        let is_full = page.events.len() >= self.limit && page.next.is_some();
        let names_branch = self.query.wait_for.is_some();
        // Without a `limit` of its own the address has that of the server, which may be another one tomorrow.
        let is_settled = names_branch && self.query.limit.is_some();
        let is_closed = is_full && is_settled && direction == Direction::Forward;
        let mut headers = HeaderMap::new();
        if !is_closed {
            // On a page that is kept for ever these would grow old.
            headers.insert(AGGREGATE_VERSION, HeaderValue::from(page.head.version.0));
            if let Some(wait) = self.wait {
                preference_applied(&mut headers, wait);
            }
        }
        if let Some(next) = page.next {
            let direction = match direction {
                Direction::Forward => "forward",
                Direction::Backward => "backward",
            };
            let mut replaced = vec![
                ("from", next.to_string()),
                ("direction", direction.to_owned()),
                ("limit", self.limit.to_string()),
            ];
            // The branch of the log that the page is of: with it, the next page can be kept for ever.
            if let Some(last) = last.filter(|_| !names_branch) {
                replaced.push(("wait_for", running.cursor(last.position).to_string()));
            }
            let path = format!("{}/events", super::aggregates::path_of(self.key));
            super::link_next(&mut headers, &next_target(&path, uri, &replaced));
        }
        PageAnswer {
            media_type: self.media_type,
            events: &page.events,
            scanned: last.map_or(Position(0), |last| last.position),
            more: page.next.is_some(),
            is_closed,
            headers,
        }
    }
}
