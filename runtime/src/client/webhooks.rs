//! Webhooks of consumers.

use http::Method;
use serde::{Deserialize, Serialize};

use super::{
    address::path,
    answer::Answer,
    error::ClientError,
    transport::{Call, Client},
};
use crate::vocabulary::Millis;

/// Where events are to be posted to. What is left out has the server's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct WebhookSettings {
    /// The receiver.
    pub url: String,
    /// What one request carries: `event` or `batch`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Time for one request, milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<Millis>,
    /// Requests that may be under way at a time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests: Option<u32>,
}

/// Where a consumer's events are posted to, and how that goes.
#[derive(Debug, Clone, Deserialize)]
pub struct ConsumerWebhook {
    /// The receiver.
    pub url: String,
    /// What one request carries: `event` or `batch`.
    pub mode: String,
    /// Time for one request, milliseconds.
    pub timeout_ms: Millis,
    /// Requests that may be under way at a time.
    pub requests: u32,
    /// `closed`: events are sent; `open`, `half-open` or `off`: they are not.
    pub state: String,
    /// Why the last request that failed did.
    pub last_error: Option<String>,
    /// What requests are signed with, in the answer to the request that made it.
    #[serde(default)]
    pub secret: Option<String>,
}

/// What a webhook signs with from now on.
#[derive(Debug, Clone, Deserialize)]
pub struct WebhookSecret {
    /// `whsec_` and base64.
    pub secret: String,
}

impl Client {
    /// Puts another secret of a webhook in force, the given one or one that the server makes.
    ///
    /// # Errors
    /// [`ClientError`]; a problem `no-webhook` when the consumer has none.
    pub async fn rotate_secret(
        &self,
        name: &str,
        given: Option<&str>,
    ) -> Result<Answer<WebhookSecret>, ClientError> {
        let body = given.map_or_else(
            || serde_json::json!({}),
            |secret| serde_json::json!({ "secret": secret }),
        );
        let call = Call::json(
            Method::POST,
            path(&["v1", "consumers", name, "webhook", "secret"]),
            &body,
        )?;
        self.call(call).await?.read("a secret")
    }
}

#[cfg(test)]
mod tests {
    use crate::client::fake::{FakeServer, Reply};

    #[tokio::test]
    async fn a_secret_is_given_or_asked_for() {
        let server = FakeServer::start(|_| Reply::json(r#"{"secret":"whsec_x"}"#)).await;
        let client = server.client();
        for (given, body) in [(None, "{}"), (Some("whsec_y"), r#"{"secret":"whsec_y"}"#)] {
            let answer = client.rotate_secret("billing", given).await.unwrap();
            assert_eq!(answer.value.secret, "whsec_x");
            let asked = server.requests().pop().unwrap();
            assert_eq!(asked.line, "POST /v1/consumers/billing/webhook/secret");
            assert_eq!(asked.body, body);
        }
    }
}
