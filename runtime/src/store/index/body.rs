//! One commit in a block, or a part of one.
//!
//! ```text
//! position number | recorded at number (zigzag)        steps from the last event before it, 0 for the first commit
//! flags u8: 1 several events, 2 correlation id, 4 causation id, 8 actor, 16 traceparent
//! command name | events number? | module name | command id id | correlation id id? | causation id id? | actor id?
//! traceparent id?
//! each event: event type name | schema number | payload bytes
//!
//! name     number: 0 the name itself follows, else its number in the index
//! id       text, as a commit has it
//! ```

use std::{borrow::Cow, ops::RangeInclusive, sync::Arc};

use bytes::Bytes;

use super::names::{Kind, Names};
use crate::{
    store::{
        format::{Malformed, Sink as _, Walk, text_of},
        overlay::Member,
    },
    vocabulary::{AggregateKey, Origin, Position, RecordedEvent, Version},
};

const SEVERAL: u8 = 1;
const OPTIONAL: [u8; 4] = [2, 4, 8, 16];

/// Events of one commit that stand together in a block.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) first_version: u64,
    pub(super) first_position: u64,
    pub(super) events: usize,
    /// Each: type text | schema number | payload bytes.
    bodies: &'a [u8],
}

impl Part<'_> {
    pub(super) fn last_version(&self) -> u64 {
        self.first_version + self.events as u64 - 1
    }

    pub(super) fn last_position(&self) -> u64 {
        self.first_position + self.events as u64 - 1
    }
}

/// Cuts a commit into parts of about so many bytes; most commits are one.
pub(super) fn parts<'a>(member: &Member<'a>, bytes_max: usize) -> Result<Vec<Part<'a>>, Malformed> {
    let scan = &member.scan;
    let whole = Part {
        first_version: scan.first_version,
        first_position: member.first_position,
        events: scan.events,
        bodies: scan.bodies,
    };
    if scan.bodies.len() <= bytes_max || scan.events == 1 {
        return Ok(vec![whole]);
    }
    let mut parts = Vec::new();
    let mut walk = Walk::new(scan.bodies);
    let (mut start, mut first) = (0, 0);
    for index in 0..scan.events {
        let before = walk.at();
        pass_event(&mut walk)?;
        if index > first && walk.at() - start > bytes_max {
            parts.push(whole.cut(first..index, scan.bodies.get(start..before)));
            (start, first) = (before, index);
        }
    }
    parts.push(whole.cut(first..scan.events, scan.bodies.get(start..)));
    Ok(parts)
}

impl<'a> Part<'a> {
    fn cut(&self, events: std::ops::Range<usize>, bodies: Option<&'a [u8]>) -> Self {
        Self {
            first_version: self.first_version + events.start as u64,
            first_position: self.first_position + events.start as u64,
            events: events.len(),
            bodies: bodies.unwrap_or_default(),
        }
    }
}

fn pass_event(walk: &mut Walk<'_>) -> Result<(), Malformed> {
    walk.text()?;
    walk.number()?;
    walk.blob().map(drop)
}

/// Where an event stands, for the step to the next one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) position: u64,
    pub(super) time: u64,
}

impl Step {
    /// Puts the step from one to the next.
    pub(super) fn put(self, next: Self, bytes: &mut Vec<u8>) {
        bytes.number(next.position.wrapping_sub(self.position));
        let time = next.time.wrapping_sub(self.time) as i64;
        bytes.number((time << 1 ^ time >> 63) as u64);
    }

    /// Takes a step.
    pub(super) fn get(self, walk: &mut Walk<'_>) -> Result<Self, Malformed> {
        let position = self.position.wrapping_add(walk.number()?);
        let zigzag = walk.number()?;
        let time = zigzag >> 1 ^ (zigzag & 1).wrapping_neg();
        Ok(Self {
            position,
            time: self.time.wrapping_add(time),
        })
    }
}

