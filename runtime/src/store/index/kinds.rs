//! How many events of which kind, which is an aggregate type and an event type, each stretch of the log has. So a feed of a few
//! kinds goes past the stretches that have none of them, and events are counted without being read.
//!
//! There is a row for each stretch of positions, and a group for so many rows, with their checksums and their sums. The
//! manifest holds a checksum over the groups and over the rows behind the last full group, so that none can be missing or older
//! than it should be. The groups are in memory, as is the row of the stretch that the index ends in: the only one that is ever
//! written again.
//!
//! ```text
//! row      chunk number: the one that holds the first position of the stretch | counts
//! group    CRC-32C u32 BE of each of its rows | counts
//! counts   kinds number, each: name number, as a step from the one before | events number
//! name     its number among the names of the index; 0: all kinds together for which there were no numbers left
//! shape    positions of a stretch number | stretches of a group number
//! ```

use std::sync::Arc;

use bytes::Bytes;
use redb::{ReadTransaction, WriteTransaction};

use super::{
    core::{Core, KIND_GROUPS, KINDS, Trouble, chain},
    manifest::Manifest,
    names::Names,
    run::{Edge, small},
    values,
};
use crate::{
    store::{
        FeedFilter,
        format::{Malformed, Mark, Reader, Sink as _, checksum},
    },
    vocabulary::LogId,
};

const STRETCH_MAX: u64 = 1 << 16;
const GROUP_MAX: u64 = 1 << 12;
const CHECKSUM: Malformed = Malformed("kinds: they are not those that were written");

/// How the log is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Positions of a stretch.
    pub(super) stretch: u64,
    /// Stretches of a group.
    pub(super) group: u64,
}

impl Shape {
    /// As near to what is asked for as is allowed.
    pub(super) fn of(stretch: u64, group: u64) -> Self {
        Self {
            stretch: stretch.clamp(1, STRETCH_MAX),
            group: group.clamp(1, GROUP_MAX),
        }
    }

    pub(super) fn put(self, bytes: &mut Vec<u8>) {
        bytes.number(self.stretch);
        bytes.number(self.group);
    }

    pub(super) fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let (stretch, group) = (reader.number()?, reader.number()?);
        let shape = Self::of(stretch, group);
        if shape.stretch != stretch || shape.group != group {
            return Err(Malformed("kinds: how the log is divided"));
        }
        Ok(shape)
    }

    /// The stretch that holds a position.
    pub(super) fn stretch_at(self, position: u64) -> u64 {
        position.saturating_sub(1) / self.stretch
    }

    /// The first position of a stretch.
    pub(super) fn start_of(self, stretch: u64) -> u64 {
        stretch.saturating_mul(self.stretch).saturating_add(1)
    }

    /// The first position of a group.
    pub(super) fn start_of_group(self, group: u64) -> u64 {
        self.start_of(group.saturating_mul(self.group))
    }
}

/// Events of each kind, in the order of their names' numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Counts(Vec<(u32, u32)>);

impl Counts {
    /// Adds events of a kind.
    pub(super) fn add(&mut self, kind: u32, events: u32) {
        match self.0.binary_search_by_key(&kind, |(kind, _)| *kind) {
            Ok(at) => {
                if let Some((_, known)) = self.0.get_mut(at) {
                    *known = known.saturating_add(events);
                }
            }
            Err(at) => self.0.insert(at, (kind, events)),
        }
    }

    fn add_all(&mut self, other: &Self) {
        for (kind, events) in &other.0 {
            self.add(*kind, *events);
        }
    }

    fn total(&self) -> u64 {
        self.0.iter().map(|(_, events)| u64::from(*events)).sum()
    }

    /// Whether there are events of which it is not known of what kind they are.
    pub(super) fn has_unknown(&self) -> bool {
        self.unknown() > 0
    }

    /// How many events there are of which it is not known of what kind they are.
    pub(super) fn unknown(&self) -> u64 {
        let first = self.0.first().filter(|(kind, _)| *kind == 0);
        first.map_or(0, |(_, events)| u64::from(*events))
    }

    /// Whether there may be something that is sought.
    pub(super) fn may_hold(&self, sought: &Sought) -> bool {
        self.has_unknown() || self.0.iter().any(|(kind, _)| sought.has(*kind))
    }

