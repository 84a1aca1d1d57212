//! Durable consumers: making them, and how they stand.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};

use super::{
    address::path,
    answer::Answer,
    error::ClientError,
    link,
    transport::{Call, Client},
    webhooks::{ConsumerWebhook, WebhookSettings},
};
use crate::vocabulary::Millis;

/// What it was that could not be read.
const A_CONSUMER: &str = "a consumer";

/// What a consumer is to be. What is left out has the server's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ConsumerSettings {
    /// Which events it wants.
    pub filter: ConsumerFilter,
    /// Where it begins, if it is new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<ConsumerStart>,
    /// Events in one batch, when a member does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<u32>,
    /// Time within which a delivered event is to be acknowledged, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack_deadline_ms: Option<Millis>,
    /// What happens after an attempt that failed.
    pub retry: RetrySettings,
    /// Leases that may be out at a time, over all members.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Which events wait for each other: `aggregate` or `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ordering: Option<String>,
    /// Where events are posted to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookSettings>,
}

/// What is to happen after an attempt that failed. What is left out has the server's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RetrySettings {
    /// Attempts before the event is parked, the first one included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Pause after the first attempt that failed, milliseconds; it doubles with each further one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_pause_ms: Option<Millis>,
    /// The longest pause, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub longest_pause_ms: Option<Millis>,
}

/// Which events a consumer wants: those that fit every part. An empty part fits all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ConsumerFilter {
    /// Of one of these aggregate types.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// Of one of these event types.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub event_types: Vec<String>,
    /// Of aggregates whose id begins like this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id_prefix: Option<String>,
    /// Caused by this actor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// Recorded at this time or later, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Recorded before this time, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// With the server's own events: deployments and the like.
    pub include_system: bool,
}

/// Where a consumer begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConsumerStart {
    /// With the first event of the log.
    Beginning,
    /// With what is recorded from now on.
    Now,
    /// After a cursor.
    After(String),
    /// With what was recorded at this time or later, RFC 3339.
    Time(String),
}

/// A page of consumers.
#[derive(Debug, Clone, Deserialize)]
pub struct ConsumerList {
    /// In the order of their names.
    pub consumers: Vec<Consumer>,
    /// Where the next page is, when there is one: to be given back as it is.
    #[serde(skip)]
    pub next: Option<String>,
}

/// A consumer: what it was asked to be, and how it stands.
#[derive(Debug, Clone, Deserialize)]
pub struct Consumer {
    /// Its name.
    pub name: String,
    /// Which events it wants.
    pub filter: ConsumerFilter,
    /// Events in one batch, when a member does not say.
    pub batch: u32,
    /// Time within which a delivered event is to be acknowledged, milliseconds.
    pub ack_deadline_ms: Millis,
    /// What happens after an attempt that failed.
    pub retry: ConsumerRetry,
    /// Leases that may be out at a time, over all members.
    pub concurrency: u32,
    /// Which events wait for each other: `aggregate` or `none`.
    pub ordering: String,
    /// Whether it delivers nothing at the moment.
    pub paused: bool,
    /// When its definition was last changed, RFC 3339.
    pub changed_at: String,
    /// The cursor up to which everything is acknowledged, parked or not wanted.
    pub checkpoint: String,
    /// Leases that are out.
    pub leased: u64,
    /// The same by member.
    #[serde(default)]
    pub members: BTreeMap<String, u64>,
    /// What is parked.
    pub parked: ParkedCounts,
    /// How far it is behind.
    pub lag: ConsumerLag,
    /// Why it is paused, when nobody asked for it.
    #[serde(default)]
    pub paused_because: Option<String>,
    /// Where events are posted to.
    #[serde(default)]
    pub webhook: Option<ConsumerWebhook>,
}

/// What happens after an attempt that failed.
#[derive(Debug, Clone, Deserialize)]
pub struct ConsumerRetry {
    /// Attempts before the event is parked, the first one included.
    pub attempts: u32,
    /// Pause after the first attempt that failed, milliseconds; it doubles with each further one.
    pub first_pause_ms: Millis,
    /// The longest pause, milliseconds.
    pub longest_pause_ms: Millis,
}

/// How much of a consumer is parked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ParkedCounts {
    /// Aggregates with parked events.
    pub aggregates: u64,
    /// Parked events of all of them.
    pub events: u64,
}

/// How far a consumer is behind.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct ConsumerLag {
    /// Events that are neither acknowledged nor parked.
    pub events: u64,
    /// Whether that is the number; else there are at most so many.
    pub exact: bool,
    /// How long ago the oldest of them was recorded, seconds; unknown when there is none or it was not found yet.
    #[serde(default)]
    pub seconds: Option<f64>,
}

