//! Reading states, histories and the lists of what there is.

use super::{
    address::{path, with_query},
    answer::Answer,
    error::ClientError,
    feed::EventFilter,
    link,
    model::{AggregateSummary, Event, RawJson, State, TypeList},
    transport::{Call, Client},
};

/// One page of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next page is, when there is one: to be given back as it is.
    pub next: Option<String>,
}

/// Which part of an aggregate's history.
#[derive(Debug, Clone, Default)]
pub struct HistoryQuery {
    /// The first version to return; without it, the end from which the reading begins.
    pub from: Option<u64>,
    /// Newest first.
    pub backward: bool,
    /// Which events.
    pub filter: EventFilter,
    /// Most events on one page; without it the server's own limit.
    pub limit: Option<usize>,
}

impl Client {
    /// The state of an aggregate.
    ///
    /// # Errors
    /// [`ClientError`]; problems `unknown-aggregate` and `ended` say that there is none, or no longer.
    pub async fn state(&self, aggregate_type: &str, id: &str) -> Result<Answer<State>, ClientError> {
        let target = path(&["v1", "aggregates", aggregate_type, id]);
        self.call(Call::get(target))
            .await?
            .read("the state of an aggregate")
    }

    /// The first page of an aggregate's history.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn history(
        &self,
        aggregate_type: &str,
        id: &str,
        query: &HistoryQuery,
    ) -> Result<Page<Event>, ClientError> {
        let mut parameters = vec![
            ("from", query.from.map(|version| version.to_string())),
            ("direction", query.backward.then(|| "backward".to_owned())),
        ];
        parameters.extend(query.filter.parameters());
        parameters.push(("limit", query.limit.map(|limit| limit.to_string())));
        let path = path(&["v1", "aggregates", aggregate_type, id, "events"]);
        self.history_next(&with_query(path, &parameters)).await
    }

    /// The page of history that `next` of the page before names.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn history_next(&self, next: &str) -> Result<Page<Event>, ClientError> {
        let answer = self.call(Call::get(next.to_owned())).await?;
        let answer: Answer<Vec<Event>> = answer.read("a page of events")?;
        Ok(Page {
            next: link::next(&answer.headers),
            items: answer.value,
        })
    }

    /// The aggregate types that are deployed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn types(&self) -> Result<Answer<TypeList>, ClientError> {
        let target = path(&["v1", "aggregates"]);
        self.call(Call::get(target)).await?.read("the list of types")
    }

    /// The first page of the aggregates of a type.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn aggregates(
        &self,
        aggregate_type: &str,
        limit: Option<usize>,
    ) -> Result<Page<(AggregateSummary, RawJson)>, ClientError> {
        let limit = limit.map(|limit| limit.to_string());
        let target = with_query(path(&["v1", "aggregates", aggregate_type]), &[("limit", limit)]);
        self.aggregates_next(&target).await
    }

    /// The page of aggregates that `next` of the page before names. Each comes with its exact text.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn aggregates_next(
        &self,
        next: &str,
    ) -> Result<Page<(AggregateSummary, RawJson)>, ClientError> {
        #[derive(serde::Deserialize)]
        struct Listing {
            aggregates: Vec<RawJson>,
        }
        let what = "a page of aggregates";
        let answer: Answer<Listing> = self.call(Call::get(next.to_owned())).await?.read(what)?;
        let mut items = Vec::with_capacity(answer.value.aggregates.len());
        for raw in answer.value.aggregates {
            let summary = serde_json::from_str(raw.get()).map_err(|error| ClientError::Unexpected {
                what: what.to_owned(),
                problem: format!("an entry could not be read: {error}"),
            })?;
            items.push((summary, raw));
        }
        Ok(Page {
            items,
            next: link::next(&answer.headers),
        })
    }

    /// Whether the server's process answers.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn live(&self) -> Result<(), ClientError> {
        self.call(Call::get(path(&["livez"]))).await.map(|_| ())
    }

    /// Whether the server takes commands.
    ///
    /// # Errors
    /// [`ClientError`]; a problem `unavailable` while it does not.
    pub async fn ready(&self) -> Result<(), ClientError> {
        self.call(Call::get(path(&["readyz"]))).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{FakeServer, Reply, event};

    #[tokio::test]
    async fn history_is_paged_by_links() {
        let server = FakeServer::start(|request| match request.line.as_str() {
            "GET /v1/aggregates/account/alice/events?from=1&direction=backward&limit=1" => {
                Reply::json(&format!("[{}]", event("alice", 2)))
                    .header("Link", "</v1/elsewhere?x=1>; rel=\"next\"")
            }
            "GET /v1/elsewhere?x=1" => Reply::json(&format!("[{}]", event("alice", 1))),
            other => Reply::text(500, other),
        })
        .await;
        let query = HistoryQuery {
            from: Some(1),
            backward: true,
            limit: Some(1),
            ..HistoryQuery::default()
        };
        let client = server.client();
        let first = client.history("account", "alice", &query).await.unwrap();
        assert_eq!(first.items[0].version(), Some(2));
        let second = client.history_next(&first.next.unwrap()).await.unwrap();
        assert_eq!((second.items[0].version(), second.next), (Some(1), None));
    }

    #[tokio::test]
    async fn lists_and_states_are_read() {
        let server = FakeServer::start(|request| match request.line.as_str() {
            "GET /v1/aggregates" => Reply::json(
                r#"{"types":[{"type":"account","module":"ab","deployed_at":"t","commands":["open"]}]}"#,
            ),
            "GET /v1/aggregates/account?limit=5" => {
                Reply::json(r#"{"aggregates":[{"id":"a b","version":3,"recorded_at":"t","more":1}]}"#)
            }
            "GET /v1/aggregates/account/a%20b" => {
                Reply::json(r#"{"type":"account","id":"a b","version":3,"module":"ab","state":{"b":1.0}}"#)
            }
            other => Reply::text(500, other),
        })
        .await;
        let client = server.client();
        assert_eq!(client.types().await.unwrap().value.types[0].commands, ["open"]);
        let page = client.aggregates("account", Some(5)).await.unwrap();
        assert_eq!((page.items[0].0.id.as_str(), page.next), ("a b", None));
        assert!(page.items[0].1.get().contains("\"more\":1"));
        let state = client.state("account", "a b").await.unwrap();
        assert_eq!(state.value.state.get(), r#"{"b":1.0}"#);
    }

    #[tokio::test]
    async fn an_answer_of_another_shape_is_an_error() {
        let server = FakeServer::start(|_| Reply::json(r#"{"types":7}"#)).await;
        let error = server.client().types().await.unwrap_err();
        assert!(matches!(error, ClientError::Unexpected { .. }), "{error:?}");
    }
}
