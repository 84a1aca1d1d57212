//! Consecutive chunks in memory: their bytes as they were written, and a small entry for each commit. What a commit
//! says is read from the bytes when somebody asks.

use std::{
    collections::HashSet,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

use super::table::Table;
use crate::{
    store::{
        Head,
        format::{
            Frames, Hashing, Malformed, Mark, Scan, Stored, aggregate_bytes, aggregate_of, decode_commit,
            text_of,
        },
    },
    vocabulary::{AggregateKey, Committed, IdempotencyKey, ModuleDigest, Position, Version},
};

/// Entries of one page. Small, since a page that a reader holds is copied before more is added to it.
const PAGE_ENTRIES: usize = 4_096;

/// No entry.
const NONE: u32 = u32::MAX;

/// One commit, as it is remembered.
#[derive(Debug, Clone, Copy)]
struct Entry {
    aggregate: u64,
    /// 0 without an idempotency key.
    outcome: u64,
    first_version: u64,
    first_position: u64,
    /// Where it lies in its chunk's body.
    at: u32,
    /// Which chunk of its page.
    chunk: u32,
    /// The entries of the same hash: the one before, and the oldest.
    previous: u32,
    oldest: u32,
}

/// What an entry takes in memory, with its share of the tables.
const ENTRY_BYTES: usize = size_of::<Entry>() + 40;

/// One chunk's commits.
#[derive(Debug, Clone)]
pub(in crate::store) struct Fresh {
    before: Mark,
    after: Mark,
    body: Bytes,
    entries: Vec<Entry>,
}

impl Fresh {
    /// The commits of a chunk, whose body is known to be good.
    pub(in crate::store) fn new(
        hashing: Hashing,
        before: Mark,
        after: Mark,
        body: Bytes,
    ) -> Result<Self, Malformed> {
        let mut entries = Vec::with_capacity((after.commit - before.commit) as usize);
        let mut position = before.position;
        for frame in Frames::of_body(&body) {
            let (at, stored) = frame?;
            let scan = Scan::new(stored)?;
            let aggregate = hashing.hash(scan.aggregate);
            entries.push(Entry {
                aggregate,
                outcome: scan.idempotency.map_or(0, |key| hashing.outcome(aggregate, key)),
                first_version: scan.first_version,
                first_position: position,
                at: u32::try_from(at).map_err(|_| Malformed("chunk: it is too large"))?,
                chunk: 0,
                previous: NONE,
                oldest: if scan.events == 0 { NONE } else { 0 },
            });
            position += scan.events as u64;
        }
        Ok(Self {
            before,
            after,
            body,
            entries,
        })
    }
}

/// What is looked for.
#[derive(Debug, Clone)]
pub(in crate::store) struct Wanted {
    hash: u64,
    /// Type text | id text.
    name: Vec<u8>,
}

impl Wanted {
    pub(in crate::store) fn new(hashing: Hashing, key: &AggregateKey) -> Self {
        let name = aggregate_bytes(key);
        Self {
            hash: hashing.hash(&name),
            name,
        }
    }

    /// The hash of the aggregate.
    pub(in crate::store) fn hash(&self) -> u64 {
        self.hash
    }
}

/// A commit in memory.
#[derive(Debug, Clone)]
pub(in crate::store) struct Place {
    body: Bytes,
    at: usize,
    first_position: u64,
}

impl Place {
    /// Looks at it.
    pub(in crate::store) fn scan(&self) -> Result<Scan<'_>, Malformed> {
        Scan::new(Frames::one(&self.body, self.at)?)
    }

    /// Reads it.
    pub(in crate::store) fn commit(&self) -> Result<Committed, Malformed> {
        let stored = Frames::one(&self.body, self.at)?;
        let record = self.body.slice_ref(stored.record);
        Ok(Committed {
            commit: decode_commit(ModuleDigest(*stored.module), &record)?,
            first_position: Position(self.first_position),
        })
    }

    /// Where the aggregate stands after it.
    pub(in crate::store) fn head(&self) -> Result<Head, Malformed> {
        let scan = self.scan()?;
        Ok(Head {
            version: Version(scan.last_version()),
            recorded_at: scan.now,
            position: Position(self.first_position + scan.events as u64 - 1),
        })
    }
}