/// Puts what follows the step.
pub(super) fn put(
    member: &Member<'_>,
    part: &Part<'_>,
    names: &mut Names,
    bytes: &mut Vec<u8>,
) -> Result<(), Malformed> {
    let scan = &member.scan;
    let optional = [
        scan.correlation_id,
        scan.causation_id,
        scan.actor,
        scan.traceparent,
    ];
    let mut flags = if part.events == 1 { 0 } else { SEVERAL };
    for (flag, text) in OPTIONAL.into_iter().zip(optional) {
        flags |= if text == [0] { 0 } else { flag };
    }
    bytes.push(flags);
    names.put(Kind::Command, scan.command, bytes)?;
    if part.events != 1 {
        bytes.number(part.events as u64);
    }
    names.put(Kind::Module, scan.module, bytes)?;
    bytes.extend_from_slice(scan.command_id);
    for text in optional.into_iter().filter(|text| *text != [0]) {
        bytes.extend_from_slice(text);
    }
    let mut walk = Walk::new(part.bodies);
    for _ in 0..part.events {
        names.put(Kind::Event, walk.text()?, bytes)?;
        let start = walk.at();
        walk.number()?;
        walk.blob()?;
        bytes.extend_from_slice(walk.since(start));
    }
    Ok(())
}

fn id(walk: &mut Walk<'_>) -> Result<String, Malformed> {
    text_of(walk.text()?).map(Cow::into_owned)
}

/// Where the events of a segment begin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) version: u64,
    pub(super) step: Step,
}

/// Reads the events of a segment that are wanted. `bytes` is the whole block and shared by their payloads.
pub(super) fn read(
    block: &Bytes,
    body: &[u8],
    start: Start,
    key: &AggregateKey,
    names: &Names,
    wanted: &RangeInclusive<u64>,
    mut take: impl FnMut(RecordedEvent) -> Result<(), Malformed>,
) -> Result<u64, Malformed> {
    let mut walk = Walk::new(body);
    let mut version = start.version;
    let mut at = start.step;
    while !walk.is_end() {
        at = at.get(&mut walk)?;
        let flags = walk.byte()?;
        let ahead = walk.clone();
        Names::pass(Kind::Command, &mut walk)?;
        let events = if flags & SEVERAL == 0 { 1 } else { walk.number()? };
        if events == 0 || events > body.len() as u64 {
            return Err(Malformed("block: a commit's events"));
        }
        let is_wanted = version <= *wanted.end() && version.saturating_add(events) > *wanted.start();
        let origin = if is_wanted {
            walk = ahead;
            Some(Arc::new(origin(&mut walk, flags, names)?))
        } else {
            Names::pass(Kind::Module, &mut walk)?;
            walk.text()?;
            for _ in OPTIONAL.into_iter().filter(|flag| flags & flag != 0) {
                walk.text()?;
            }
            None
        };
        for index in 0..events {
            let version = version + index;
            match origin.as_ref().filter(|_| wanted.contains(&version)) {
                Some(origin) => take(RecordedEvent {
                    key: key.clone(),
                    version: Version(version),
                    position: Position(at.position + index),
                    event_type: names.event(&mut walk)?,
                    schema: u32::try_from(walk.number()?).map_err(|_| Malformed("schema version"))?,
                    recorded_at: at.time,
                    payload: block.slice_ref(walk.blob()?),
                    origin: Arc::clone(origin),
                })?,
                None => {
                    Names::pass(Kind::Event, &mut walk)?;
                    walk.number()?;
                    walk.blob()?;
                }
            }
        }
        version += events;
        at.position += events - 1;
        if version > *wanted.end() {
            break;
        }
    }
    Ok(version)
}

fn origin(walk: &mut Walk<'_>, flags: u8, names: &Names) -> Result<Origin, Malformed> {
    let command = names.command(walk)?;
    if flags & SEVERAL != 0 {
        walk.number()?;
    }
    let module = names.module(walk)?;
    let command_id = id(walk)?;
    let mut optional = OPTIONAL.map(|flag| (flags & flag != 0).then(|| id(walk)));
    let mut next = |index: usize| optional.get_mut(index).and_then(Option::take).transpose();
    Ok(Origin {
        command,
        correlation_id: next(0)?.unwrap_or_else(|| command_id.clone()),
        command_id,
        causation_id: next(1)?,
        actor: next(2)?,
        traceparent: next(3)?,
        module,
    })
}