impl Client {
    /// The first page of all consumers, and how they stand.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn consumers(&self) -> Result<Answer<ConsumerList>, ClientError> {
        self.consumers_next(&path(&["v1", "consumers"])).await
    }

    /// The page of consumers that `next` of the page before names.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn consumers_next(&self, next: &str) -> Result<Answer<ConsumerList>, ClientError> {
        let call = self.call(Call::get(next.to_owned())).await?;
        let mut answer: Answer<ConsumerList> = call.read("a page of consumers")?;
        answer.value.next = link::next(&answer.headers);
        Ok(answer)
    }

    /// One consumer, and how it stands.
    ///
    /// # Errors
    /// [`ClientError`]; a problem `unknown-consumer` when there is none of this name.
    pub async fn consumer(&self, name: &str) -> Result<Answer<Consumer>, ClientError> {
        let call = Call::get(path(&["v1", "consumers", name]));
        self.call(call).await?.read(A_CONSUMER)
    }

    /// Creates a consumer, which the answer's status 201 tells, or changes the one there is, which goes on behind its
    /// checkpoint.
    ///
    /// # Errors
    /// [`ClientError`]; a problem `ordering-fixed` when there is one with another ordering.
    pub async fn put_consumer(
        &self,
        name: &str,
        settings: &ConsumerSettings,
    ) -> Result<Answer<Consumer>, ClientError> {
        let call = Call::json(Method::PUT, path(&["v1", "consumers", name]), settings)?;
        self.call(call).await?.read(A_CONSUMER)
    }

    /// Deletes a consumer with its place and with what is parked.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn delete_consumer(&self, name: &str) -> Result<(), ClientError> {
        let call = Call::new(Method::DELETE, path(&["v1", "consumers", name]), Bytes::new());
        self.call(call).await.map(drop)
    }

    /// Stops delivering. What is leased can be acknowledged meanwhile.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn pause_consumer(&self, name: &str) -> Result<Answer<Consumer>, ClientError> {
        let call = Call::new(
            Method::POST,
            path(&["v1", "consumers", name, "pause"]),
            Bytes::new(),
        );
        self.call(call).await?.read(A_CONSUMER)
    }

    /// Delivers again.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn resume_consumer(&self, name: &str) -> Result<Answer<Consumer>, ClientError> {
        let call = Call::new(
            Method::POST,
            path(&["v1", "consumers", name, "resume"]),
            Bytes::new(),
        );
        self.call(call).await?.read(A_CONSUMER)
    }

    /// Begins anew elsewhere: leases and parked events of before are void.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn reset_consumer(
        &self,
        name: &str,
        start: &ConsumerStart,
    ) -> Result<Answer<Consumer>, ClientError> {
        let body = serde_json::json!({ "start": start });
        let call = Call::json(Method::POST, path(&["v1", "consumers", name, "reset"]), &body)?;
        self.call(call).await?.read(A_CONSUMER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{FakeServer, Reply, consumer};

    #[test]
    fn settings_say_only_what_was_chosen() {
        let text = |settings: &ConsumerSettings| serde_json::to_string(settings).unwrap();
        assert_eq!(
            text(&ConsumerSettings::default()),
            r#"{"filter":{"include_system":false},"retry":{}}"#
        );
        let settings = ConsumerSettings {
            filter: ConsumerFilter {
                types: vec!["account".into()],
                id_prefix: Some("a".into()),
                ..ConsumerFilter::default()
            },
            start: Some(ConsumerStart::After("0a".into())),
            batch: Some(7),
            ..ConsumerSettings::default()
        };
        assert_eq!(
            text(&settings),
            r#"{"filter":{"types":["account"],"id_prefix":"a","include_system":false},"start":{"after":"0a"},"batch":7,"retry":{}}"#
        );
        for (start, expected) in [
            (ConsumerStart::Beginning, r#""beginning""#),
            (ConsumerStart::Now, r#""now""#),
            (ConsumerStart::Time("t".into()), r#"{"time":"t"}"#),
        ] {
            assert_eq!(serde_json::to_string(&start).unwrap(), expected);
        }
    }

    #[tokio::test]
    async fn every_call_has_its_path_and_body() {
        let server = FakeServer::start(|request| match request.line.as_str() {
            "GET /v1/consumers" => Reply::json(&format!(r#"{{"consumers":[{}]}}"#, consumer("billing")))
                .header("Link", "</v1/consumers?after=billing>; rel=\"next\""),
            "GET /v1/consumers?after=billing" => Reply::json(r#"{"consumers":[]}"#),
            "DELETE /v1/consumers/billing" => Reply::text(204, ""),
            _ => Reply::json(&consumer("billing")),
        })
        .await;
        let client = server.client();
        let list = client.consumers().await.unwrap().value;
        let first = &list.consumers[0];
        assert_eq!((first.name.as_str(), first.lag.events), ("billing", 12));
        let rest = client.consumers_next(&list.next.unwrap()).await.unwrap().value;
        assert!(rest.consumers.is_empty() && rest.next.is_none());
        assert_eq!(
            client.consumer("billing").await.unwrap().value.members["worker-1"],
            2
        );
        client
            .put_consumer("billing", &ConsumerSettings::default())
            .await
            .unwrap();
        client.pause_consumer("billing").await.unwrap();
        client.resume_consumer("billing").await.unwrap();
        client
            .reset_consumer("billing", &ConsumerStart::Now)
            .await
            .unwrap();
        client.delete_consumer("billing").await.unwrap();
        let asked: Vec<(String, String)> = server
            .requests()
            .into_iter()
            .map(|request| (request.line, request.body))
            .collect();
        let expected = [
            ("GET /v1/consumers", ""),
            ("GET /v1/consumers?after=billing", ""),
            ("GET /v1/consumers/billing", ""),
            (
                "PUT /v1/consumers/billing",
                r#"{"filter":{"include_system":false},"retry":{}}"#,
            ),
            ("POST /v1/consumers/billing/pause", ""),
            ("POST /v1/consumers/billing/resume", ""),
            ("POST /v1/consumers/billing/reset", r#"{"start":"now"}"#),
            ("DELETE /v1/consumers/billing", ""),
        ];
        assert_eq!(
            asked,
            expected.map(|(line, body)| (line.to_owned(), body.to_owned()))
        );
    }
}
