//! Deciding in one call, as `wit/turn.wit` has it: one list of bytes each way.

use serde::ser::SerializeSeq;
use serde::{Deserialize, Serialize, Serializer};

use crate::context::Parts;
use crate::live::{self, ApplyError, Decided, HandleError};
use crate::{Context, Decide, EventError, NewEvent, Recorded};

/// Bytes of an answer beside the events' names and payloads, and the reply.
const ANSWER_ROOM_BYTES: usize = 32;
/// Bytes of an event beside its name and payload.
const EVENT_ROOM_BYTES: usize = 12;

/// In the order of the contract.
#[derive(Deserialize)]
struct Request<'a> {
    version: u64,
    now: u64,
    seed: (u64, u64),
    aggregate_id: &'a str,
    command_id: &'a str,
    correlation_id: &'a str,
    actor: Option<&'a str>,
    causation_id: Option<&'a str>,
    attributes: Vec<(&'a str, &'a str)>,
    command_name: &'a str,
    command_payload: &'a [u8],
}

/// In the order of the contract.
#[derive(Serialize)]
enum Answer<'a> {
    Accepted {
        #[serde(serialize_with = "event_list")]
        events: &'a [NewEvent],
        reply: Option<Bytes<'a>>,
        broken: &'a [String],
    },
    Rejected {
        code: &'a str,
        message: &'a str,
        details: Option<Bytes<'a>>,
    },
    UnknownCommand,
    MalformedCommand {
        pointer: &'a str,
        problem: &'a str,
    },
    Unapplied {
        version: u64,
        problem: Problem<'a>,
    },
}

#[derive(Serialize)]
enum Problem<'a> {
    Unknown,
    Malformed(&'a str),
    Impossible(&'a str),
}

struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

fn event_list<S: Serializer>(events: &[NewEvent], serializer: S) -> Result<S::Ok, S::Error> {
    let mut list = serializer.serialize_seq(Some(events.len()))?;
    for event in events {
        list.serialize_element(&(event.event_type, event.schema, Bytes(&event.payload)))?;
    }
    list.end()
}

/// Decides, applies and checks.
///
/// # Panics
/// When the request is not as the contract has it: the host has an error, and nothing that could be answered would be right.
pub(crate) fn decide<A: Decide>(state: &mut A, request: &[u8]) -> Vec<u8> {
    let request: Request<'_> = match postcard::take_from_bytes(request) {
        Ok((request, [])) => request,
        Ok((_, rest)) => panic!(
            "the host's request is not as `turn.wit` has it: {} bytes too long",
            rest.len()
        ),
        Err(error) => panic!("the host's request is not as `turn.wit` has it: {error}"),
    };
    let context = Context::from(&request);
    match live::handle(state, &context, request.command_name, request.command_payload) {
        Ok(Decided { events, reply }) => {
            accept(state, request.version, request.now, &events, reply.as_deref())
        }
        Err(HandleError::Rejected {
            code,
            message,
            details,
        }) => encode(
            &Answer::Rejected {
                code,
                message: &message,
                details: details.as_deref().map(Bytes),
            },
            code.len() + message.len() + details.as_ref().map_or(0, Vec::len),
        ),
        Err(HandleError::UnknownCommand) => encode(&Answer::UnknownCommand, 0),
        Err(HandleError::Malformed(malformed)) => encode(
            &Answer::MalformedCommand {
                pointer: &malformed.pointer,
                problem: &malformed.problem,
            },
            malformed.pointer.len() + malformed.problem.len(),
        ),
    }
}

fn accept<A: Decide>(
    state: &mut A,
    version: u64,
    now: u64,
    events: &[NewEvent],
    reply: Option<&[u8]>,
) -> Vec<u8> {
    for (event, version) in events.iter().zip(version + 1..) {
        let recorded = Recorded { version, at: now };
        let applied = live::apply(state, event.event_type, event.schema, &event.payload, recorded);
        if let Err(error) = applied {
            return unapplied(version, &error);
        }
    }
    let broken = if events.is_empty() {
        Vec::new()
    } else {
        state.invariants()
    };
    let room = events
        .iter()
        .map(|event| EVENT_ROOM_BYTES + event.event_type.len() + event.payload.len());
    let room = room.sum::<usize>() + reply.map_or(0, <[u8]>::len);
    let answer = Answer::Accepted {
        events,
        reply: reply.map(Bytes),
        broken: &broken,
    };
    encode(&answer, room)
}

fn unapplied(version: u64, error: &ApplyError) -> Vec<u8> {
    let text;
    let problem = match error {
        ApplyError::Decode(EventError::Unknown) => Problem::Unknown,
        ApplyError::Decode(EventError::Malformed(malformed)) => {
            text = malformed.to_string();
            Problem::Malformed(&text)
        }
        ApplyError::Impossible(why) => Problem::Impossible(why),
    };
    encode(&Answer::Unapplied { version, problem }, 0)
}

fn encode(answer: &Answer<'_>, room: usize) -> Vec<u8> {
    match postcard::to_extend(answer, Vec::with_capacity(ANSWER_ROOM_BYTES + room)) {
        Ok(bytes) => bytes,
        // Lists of known length and plain texts always have a form.
        Err(error) => panic!("the answer has no form: {error}"),
    }
}

impl From<&Request<'_>> for Context {
    fn from(request: &Request<'_>) -> Self {
        let mut made = Self::from(Parts {
            aggregate_id: request.aggregate_id,
            version: request.version,
            now: request.now,
            seed: request.seed,
            actor: request.actor,
            command_id: request.command_id,
            correlation_id: request.correlation_id,
            causation_id: request.causation_id,
        });
        for (name, value) in &request.attributes {
            made.with_attribute(name, value);
        }
        made
    }
}

#[cfg(test)]
mod tests;
