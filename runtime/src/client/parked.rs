//! Events that a consumer could not handle.

use http::Method;
use serde::Deserialize;

use super::{
    address::{path, with_query},
    aggregates::Page,
    answer::Answer,
    error::ClientError,
    link,
    model::Event,
    transport::{Call, Client},
    verbatim::Verbatim,
};

/// Parked events of an aggregate.
#[derive(Debug, Clone, Copy)]
pub struct ParkedKey<'a> {
    /// The aggregate's type.
    pub aggregate_type: &'a str,
    /// The aggregate's id.
    pub id: &'a str,
    /// The one event with this version, for a consumer that parks each by itself.
    pub version: Option<u64>,
}

/// A parked aggregate, or one event of it where each is by itself.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Parked {
    /// The aggregate's type.
    #[serde(rename = "type")]
    pub aggregate_type: String,
    /// The aggregate's id.
    pub id: String,
    /// The version of the event, when it is parked by itself.
    #[serde(default)]
    pub alone: Option<u64>,
    /// The version that the parked events begin at.
    pub first_version: u64,
    /// How many they are.
    pub events: u64,
    /// How often the first was tried.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub last_error: String,
    /// When it was parked, RFC 3339.
    pub parked_at: String,
    /// Whether its events are being delivered again.
    pub replaying: bool,
}

/// Parked events of one aggregate.
#[derive(Debug, Clone)]
pub struct ParkedEvents {
    /// Why the first one is parked.
    pub parked: Parked,
    /// The first page of them.
    pub page: Page<Event>,
}

/// How much is delivered again.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Replaying {
    /// Aggregates whose parked events are.
    pub replaying_aggregates: u64,
}

/// How much was left out for good.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Skipped {
    /// Events.
    pub skipped: u64,
}

