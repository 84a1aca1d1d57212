//! The whole feed: pages, and streams.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, Uri},
    response::Response,
};
use serde::Deserialize;

use crate::{
    bus::TooManySubscribers,
    store::{FeedFilter, FeedPage, PageLimit},
    vocabulary::Position,
};

use super::super::{
    app::{App, Running},
    connection::Connection,
    extract::Query,
    feed::{
        CAUGHT_UP, Criteria, Form, Order, PageAnswer, Wait, answer, first_event, last_event_id, next_target,
        preference_applied, preferred_wait, start, subscribe,
    },
    problem::Problem,
};

/// Which stretch of the feed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FeedQuery {
    #[serde(rename = "type")]
    types: Option<String>,
    event_type: Option<String>,
    id_prefix: Option<String>,
    actor: Option<String>,
    since: Option<String>,
    until: Option<String>,
    include_system: Option<bool>,
    after: Option<String>,
    limit: Option<String>,
    follow: Option<bool>,
    wait_for: Option<String>,
    timeout: Option<String>,
}

impl FeedQuery {
    fn filter(&self, app: &App) -> Result<FeedFilter, Problem> {
        let criteria = Criteria {
            types: self.types.as_deref(),
            event_types: self.event_type.as_deref(),
            id_prefix: self.id_prefix.as_deref(),
            actor: self.actor.as_deref(),
            since: self.since.as_deref(),
            until: self.until.as_deref(),
            include_system: self.include_system.unwrap_or(false),
        };
        criteria.filter(app.limits())
    }

    /// Whether the address means the same for ever: it names the branch of the log and the size of the page, which is else the
    /// server's and may be another one tomorrow.
    fn is_settled(&self) -> bool {
        let after = self.after.as_deref();
        let names_branch = after != Some("now") && (after.is_some() || self.wait_for.is_some());
        names_branch && self.limit.is_some()
    }
}

/// `GET /v1/events`
pub(super) async fn feed(
    State(app): State<App>,
    running: Running,
    connection: Connection,
    uri: Uri,
    Query(query): Query<FeedQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let form = Form::of(&headers)?;
    let follow = form.follows(query.follow)?;
    let filter = query.filter(&app)?;
    let resume = last_event_id(&headers, form)?;
    let (wait_for, timeout) = (query.wait_for.as_deref(), query.timeout.as_deref());
    let wait = Wait::of(&running, app.limits(), wait_for, timeout)?;
    let Form::Page(media_type) = form else {
        let limit = super::stream_limit(follow, query.limit.as_deref())?;
        Wait::over(wait, &running).await?;
        let after = start(&running, resume, query.after.as_deref()).await?;
        let order = Order { form, follow, limit };
        let subscription = subscribe(&running, after, filter, order)?;
        return Ok(answer(app.limits(), running, &connection, subscription, order));
    };
    let limit = super::page_limit(&app, query.limit.as_deref())?;
    Wait::over(wait, &running).await?;
    let after = start(&running, None, query.after.as_deref()).await?;
    let bounds = PageLimit {
        events: limit,
        bytes: app.limits().page_bytes,
    };
    let mut page = read(&running, after, &filter, bounds).await?;
    let mut waited = preferred_wait(&headers, app.limits());
    if let Some(wait) = waited.filter(|_| page.events.is_empty()) {
        match running.bus.subscribe(page.scanned, filter.clone()) {
            Ok(subscription) => {
                let from = first_event(subscription, wait).await?;
                page = read(&running, from, &filter, bounds).await?;
            }
            // Waiting is a preference: while no more can wait, the empty page is an answer too.
            Err(TooManySubscribers { .. }) => waited = None,
        }
    }
    let answer = render(&running, &uri, &query, media_type, &page, limit, waited);
    Ok(answer.answer(&running, &headers))
}

async fn read(
    running: &Running,
    after: Position,
    filter: &FeedFilter,
    limit: PageLimit,
) -> Result<FeedPage, Problem> {
    let (store, filter) = (running.store.clone(), filter.clone());
    Ok(super::blocking(move || store.feed(after, &filter, limit)).await??)
}

fn render<'a>(
    running: &Running,
    uri: &Uri,
    query: &FeedQuery,
    media_type: &'static str,
    page: &'a FeedPage,
    limit: usize,
    wait: Option<std::time::Duration>,
) -> PageAnswer<'a> {
    let last = page
        .events
        .last()
        .filter(|_| page.events.len() >= limit && !page.at_head);
    // A full page goes on right behind its last event, whenever it is read; how far was looked beyond it may change.
    let scanned = last.map_or(page.scanned, |last| last.position);
    let is_closed = last.is_some() && query.is_settled();
    let mut headers = HeaderMap::new();
    let caught_up = if page.at_head { "true" } else { "false" };
    headers.insert(CAUGHT_UP, HeaderValue::from_static(caught_up));
    if let Some(wait) = wait.filter(|_| !is_closed) {
        preference_applied(&mut headers, wait);
    }
    let next = [
        ("after", running.cursor(scanned).to_string()),
        ("limit", limit.to_string()),
    ];
    super::link_next(&mut headers, &next_target("/v1/events", uri, &next));
    PageAnswer {
        media_type,
        events: &page.events,
        scanned,
        more: !page.at_head,
        is_closed,
        headers,
    }
}
