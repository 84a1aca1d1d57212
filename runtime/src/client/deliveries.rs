//! Fetching events for a consumer, and saying what became of them.

use std::time::Duration;

use http::Method;
use serde::{Deserialize, Serialize};

use super::{
    address::path,
    answer::Answer,
    error::ClientError,
    model::Event,
    transport::{ANSWER_LIMIT, Call, Client},
    verbatim::Verbatim,
};
use crate::vocabulary::Millis;

/// What a member asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FetchQuery {
    /// Who asks; leases belong to it. Without it, all who do not say are one member.
    pub member: Option<String>,
    /// Most events; without it the consumer's batch.
    pub max: Option<u32>,
    /// How long to wait for the first one.
    pub wait: Duration,
}

/// What was fetched.
#[derive(Debug, Clone, Deserialize)]
pub struct Fetched {
    /// The deliveries, those of an aggregate in order; empty when there is nothing to deliver.
    pub events: Vec<Verbatim<Delivery>>,
}

/// One delivery of one event.
#[derive(Debug, Clone, Deserialize)]
pub struct Delivery {
    /// What acknowledges it.
    pub lease: String,
    /// The how-manieth attempt, from 1.
    pub attempt: u32,
    /// Why the last attempt failed.
    #[serde(default)]
    pub last_error: Option<String>,
    /// The event.
    pub event: Event,
}

/// Leases that something is said of.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Leases<'a> {
    /// Whose leases they are, as it was said when they were fetched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<&'a str>,
    /// The leases.
    pub leases: &'a [String],
}

/// Why events could not be handled, and what is to become of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Nack {
    /// Why, for people.
    pub reason: String,
    /// When to deliver again, milliseconds from now; without it after the consumer's own pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<Millis>,
    /// Whether there is no use in trying again.
    pub park: bool,
}

/// What was done with leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Settled {
    /// Leases for which it was done.
    #[serde(alias = "acked", alias = "nacked", alias = "extended")]
    pub done: u64,
    /// Leases whose events had been acknowledged before.
    #[serde(default)]
    pub already: u64,
}

impl Client {
    /// Leases the next events of a consumer to a member.
    ///
    /// # Errors
    /// [`ClientError`]; a problem `unknown-consumer` when there is none of this name.
    pub async fn fetch(&self, name: &str, query: &FetchQuery) -> Result<Answer<Fetched>, ClientError> {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            member: Option<&'a str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            max: Option<u32>,
            wait_ms: Millis,
        }
        let body = Body {
            member: query.member.as_deref(),
            max: query.max,
            wait_ms: Millis::try_from(query.wait.as_millis()).unwrap_or(Millis::MAX),
        };
        let mut call = Call::json(Method::POST, path(&["v1", "consumers", name, "fetch"]), &body)?;
        call.limit = ANSWER_LIMIT.saturating_add(query.wait);
        self.call(call).await?.read("fetched events")
    }

    /// Acknowledges leases. What is acknowledged is not delivered again. It may be repeated.
    ///
    /// # Errors
    /// [`ClientError`]; a problem `lease-refused` names the leases that were not, the others were.
    pub async fn ack(&self, name: &str, leases: Leases<'_>) -> Result<Answer<Settled>, ClientError> {
        let call = Call::json(Method::POST, path(&["v1", "consumers", name, "ack"]), &leases)?;
        self.call(call).await?.read("the answer to an acknowledgement")
    }

    /// Gives leases back: their events are delivered again later, or parked.
    ///
    /// # Errors
    /// As for [`Self::ack`].
    pub async fn nack(
        &self,
        name: &str,
        leases: Leases<'_>,
        nack: &Nack,
    ) -> Result<Answer<Settled>, ClientError> {
        #[derive(Serialize)]
        struct Body<'a> {
            #[serde(flatten)]
            leases: Leases<'a>,
            #[serde(flatten)]
            nack: &'a Nack,
        }
        let body = Body { leases, nack };
        let call = Call::json(Method::POST, path(&["v1", "consumers", name, "nack"]), &body)?;
        self.call(call).await?.read("the answer to a refusal")
    }

    /// Gives leases the whole time for an acknowledgement again, from now on.
    ///
    /// # Errors
    /// As for [`Self::ack`].
    pub async fn extend(&self, name: &str, leases: Leases<'_>) -> Result<Answer<Settled>, ClientError> {
        let call = Call::json(Method::POST, path(&["v1", "consumers", name, "extend"]), &leases)?;
        self.call(call).await?.read("the answer to an extension")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{FakeServer, Reply, delivery};

    #[tokio::test]
    async fn a_fetch_says_who_and_how_much_and_keeps_the_text() {
        let server =
            FakeServer::start(|_| Reply::json(&format!(r#"{{"events":[{}]}}"#, delivery("0a", "alice", 3))))
                .await;
        let query = FetchQuery {
            member: Some("m".into()),
            max: Some(7),
            wait: Duration::from_millis(1_500),
        };
        let fetched = server.client().fetch("billing", &query).await.unwrap().value;
        let delivered = &fetched.events[0];
        assert_eq!(delivered.raw.get(), delivery("0a", "alice", 3));
        assert_eq!(
            (delivered.value.lease.as_str(), delivered.value.attempt),
            ("0a", 1)
        );
        assert_eq!(delivered.value.event.version(), Some(3));
        server
            .client()
            .fetch("billing", &FetchQuery::default())
            .await
            .unwrap();
        let requests = server.requests();
        assert_eq!(requests[0].line, "POST /v1/consumers/billing/fetch");
        assert_eq!(requests[0].body, r#"{"member":"m","max":7,"wait_ms":1500}"#);
        assert_eq!(requests[1].body, r#"{"wait_ms":0}"#);
    }

    #[tokio::test]
    async fn leases_are_settled_each_in_its_way() {
        let server = FakeServer::start(|request| match request.line.rsplit_once('/').unwrap().1 {
            "ack" => Reply::json(r#"{"acked":2,"already":1}"#),
            "nack" => Reply::json(r#"{"nacked":2,"already":0}"#),
            _ => Reply::json(r#"{"extended":2,"already":0}"#),
        })
        .await;
        let (client, given) = (server.client(), ["0a".to_owned(), "0b".to_owned()]);
        let leases = Leases {
            member: Some("m"),
            leases: &given,
        };
        let acked = client.ack("billing", leases).await.unwrap().value;
        assert_eq!(acked, Settled { done: 2, already: 1 });
        let nack = Nack {
            reason: "no".into(),
            delay_ms: Some(5),
            park: false,
        };
        let leases = Leases {
            member: None,
            ..leases
        };
        assert_eq!(client.nack("billing", leases, &nack).await.unwrap().value.done, 2);
        assert_eq!(client.extend("billing", leases).await.unwrap().value.done, 2);
        let bodies: Vec<String> = server
            .requests()
            .into_iter()
            .map(|request| request.body)
            .collect();
        let expected = [
            r#"{"member":"m","leases":["0a","0b"]}"#,
            r#"{"leases":["0a","0b"],"reason":"no","delay_ms":5,"park":false}"#,
            r#"{"leases":["0a","0b"]}"#,
        ];
        assert_eq!(bodies, expected);
    }
}
