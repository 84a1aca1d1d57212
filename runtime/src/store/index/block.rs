//! A block: some consecutive events of one aggregate, as readers see them.
//!
//! ```text
//! format u8 = 1 | last version number | modules: number, each 32
//! per commit, or part of one, until the end:
//!   events number | first position number | recorded at number | module number (which of the modules)
//!   command text | command id text | correlation text?, none: the command id | causation text? | actor text?
//!   traceparent text?
//!   each event: type text | schema number | payload bytes
//! ```

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    store::format::{FORMAT, Malformed, Reader, Sink},
    vocabulary::{
        AggregateKey, CommandName, Committed, EventType, ModuleDigest, Origin, Position, RecordedEvent,
        Version,
    },
};

/// A block is closed once it has so many bytes: then it fills a page of its own, and smaller ones share pages.
const BLOCK_BYTES: usize = 3_600;

/// Encodes the events of one aggregate as blocks, each with its first version.
pub(super) fn encode(commits: &[Arc<Committed>]) -> Vec<(Version, Vec<u8>)> {
    let mut blocks = Vec::new();
    let mut open: Option<Builder> = None;
    for committed in commits {
        let commit = &committed.commit;
        let mut at = 0;
        while at < commit.events.len() {
            let builder = open.get_or_insert_with(|| Builder::new(commit.first_version.plus(at)));
            at += builder.push(committed, at);
            if builder.is_full() {
                blocks.extend(open.take().map(Builder::finish));
            }
        }
    }
    blocks.extend(open.map(Builder::finish));
    blocks
}

struct Builder {
    first: Version,
    last: Version,
    modules: Vec<ModuleDigest>,
    body: Vec<u8>,
}

impl Builder {
    fn new(first: Version) -> Self {
        Self {
            first,
            last: Version(first.0 - 1),
            modules: Vec::new(),
            body: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.body.len() >= BLOCK_BYTES
    }

    /// Adds events of a commit from the one at `from`, as many as fit, at least one; says how many.
    fn push(&mut self, committed: &Committed, from: usize) -> usize {
        let commit = &committed.commit;
        let mut room = BLOCK_BYTES.saturating_sub(self.body.len());
        let events = commit.events.get(from..).unwrap_or_default();
        let fitting = events.iter().take_while(|event| {
            let fits = room > 0;
            room = room.saturating_sub(event.payload.len() + event.event_type.as_str().len() + 8);
            fits
        });
        let count = fitting.count().max(1).min(events.len());
        let known = self.modules.iter().position(|module| *module == commit.module);
        let module = known.unwrap_or_else(|| {
            self.modules.push(commit.module);
            self.modules.len() - 1
        });
        let (context, body) = (&commit.context, &mut self.body);
        body.number(count as u64);
        body.number(committed.first_position.0 + from as u64);
        body.number(context.now);
        body.number(module as u64);
        body.text(commit.command.name.as_str());
        body.text(&context.command_id);
        let correlation = Some(&context.correlation_id).filter(|id| **id != context.command_id);
        body.text_or_none(correlation.map(String::as_str));
        body.text_or_none(context.causation_id.as_deref());
        body.text_or_none(context.actor.as_deref());
        body.text_or_none(context.traceparent.as_deref());
        for event in events.iter().take(count) {
            body.text(event.event_type.as_str());
            body.number(u64::from(event.schema));
            body.blob(&event.payload);
        }
        self.last = self.last.plus(count);
        count
    }

    fn finish(self) -> (Version, Vec<u8>) {
        let mut bytes = vec![FORMAT];
        bytes.number(self.last.0);
        bytes.number(self.modules.len() as u64);
        for module in &self.modules {
            bytes.extend_from_slice(&module.0);
        }
        bytes.extend_from_slice(&self.body);
        (self.first, bytes)
    }
}

/// The last version in a block.
pub(super) fn last_version(bytes: &Bytes) -> Result<Version, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != FORMAT {
        return Err(Malformed("block: its format is not known here"));
    }
    reader.number().map(Version)
}

/// Reads the events of a block.
pub(super) fn decode(
    bytes: &Bytes,
    key: &AggregateKey,
    first: Version,
) -> Result<Vec<RecordedEvent>, Malformed> {
    let mut reader = Reader::new(bytes);
    if reader.byte()? != FORMAT {
        return Err(Malformed("block: its format is not known here"));
    }
    let last = Version(reader.number()?);
    let mut modules = Vec::new();
    for _ in 0..reader.number()? {
        modules.push(ModuleDigest(reader.array()?));
    }
    let mut events = Vec::new();
    let mut version = first;
    while version <= last {
        let count = reader.count()?;
        let position = reader.number()?;
        let recorded_at = reader.number()?;
        let origin = Arc::new(decode_origin(&mut reader, &modules)?);
        for index in 0..count {
            events.push(RecordedEvent {
                key: key.clone(),
                version: version.plus(index),
                position: Position(position + index as u64),
                event_type: reader.text(|text| EventType::parse(text).ok())?,
                schema: u32::try_from(reader.number()?).map_err(|_| Malformed("schema version"))?,
                recorded_at,
                payload: reader.blob()?,
                origin: Arc::clone(&origin),
            });
        }
        version = version.plus(count);
    }
    reader.end()?;
    if version != last.plus(1) {
        return Err(Malformed("block: its versions do not add up"));
    }
    Ok(events)
}

fn decode_origin(reader: &mut Reader<'_>, modules: &[ModuleDigest]) -> Result<Origin, Malformed> {
    let own = |text: &str| Some(text.to_owned());
    let module = *modules
        .get(reader.count()?)
        .ok_or(Malformed("block: its module is missing"))?;
    let command = reader.text(|text| CommandName::parse(text).ok())?;
    let command_id = reader.text(own)?;
    Ok(Origin {
        command,
        correlation_id: reader.text_or_none(own)?.unwrap_or_else(|| command_id.clone()),
        command_id,
        causation_id: reader.text_or_none(own)?,
        actor: reader.text_or_none(own)?,
        traceparent: reader.text_or_none(own)?,
        module,
    })
}