/// Some chunks with their entries.
#[derive(Debug, Clone, Default)]
struct Page {
    /// Number and body of each chunk that has commits here.
    chunks: Vec<(u64, Bytes)>,
    entries: Vec<Entry>,
}

/// The entries of a segment: cheap to clone, and unchanged by what is added later.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Pages(Vec<Arc<Page>>);

impl Pages {
    fn entry(&self, number: u32) -> Option<(&Page, &Entry)> {
        let page = self.0.get(number as usize / PAGE_ENTRIES)?;
        Some((page, page.entries.get(number as usize % PAGE_ENTRIES)?))
    }

    fn stored(&self, number: u32) -> Option<Stored<'_>> {
        let (page, entry) = self.entry(number)?;
        let (_, body) = page.chunks.get(entry.chunk as usize)?;
        Frames::one(body, entry.at as usize).ok()
    }

    fn name(&self, number: u32) -> Option<&[u8]> {
        aggregate_of(self.stored(number)?.record).ok()
    }

    fn place(&self, number: u32) -> Option<Place> {
        let (page, entry) = self.entry(number)?;
        let (_, body) = page.chunks.get(entry.chunk as usize)?;
        Some(Place {
            body: body.clone(),
            at: entry.at as usize,
            first_position: entry.first_position,
        })
    }

    /// The entries of one hash, from one on backwards.
    fn chain(&self, newest: u32) -> impl Iterator<Item = (u32, &Entry)> + '_ {
        let mut at = newest;
        std::iter::from_fn(move || {
            let number = at;
            let (_, entry) = self.entry(number)?;
            at = entry.previous;
            Some((number, entry))
        })
    }

    /// The commits of an aggregate that hold versions from `low` to `high`, oldest first.
    pub(super) fn between(&self, chain: &Chain, low: u64, high: u64) -> Vec<Place> {
        let mut found = Vec::new();
        for (number, entry) in self.chain(chain.newest) {
            if entry.first_version <= high && self.name(number) == Some(&chain.name) {
                found.extend(self.place(number));
                if entry.first_version <= low {
                    break;
                }
            }
        }
        found.reverse();
        found
    }

    /// Shows every commit with events from about a position on, in the order of the log, with its first position.
    pub(in crate::store) fn look(
        &self,
        position: u64,
        mut look: impl FnMut(u64, &Scan<'_>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let begins = |page: &Arc<Page>| {
            page.entries
                .first()
                .is_some_and(|entry| entry.first_position <= position)
        };
        let first = self.0.partition_point(begins).saturating_sub(1);
        for page in self.0.iter().skip(first) {
            for entry in page.entries.iter().filter(|entry| entry.oldest != NONE) {
                let chunk = page.chunks.get(entry.chunk as usize);
                let (_, body) = chunk.ok_or(Malformed("overlay: a chunk is missing"))?;
                look(
                    entry.first_position,
                    &Scan::new(Frames::one(body, entry.at as usize)?)?,
                )?;
            }
        }
        Ok(())
    }

    /// The newest commit with events of each aggregate of a type, given as it is encoded, in no order.
    pub(super) fn newest_of(&self, of_type: &[u8]) -> Vec<(&[u8], Place)> {
        let mut seen = HashSet::new();
        let pages = self.0.iter().enumerate().rev();
        let newest_first = pages.flat_map(|(page, entries)| {
            let numbered = (page * PAGE_ENTRIES..).zip(&entries.entries);
            numbered.collect::<Vec<_>>().into_iter().rev()
        });
        newest_first
            .filter(|(_, entry)| entry.oldest != NONE)
            .filter_map(|(number, _)| Some((self.name(number as u32)?, number as u32)))
            .filter(|(name, _)| name.starts_with(of_type) && seen.insert(*name))
            .filter_map(|(name, number)| Some((name, self.place(number)?)))
            .collect()
    }
}

/// The commits of one aggregate.
#[derive(Debug, Clone)]
pub(super) struct Chain {
    name: Vec<u8>,
    newest: u32,
    /// The first version that is here; everything below is in the index or in an older segment.
    pub(super) first: u64,
}

