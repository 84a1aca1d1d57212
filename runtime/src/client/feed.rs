//! The whole feed in pages.

use http::HeaderName;

use super::{
    address::{path, with_query},
    answer::Answer,
    error::ClientError,
    link,
    model::Event,
    transport::{Call, Client},
};

const CAUGHT_UP: HeaderName = HeaderName::from_static("caught-up");

/// Which events, of the feed as of a history. A part that is left out lets all through.
#[derive(Debug, Clone, Default)]
pub struct EventFilter {
    /// Only events with one of these names.
    pub event_types: Vec<String>,
    /// Only what this actor asked for.
    pub actor: Option<String>,
    /// Only what was recorded at this time or later, RFC 3339.
    pub since: Option<String>,
    /// Only what was recorded before this time, RFC 3339.
    pub until: Option<String>,
}

impl EventFilter {
    pub(crate) fn parameters(&self) -> [(&'static str, Option<String>); 4] {
        [
            ("event_type", list(&self.event_types)),
            ("actor", self.actor.clone()),
            ("since", self.since.clone()),
            ("until", self.until.clone()),
        ]
    }
}

/// Names as one parameter; none when there are none.
fn list(names: &[String]) -> Option<String> {
    (!names.is_empty()).then(|| names.join(","))
}

/// Which part of the feed.
#[derive(Debug, Clone, Default)]
pub struct FeedQuery {
    /// Begin after this cursor; without it, at the beginning. `now` is the head, for following only.
    pub after: Option<String>,
    /// Only events of these aggregate types; empty for all.
    pub aggregate_types: Vec<String>,
    /// Only aggregates whose id begins with this.
    pub id_prefix: Option<String>,
    /// Which events of them.
    pub filter: EventFilter,
    /// With the server's own events: deployments and the like.
    pub include_system: bool,
    /// Most events on one page; without it the server's own limit.
    pub limit: Option<usize>,
}

impl FeedQuery {
    /// The path with its query; `after` may be left to the `Last-Event-ID` header.
    pub(crate) fn target(&self, with_after: bool) -> String {
        let mut parameters = vec![
            ("after", self.after.clone().filter(|_| with_after)),
            ("type", list(&self.aggregate_types)),
            ("id_prefix", self.id_prefix.clone()),
        ];
        parameters.extend(self.filter.parameters());
        parameters.extend([
            ("include_system", self.include_system.then(|| "true".to_owned())),
            ("limit", self.limit.map(|limit| limit.to_string())),
        ]);
        with_query(path(&["v1", "events"]), &parameters)
    }
}

/// One page of the feed.
#[derive(Debug, Clone)]
pub struct FeedPage {
    /// The events, oldest first. May be empty although there is more, when the feed is filtered.
    pub events: Vec<Event>,
    /// Where to go on, now or later.
    pub next: String,
    /// Whether the page reaches the head of the log.
    pub caught_up: bool,
}

impl Client {
    /// The first page of the feed.
    ///
    /// # Errors
    /// [`ClientError`]; problems `bad-cursor` and `dead-branch` are about `after`.
    pub async fn feed(&self, query: &FeedQuery) -> Result<FeedPage, ClientError> {
        self.feed_next(&query.target(true)).await
    }

    /// The page of the feed that `next` of the page before names.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn feed_next(&self, next: &str) -> Result<FeedPage, ClientError> {
        let what = "a page of the feed";
        let answer: Answer<Vec<Event>> = self.call(Call::get(next.to_owned())).await?.read(what)?;
        let missing = |name: &str| ClientError::Unexpected {
            what: what.to_owned(),
            problem: format!("it came without {name}"),
        };
        Ok(FeedPage {
            next: link::next(&answer.headers).ok_or_else(|| missing("a link to the next page"))?,
            caught_up: answer
                .header(&CAUGHT_UP)
                .ok_or_else(|| missing("the header Caught-Up"))?
                == "true",
            events: answer.value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{FakeServer, Reply, event};

    #[tokio::test]
    async fn pages_go_on_until_the_head() {
        let server = FakeServer::start(|request| match request.line.as_str() {
            "GET /v1/events?after=0a&type=account%2Corder&id_prefix=a%2F&event_type=opened&actor=anna&since=s&until=u&include_system=true&limit=2" => {
                Reply::json(&format!("[{}]", event("alice", 1)))
                    .header("Link", "</v1/events?after=0b>; rel=\"next\"")
                    .header("Caught-Up", "false")
            }
            "GET /v1/events?after=0b" => Reply::json("[]")
                .header("Link", "</v1/events?after=0b>; rel=\"next\"")
                .header("Caught-Up", "true"),
            other => Reply::text(500, other),
        })
        .await;
        let query = FeedQuery {
            after: Some("0a".into()),
            aggregate_types: vec!["account".into(), "order".into()],
            id_prefix: Some("a/".into()),
            filter: EventFilter {
                event_types: vec!["opened".into()],
                actor: Some("anna".into()),
                since: Some("s".into()),
                until: Some("u".into()),
            },
            include_system: true,
            limit: Some(2),
        };
        let first = server.client().feed(&query).await.unwrap();
        assert_eq!((first.events.len(), first.caught_up), (1, false));
        let second = server.client().feed_next(&first.next).await.unwrap();
        assert_eq!((second.events.len(), second.caught_up), (0, true));
    }

    #[tokio::test]
    async fn a_page_without_a_next_link_is_not_taken_for_the_end() {
        let server = FakeServer::start(|_| Reply::json("[]").header("Caught-Up", "true")).await;
        let error = server.client().feed(&FeedQuery::default()).await.unwrap_err();
        assert!(error.to_string().contains("link"), "{error}");
    }
}