impl Client {
    /// The first page of a consumer's parked aggregates.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn parked(
        &self,
        name: &str,
        limit: Option<usize>,
    ) -> Result<Page<Verbatim<Parked>>, ClientError> {
        let limit = limit.map(|limit| limit.to_string());
        let target = with_query(path(&["v1", "consumers", name, "parked"]), &[("limit", limit)]);
        self.parked_next(&target).await
    }

    /// The page of parked aggregates that `next` of the page before names.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn parked_next(&self, next: &str) -> Result<Page<Verbatim<Parked>>, ClientError> {
        #[derive(Deserialize)]
        struct Listing {
            parked: Vec<Verbatim<Parked>>,
        }
        let answer: Answer<Listing> = self
            .call(Call::get(next.to_owned()))
            .await?
            .read("a page of parked aggregates")?;
        Ok(Page {
            next: link::next(&answer.headers),
            items: answer.value.parked,
        })
    }

    /// The parked events of an aggregate, and why they are.
    ///
    /// # Errors
    /// [`ClientError`]; a problem `not-parked` when there are none.
    pub async fn parked_events(
        &self,
        name: &str,
        key: ParkedKey<'_>,
        limit: Option<usize>,
    ) -> Result<ParkedEvents, ClientError> {
        let target = with_query(
            path(&["v1", "consumers", name, "parked", key.aggregate_type, key.id]),
            &[
                ("version", key.version.map(|version| version.to_string())),
                ("limit", limit.map(|limit| limit.to_string())),
            ],
        );
        self.parked_events_next(&target).await
    }

    /// The page of parked events that `next` of the page before names.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn parked_events_next(&self, next: &str) -> Result<ParkedEvents, ClientError> {
        #[derive(Deserialize)]
        struct Listing {
            parked: Parked,
            events: Vec<Event>,
        }
        let answer: Answer<Listing> = self
            .call(Call::get(next.to_owned()))
            .await?
            .read("parked events")?;
        Ok(ParkedEvents {
            parked: answer.value.parked,
            page: Page {
                next: link::next(&answer.headers),
                items: answer.value.events,
            },
        })
    }

    /// Delivers parked events again, in order: those of one aggregate, or without a key all.
    ///
    /// # Errors
    /// [`ClientError`]; problems `not-parked` and `replaying` when there is nothing to deliver again.
    pub async fn replay(
        &self,
        name: &str,
        key: Option<ParkedKey<'_>>,
    ) -> Result<Answer<Replaying>, ClientError> {
        let body = key.map_or_else(
            || serde_json::json!({ "all": true }),
            |key| serde_json::json!({ "type": key.aggregate_type, "id": key.id, "version": key.version }),
        );
        let call = Call::json(Method::POST, path(&["v1", "consumers", name, "replay"]), &body)?;
        self.call(call).await?.read("the answer to a replay")
    }

    /// Leaves out parked events of an aggregate for good: all, or those up to a version.
    ///
    /// # Errors
    /// [`ClientError`]; problems `not-parked` and `replaying` when there is nothing to leave out.
    pub async fn skip(
        &self,
        name: &str,
        key: ParkedKey<'_>,
        through: Option<u64>,
        reason: &str,
    ) -> Result<Answer<Skipped>, ClientError> {
        let body = serde_json::json!({
            "type": key.aggregate_type, "id": key.id, "version": key.version, "through": through, "reason": reason,
        });
        let call = Call::json(Method::POST, path(&["v1", "consumers", name, "skip"]), &body)?;
        self.call(call).await?.read("the answer to a skip")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::client::fake::{FakeServer, Reply, event, parked};

    const ALICE: ParkedKey<'static> = ParkedKey {
        aggregate_type: "account",
        id: "a/b",
        version: None,
    };

    #[tokio::test]
    async fn lists_are_paged_by_links() {
        let server = FakeServer::start(|request| match request.line.as_str() {
            "GET /v1/consumers/billing/parked?limit=1" => {
                Reply::json(&format!(r#"{{"parked":[{}]}}"#, parked("alice", "null")))
                    .header("Link", "</more>; rel=\"next\"")
            }
            "GET /more" => Reply::json(&format!(r#"{{"parked":[{}]}}"#, parked("bob", "4"))),
            "GET /v1/consumers/billing/parked/account/a%2Fb?limit=1" => Reply::json(&format!(
                r#"{{"parked":{},"events":[{}]}}"#,
                parked("a/b", "null"),
                event("a/b", 1)
            ))
            .header("Link", "</events>; rel=\"next\""),
            "GET /events" => Reply::json(&format!(r#"{{"parked":{},"events":[]}}"#, parked("a/b", "null"))),
            other => Reply::text(500, other),
        })
        .await;
        let client = server.client();
        let first = client.parked("billing", Some(1)).await.unwrap();
        assert_eq!(first.items[0].raw.get(), parked("alice", "null"));
        let second = client.parked_next(&first.next.unwrap()).await.unwrap();
        assert_eq!((second.items[0].value.alone, second.next), (Some(4), None));
        let events = client.parked_events("billing", ALICE, Some(1)).await.unwrap();
        assert_eq!(
            (events.parked.events, events.page.items[0].version()),
            (3, Some(1))
        );
        let rest = client
            .parked_events_next(&events.page.next.unwrap())
            .await
            .unwrap();
        assert!(rest.page.items.is_empty() && rest.page.next.is_none());
    }

    #[tokio::test]
    async fn replays_and_skips_name_what_they_are_of() {
        let server = FakeServer::start(|_| Reply::json(r#"{"replaying_aggregates":2,"skipped":3}"#)).await;
        let client = server.client();
        let all = client.replay("billing", None).await.unwrap().value;
        assert_eq!(all.replaying_aggregates, 2);
        client.replay("billing", Some(ALICE)).await.unwrap();
        let key = ParkedKey {
            version: Some(4),
            ..ALICE
        };
        let skipped = client
            .skip("billing", key, Some(9), "a test")
            .await
            .unwrap()
            .value;
        assert_eq!(skipped.skipped, 3);
        let bodies: Vec<Value> = server
            .requests()
            .iter()
            .map(|request| serde_json::from_str(&request.body).unwrap())
            .collect();
        let expected = [
            json!({ "all": true }),
            json!({ "type": "account", "id": "a/b", "version": null }),
            json!({ "type": "account", "id": "a/b", "version": 4, "through": 9, "reason": "a test" }),
        ];
        assert_eq!(bodies, expected);
    }
}
