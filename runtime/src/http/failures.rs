//! The one table that maps every failure of the other rooms to a status, a stable type, words and a fix.

use std::time::Duration;

use serde_json::Value;

use crate::{
    aggregates::CommandError,
    bus::TooManySubscribers,
    consumers::{ConsumerError, ParkedRefused},
    modules::{ActivateError, UploadRefused},
    store::{AppendError, ReadError},
    vocabulary::{CursorError, InvalidName},
    wasm::Fault,
};

use super::problem::{Problem, unknown_module, unknown_type};

impl From<InvalidName> for Problem {
    fn from(error: InvalidName) -> Self {
        Self::malformed(
            error.to_string(),
            "correct the name; ids in paths are percent-encoded",
        )
        .with("found", error.found)
    }
}

impl From<CursorError> for Problem {
    fn from(error: CursorError) -> Self {
        Self::new(400, "bad-cursor", "Not a cursor", error.to_string())
            .fix("start without a cursor, or with one that this server gave out")
            .with("cursor", error.found)
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Damaged { what } => Self::new(500, "damaged", "Stored bytes do not check out", what)
                .fix("what is damaged is not served; restore it from a backup"),
            ReadError::Unavailable { reason } => Self::unavailable(reason),
        }
    }
}

impl From<AppendError> for Problem {
    fn from(error: AppendError) -> Self {
        let detail = error.to_string();
        match error {
            AppendError::Unavailable { reason, retry_after } => Self::unavailable(reason).retry_after(retry_after),
            AppendError::Full { .. } => Self::new(507, "disk-full", "The disk is full", detail)
                .fix("free space on the server's disk: writes resume by themselves; reads go on"),
            AppendError::Unknown { .. } => {
                Self::new(503, "outcome-unknown", "It is not known whether it was recorded", detail)
                    .fix("with an idempotency key, send the same command again or look the outcome up; without, read the history")
                    .retry_after(Duration::from_secs(1))
            }
            AppendError::Conflict { head } => Self::unavailable(detail).with("version", head.0),
            _ => Self::unavailable(detail),
        }
    }
}

impl From<TooManySubscribers> for Problem {
    fn from(error: TooManySubscribers) -> Self {
        Self::new(429, "busy", "Too many subscribers", error.to_string())
            .fix("close a stream or wait for less, or read pages")
            .retry_after(Duration::from_secs(5))
            .with("limit", error.limit)
    }
}

