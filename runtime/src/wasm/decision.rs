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

/// What came of a command whose events were applied at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Fuel that it took: as in [`Handled`], and where the module does it all in one call, for all of it.
    pub fuel: u64,
    /// Acceptance or refusal.
    pub outcome: Result<Decision, Refusal>,
    /// What should hold and does not, in words, now that the events are applied.
    pub broken: Vec<String>,
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
    let check = Check { module };
    match answer {
        Ok(decision) => {
            check.count(decision.events.len())?;
            check.bytes(decision.events.iter().map(|event| event.payload.len()))?;
            let events = decision.events.into_iter().enumerate();
            let events = events
                .map(|(index, event)| {
                    check.event(index + 1, &event.event_type, event.schema, event.payload.into())
                })
                .collect::<Result<_, _>>()?;
            let reply = decision.reply.map(|reply| check.reply(reply.into()));
            Ok(Ok(Decision {
                events,
                reply: reply.transpose()?,
            }))
        }
        Err(wit::HandleError::Rejected(rejection)) => {
            let details = rejection.details.map(Bytes::from);
            let rejection = check.rejection(rejection.code, rejection.message, details)?;
            Ok(Err(Refusal::Rejected(rejection)))
        }
        Err(wit::HandleError::UnknownCommand) => Ok(Err(Refusal::UnknownCommand)),
        Err(wit::HandleError::MalformedCommand(wit::Malformed { pointer, problem })) => {
            check.malformed(pointer, problem).map(Err)
        }
    }
}

/// The checks of what a module decided, whichever way it came.
#[derive(Clone, Copy)]
pub(super) struct Check<'a> {
    pub(super) module: &'a Module,
}

impl Check<'_> {
    fn limits(&self) -> &Limits {
        self.module.limits()
    }

    /// How many events there are.
    pub(super) fn count(self, events: usize) -> Result<(), Fault> {
        at_most(
            "events from one command",
            events,
            self.limits().events_per_command,
        )
    }

    /// How large they are together.
    pub(super) fn bytes(self, mut payloads: impl Iterator<Item = usize>) -> Result<(), Fault> {
        at_most(
            "bytes of events from one command",
            payloads
                .try_fold(0usize, usize::checked_add)
                .unwrap_or(usize::MAX),
            self.limits().events_per_command_bytes,
        )
    }

    /// The n-th event, from 1.
    pub(super) fn event(
        self,
        number: usize,
        event_type: &str,
        schema: u32,
        payload: Bytes,
    ) -> Result<NewEvent, Fault> {
        let event_type = EventType::parse(event_type)
            .map_err(|error| Fault::bad_output(format!("event {number}: {error}")))?;
        at_most(
            "bytes of the payload of one event",
            payload.len(),
            self.limits().payload_bytes,
        )?;
        if !self.module.manifest().records(&event_type, schema) {
            return Err(Fault::bad_output(format!(
                "event {number} is `{event_type}` in schema {schema}, which the manifest does not list under `records`"
            )));
        }
        encoded(
            || format!("the payload of event {number}, `{event_type}`,"),
            &payload,
            self.module.payloads_are_json(),
        )?;
        Ok(NewEvent {
            event_type,
            schema,
            payload,
        })
    }

    pub(super) fn reply(self, reply: Bytes) -> Result<Bytes, Fault> {
        at_most("bytes of the reply", reply.len(), self.limits().payload_bytes)?;
        encoded(|| "the reply".to_owned(), &reply, self.module.payloads_are_json())?;
        Ok(reply)
    }

    pub(super) fn rejection(
        self,
        code: String,
        message: String,
        details: Option<Bytes>,
    ) -> Result<Rejection, Fault> {
        let limit = self.limits().payload_bytes;
        at_most("bytes of the rejection's code", code.len(), CODE_BYTES_MAX)?;
        if code.is_empty() || code.chars().any(char::is_control) {
            return Err(Fault::bad_output(
                "the rejection's code is empty or contains a control character; it must be a stable name such as \
                 `insufficient-funds`",
            ));
        }
        at_most("bytes of the rejection's message", message.len(), limit)?;
        if let Some(details) = &details {
            at_most("bytes of the rejection's details", details.len(), limit)?;
            encoded(|| "the rejection's details".to_owned(), details, true)?;
            if details.iter().find(|byte| !byte.is_ascii_whitespace()) != Some(&b'{') {
                return Err(Fault::bad_output("the rejection's details are not a JSON object"));
            }
        }
        Ok(Rejection {
            code,
            message,
            details,
        })
    }

    pub(super) fn malformed(self, pointer: String, problem: String) -> Result<Refusal, Fault> {
        at_most(
            "bytes of the explanation",
            pointer.len().saturating_add(problem.len()),
            self.limits().payload_bytes,
        )?;
        Ok(Refusal::Malformed { pointer, problem })
    }
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
