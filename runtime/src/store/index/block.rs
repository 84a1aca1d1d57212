//! A block: segments of events in the order of their aggregates' names, then of versions.
//!
//! ```text
//! bodies: each segment's commits | heads | start of each head, u32 BE | segments u32 BE | start of the heads u32 BE
//! head: type text | id text | first version number | events number | last position number | its step number
//!       last time number | its step number | start of the body number | length of the body number
//! ```
//! The steps lead from the first commit of a segment to its last, so that where an aggregate stands is read from a
//! head alone.

use std::cmp::Ordering;

use bytes::Bytes;

use super::{
    body::{self, Part, Start, Step},
    keys,
    names::Names,
};
use crate::{
    store::{
        Head,
        format::{Malformed, Sink as _, Walk},
        overlay::Member,
    },
    vocabulary::{Position, Version},
};

/// What a leaf page of redb with one block takes of it, and the checksum behind the block.
const OVERHEAD_BYTES: usize = 32 + 4;
/// A head without its name, and its place, at most.
const HEAD_BYTES: usize = 64;
/// The step to a commit, at most.
const STEP_BYTES: usize = 20;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct SegmentHead<'a> {
    /// Type text | id text.
    pub(super) aggregate: &'a [u8],
    pub(super) first_version: u64,
    pub(super) events: u64,
    first: Step,
    last: Step,
    body: &'a [u8],
}

impl SegmentHead<'_> {
    pub(super) fn last_version(&self) -> u64 {
        self.first_version + self.events - 1
    }

    /// Where the aggregate stands after it.
    pub(super) fn head(&self) -> Head {
        Head {
            version: Version(self.last_version()),
            recorded_at: self.last.time,
            position: Position(self.last.position),
        }
    }
}

/// A block that was checked.
#[derive(Debug, Clone)]
pub(super) struct Block {
    bytes: Bytes,
    heads: usize,
    offsets: usize,
    segments: usize,
}

impl Block {
    /// Takes a block apart.
    pub(super) fn open(bytes: Bytes) -> Result<Self, Malformed> {
        let wrong = Malformed("block: its end");
        let (rest, heads) = bytes.split_last_chunk::<4>().ok_or(wrong.clone())?;
        let (rest, segments) = rest.split_last_chunk::<4>().ok_or(wrong.clone())?;
        let heads = u32::from_be_bytes(*heads) as usize;
        let segments = u32::from_be_bytes(*segments) as usize;
        let offsets = segments
            .checked_mul(4)
            .and_then(|table| rest.len().checked_sub(table));
        let offsets = offsets
            .filter(|offsets| heads <= *offsets && segments > 0)
            .ok_or(wrong)?;
        Ok(Self {
            bytes,
            heads,
            offsets,
            segments,
        })
    }

    /// How many segments it has.
    pub(super) fn segments(&self) -> usize {
        self.segments
    }

