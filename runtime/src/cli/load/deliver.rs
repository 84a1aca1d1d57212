//! Getting one command to the server, with as many tries as are safe.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{Stop, line::LoadCommand};
use crate::client::{Backoff, Client, ClientError, Precondition, SendCommand, spread};

const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What became of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Delivered {
    Accepted {
        events: u64,
        /// It was the first answer to its key, again.
        is_replayed: bool,
        retries: u64,
    },
    Rejected {
        code: String,
        is_replayed: bool,
        retries: u64,
    },
    Failed {
        /// Status and slug, or what was wrong with the connection.
        reason: String,
        detail: String,
        retries: u64,
    },
    /// The load was stopped before it was tried.
    NotSent,
}

/// Delivers commands one after the other.
#[derive(Debug)]
pub(crate) struct Deliverer {
    pub(crate) client: Client,
    pub(crate) retry_for: Duration,
    pub(crate) stop: Arc<watch::Sender<Option<Stop>>>,
}

impl Deliverer {
    pub(crate) async fn deliver(&self, command: &LoadCommand) -> Delivered {
        if self.stop.borrow().is_some() {
            return Delivered::NotSent;
        }
        let request = SendCommand {
            aggregate_type: command.aggregate_type.as_str(),
            id: command.id.as_str(),
            command: command.command.as_str(),
            payload: command.payload.as_ref().map(|json| json.get()),
            idempotency_key: command.key.as_deref(),
            precondition: command.if_match.map_or(Precondition::None, Precondition::Version),
        };
        let until = Instant::now() + self.retry_for;
        let mut backoff = Backoff::new(FIRST_WAIT, LONGEST_WAIT);
        let mut retries = 0;
        loop {
            let error = match self.client.send(&request).await {
                Ok(answer) => {
                    return Delivered::Accepted {
                        events: answer.value.events.len() as u64,
                        is_replayed: answer.is_replayed(),
                        retries,
                    };
                }
                Err(error) => error,
            };
            if let ClientError::Problem(problem) = &error
                && let Some(code) = problem.rejection_code()
            {
                return Delivered::Rejected {
                    code: code.to_owned(),
                    is_replayed: problem.is_replayed,
                    retries,
                };
            }
            let wait = may_retry(&error, command.key.is_some())
                .then(|| backoff.next(retry_after(&error), spread()))
                .filter(|wait| Instant::now() + *wait <= until);
            let Some(wait) = wait else {
                if matches!(error, ClientError::Unreachable { .. }) {
                    self.stop
                        .send_if_modified(|stop| stop.replace(Stop::Unreachable).is_none());
                }
                return failed(&error, retries);
            };
            if self.is_stopped_within(wait).await {
                return failed(&error, retries);
            }
            retries += 1;
        }
    }

    async fn is_stopped_within(&self, wait: Duration) -> bool {
        let mut stop = self.stop.subscribe();
        tokio::select! {
            () = sleep(wait) => false,
            stopped = stop.wait_for(Option::is_some) => stopped.is_ok(),
        }
    }
}

/// Whether trying again can help, and can do no harm: nothing was decided, or the key makes it the same decision.
fn may_retry(error: &ClientError, has_key: bool) -> bool {
    let can_help = match error {
        ClientError::Unreachable { .. } | ClientError::Lost { .. } | ClientError::TimedOut { .. } => true,
        ClientError::Problem(problem) => matches!(problem.status, 429 | 503),
        _ => false,
    };
    can_help && (has_key || error.nothing_happened())
}

fn retry_after(error: &ClientError) -> Option<Duration> {
    match error {
        ClientError::Problem(problem) => problem.retry_after_seconds.map(Duration::from_secs),
        _ => None,
    }
}

fn failed(error: &ClientError, retries: u64) -> Delivered {
    let reason = match error {
        ClientError::Unreachable { .. } => "server unreachable".to_owned(),
        ClientError::Lost { .. } => "connection lost, outcome unknown".to_owned(),
        ClientError::TimedOut { .. } => "no answer in time, outcome unknown".to_owned(),
        ClientError::Problem(problem) => format!("{} {}", problem.status, problem.slug),
        _ => "unexpected answer".to_owned(),
    };
    Delivered::Failed {
        reason,
        detail: error.to_string(),
        retries,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Problem;

    #[test]
    fn only_what_can_help_and_do_no_harm_is_tried_again() {
        let (address, cause) = (String::new(), String::new());
        let limit = Duration::from_secs(1);
        let problem = |status, slug: &str| {
            let body = format!(r#"{{"type":"urn:annals:problem:{slug}"}}"#);
            ClientError::Problem(Box::new(Problem::read(status, None, body.into()).unwrap()))
        };
        let unreachable = ClientError::Unreachable {
            address: address.clone(),
            cause: cause.clone(),
        };
        let lost = ClientError::Lost {
            address: address.clone(),
            cause,
        };
        let cases = [
            (unreachable, true, true),
            (lost, false, true),
            (ClientError::TimedOut { address, limit }, false, true),
            (problem(429, "busy"), true, true),
            (problem(503, "unavailable"), true, true),
            (problem(503, "outcome-unknown"), false, true),
            (problem(507, "disk-full"), false, false),
            (problem(500, "module-trapped"), false, false),
            (problem(412, "precondition-failed"), false, false),
            (problem(404, "unknown-type"), false, false),
        ];
        for (error, without_key, with_key) in cases {
            assert_eq!(may_retry(&error, false), without_key, "{error:?}");
            assert_eq!(may_retry(&error, true), with_key, "{error:?}");
        }
    }
}
