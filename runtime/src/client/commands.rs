//! Sending commands, and asking what became of them.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, header};

use super::{
    address::path,
    answer::Answer,
    error::ClientError,
    model::{Accepted, OutcomeRecord},
    transport::{Call, Client},
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What must hold of the aggregate for the command to be decided at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precondition {
    /// Nothing.
    #[default]
    None,
    /// It is at this version.
    Version(u64),
    /// It does not exist yet.
    Absent,
}

/// A command to send.
#[derive(Debug, Clone, Copy)]
pub struct SendCommand<'a> {
    /// The aggregate's type.
    pub aggregate_type: &'a str,
    /// The aggregate's id.
    pub id: &'a str,
    /// The command's name.
    pub command: &'a str,
    /// Its payload as JSON text, sent as it is.
    pub payload: Option<&'a str>,
    /// With a key, sending the same command again is answered with the first answer.
    pub idempotency_key: Option<&'a str>,
    /// What must hold.
    pub precondition: Precondition,
}

impl Client {
    /// Sends a command and returns once what it decided is durable.
    ///
    /// # Errors
    /// A [`Problem`](super::Problem) with slug `rejected` when the domain says no; any other [`ClientError`].
    pub async fn send(&self, command: &SendCommand<'_>) -> Result<Answer<Accepted>, ClientError> {
        let SendCommand {
            aggregate_type, id, ..
        } = *command;
        let target = path(&[
            "v1",
            "aggregates",
            aggregate_type,
            id,
            "commands",
            command.command,
        ]);
        let body = command
            .payload
            .map_or_else(Bytes::new, |json| Bytes::copy_from_slice(json.as_bytes()));
        let mut call = Call::new(Method::POST, target, body);
        if command.payload.is_some() {
            call.headers
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if let Some(key) = command.idempotency_key {
            call.headers
                .insert(IDEMPOTENCY_KEY, header_value("idempotency key", key)?);
        }
        match command.precondition {
            Precondition::None => {}
            Precondition::Version(version) => {
                let etag = header_value("version", &format!("\"{version}\""))?;
                call.headers.insert(header::IF_MATCH, etag);
            }
            Precondition::Absent => {
                call.headers
                    .insert(header::IF_NONE_MATCH, HeaderValue::from_static("*"));
            }
        }
        self.call(call).await?.read("the answer to a command")
    }

    /// What became of the command that was sent with an idempotency key.
    ///
    /// # Errors
    /// [`ClientError`]; a problem `unknown-outcome` when nothing was decided under the key.
    pub async fn outcome(
        &self,
        aggregate_type: &str,
        id: &str,
        key: &str,
    ) -> Result<Answer<OutcomeRecord>, ClientError> {
        let target = path(&["v1", "aggregates", aggregate_type, id, "outcomes", key]);
        self.call(Call::get(target))
            .await?
            .read("the outcome of a command")
    }
}

/// Header values are sent as UTF-8.
fn header_value(what: &str, text: &str) -> Result<HeaderValue, ClientError> {
    HeaderValue::from_bytes(text.as_bytes()).map_err(|_| {
        ClientError::Request(format!(
            "the {what} `{}` cannot be sent as a header",
            text.escape_debug()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::fake::{FakeServer, Reply};

    const ACCEPTED: &str = r#"{"type":"account","id":"a/b","version":2,"position":"01","events":[],
        "reply":null,"fuel":5}"#;

    fn deposit<'a>() -> SendCommand<'a> {
        SendCommand {
            aggregate_type: "account",
            id: "a/b",
            command: "deposit",
            payload: Some("{\"amount\":18446744073709551616}"),
            idempotency_key: Some("schlüssel"),
            precondition: Precondition::Version(1),
        }
    }

    #[tokio::test]
    async fn a_command_is_written_as_the_contract_says() {
        let server =
            FakeServer::start(|_| Reply::json(ACCEPTED).header("Idempotency-Replayed", "true")).await;
        let answer = server.client().send(&deposit()).await.unwrap();
        assert_eq!((answer.value.version, answer.is_replayed()), (2, true));
        assert!(answer.value.reply.is_none());
        assert_eq!(answer.body, ACCEPTED);

        let request = server.requests().remove(0);
        assert_eq!(request.line, "POST /v1/aggregates/account/a%2Fb/commands/deposit");
        assert_eq!(request.body, "{\"amount\":18446744073709551616}");
        assert_eq!(
            request.header("content-type"),
            Some("application/json".as_bytes())
        );
        assert_eq!(request.header("idempotency-key"), Some("schlüssel".as_bytes()));
        assert_eq!(request.header("if-match"), Some("\"1\"".as_bytes()));
    }

    #[tokio::test]
    async fn without_a_payload_there_is_neither_body_nor_type() {
        let server = FakeServer::start(|_| Reply::json(ACCEPTED)).await;
        let command = SendCommand {
            payload: None,
            idempotency_key: None,
            precondition: Precondition::Absent,
            ..deposit()
        };
        assert!(!server.client().send(&command).await.unwrap().is_replayed());
        let request = server.requests().remove(0);
        assert_eq!(
            (request.body.as_str(), request.header("content-type")),
            ("", None)
        );
        assert_eq!(request.header("if-none-match"), Some("*".as_bytes()));
        assert_eq!(request.header("idempotency-key"), None);
    }

    #[tokio::test]
    async fn a_key_that_cannot_be_sent_is_refused_before_anything_is() {
        let server = FakeServer::start(|_| Reply::json(ACCEPTED)).await;
        let command = SendCommand {
            idempotency_key: Some("a\nb"),
            ..deposit()
        };
        let error = server.client().send(&command).await.unwrap_err();
        assert!(error.to_string().contains("a\\nb"), "{error}");
        assert!(server.requests().is_empty());
    }
}