/// Consecutive chunks, and the tables over their commits.
#[derive(Debug, Clone)]
pub(in crate::store) struct Segment {
    /// The log before it.
    pub(in crate::store) before: Mark,
    /// The log behind it.
    pub(in crate::store) after: Mark,
    /// How many events it has.
    pub(in crate::store) events: usize,
    /// Roughly what it takes in memory.
    pub(in crate::store) bytes: usize,
    pages: Pages,
    /// The newest entry with events of each hash of an aggregate.
    newest: Table,
    outcomes: Table,
    /// Set once two aggregates were seen to share a hash.
    mixed: OnceLock<()>,
}

impl Segment {
    /// Nothing, from a mark on.
    pub(super) fn new(before: Mark) -> Self {
        Self {
            before,
            after: before,
            events: 0,
            bytes: 0,
            pages: Pages::default(),
            newest: Table::default(),
            outcomes: Table::default(),
            mixed: OnceLock::new(),
        }
    }

    /// Whether there is nothing in it.
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.before.chunk == self.after.chunk
    }

    /// Adds the next chunk.
    pub(super) fn add(&mut self, fresh: Fresh) {
        if self.is_empty() {
            self.before = fresh.before;
        }
        self.after = fresh.after;
        self.events += (fresh.after.position - fresh.before.position) as usize;
        self.bytes += fresh.body.len() + fresh.entries.len() * ENTRY_BYTES;
        let chunk = fresh.before.chunk;
        for entry in fresh.entries {
            self.add_entry(entry, chunk, &fresh.body);
        }
    }

    fn add_entry(&mut self, mut entry: Entry, chunk: u64, body: &Bytes) {
        let pages = &mut self.pages.0;
        let full = pages.last().is_none_or(|page| page.entries.len() == PAGE_ENTRIES);
        if full {
            pages.push(Arc::default());
        }
        let first = (pages.len() - 1) * PAGE_ENTRIES;
        let number = (first + pages.last().map_or(0, |page| page.entries.len())) as u32;
        if entry.outcome != 0 {
            self.outcomes.put(entry.outcome, number, |_| false);
        }
        if entry.oldest != NONE {
            let pages = &self.pages;
            let hash = entry.aggregate;
            let same = |other| {
                pages
                    .entry(other)
                    .is_some_and(|(_, other)| other.aggregate == hash)
            };
            let previous = self.newest.put(hash, number, same);
            entry.previous = previous.unwrap_or(NONE);
            entry.oldest = previous
                .and_then(|previous| Some(pages.entry(previous)?.1.oldest))
                .unwrap_or(number);
        }
        // A page that a reader holds is copied here.
        if let Some(page) = self.pages.0.last_mut().map(Arc::make_mut) {
            if page.chunks.last().is_none_or(|(last, _)| *last != chunk) {
                page.chunks.push((chunk, body.clone()));
            }
            entry.chunk = (page.chunks.len() - 1) as u32;
            page.entries.push(entry);
        }
    }

    /// The commits of an aggregate.
    pub(super) fn chain(&self, wanted: &Wanted) -> Option<Chain> {
        let newest = self.newest_entry(wanted)?;
        let oldest = self.pages.entry(newest)?.1.oldest;
        let first = if self.pages.name(oldest) == Some(&wanted.name) {
            self.pages.entry(oldest)?.1.first_version
        } else {
            // Two aggregates share a hash.
            let own = self
                .pages
                .chain(newest)
                .filter(|(number, _)| self.pages.name(*number) == Some(&wanted.name));
            own.last()?.1.first_version
        };
        Some(Chain {
            name: wanted.name.clone(),
            newest,
            first,
        })
    }

    fn newest_entry(&self, wanted: &Wanted) -> Option<u32> {
        let same = |number: &u32| {
            self.pages
                .entry(*number)
                .is_some_and(|(_, entry)| entry.aggregate == wanted.hash)
        };
        let newest = self.newest.candidates(wanted.hash).find(same)?;
        let mut chain = self.pages.chain(newest);
        let own = chain.find(|(number, _)| self.pages.name(*number) == Some(&wanted.name));
        own.map(|(number, _)| number)
    }

    /// The newest commit with events of an aggregate.
    pub(super) fn newest(&self, wanted: &Wanted) -> Option<Place> {
        self.pages.place(self.newest_entry(wanted)?)
    }

    /// The commit that an idempotency key is bound to.
    pub(super) fn outcome(&self, wanted: &Wanted, hash: u64, idempotency: &IdempotencyKey) -> Option<Place> {
        let is_key = |encoded: &[u8]| text_of(encoded).is_ok_and(|text| text == idempotency.as_str());
        let is_it = |number: &u32| {
            self.pages
                .entry(*number)
                .is_some_and(|(_, entry)| entry.outcome == hash)
                && self
                    .pages
                    .stored(*number)
                    .and_then(|stored| Scan::new(stored).ok())
                    .is_some_and(|scan| scan.aggregate == wanted.name && scan.idempotency.is_some_and(is_key))
        };
        self.pages.place(self.outcomes.candidates(hash).find(is_it)?)
    }

    /// Its entries, as they are now.
    pub(super) fn pages(&self) -> Pages {
        self.pages.clone()
    }
}

