//! One commit, in its canonical bytes: what the hash chain is over. Neither position nor log id is in them, so that
//! an export, an import and another engine give the same.
//!
//! ```text
//! format u8 = 1 | flags u8 = 0        (bit 0, later: sealed; then 16 bytes of key id follow)
//! type text | id text | first version number
//! command: name text | payload option
//! context: now number | seed 2 × u64 BE | actor text? | command id text | correlation text?, none: the command id
//!          causation text? | traceparent text?
//! module 32
//! idempotency: 0 | 1, key text, request 32
//! outcome: 0, reply option, fuel number | 1, code text, message text, details option, fuel number
//! events: number, each: type text | schema number | payload bytes
//! ```

use bytes::Bytes;

use super::{FORMAT, Malformed, Reader, Sink};
use crate::vocabulary::{
    AggregateId, AggregateKey, AggregateType, CommandName, CommandRecord, Commit, ContextRecord, EventType,
    IdempotencyKey, IdempotencyRecord, ModuleDigest, NewEvent, Outcome, RequestHash, Version,
};

const ACCEPTED: u8 = 0;
const REJECTED: u8 = 1;

/// Appends the canonical bytes of a commit.
pub(in crate::store) fn encode_commit(commit: &Commit, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&[FORMAT, 0]);
    bytes.text(commit.key.aggregate_type.as_str());
    bytes.text(commit.key.aggregate_id.as_str());
    bytes.number(commit.first_version.0);
    bytes.text(commit.command.name.as_str());
    bytes.blob_or_none(commit.command.payload.as_deref());
    encode_context(&commit.context, bytes);
    bytes.extend_from_slice(&commit.module.0);
    match &commit.idempotency {
        None => bytes.push(0),
        Some(record) => {
            bytes.push(1);
            bytes.text(record.key.as_str());
            bytes.extend_from_slice(&record.request.0);
        }
    }
    encode_outcome(&commit.outcome, bytes);
    bytes.number(commit.events.len() as u64);
    for event in &commit.events {
        bytes.text(event.event_type.as_str());
        bytes.number(u64::from(event.schema));
        bytes.blob(&event.payload);
    }
}

fn encode_context(context: &ContextRecord, bytes: &mut Vec<u8>) {
    bytes.number(context.now);
    for half in context.seed {
        bytes.extend_from_slice(&half.to_be_bytes());
    }
    let correlation = Some(&context.correlation_id).filter(|id| **id != context.command_id);
    bytes.text_or_none(context.actor.as_deref());
    bytes.text(&context.command_id);
    bytes.text_or_none(correlation.map(String::as_str));
    bytes.text_or_none(context.causation_id.as_deref());
    bytes.text_or_none(context.traceparent.as_deref());
}

fn encode_outcome(outcome: &Outcome, bytes: &mut Vec<u8>) {
    match outcome {
        Outcome::Accepted { reply, fuel } => {
            bytes.push(ACCEPTED);
            bytes.blob_or_none(reply.as_deref());
            bytes.number(*fuel);
        }
        Outcome::Rejected {
            code,
            message,
            details,
            fuel,
        } => {
            bytes.push(REJECTED);
            bytes.text(code);
            bytes.text(message);
            bytes.blob_or_none(details.as_deref());
            bytes.number(*fuel);
        }
    }
}

/// Reads a commit back.
pub(in crate::store) fn decode_commit(canonical: &Bytes) -> Result<Commit, Malformed> {
    let mut reader = Reader::new(canonical);
    if reader.byte()? != FORMAT {
        return Err(Malformed("record: its format is not known here"));
    }
    if reader.byte()? != 0 {
        return Err(Malformed("record: its flags are not known here"));
    }
    let key = AggregateKey::new(
        reader.text(|text| AggregateType::parse(text).ok())?,
        reader.text(|text| AggregateId::parse(text).ok())?,
    );
    let first_version = Version(reader.number()?);
    if first_version.0 == 0 {
        return Err(Malformed("version: it is 0"));
    }
    let command = CommandRecord {
        name: reader.text(|text| CommandName::parse(text).ok())?,
        payload: reader.blob_or_none()?,
    };
    let context = decode_context(&mut reader)?;
    let module = ModuleDigest(reader.array()?);
    let idempotency = match reader.byte()? {
        0 => None,
        1 => Some(IdempotencyRecord {
            key: reader.text(|text| IdempotencyKey::parse(text).ok())?,
            request: RequestHash(reader.array()?),
        }),
        _ => return Err(Malformed("idempotency record")),
    };
    let outcome = decode_outcome(&mut reader)?;
    let mut events = Vec::new();
    for _ in 0..reader.count()? {
        events.push(NewEvent {
            event_type: reader.text(|text| EventType::parse(text).ok())?,
            schema: u32::try_from(reader.number()?).map_err(|_| Malformed("schema version"))?,
            payload: reader.blob()?,
        });
    }
    reader.end()?;
    Ok(Commit {
        key,
        first_version,
        command,
        context,
        idempotency,
        outcome,
        module,
        events,
    })
}

fn own(text: &str) -> Option<String> {
    Some(text.to_owned())
}

fn decode_context(reader: &mut Reader<'_>) -> Result<ContextRecord, Malformed> {
    let now = reader.number()?;
    let seed = [
        u64::from_be_bytes(reader.array()?),
        u64::from_be_bytes(reader.array()?),
    ];
    let actor = reader.text_or_none(own)?;
    let command_id = reader.text(own)?;
    let correlation_id = reader.text_or_none(own)?.unwrap_or_else(|| command_id.clone());
    Ok(ContextRecord {
        now,
        seed,
        actor,
        command_id,
        correlation_id,
        causation_id: reader.text_or_none(own)?,
        traceparent: reader.text_or_none(own)?,
    })
}

fn decode_outcome(reader: &mut Reader<'_>) -> Result<Outcome, Malformed> {
    match reader.byte()? {
        ACCEPTED => Ok(Outcome::Accepted {
            reply: reader.blob_or_none()?,
            fuel: reader.number()?,
        }),
        REJECTED => Ok(Outcome::Rejected {
            code: reader.text(own)?,
            message: reader.text(own)?,
            details: reader.blob_or_none()?,
            fuel: reader.number()?,
        }),
        _ => Err(Malformed("outcome")),
    }
}
