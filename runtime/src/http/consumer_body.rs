//! What a consumer is asked to be, as JSON.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    consumers::{Definition, Order, Retry, Secret, Start, most},
    store::FeedFilter,
    vocabulary::{Cursor, Millis, shown},
};

use super::{
    app::{App, Running},
    cloudevent::rfc3339,
    feed::{checked_filter, parsed, time_of},
    objects::or_null,
    problem::Problem,
    start_body::StartBody,
    webhook_body::{self, WebhookBody},
    whole::Whole,
};

/// The body of `PUT /v1/consumers/{name}`. What is left out has its default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DefinitionBody {
    #[serde(deserialize_with = "or_null")]
    filter: FilterBody,
    start: Option<StartBody>,
    batch: Option<Whole<1, { most::BATCH as u64 }>>,
    ack_deadline_ms: Option<Whole<1, { most::ACK_DEADLINE_MS }>>,
    #[serde(deserialize_with = "or_null")]
    retry: RetryBody,
    concurrency: Option<Whole<1, { most::CONCURRENCY as u64 }>>,
    ordering: Option<String>,
    webhook: Option<WebhookBody>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct FilterBody {
    #[serde(deserialize_with = "or_null")]
    types: Vec<String>,
    #[serde(deserialize_with = "or_null")]
    event_types: Vec<String>,
    id_prefix: Option<String>,
    actor: Option<String>,
    since: Option<String>,
    until: Option<String>,
    #[serde(deserialize_with = "or_null")]
    include_system: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetryBody {
    attempts: Option<Whole<1, { most::ATTEMPTS as u64 }>>,
    first_pause_ms: Option<Pause>,
    longest_pause_ms: Option<Pause>,
}

type Pause = Whole<0, { most::PAUSE_MS }>;

/// The body of `POST /v1/consumers/{name}/reset`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResetBody {
    pub(super) start: StartBody,
}

impl DefinitionBody {
    /// The definition, where a new consumer begins, and what its webhook is to sign with.
    pub(super) async fn into_definition(
        self,
        app: &App,
        running: &Running,
    ) -> Result<(Definition, Start, Option<Secret>), Problem> {
        let usual = Definition::default();
        let start = match self.start {
            Some(start) => start.into_start(running).await?,
            None => Start::Beginning,
        };
        let ack_deadline_ms = self.ack_deadline_ms.map_or(usual.ack_deadline_ms, u64::from);
        let (webhook, secret) = match self.webhook {
            Some(webhook) => {
                let (webhook, secret) = webhook.into_webhook(app, running, ack_deadline_ms)?;
                (Some(webhook), secret)
            }
            None => (None, None),
        };
        let definition = Definition {
            filter: self.filter.into_filter(app)?,
            batch: self.batch.map_or(usual.batch, Whole::short),
            ack_deadline_ms,
            retry: self.retry.into_retry(),
            concurrency: self.concurrency.map_or(usual.concurrency, Whole::short),
            ordering: self.ordering.as_deref().map_or(Ok(usual.ordering), ordering_of)?,
            webhook,
        };
        Ok((definition, start, secret))
    }
}

impl FilterBody {
    fn into_filter(self, app: &App) -> Result<FeedFilter, Problem> {
        let filter = FeedFilter {
            aggregate_types: parsed(self.types.iter().map(String::as_str))?,
            event_types: parsed(self.event_types.iter().map(String::as_str))?,
            id_prefix: self.id_prefix,
            actor: self.actor,
            since: self
                .since
                .as_deref()
                .map(|text| time("filter.since", text))
                .transpose()?,
            until: self
                .until
                .as_deref()
                .map(|text| time("filter.until", text))
                .transpose()?,
            include_system: self.include_system,
        };
        checked_filter(filter, app.limits())
    }
}

impl RetryBody {
    fn into_retry(self) -> Retry {
        let usual = Retry::default();
        let first_pause_ms = self.first_pause_ms.map_or(usual.first_pause_ms, u64::from);
        Retry {
            attempts: self.attempts.map_or(usual.attempts, Whole::short),
            first_pause_ms,
            longest_pause_ms: self
                .longest_pause_ms
                .map_or(usual.longest_pause_ms.max(first_pause_ms), u64::from),
        }
    }
}

/// A time of a body, under its name there.
pub(super) fn time(name: &str, text: &str) -> Result<Millis, Problem> {
    time_of(name, text, "write it like `2026-11-21T08:30:00Z`")
}

fn ordering_of(text: &str) -> Result<Order, Problem> {
    match text {
        "aggregate" => Ok(Order::Aggregate),
        "none" => Ok(Order::None),
        other => {
            let found = shown(other);
            Err(Problem::malformed(
                format!("`ordering` is `{found}`"),
                "use `aggregate`, or `none` when events need not wait for each other",
            ))
        }
    }
}

/// A definition as it is shown: what a PUT would take.
pub(super) fn document(definition: &Definition) -> Value {
    let filter = &definition.filter;
    let types: Vec<&str> = filter.aggregate_types.iter().map(|name| name.as_str()).collect();
    let event_types: Vec<&str> = filter.event_types.iter().map(|name| name.as_str()).collect();
    let retry = &definition.retry;
    json!({
        "filter": {
            "types": types,
            "event_types": event_types,
            "id_prefix": filter.id_prefix,
            "actor": filter.actor,
            "since": filter.since.map(rfc3339),
            "until": filter.until.map(rfc3339),
            "include_system": filter.include_system,
        },
        "batch": definition.batch,
        "ack_deadline_ms": definition.ack_deadline_ms,
        "retry": {
            "attempts": retry.attempts,
            "first_pause_ms": retry.first_pause_ms,
            "longest_pause_ms": retry.longest_pause_ms,
        },
        "concurrency": definition.concurrency,
        "ordering": match definition.ordering {
            Order::Aggregate => "aggregate",
            Order::None => "none",
        },
        "webhook": definition.webhook.as_ref().map(webhook_body::document),
    })
}

/// A place in the log as clients know it.
pub(super) fn cursor(running: &Running, position: crate::vocabulary::Position) -> String {
    let cursor: Cursor = running.cursor(position);
    cursor.to_string()
}