    /// How many are sought, of those whose kind is known.
    pub(super) fn sum(&self, sought: &Sought) -> u64 {
        let sought = self.0.iter().filter(|(kind, _)| sought.has(*kind));
        sought.map(|(_, events)| u64::from(*events)).sum()
    }

    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.number(self.0.len() as u64);
        let mut before = 0;
        for (kind, events) in &self.0 {
            bytes.number(u64::from(kind - before));
            bytes.number(u64::from(*events));
            before = *kind;
        }
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let mut counts = Vec::new();
        let mut kind = 0_u32;
        for index in 0..reader.number()? {
            let step = small(reader)?;
            kind = kind
                .checked_add(step)
                .filter(|_| step > 0 || index == 0)
                .ok_or(Malformed("kinds: their order"))?;
            counts.push((kind, small(reader)?));
        }
        Ok(Self(counts))
    }
}

/// Which kinds are sought, by the numbers of their names.
#[derive(Debug)]
pub(super) struct Sought(Vec<u32>);

impl Sought {
    /// Those that a filter lets through.
    pub(super) fn new(names: &Names, filter: &FeedFilter) -> Self {
        let pairs = names.pairs();
        let wanted =
            pairs.filter(|(_, aggregate_type, event_type)| filter.wants_kind(aggregate_type, event_type));
        Self(wanted.map(|(number, ..)| number).collect())
    }

    fn has(&self, kind: u32) -> bool {
        self.0.binary_search(&kind).is_ok()
    }
}

/// What is known of a stretch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Row {
    /// The chunk that holds its first position.
    pub(super) chunk: u64,
    pub(super) counts: Counts,
}

impl Row {
    pub(super) fn put(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.number(self.chunk);
        self.counts.put(&mut bytes);
        bytes
    }

    pub(super) fn get(bytes: &Bytes) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let row = Self {
            chunk: reader.number()?,
            counts: Counts::get(&mut reader)?,
        };
        reader.end()?;
        Ok(row)
    }
}

/// Some stretches together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// Of each row.
    crcs: Vec<u32>,
    pub(super) counts: Counts,
}

impl Group {
    fn put(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for crc in &self.crcs {
            bytes.extend_from_slice(&crc.to_be_bytes());
        }
        self.counts.put(&mut bytes);
        bytes
    }

    fn get(bytes: &Bytes, shape: Shape) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let mut group = Self::default();
        for _ in 0..shape.group {
            group.crcs.push(u32::from_be_bytes(reader.array()?));
        }
        group.counts = Counts::get(&mut reader)?;
        reader.end()?;
        if group.counts.total() != shape.group * shape.stretch {
            return Err(CHECKSUM);
        }
        Ok(group)
    }
}

/// All of it.
#[derive(Debug, Clone)]
pub(super) struct Kinds {
    pub(super) shape: Shape,
    /// How far the log is counted.
    pub(super) reached: Edge,
    /// The last one may have fewer rows than the others.
    groups: Vec<Arc<Group>>,
    /// The row of the stretch that the log goes on in; none when the next stretch begins with the next event.
    open: Option<Row>,
    /// Over the full groups.
    crc: u32,
}

impl Kinds {
    /// Of an empty log.
    pub(super) fn new(shape: Shape) -> Self {
        Self {
            shape,
            reached: Edge::from(Mark::START),
            groups: Vec::new(),
            open: None,
            crc: 0,
        }
    }

    /// Over everything.
    pub(super) fn crc(&self) -> u32 {
        let rest = self.groups.get(self.full_groups() as usize);
        let rows = rest.iter().flat_map(|group| &group.crcs);
        rows.fold(self.crc, |crc, row| chain(crc, &row.to_be_bytes()))
    }

    /// The group that a stretch belongs to.
    pub(super) fn group_of(&self, stretch: u64) -> Option<&Group> {
        self.groups
            .get((stretch / self.shape.group) as usize)
            .map(|group| &**group)
    }

    /// The row that is in memory only in its newest form, when it is that of the stretch.
    pub(super) fn open(&self, stretch: u64) -> Option<&Row> {
        let is_open = stretch == self.shape.stretch_at(self.reached.position);
        self.open.as_ref().filter(|_| is_open)
    }

    /// The checksum of a row.
    pub(super) fn row_crc(&self, stretch: u64) -> Option<u32> {
        let inside = (stretch % self.shape.group) as usize;
        self.group_of(stretch)?.crcs.get(inside).copied()
    }

