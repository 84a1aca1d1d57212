//! A consumer's webhook, as JSON.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    consumers::{ConsumerError, Mode, NotASecret, OutOfBounds, Secret, Webhook},
    vocabulary::{ConsumerName, Millis, shown},
    webhooks::{Refused, Standing, State},
};

use super::{
    app::{App, Running},
    cloudevent::rfc3339,
    problem::Problem,
    whole::Whole,
};

/// `webhook` in the body of `PUT /v1/consumers/{name}`. What is left out has its default.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookBody {
    url: String,
    mode: Option<String>,
    timeout_ms: Option<Whole<1, { Webhook::TIMEOUT_MS_MAX }>>,
    requests: Option<Whole<1, { u64::MAX }>>,
    secret: Option<String>,
}

/// The body of `POST /v1/consumers/{name}/webhook/secret`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretBody {
    secret: Option<String>,
}

impl WebhookBody {
    /// The webhook, if it may be sent to, and the secret that was given for it.
    pub(super) fn into_webhook(
        self,
        app: &App,
        running: &Running,
        ack_deadline_ms: Millis,
    ) -> Result<(Webhook, Option<Secret>), Problem> {
        let usual = Webhook::to(&self.url).within(ack_deadline_ms);
        let most = app.limits().webhook_requests as u64;
        if let Some(found) = self.requests.map(u64::from).filter(|found| *found > most) {
            // What does not fit into a webhook is named here, as it was.
            let bounds = OutOfBounds {
                name: "webhook.requests",
                found,
                least: 1,
                most,
            };
            return Err(ConsumerError::from(bounds).into());
        }
        let webhook = Webhook {
            mode: self.mode.as_deref().map_or(Ok(usual.mode), mode_of)?,
            timeout_ms: self.timeout_ms.map_or(usual.timeout_ms, u64::from),
            requests: self.requests.map_or(usual.requests, Whole::short),
            ..usual
        };
        running.webhooks.check(&webhook)?;
        Ok((webhook, secret_of(self.secret.as_deref())?))
    }
}

impl SecretBody {
    pub(super) fn into_secret(self) -> Result<Option<Secret>, Problem> {
        secret_of(self.secret.as_deref())
    }
}

fn secret_of(text: Option<&str>) -> Result<Option<Secret>, Problem> {
    let secret = text.map(str::parse).transpose();
    secret.map_err(|error: NotASecret| {
        Problem::malformed(
            error.to_string(),
            "leave `secret` out, and the server makes one and shows it once",
        )
    })
}

fn mode_of(text: &str) -> Result<Mode, Problem> {
    match text {
        "event" => Ok(Mode::Event),
        "batch" => Ok(Mode::Batch),
        other => {
            let found = shown(other);
            Err(Problem::malformed(
                format!("`webhook.mode` is `{found}`"),
                "use `event` for one event in each request, or `batch` for several",
            ))
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        let (detail, fix) = (refused.to_string(), refused.fix());
        match refused {
            Refused::NotAUrl { url, .. } => Self::malformed(detail, fix).with("url", url),
            Refused::Off => Self::not_allowed(detail, fix),
            Refused::Host { host, .. } | Refused::Plain { host } | Refused::Address { host, .. } => {
                Self::not_allowed(detail, fix).with("host", host)
            }
        }
    }
}

impl Problem {
    fn not_allowed(detail: String, fix: String) -> Self {
        Self::new(
            403,
            "webhook-not-allowed",
            "Webhooks may not be sent there",
            detail,
        )
        .fix(fix)
    }
}

/// A webhook as a PUT would take it, but for its secret.
pub(super) fn document(webhook: &Webhook) -> Value {
    json!({
        "url": webhook.url,
        "mode": match webhook.mode {
            Mode::Event => "event",
            Mode::Batch => "batch",
        },
        "timeout_ms": webhook.timeout_ms,
        "requests": webhook.requests,
    })
}

/// The same with how it stands.
pub(super) fn standing(running: &Running, name: &ConsumerName, webhook: &Webhook) -> Value {
    let Standing {
        state,
        failures,
        retry_in_ms,
        last_error,
        last_failure_at,
        last_success_at,
    } = running.webhooks.standing(name, webhook);
    let mut shown = document(webhook);
    let more = json!({
        "state": match state {
            State::Closed => "closed",
            State::Open => "open",
            State::HalfOpen => "half-open",
            State::Off => "off",
        },
        "failures": failures,
        "retry_in_seconds": retry_in_ms.map(|millis| millis as f64 / 1e3),
        "last_error": last_error,
        "last_failure_at": last_failure_at.map(rfc3339),
        "last_success_at": last_success_at.map(rfc3339),
    });
    if let (Value::Object(members), Value::Object(more)) = (&mut shown, more) {
        members.extend(more);
    }
    shown
}
