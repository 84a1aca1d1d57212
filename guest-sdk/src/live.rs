//! A live aggregate behind encoded commands and events: the one path that the exports and the testing kit share.

use crate::json::Malformed;
use crate::{Command, CommandError, Context, Decide, Event, EventError, NewEvent, Recorded, Rejection};

/// What was decided, encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decided<E = NewEvent> {
    pub(crate) events: Vec<E>,
    pub(crate) reply: Option<Vec<u8>>,
}

/// Why nothing was decided, or the domain's no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HandleError {
    Rejected {
        code: &'static str,
        message: String,
        details: Option<Vec<u8>>,
    },
    UnknownCommand,
    Malformed(Malformed),
}

impl From<CommandError> for HandleError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Unknown => Self::UnknownCommand,
            CommandError::Malformed(malformed) => Self::Malformed(malformed),
        }
    }
}

/// Why an event of the log cannot be applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ApplyError {
    Decode(EventError),
    Impossible(String),
}

pub(crate) fn handle<A: Decide, E: From<NewEvent>>(
    state: &A,
    context: &Context,
    name: &str,
    payload: &[u8],
) -> Result<Decided<E>, HandleError> {
    let command = A::Command::decode(name, payload)?;
    match state.decide(command, context) {
        Ok(decision) => {
            let (events, reply) = decision.into_parts();
            Ok(Decided {
                events: events
                    .into_iter()
                    .map(|event| NewEvent::of(event).into())
                    .collect(),
                reply,
            })
        }
        Err(rejection) => Err(HandleError::Rejected {
            code: rejection.code(),
            message: rejection.message(),
            details: rejection.details(),
        }),
    }
}

pub(crate) fn apply<A: Decide>(
    state: &mut A,
    event_type: &str,
    schema: u32,
    payload: &[u8],
    recorded: Recorded,
) -> Result<(), ApplyError> {
    let event = A::Event::decode(event_type, schema, payload).map_err(ApplyError::Decode)?;
    state
        .apply_recorded(event, recorded)
        .map_err(ApplyError::Impossible)
}

#[cfg(test)]
mod tests;