    /// The same with the events of a run, stretch by stretch, and what is to be written for it. `chunks` has the first chunk of
    /// each stretch that begins in the run.
    pub(super) fn with(
        &self,
        counts: &[Counts],
        chunks: &[u64],
        reached: Edge,
    ) -> Result<(Self, Rows), Malformed> {
        let mut next = self.clone();
        let mut rows = Rows::default();
        let mut chunks = chunks.iter();
        let none = Counts::default();
        next.reached = reached;
        let first = self.shape.stretch_at(self.reached.position);
        let stretches = first..self.shape.stretch_at(reached.position - 1) + 1;
        let is_empty = reached.position == self.reached.position;
        for (index, stretch) in stretches.enumerate().filter(|_| !is_empty) {
            let fresh = counts.get(index).unwrap_or(&none);
            let mut row = match next.open.take() {
                Some(row) => row,
                None => Row {
                    chunk: *chunks
                        .next()
                        .ok_or(Malformed("kinds: a stretch begins nowhere"))?,
                    counts: Counts::default(),
                },
            };
            row.counts.add_all(fresh);
            let bytes = row.put();
            next.put(stretch, row, fresh, checksum([&bytes[..]]))?;
            rows.kinds.push((stretch, bytes));
            if next.full_groups() * self.shape.group > stretch
                && (stretch + 1).is_multiple_of(self.shape.group)
            {
                let bytes = next.groups.last().map(|group| group.put()).unwrap_or_default();
                next.crc = chain(next.crc, &bytes);
                rows.groups.push((stretch / self.shape.group, bytes));
            }
        }
        Ok((next, rows))
    }

    /// Puts the row of a stretch behind the others, or in the place of the last one. `fresh` is what the group lacks of it.
    fn put(&mut self, stretch: u64, row: Row, fresh: &Counts, crc: u32) -> Result<(), Malformed> {
        let end = self.shape.start_of(stretch + 1);
        let covered = end.min(self.reached.position) - self.shape.start_of(stretch);
        if row.counts.total() != covered {
            return Err(Malformed("kinds: they are not those of all events"));
        }
        if (stretch / self.shape.group) as usize == self.groups.len() {
            self.groups.push(Arc::default());
        }
        let group = self.groups.last_mut().map(Arc::make_mut).ok_or(CHECKSUM)?;
        let inside = (stretch % self.shape.group) as usize;
        match group.crcs.get_mut(inside) {
            Some(known) => *known = crc,
            None => group.crcs.push(crc),
        }
        group.counts.add_all(fresh);
        self.open = (end > self.reached.position).then_some(row);
        Ok(())
    }

    fn full_groups(&self) -> u64 {
        (self.reached.position - 1) / (self.shape.stretch * self.shape.group)
    }
}

/// What one run changes of it on the disk.
#[derive(Debug, Default)]
pub(super) struct Rows {
    kinds: Vec<(u64, Vec<u8>)>,
    groups: Vec<(u64, Vec<u8>)>,
}

impl Rows {
    pub(super) fn write(self, transaction: &WriteTransaction, log_id: LogId) -> Result<(), redb::Error> {
        for (table, rows) in [(KINDS, self.kinds), (KIND_GROUPS, self.groups)] {
            let mut table = transaction.open_table(table)?;
            for (number, bytes) in rows {
                let row = values::seal(bytes, &number.to_be_bytes(), log_id);
                table.insert(number, row.as_slice())?;
            }
        }
        Ok(())
    }
}

impl Core {
    /// Reads the groups and the rows behind the last full one.
    pub(super) fn read_kinds(
        &self,
        transaction: &ReadTransaction,
        manifest: &Manifest,
    ) -> Result<Kinds, Trouble> {
        let mut kinds = Kinds::new(manifest.shape);
        kinds.reached = Edge::from(manifest.reached);
        let full = kinds.full_groups();
        let table = transaction.open_table(KIND_GROUPS)?;
        for number in 0..full {
            let bytes = self.row(&table, number, "kinds: a group is missing")?;
            kinds.crc = chain(kinds.crc, &bytes);
            kinds.groups.push(Arc::new(Group::get(&bytes, kinds.shape)?));
        }
        let table = transaction.open_table(KINDS)?;
        let stretches = (kinds.reached.position - 1).div_ceil(kinds.shape.stretch);
        for stretch in full * kinds.shape.group..stretches {
            let bytes = self.row(&table, stretch, "kinds: a row is missing")?;
            let row = Row::get(&bytes)?;
            let counts = row.counts.clone();
            kinds.put(stretch, row, &counts, checksum([&bytes[..]]))?;
        }
        if kinds.crc() != manifest.kinds_crc {
            return Err(CHECKSUM.into());
        }
        Ok(kinds)
    }
}
