//! From what a module answered to what the host believes: every name, number and size is checked.

use bytes::Bytes;

use super::{bindings::annals::aggregate::types as wit, fault::Fault, module::Module};
use crate::vocabulary::{Decision, EventType, Limits, NewEvent, Rejection, check_json};

/// Longest rejection code, bytes.
const CODE_BYTES_MAX: usize = 255;

/// What came of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handled {
    /// Fuel that the decision took. The same for the same state, context and command, on one version of the server.
    pub fuel: u64,
    /// Acceptance or refusal.
    pub outcome: Result<Decision, Refusal>,
}

/// Why a command was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The domain's no.
    Rejected(Rejection),
    /// The module has no command of this name.
    UnknownCommand,
    /// The payload does not decode.
    Malformed {
        /// JSON pointer to the offending value; empty for the whole payload.
        pointer: String,
        /// What was expected and what was found.
        problem: String,
    },
}

/// Checks an answer of `handle`.
pub(super) fn checked(
    answer: Result<wit::Decision, wit::HandleError>,
    module: &Module,
) -> Result<Result<Decision, Refusal>, Fault> {
    let limits = module.limits();
    match answer {
        Ok(decision) => accepted(decision, module).map(Ok),
        Err(wit::HandleError::Rejected(rejection)) => {
            rejected(rejection, limits).map(|rejection| Err(Refusal::Rejected(rejection)))
        }
        Err(wit::HandleError::UnknownCommand) => Ok(Err(Refusal::UnknownCommand)),
        Err(wit::HandleError::MalformedCommand(malformed)) => {
            at_most(
                "bytes of the explanation",
                malformed.pointer.len().saturating_add(malformed.problem.len()),
                limits.payload_bytes,
            )?;
            Ok(Err(Refusal::Malformed {
                pointer: malformed.pointer,
                problem: malformed.problem,
            }))
        }
    }
}

fn accepted(decision: wit::Decision, module: &Module) -> Result<Decision, Fault> {
    let limits = module.limits();
    at_most(
        "events from one command",
        decision.events.len(),
        limits.events_per_command,
    )?;
    let bytes = decision
        .events
        .iter()
        .fold(0usize, |sum, event| sum.saturating_add(event.payload.len()));
    at_most(
        "bytes of events from one command",
        bytes,
        limits.events_per_command_bytes,
    )?;
    let events = decision
        .events
        .into_iter()
        .enumerate()
        .map(|(index, event)| new_event(index + 1, event, module))
        .collect::<Result<_, _>>()?;
    let reply = decision.reply.map(|reply| {
        at_most("bytes of the reply", reply.len(), limits.payload_bytes)?;
        encoded(|| "the reply".to_owned(), &reply, module.payloads_are_json())?;
        Ok(Bytes::from(reply))
    });
    Ok(Decision {
        events,
        reply: reply.transpose()?,
    })
}

fn new_event(number: usize, event: wit::NewEvent, module: &Module) -> Result<NewEvent, Fault> {
    let event_type = EventType::parse(&event.event_type)
        .map_err(|error| Fault::bad_output(format!("event {number}: {error}")))?;
    at_most(
        "bytes of the payload of one event",
        event.payload.len(),
        module.limits().payload_bytes,
    )?;
    if !module.manifest().records(&event_type, event.schema) {
        return Err(Fault::bad_output(format!(
            "event {number} is `{event_type}` in schema {}, which the manifest does not list under `records`",
            event.schema
        )));
    }
    encoded(
        || format!("the payload of event {number}, `{event_type}`,"),
        &event.payload,
        module.payloads_are_json(),
    )?;
    Ok(NewEvent {
        event_type,
        schema: event.schema,
        payload: event.payload.into(),
    })
}

fn rejected(rejection: wit::Rejection, limits: &Limits) -> Result<Rejection, Fault> {
    at_most(
        "bytes of the rejection's code",
        rejection.code.len(),
        CODE_BYTES_MAX,
    )?;
    if rejection.code.is_empty() || rejection.code.chars().any(char::is_control) {
        return Err(Fault::bad_output(
            "the rejection's code is empty or contains a control character; it must be a stable name such as \
             `insufficient-funds`",
        ));
    }
    at_most(
        "bytes of the rejection's message",
        rejection.message.len(),
        limits.payload_bytes,
    )?;
    if let Some(details) = &rejection.details {
        at_most(
            "bytes of the rejection's details",
            details.len(),
            limits.payload_bytes,
        )?;
        encoded(|| "the rejection's details".to_owned(), details, true)?;
        if details.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
            return Err(Fault::bad_output("the rejection's details are not a JSON object"));
        }
    }
    Ok(Rejection {
        code: rejection.code,
        message: rejection.message,
        details: rejection.details.map(Bytes::from),
    })
}

/// Readers embed JSON payloads in their own documents, so bytes that only claim to be JSON must not get into the log.
fn encoded(what: impl Fn() -> String, payload: &[u8], is_json: bool) -> Result<(), Fault> {
    if !is_json {
        return Ok(());
    }
    check_json(payload).map_err(|problem| Fault::bad_output(format!("{} is not JSON: {problem}", what())))
}

pub(super) fn at_most(what: &'static str, found: usize, limit: usize) -> Result<(), Fault> {
    if found > limit {
        return Err(Fault::TooLarge { what, found, limit });
    }
    Ok(())
}