    /// The head of a segment.
    pub(super) fn head(&self, index: usize) -> Result<SegmentHead<'_>, Malformed> {
        let wrong = Malformed("block: its heads");
        let at = self
            .bytes
            .get(self.offsets + index * 4..)
            .and_then(<[u8]>::first_chunk::<4>);
        let at = u32::from_be_bytes(*at.ok_or(wrong.clone())?) as usize;
        let heads = self
            .bytes
            .get(self.heads..self.offsets)
            .and_then(|heads| heads.get(at..));
        let mut walk = Walk::new(heads.ok_or(wrong.clone())?);
        walk.text()?;
        walk.text()?;
        let aggregate = walk.since(0);
        let first_version = walk.number()?;
        let events = walk.number()?;
        let position = walk.number()?;
        let position_step = walk.number()?;
        let time = walk.number()?;
        let time_step = walk.number()?;
        let start = walk.count()?;
        let end = start.checked_add(walk.count()?).filter(|end| *end <= self.heads);
        let body = end
            .and_then(|end| self.bytes.get(start..end))
            .ok_or(wrong.clone())?;
        if first_version == 0 || events == 0 {
            return Err(wrong);
        }
        Ok(SegmentHead {
            aggregate,
            first_version,
            events,
            first: Step {
                position: position.wrapping_sub(position_step),
                time: time.wrapping_sub(time_step),
            },
            last: Step { position, time },
            body,
        })
    }

    /// The first segment that is not before a name and version.
    pub(super) fn seek(&self, name: &[u8], version: u64) -> Result<usize, Malformed> {
        let (mut low, mut high) = (0, self.segments);
        let mut scratch = Vec::with_capacity(96);
        while low < high {
            let middle = low + (high - low) / 2;
            let head = self.head(middle)?;
            scratch.clear();
            keys::put_name(head.aggregate, &mut scratch)?;
            let order = scratch
                .as_slice()
                .cmp(name)
                .then(head.first_version.cmp(&version));
            if order == Ordering::Less {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Reads the events of a segment that are wanted; they must be as many as it says.
    pub(super) fn read(
        &self,
        segment: &SegmentHead<'_>,
        key: &crate::vocabulary::AggregateKey,
        names: &Names,
        wanted: &std::ops::RangeInclusive<u64>,
        take: impl FnMut(crate::vocabulary::RecordedEvent) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let start = Start {
            version: segment.first_version,
            step: segment.first,
        };
        let end = body::read(&self.bytes, segment.body, start, key, names, wanted, take)?;
        let cut_short = end > *wanted.end();
        if end == segment.last_version() + 1 || (cut_short && end <= segment.last_version()) {
            Ok(())
        } else {
            Err(Malformed("block: the versions of a segment do not add up"))
        }
    }
}

/// A block that is ready to be written.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) bytes: Vec<u8>,
    /// Name and version its first segment begins with.
    pub(super) first: (Vec<u8>, u64),
}

/// Puts segments into blocks of a size.
#[derive(Debug)]
pub(super) struct Builder {
    size: usize,
    bodies: Vec<u8>,
    heads: Vec<u8>,
    offsets: Vec<u32>,
    first: Option<(Vec<u8>, u64)>,
    open: Option<Open>,
    /// Name of the aggregate the open segment is of: type text | id text.
    aggregate: Vec<u8>,
    scratch: Vec<u8>,
    /// Blocks that are full.
    pub(super) built: Vec<Built>,
    /// How large those are together.
    pub(super) built_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    first_version: u64,
    last_version: u64,
    first: Step,
    /// The last event, which the next step begins at.
    last: Step,
    body: usize,
}

impl Builder {
    /// Blocks that fill pages of a size.
    pub(super) fn new(page_bytes: usize) -> Self {
        Self {
            size: page_bytes - OVERHEAD_BYTES,
            bodies: Vec::with_capacity(page_bytes),
            heads: Vec::new(),
            offsets: Vec::new(),
            first: None,
            open: None,
            aggregate: Vec::new(),
            scratch: Vec::new(),
            built: Vec::new(),
            built_bytes: 0,
        }
    }

    /// Parts of commits should not be larger than this.
    pub(super) fn part_bytes(&self) -> usize {
        self.size / 2
    }

    fn fits(&self, bytes: usize) -> bool {
        let open = if self.open.is_some() {
            self.aggregate.len() + HEAD_BYTES
        } else {
            0
        };
        let used = self.bodies.len() + self.heads.len() + self.offsets.len() * 4 + 8 + open;
        used + bytes <= self.size
    }

    /// Whether the open segment is the one of an aggregate that ends before a version.
    fn continues(&self, aggregate: &[u8], first_version: u64) -> Option<Open> {
        self.open.filter(|open| {
            open.last_version.checked_add(1) == Some(first_version) && self.aggregate == aggregate
        })
    }

    /// Adds a part of a commit of an aggregate, whose name is given as well.
    pub(super) fn push(
        &mut self,
        name: &[u8],
        member: &Member<'_>,
        part: &Part<'_>,
        names: &mut Names,
    ) -> Result<(), Malformed> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        body::put(member, part, names, &mut scratch)?;
        let step = Step {
            position: part.first_position,
            time: member.scan.now,
        };
        let last = Step {
            position: part.last_position(),
            ..step
        };
        let aggregate = member.scan.aggregate;
        let fits = self.fits(scratch.len() + STEP_BYTES);
        match self.continues(aggregate, part.first_version).filter(|_| fits) {
            Some(open) => {
                open.last.put(step, &mut self.bodies);
                self.open = Some(Open {
                    last_version: part.last_version(),
                    last,
                    ..open
                });
            }
            None => {
                self.begin(name, aggregate, part.first_version, scratch.len() + STEP_BYTES);
                self.open = Some(Open {
                    first_version: part.first_version,
                    last_version: part.last_version(),
                    first: step,
                    last,
                    body: self.bodies.len(),
                });
                step.put(step, &mut self.bodies);
            }
        }
        self.bodies.extend_from_slice(&scratch);
        self.scratch = scratch;
        Ok(())
    }

    /// Whether a segment would go into the block that is being built.
    pub(super) fn has_room_for(&self, segment: &SegmentHead<'_>) -> bool {
        self.offsets.is_empty() && self.open.is_none()
            || self.fits(segment.body.len() + STEP_BYTES + segment.aggregate.len() + HEAD_BYTES)
    }

    /// Adds a segment of another run. It becomes one with the open segment where it continues that.
    pub(super) fn push_segment(&mut self, name: &[u8], segment: &SegmentHead<'_>) -> Result<(), Malformed> {
        let len = segment.body.len() + STEP_BYTES;
        let fits = self.fits(len);
        match self
            .continues(segment.aggregate, segment.first_version)
            .filter(|_| fits)
        {
            Some(open) => {
                let mut walk = Walk::new(segment.body);
                let step = segment.first.get(&mut walk)?;
                open.last.put(step, &mut self.bodies);
                self.bodies.extend_from_slice(walk.rest());
                self.open = Some(Open {
                    last_version: segment.last_version(),
                    last: segment.last,
                    ..open
                });
            }
            None => {
                self.begin(name, segment.aggregate, segment.first_version, len);
                self.open = Some(Open {
                    first_version: segment.first_version,
                    last_version: segment.last_version(),
                    first: segment.first,
                    last: segment.last,
                    body: self.bodies.len(),
                });
                self.bodies.extend_from_slice(segment.body);
            }
        }
        Ok(())
    }

    /// Ends the open segment, and the block as well when nothing more goes into it.
    fn begin(&mut self, name: &[u8], aggregate: &[u8], first_version: u64, bytes: usize) {
        self.close();
        if !self.fits(bytes + aggregate.len() + HEAD_BYTES) {
            self.finish();
        }
        if self.first.is_none() {
            self.first = Some((name.to_vec(), first_version));
        }
        self.aggregate.clear();
        self.aggregate.extend_from_slice(aggregate);
    }

    fn close(&mut self) {
        let Some(open) = self.open.take() else { return };
        self.offsets.push(self.heads.len() as u32);
        let heads = &mut self.heads;
        heads.extend_from_slice(&self.aggregate);
        for number in [
            open.first_version,
            open.last_version - open.first_version + 1,
            open.last.position,
            open.last.position.wrapping_sub(open.first.position),
            open.last.time,
            open.last.time.wrapping_sub(open.first.time),
            open.body as u64,
            (self.bodies.len() - open.body) as u64,
        ] {
            heads.number(number);
        }
    }

    /// Ends the block that is being built.
    pub(super) fn finish(&mut self) {
        self.close();
        let Some(first) = self.first.take() else { return };
        let mut bytes = std::mem::replace(&mut self.bodies, Vec::with_capacity(self.size));
        let heads = bytes.len() as u32;
        bytes.append(&mut self.heads);
        for offset in &self.offsets {
            bytes.extend_from_slice(&offset.to_be_bytes());
        }
        bytes.extend_from_slice(&(self.offsets.len() as u32).to_be_bytes());
        bytes.extend_from_slice(&heads.to_be_bytes());
        self.offsets.clear();
        self.built_bytes += bytes.len();
        self.built.push(Built { bytes, first });
    }
}
