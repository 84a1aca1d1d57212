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
        AggregateKey, CommandName, Commit, Committed, EventType, ModuleDigest, Origin, Position,
        RecordedEvent, Version,
    },
};

/// redb's page, and what a leaf page with one row takes of it: header and the ends of key and value.
const PAGE_BYTES: usize = 4096;
const LEAF_BYTES: usize = 16;
/// The checksum behind a block.
const SEAL_BYTES: usize = 4;
/// Format and last version, at most.
const HEAD_BYTES: usize = 11;

/// Encodes events of one aggregate as blocks, each with its first version. The newest block of the index is gone on
/// with until it fills a page: were every run a row of its own, half of each page would stay empty, because redb
/// splits full pages in the middle, and nothing is ever added to the first half.
pub(super) fn encode(
    commits: &[Arc<Committed>],
    newest: Option<(Version, Bytes)>,
    key_bytes: usize,
) -> Result<Vec<(Version, Vec<u8>)>, Malformed> {
    let mut blocks = Vec::new();
    let mut open = match newest {
        Some((first, block)) => Some(Builder::resume(first, &block)?),
        None => None,
    };
    let size = PAGE_BYTES - LEAF_BYTES - SEAL_BYTES - key_bytes.min(1_024);
    let mut changed = false;
    for committed in commits {
        let commit = &committed.commit;
        let mut at = 0;
        while at < commit.events.len() {
            let builder = open.get_or_insert_with(|| Builder::new(commit.first_version.plus(at)));
            let added = builder.push(committed, at, size);
            changed |= added > 0;
            at += added;
            if added == 0 {
                blocks.extend(open.take().filter(|_| changed).map(Builder::finish));
                changed = false;
            }
        }
    }
    blocks.extend(open.filter(|_| changed).map(Builder::finish));
    Ok(blocks)
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

    /// Goes on with a block.
    fn resume(first: Version, block: &Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(block);
        let (last, modules) = decode_head(&mut reader)?;
        Ok(Self {
            first,
            last,
            modules,
            body: reader.rest().to_vec(),
        })
    }

    /// Adds events of a commit from the one at `from`, as many as fit into a block of a size; says how many. An empty
    /// block takes one whatever its size.
    fn push(&mut self, committed: &Committed, from: usize, size: usize) -> usize {
        let commit = &committed.commit;
        let known = self.modules.iter().position(|module| *module == commit.module);
        let module = known.unwrap_or(self.modules.len());
        let mut origin = Vec::with_capacity(128);
        put_origin(commit, module, &mut origin);
        let modules = self.modules.len() + usize::from(known.is_none());
        // Count and position of the part are numbers of at most ten bytes, the number of modules one of three.
        let mut used = HEAD_BYTES + 3 + modules * 32 + self.body.len() + 20 + origin.len();
        let events = commit.events.get(from..).unwrap_or_default();
        let fitting = events.iter().take_while(|event| {
            used += event.payload.len() + event.event_type.as_str().len() + 10;
            used <= size
        });
        let least = usize::from(self.body.is_empty());
        let count = fitting.count().max(least).min(events.len());
        if count == 0 {
            return 0;
        }
        if known.is_none() {
            self.modules.push(commit.module);
        }
        self.body.number(count as u64);
        self.body.number(committed.first_position.0 + from as u64);
        self.body.extend_from_slice(&origin);
        for event in events.iter().take(count) {
            self.body.text(event.event_type.as_str());
            self.body.number(u64::from(event.schema));
            self.body.blob(&event.payload);
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

fn put_origin(commit: &Commit, module: usize, bytes: &mut Vec<u8>) {
    let context = &commit.context;
    bytes.number(context.now);
    bytes.number(module as u64);
    bytes.text(commit.command.name.as_str());
    bytes.text(&context.command_id);
    let correlation = Some(&context.correlation_id).filter(|id| **id != context.command_id);
    bytes.text_or_none(correlation.map(String::as_str));
    bytes.text_or_none(context.causation_id.as_deref());
    bytes.text_or_none(context.actor.as_deref());
    bytes.text_or_none(context.traceparent.as_deref());
}

fn decode_head(reader: &mut Reader<'_>) -> Result<(Version, Vec<ModuleDigest>), Malformed> {
    if reader.byte()? != FORMAT {
        return Err(Malformed("block: its format is not known here"));
    }
    let last = Version(reader.number()?);
    let mut modules = Vec::new();
    for _ in 0..reader.number()? {
        modules.push(ModuleDigest(reader.array()?));
    }
    Ok((last, modules))
}

/// The last version in a block.
pub(super) fn last_version(bytes: &Bytes) -> Result<Version, Malformed> {
    decode_head(&mut Reader::new(bytes)).map(|(last, _)| last)
}

/// Reads the events of a block.
pub(super) fn decode(
    bytes: &Bytes,
    key: &AggregateKey,
    first: Version,
) -> Result<Vec<RecordedEvent>, Malformed> {
    let mut reader = Reader::new(bytes);
    let (last, modules) = decode_head(&mut reader)?;
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