impl From<ConsumerError> for Problem {
    fn from(error: ConsumerError) -> Self {
        let detail = error.to_string();
        match error {
            ConsumerError::Unknown(name) => Self::new(404, "unknown-consumer", "No such consumer", detail)
                .fix("create it with PUT /v1/consumers/{name}; GET /v1/consumers lists those there are")
                .with("consumer", name.as_str()),
            ConsumerError::TooMany { limit } => Self::new(429, "busy", "Too many consumers", detail)
                .fix("delete one that is not needed, or raise the limit `consumers`")
                .with("limit", limit),
            ConsumerError::TooManyWebhooks { limit } => Self::new(429, "busy", "Too many webhooks", detail)
                .fix("take one away that is not needed, or raise the limit `webhooks`")
                .with("limit", limit),
            ConsumerError::NoWebhook(name) => Self::new(404, "no-webhook", "It has no webhook", detail)
                .fix("PUT the consumer with a `webhook`")
                .with("consumer", name.as_str()),
            ConsumerError::NoSecret { .. } => Self::unavailable(detail),
            ConsumerError::OutOfBounds(bounds) => Self::malformed(
                detail,
                format!("choose a value from {} to {}", bounds.least, bounds.most),
            )
            .with("name", bounds.name)
            .with("found", bounds.found),
            ConsumerError::TooManyFilters { limit } => Self::new(409, "too-many-filters", "Too many changes of the filter", detail)
                .fix("wait until that event is acknowledged or parked and fetch past where the earlier filters got, use one of the filters there were, or reset the consumer")
                .with("limit", limit),
            ConsumerError::OrderingFixed(name) => {
                Self::new(409, "ordering-fixed", "The ordering cannot be changed", detail)
                    .fix("delete the consumer and create it again, with `start` where it is to go on")
                    .with("consumer", name.as_str())
            }
            ConsumerError::Parked { aggregate, refused } => {
                let problem = match refused {
                    ParkedRefused::NotParked => Self::new(404, "not-parked", "Nothing is parked", detail)
                        .fix("GET /v1/consumers/{name}/parked lists what is"),
                    ParkedRefused::Together => Self::malformed(detail, "leave `version` out; a skip of the first ones takes `through`"),
                    ParkedRefused::Apart { .. } => Self::malformed(detail, "name the `version` of the one that you mean"),
                    ParkedRefused::Replaying => Self::new(409, "replaying", "It is being replayed", detail)
                        .fix("wait until it is acknowledged or parked again"),
                };
                problem
                    .with("aggregate_type", aggregate.aggregate_type.as_str())
                    .with("aggregate_id", aggregate.aggregate_id.as_str())
            }
            ConsumerError::Closing => Self::unavailable(detail),
            ConsumerError::NotRead(error) => error.into(),
            ConsumerError::NotWritten(error @ AppendError::Unknown { .. }) => {
                Self::from(error).fix("send the same request again: what was acknowledged stays so")
            }
            ConsumerError::NotWritten(error) => error.into(),
        }
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        let detail = error.to_string();
        match error {
            CommandError::UnknownType(aggregate_type) => unknown_type(aggregate_type.as_str()),
            CommandError::UnknownCommand { known, .. } => {
                let known: Vec<Value> = known.iter().map(|name| name.as_str().into()).collect();
                Self::new(404, "unknown-command", "No such command", detail)
                    .fix("use one of `commands`")
                    .with("commands", known)
            }
            CommandError::Malformed {
                command,
                pointer,
                problem,
            } => Self::new(400, "malformed-command", "The payload does not decode", detail)
                .fix("the command's schema is in /openapi.json")
                .with("command", command.as_str())
                .with("pointer", pointer)
                .with("problem", problem),
            CommandError::PreconditionFailed { version } => {
                Self::new(412, "precondition-failed", "The aggregate has moved on", detail)
                    .fix("read the state again and decide on it")
                    .with("version", version.0)
            }
            CommandError::AlreadyExists { version } => {
                Self::new(412, "already-exists", "The aggregate exists", detail)
                    .fix("choose another id, or leave `If-None-Match` out")
                    .with("version", version.0)
            }
            CommandError::KeyReused { key, first_command } => Self::new(
                422,
                "key-reused",
                "The idempotency key belongs to another request",
                detail,
            )
            .fix("use a new key for a new command; retry with the same command, body and actor")
            .with("key", key.as_str())
            .with("first_command", first_command.as_str()),
            CommandError::InvariantBroken { broken } => Self::new(
                422,
                "invariant-broken",
                "The decision would break an invariant",
                detail,
            )
            .fix("nothing was appended; the module decides what its own invariants forbid")
            .with("invariants", broken),
            CommandError::Fault { fault, diagnosis } => fault_problem(&fault, &diagnosis),
            CommandError::Broken {
                key, version, module, ..
            } => Self::new(
                500,
                "history-not-applicable",
                "The module cannot follow the history",
                detail,
            )
            .fix("activate a module that can read this history; nothing is lost")
            .with("aggregate_type", key.aggregate_type.as_str())
            .with("aggregate_id", key.aggregate_id.as_str())
            .with("version", version.0)
            .with("module", module.to_string()),
            CommandError::Busy { limit, .. } => Self::new(429, "busy", "Too many requests at once", detail)
                .fix("try again after the time in Retry-After")
                .retry_after(Duration::from_secs(1))
                .with("limit", limit),
            CommandError::Unavailable { reason, retry_after } => {
                Self::unavailable(reason).retry_after(retry_after)
            }
            CommandError::NotWritten(error) => error.into(),
            CommandError::NotRead(error) => error.into(),
        }
    }
}

fn fault_problem(fault: &Fault, diagnosis: &str) -> Problem {
    let detail = format!("{fault}. Nothing was appended");
    let problem = match fault {
        Fault::OutOfFuel { limit } => {
            Problem::new(422, "out-of-fuel", "The decision takes too much work", detail)
                .fix("the same command would run out again: change the command, or the module")
                .with("limit", *limit)
        }
        Fault::TooLarge { .. } => Problem::new(
            422,
            "answer-too-large",
            "The module's answer is too large",
            detail,
        )
        .fix("ask for less at once, or change the module"),
        Fault::Deadline { limit } => Problem::new(503, "deadline", "The module took too long", detail)
            .fix("try again later; if it stays so, the module's author should look at it")
            .retry_after(*limit),
        Fault::Host { .. } | Fault::CellLimit { .. } | Fault::HandleLimit { .. } | Fault::Retired => {
            Problem::unavailable(detail)
        }
        _ => Problem::new(500, "module-trapped", "The module failed", detail)
            .fix("the server's log tells more under this diagnosis; the module's author should look at it"),
    };
    problem.with("fault", fault.code()).with("diagnosis", diagnosis)
}

impl From<UploadRefused> for Problem {
    fn from(error: UploadRefused) -> Self {
        let detail = error.to_string();
        let refused = |detail: String| {
            Problem::new(422, "module-refused", "The module cannot be used", detail)
                .fix("nothing was kept or changed; correct the module and upload it again")
        };
        match error {
            UploadRefused::NotKept(error) => error.into(),
            UploadRefused::NotRead(error) => error.into(),
            UploadRefused::Upload(error) => refused(detail).with("reason", error.code()),
            UploadRefused::Load(error) => refused(detail).with("reason", error.code()),
            UploadRefused::ReservedType(_) => refused(detail).with("reason", "reserved-type"),
        }
    }
}

impl From<ActivateError> for Problem {
    fn from(error: ActivateError) -> Self {
        let detail = error.to_string();
        match error {
            ActivateError::UnknownModule(_) => unknown_module(detail),
            ActivateError::OtherType { serves, .. } => {
                Self::new(422, "module-refused", "The module serves another type", detail)
                    .fix(format!("PUT it to /v1/deployments/{serves}"))
                    .with("reason", "other-type")
            }
            ActivateError::Refused(error) => error.into(),
        }
    }
}
