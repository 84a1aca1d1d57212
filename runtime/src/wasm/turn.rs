//! Deciding in one call, as `wit/turn.wit` has it: the request as bytes, and an answer of which nothing is believed before
//! it is checked.

use bytes::Bytes;
use serde::{Deserialize, Serialize, Serializer};

use super::{
    applied::{ApplyProblem, ApplyRefusal},
    budget::OVERHEAD_BYTES,
    decision::{Check, Refusal, at_most},
    fault::Fault,
    module::Module,
};
use crate::vocabulary::{Context, Decision, GuestCommand, Version};

/// Most texts about what is broken, count. People read them.
const BROKEN_MAX: usize = 1_000;
/// Most bytes of all of them together, and of a refusal: as much as the calls for these alone may answer with.
const TEXT_BYTES_MAX: usize = OVERHEAD_BYTES;
/// Bytes of a request beside its texts: numbers and lengths.
const REQUEST_ROOM_BYTES: usize = 96;

/// In the order of the contract.
#[derive(Serialize)]
struct Request<'a> {
    version: u64,
    now: u64,
    seed: [u64; 2],
    aggregate_id: &'a str,
    command_id: &'a str,
    correlation_id: &'a str,
    actor: Option<&'a str>,
    causation_id: Option<&'a str>,
    attributes: &'a [(&'a str, &'a str)],
    command_name: &'a str,
    #[serde(serialize_with = "bytes")]
    command_payload: &'a [u8],
}

fn bytes<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_bytes(bytes)
}

/// What the module is given.
pub(super) fn request(context: &Context, command: &GuestCommand) -> Result<Vec<u8>, Fault> {
    let request = Request {
        version: context.version.0,
        now: context.now,
        seed: context.seed,
        aggregate_id: context.aggregate_id.as_str(),
        command_id: &context.command_id,
        correlation_id: &context.correlation_id,
        actor: context.actor.as_deref(),
        causation_id: context.causation_id.as_deref(),
        attributes: &[],
        command_name: command.name.as_str(),
        command_payload: &command.payload,
    };
    let texts = [
        request.aggregate_id,
        request.command_id,
        request.correlation_id,
        request.actor.unwrap_or_default(),
        request.causation_id.unwrap_or_default(),
        request.command_name,
    ];
    let texts: usize = texts.iter().map(|text| text.len()).sum();
    let room = Vec::with_capacity(REQUEST_ROOM_BYTES + texts + command.payload.len());
    postcard::to_extend(&request, room)
        .map_err(|error| Fault::host(format!("writing the request of a turn: {error}")))
}

/// What the module answered; `fuel` is added by the caller.
pub(super) type Answered = Result<(Result<Decision, Refusal>, Vec<String>), ApplyRefusal>;

/// Reads and checks an answer.
pub(super) fn answer(answer: Vec<u8>, module: &Module) -> Result<Answered, Fault> {
    let answer = Bytes::from(answer);
    let mut reader = Reader { rest: &answer };
    let check = Check { module };
    let answered = match reader.take::<u32>()? {
        0 => Ok(reader.accepted(&answer, check)?),
        1 => {
            let (code, message, details) = reader.take::<(String, String, Option<&[u8]>)>()?;
            let details = details.map(Bytes::copy_from_slice);
            let rejection = check.rejection(code, message, details)?;
            Ok((Err(Refusal::Rejected(rejection)), Vec::new()))
        }
        2 => Ok((Err(Refusal::UnknownCommand), Vec::new())),
        3 => {
            let (pointer, problem) = reader.take()?;
            Ok((Err(check.malformed(pointer, problem)?), Vec::new()))
        }
        4 => Err(reader.unapplied()?),
        other => {
            return Err(unreadable(format!(
                "it begins with {other}, and the cases are 0 to 4"
            )));
        }
    };
    match reader.rest.len() {
        0 => Ok(answered),
        left => Err(unreadable(format!("{left} bytes are left behind it"))),
    }
}

/// What has not been read yet. Lists are read piece by piece, so that no length is believed before what it counts is there.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take<T: Deserialize<'a>>(&mut self) -> Result<T, Fault> {
        let (value, rest) =
            postcard::take_from_bytes(self.rest).map_err(|error| unreadable(error.to_string()))?;
        self.rest = rest;
        Ok(value)
    }

    fn accepted(
        &mut self,
        answer: &Bytes,
        check: Check<'_>,
    ) -> Result<(Result<Decision, Refusal>, Vec<String>), Fault> {
        let count = self.length()?;
        check.count(count)?;
        let events = (0..count)
            .map(|_| self.take::<(&str, u32, &[u8])>())
            .collect::<Result<Vec<_>, _>>()?;
        check.bytes(events.iter().map(|(_, _, payload)| payload.len()))?;
        let events = events
            .into_iter()
            .enumerate()
            .map(|(index, (event_type, schema, payload))| {
                check.event(index + 1, event_type, schema, answer.slice_ref(payload))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let reply = self.take::<Option<&[u8]>>()?;
        let reply = reply
            .map(|reply| check.reply(answer.slice_ref(reply)))
            .transpose()?;
        let broken = self.broken()?;
        if events.is_empty() && !broken.is_empty() {
            return Err(unreadable("it has broken invariants and no events"));
        }
        Ok((Ok(Decision { events, reply }), broken))
    }

    fn broken(&mut self) -> Result<Vec<String>, Fault> {
        let count = self.length()?;
        at_most("broken invariants", count, BROKEN_MAX)?;
        let broken = (0..count)
            .map(|_| self.take::<&str>())
            .collect::<Result<Vec<_>, _>>()?;
        let bytes = broken.iter().map(|text| text.len()).sum();
        at_most("bytes of the broken invariants", bytes, TEXT_BYTES_MAX)?;
        Ok(broken.into_iter().map(str::to_owned).collect())
    }

    fn unapplied(&mut self) -> Result<ApplyRefusal, Fault> {
        let (version, problem) = self.take::<(u64, u32)>()?;
        let problem = match problem {
            0 => ApplyProblem::UnknownEvent,
            1 => ApplyProblem::Malformed(self.refusal()?),
            2 => ApplyProblem::Impossible(self.refusal()?),
            other => {
                return Err(unreadable(format!(
                    "the problem is {other}, and the cases are 0 to 2"
                )));
            }
        };
        Ok(ApplyRefusal {
            version: Version(version),
            problem,
        })
    }

    fn refusal(&mut self) -> Result<String, Fault> {
        let text = self.take::<&str>()?;
        at_most("bytes of the refusal", text.len(), TEXT_BYTES_MAX)?;
        Ok(text.to_owned())
    }

    fn length(&mut self) -> Result<usize, Fault> {
        let length = self.take::<u32>()?;
        usize::try_from(length).map_err(|error| unreadable(error.to_string()))
    }
}

fn unreadable(problem: impl std::fmt::Display) -> Fault {
    Fault::bad_output(format!(
        "the answer of `turn.decide` is not as `wit/turn.wit` has it: {problem}"
    ))
}