/// A commit of a sealed segment, for the index.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Member<'a> {
    pub(in crate::store) scan: Scan<'a>,
    pub(in crate::store) first_position: u64,
}

/// Where a commit with an idempotency key lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) struct Bound {
    /// The hash of aggregate and key.
    pub(in crate::store) hash: u64,
    pub(in crate::store) chunk: u64,
    pub(in crate::store) ordinal: u32,
    pub(in crate::store) first_position: u64,
}

impl Segment {
    fn is_mixed(&self) -> bool {
        self.mixed.get().is_some()
    }

    /// The aggregates that have events, each with its hash, its name as it is encoded, and its newest entry.
    pub(in crate::store) fn aggregates(&self) -> Vec<(u64, &[u8], u32)> {
        let own = |number: u32| {
            let (_, entry) = self.pages.entry(number)?;
            Some((entry.aggregate, self.pages.name(number)?, number))
        };
        if !self.is_mixed() {
            return self.newest.numbers().filter_map(own).collect();
        }
        let mut seen = HashSet::new();
        let chains = self.newest.numbers().flat_map(|newest| self.pages.chain(newest));
        chains
            .filter_map(|(number, _)| own(number))
            .filter(|(_, name, _)| seen.insert(*name))
            .collect()
    }

    /// The commits with events of one aggregate, given by its newest entry, oldest first. False when it turns out that
    /// two aggregates share a hash: then whoever asks begins again, and gets each by itself.
    pub(in crate::store) fn members<'a>(
        &'a self,
        newest: u32,
        into: &mut Vec<Member<'a>>,
    ) -> Result<bool, Malformed> {
        into.clear();
        let mut name = None;
        for (number, entry) in self.pages.chain(newest) {
            let stored = self.pages.stored(number);
            let scan = Scan::new(stored.ok_or(Malformed("overlay: a commit is missing"))?)?;
            if *name.get_or_insert(scan.aggregate) != scan.aggregate {
                if self.is_mixed() {
                    continue;
                }
                self.mixed.get_or_init(|| ());
                return Ok(false);
            }
            into.push(Member {
                scan,
                first_position: entry.first_position,
            });
        }
        into.reverse();
        Ok(true)
    }

    /// Every commit in the order of the log: its chunk and first position.
    pub(in crate::store) fn places(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.entries().map(|(chunk, entry)| (chunk, entry.first_position))
    }

    /// Every commit in the order of the log, with its chunk.
    fn entries(&self) -> impl Iterator<Item = (u64, &Entry)> + '_ {
        self.pages.0.iter().flat_map(|page| {
            let numbers = page
                .entries
                .iter()
                .filter_map(|entry| Some(page.chunks.get(entry.chunk as usize)?.0));
            numbers.zip(&page.entries)
        })
    }

    /// The commits with an idempotency key, in the order of the log.
    pub(in crate::store) fn bound(&self) -> impl Iterator<Item = Bound> + '_ {
        let (mut chunk, mut ordinal) = (0, 0);
        self.entries().filter_map(move |(of, entry)| {
            ordinal = if of == chunk { ordinal + 1 } else { 0 };
            chunk = of;
            (entry.outcome != 0).then_some(Bound {
                hash: entry.outcome,
                chunk,
                ordinal,
                first_position: entry.first_position,
            })
        })
    }
}
