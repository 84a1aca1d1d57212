//! The log: chunks under dense numbers, in segments. Only the last segment is ever written.

mod chunks;
mod segment;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use bytes::Bytes;

pub(super) use self::chunks::{Packed, pack};
use self::segment::{Found, Segment, file_name, number_of};
use super::{
    LogIdentity, OpenError, ReadError, StoreOptions,
    file::{Fault, Files, Mode, WriteFault},
    format::{Chunk, Mark},
};

/// Where the segments are.
pub(super) const FOLDER: &str = "log";

#[cfg(test)]
thread_local! {
    /// How many chunks this thread has read, for whatever reason.
    pub(super) static CHUNK_READS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// All segments.
#[derive(Debug)]
pub(super) struct Log {
    files: Arc<dyn Files>,
    identity: LogIdentity,
    options: StoreOptions,
    segments: RwLock<Vec<Arc<Segment>>>,
    /// The end, as far as readers may see.
    end: Mutex<Mark>,
    /// Sealed segments that are open, the longest unused first.
    open: Mutex<VecDeque<u32>>,
}

impl Log {
    /// Creates the first segment of a new log. Whatever an unfinished creation left is replaced.
    pub(super) fn create(files: &Arc<dyn Files>, identity: LogIdentity) -> Result<(), Fault> {
        Segment::create(files, identity, 1, Mark::START)
    }

    /// Whether there is a segment that holds anything. Without `meta.redb`, an unfinished creation is told from a
    /// damaged directory by this.
    pub(super) fn holds_chunks(files: &Arc<dyn Files>) -> Result<bool, Fault> {
        let names = files.list(FOLDER).map_err(|error| Fault::from_io(&error))?;
        let numbers: Vec<_> = names.iter().filter_map(|name| number_of(name)).collect();
        match numbers.as_slice() {
            [] => Ok(false),
            [1] => Segment::is_empty(files, 1).map(|empty| !empty),
            _ => Ok(true),
        }
    }

    /// Opens the log, recovers and checks its last segment.
    pub(super) fn open(
        files: Arc<dyn Files>,
        identity: LogIdentity,
        options: StoreOptions,
    ) -> Result<Self, OpenError> {
        let names = files.list(FOLDER).map_err(|source| OpenError::Io {
            what: format!("listing `{FOLDER}`"),
            source,
        })?;
        for unfinished in names.iter().filter(|name| name.ends_with(".new")) {
            if let Err(error) = files.remove(&format!("{FOLDER}/{unfinished}")) {
                tracing::warn!(%error, unfinished, "an unfinished segment could not be removed");
            }
        }
        let numbers: Vec<u32> = names.iter().filter_map(|name| number_of(name)).collect();
        let mut segments: Vec<Arc<Segment>> = Vec::new();
        for (index, number) in numbers.iter().enumerate() {
            let expected = index as u32 + 1;
            if *number != expected {
                return Err(damaged(format!(
                    "the log lacks the segment `{}`",
                    file_name(expected)
                )));
            }
            let last = index + 1 == numbers.len();
            let (mode, cache) = if last {
                (Mode::Writable, options.log_cache_bytes)
            } else {
                (Mode::Sealed, options.sealed_cache_bytes)
            };
            let segment = Segment::open(&files, identity, *number, mode, cache)?;
            if !last {
                segment.close();
            }
            segments.push(Arc::new(segment));
        }
        let Some(last) = segments.last() else {
            return Err(damaged("the log has no segment".to_owned()));
        };
        check_order(&segments)?;
        let end = last.recover()?;
        Ok(Self {
            files,
            identity,
            options,
            segments: RwLock::new(segments),
            end: Mutex::new(end),
            open: Mutex::default(),
        })
    }

    /// The end of what readers may see.
    pub(super) fn end(&self) -> Mark {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets readers see as far as this.
    pub(super) fn set_end(&self, end: Mark) {
        *self.end.lock().unwrap_or_else(PoisonError::into_inner) = end;
    }

    /// Writes chunks; durable when it returns.
    pub(super) fn append(&self, chunks: &[(u64, Bytes)]) -> Result<(), WriteFault> {
        self.last().append(chunks)
    }

    /// After a failure: opens the last segment again and says where it ends now.
    pub(super) fn reopen(&self) -> Result<Mark, OpenError> {
        let last = self.last();
        last.reopen()?;
        last.recover()
    }

    /// Seals the last segment and begins another one, when it is full. Nothing has changed when it fails.
    pub(super) fn rotate_if_full(&self) -> Result<bool, Fault> {
        let last = self.last();
        if !last.is_full(self.options.segment_bytes) {
            return Ok(false);
        }
        let number = last.number + 1;
        let end = self.end();
        // The old file is closed, and so marked as clean, before the new one makes it a sealed one.
        last.close();
        let made = Segment::create(&self.files, self.identity, number, end).and_then(|()| {
            Segment::open(
                &self.files,
                self.identity,
                number,
                Mode::Writable,
                self.options.log_cache_bytes,
            )
            .map_err(|error| Fault::Io(error.to_string()))
        })?;
        let sealed = last.sealed(&self.files, self.options.sealed_cache_bytes);
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        segments.pop();
        segments.push(Arc::new(sealed));
        segments.push(Arc::new(made));
        tracing::info!(segment = number, "began a new log segment");
        Ok(true)
    }

    /// A chunk by its number.
    pub(super) fn chunk(&self, number: u64) -> Result<Chunk, ReadError> {
        self.segment_for(|first| first.chunk <= number).chunk(number)
    }

    /// The chunk that holds a position; none at the end.
    pub(super) fn chunk_at(&self, position: u64) -> Result<Option<Chunk>, ReadError> {
        let end = self.end();
        if position >= end.position {
            return Ok(None);
        }
        let segment = self.segment_for(|first| first.position <= position);
        let next = self.first_chunk_after(&segment).unwrap_or(end.chunk);
        segment.chunk_at(position, next).map(Some)
    }

    /// Closes every file for good.
    pub(super) fn shut(&self) {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.iter().for_each(|segment| segment.shut());
    }

    #[expect(clippy::expect_used, reason = "a log without segments does not open")]
    fn last(&self) -> Arc<Segment> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(segments.last().expect("a log has a last segment"))
    }

    /// The last segment that begins at or before what is wanted.
    fn segment_for(&self, begins_before: impl Fn(&Mark) -> bool) -> Arc<Segment> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let found = segments
            .partition_point(|segment| begins_before(&segment.first))
            .saturating_sub(1);
        let is_last = found + 1 == segments.len();
        let segment = segments.get(found).map(Arc::clone);
        drop(segments);
        let segment = segment.unwrap_or_else(|| self.last());
        if !is_last {
            self.note_use(segment.number);
        }
        segment
    }

    fn first_chunk_after(&self, segment: &Segment) -> Option<u64> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        segments.get(segment.number as usize).map(|next| next.first.chunk)
    }

    /// Keeps the number of open sealed segments within its limit.
    fn note_use(&self, number: u32) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.back() == Some(&number) {
            return;
        }
        open.retain(|other| *other != number);
        open.push_back(number);
        let surplus = (open.len() > self.options.sealed_open.max(1))
            .then(|| open.pop_front())
            .flatten();
        drop(open);
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(segment) = surplus.and_then(|number| segments.get(number as usize - 1)) {
            segment.close();
        }
    }
}

/// Each segment begins where the one before it ends, as far as their headers tell.
fn check_order(segments: &[Arc<Segment>]) -> Result<(), OpenError> {
    for pair in segments.windows(2) {
        if let [before, after] = pair {
            let ordered = before.first.chunk < after.first.chunk
                && before.first.commit < after.first.commit
                && before.first.position <= after.first.position;
            if !ordered {
                return Err(damaged(format!(
                    "segment `{}` does not begin behind the one before it",
                    file_name(after.number)
                )));
            }
        }
    }
    match segments.first() {
        Some(first) if first.first != Mark::START => Err(damaged(
            "the first segment does not begin at the beginning".to_owned(),
        )),
        _ => Ok(()),
    }
}

fn damaged(what: String) -> OpenError {
    OpenError::Damaged { what }
}

/// A read that found nothing where something must be.
fn missing(what: &str, found: Found) -> ReadError {
    match found {
        Found::Nothing => ReadError::Damaged {
            what: format!("{what} is missing"),
        },
        Found::Fault(fault) if fault.is_damage() => ReadError::Damaged {
            what: format!("{what}: {fault}"),
        },
        Found::Fault(fault) => ReadError::Unavailable {
            reason: format!("{what}: {fault}"),
        },
    }
}
