//! One commit. Its canonical bytes, which the hash chain is over, are the digest of its module (32 bytes) and its record.
//! Neither position nor log id is in them, so that an export, an import and another engine give the same.
//!
//! ```text
//! format u8 = 1 | flags u8: 2 the seed is derived        (1, later: sealed; then 16 bytes of key id follow)
//! type text | id text | first version number
//! command: name text | payload option
//! context: now number | seed 2 × u64 BE, unless derived | actor text? | command id text
//!          correlation text?, none: the command id | causation text? | traceparent text?
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

/// The seed is not in the record: it follows from aggregate and command id.
pub(super) const FLAG_DERIVED_SEED: u8 = 2;
/// The flags that are read.
pub(super) const FLAGS_KNOWN: u8 = FLAG_DERIVED_SEED;

const ACCEPTED: u8 = 0;
const REJECTED: u8 = 1;

/// Appends the record of a commit.
pub(in crate::store) fn encode_commit(commit: &Commit, bytes: &mut Vec<u8>) {
    let flags = match commit.context.seed {
        None => FLAG_DERIVED_SEED,
        Some(_) => 0,
    };
    bytes.extend_from_slice(&[FORMAT, flags]);
    bytes.text(commit.key.aggregate_type.as_str());
    bytes.text(commit.key.aggregate_id.as_str());
    bytes.number(commit.first_version.0);
    bytes.text(commit.command.name.as_str());
    bytes.blob_or_none(commit.command.payload.as_deref());
    encode_context(&commit.context, bytes);
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
    for half in context.seed.iter().flatten() {
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

/// Reads a commit of a module back from its record.
pub(in crate::store) fn decode_commit(module: ModuleDigest, record: &Bytes) -> Result<Commit, Malformed> {
    let mut reader = Reader::new(record);
    if reader.byte()? != FORMAT {
        return Err(Malformed("record: its format is not known here"));
    }
    let flags = reader.byte()?;
    if flags & !FLAGS_KNOWN != 0 {
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
    let context = decode_context(&mut reader, flags)?;
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

fn decode_context(reader: &mut Reader<'_>, flags: u8) -> Result<ContextRecord, Malformed> {
    let now = reader.number()?;
    let seed = if flags & FLAG_DERIVED_SEED == 0 {
        Some([
            u64::from_be_bytes(reader.array()?),
            u64::from_be_bytes(reader.array()?),
        ])
    } else {
        None
    };
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
