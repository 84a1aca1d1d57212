//! One segment: a redb file with a header and a run of chunks.
//!
//! ```text
//! table "segment"  "header" → format u8 | reserved 3 | log id 16 | segment u32 BE | mark (56) | CRC-32C u32 BE
//! table "chunks"   chunk number u64 → chunk
//! ```

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use redb::{ReadableTable as _, ReadableTableMetadata as _, TableDefinition};

use super::{FOLDER, chunks::stored_bytes, damaged, missing};
use crate::store::{
    LogIdentity, OpenError, ReadError,
    file::{Database, Fault, Files, Mode, WriteFault},
    format::{Chunk, FORMAT, Malformed, Mark, Reader, checksum},
};

const HEADER: TableDefinition<&str, &[u8]> = TableDefinition::new("segment");
const CHUNKS: TableDefinition<u64, &[u8]> = TableDefinition::new("chunks");

/// Places of positions that are remembered per segment.
const HINTS_MAX: usize = 4_096;

/// One file of the log.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u32,
    /// The log before it.
    pub(super) first: Mark,
    identity: LogIdentity,
    database: Database,
    /// Roughly what it takes on the disk.
    file_bytes: AtomicU64,
    /// The last write made the file longer.
    has_grown: AtomicBool,
    /// First position → chunk, where a reader has been.
    hints: Mutex<BTreeMap<u64, u64>>,
}

/// What was found instead of a chunk.
pub(super) enum Found {
    Nothing,
    Fault(Fault),
}

pub(super) fn file_name(number: u32) -> String {
    format!("{FOLDER}/{number:08}.redb")
}

pub(super) fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".redb")?;
    (digits.len() == 8).then(|| digits.parse().ok()).flatten()
}

impl Segment {
    /// Creates the file with its header.
    pub(super) fn create(
        files: &Arc<dyn Files>,
        identity: LogIdentity,
        number: u32,
        first: Mark,
    ) -> Result<(), Fault> {
        let mut header = vec![FORMAT, 0, 0, 0];
        header.extend_from_slice(&identity.log_id.0);
        header.extend_from_slice(&number.to_be_bytes());
        first.put(&mut header);
        let crc = checksum([&header[..]]);
        header.extend_from_slice(&crc.to_be_bytes());
        Database::create(files, &file_name(number), |transaction| {
            transaction
                .open_table(HEADER)?
                .insert("header", header.as_slice())?;
            transaction.open_table(CHUNKS)?;
            Ok(())
        })
    }

    /// Whether the file holds no chunk yet.
    pub(super) fn is_empty(files: &Arc<dyn Files>, number: u32) -> Result<bool, Fault> {
        let database = Database::new(Arc::clone(files), file_name(number), 1 << 20, Mode::Writable);
        database.read(|transaction| {
            let table = transaction.open_table(CHUNKS)?;
            Ok(table.first()?.is_none())
        })
    }

    /// Opens the file and checks its header.
    pub(super) fn open(
        files: &Arc<dyn Files>,
        identity: LogIdentity,
        number: u32,
        mode: Mode,
        cache_bytes: usize,
    ) -> Result<Self, OpenError> {
        let name = file_name(number);
        let database = Database::new(Arc::clone(files), name.clone(), cache_bytes, mode).with_late_frees();
        let header = database
            .read(|transaction| {
                let table = transaction.open_table(HEADER)?;
                Ok(table
                    .get("header")?
                    .map(|found| Bytes::copy_from_slice(found.value())))
            })
            .map_err(|fault| open_error(&name, &fault))?
            .ok_or_else(|| damaged(format!("`{name}` has no header")))?;
        let first = read_header(&name, &header, identity, number)?;
        Ok(Self {
            number,
            first,
            identity,
            database,
            file_bytes: AtomicU64::new(0),
            has_grown: AtomicBool::new(false),
            hints: Mutex::default(),
        })
    }

    /// The same file, from now on only read.
    pub(super) fn sealed(&self, files: &Arc<dyn Files>, cache_bytes: usize) -> Self {
        let name = file_name(self.number);
        Self {
            number: self.number,
            first: self.first,
            identity: self.identity,
            database: Database::new(Arc::clone(files), name, cache_bytes, Mode::Sealed),
            file_bytes: AtomicU64::new(self.file_bytes()),
            has_grown: AtomicBool::new(false),
            hints: Mutex::default(),
        }
    }

    /// Checks the file's structure, reads its last chunk, and says where the log ends.
    pub(super) fn recover(&self) -> Result<Mark, OpenError> {
        let name = self.database.name();
        let intact = self.database.verify().map_err(|fault| open_error(name, &fault))?;
        if !intact {
            return Err(damaged(format!("`{name}` has damaged pages")));
        }
        let (last, count) = self
            .database
            .read(|transaction| {
                let table = transaction.open_table(CHUNKS)?;
                let last = table.last()?.map(|(number, _)| number.value());
                Ok((last, table.len()?))
            })
            .map_err(|fault| open_error(name, &fault))?;
        self.file_bytes
            .store(self.database.file_bytes(), Ordering::Release);
        let Some(last) = last else {
            return Ok(self.first);
        };
        if last.checked_sub(self.first.chunk).map(|more| more + 1) != Some(count) {
            return Err(damaged(format!("`{name}` lacks chunks before chunk {last}")));
        }
        let chunk = self.chunk(last).map_err(|error| damaged(error.to_string()))?;
        let (_, after) = chunk
            .read_all()
            .map_err(|error| damaged(format!("chunk {last} in `{name}`: {error}")))?;
        Ok(after)
    }

    /// Opens the file afresh.
    pub(super) fn reopen(&self) -> Result<(), OpenError> {
        self.database
            .reopen()
            .map_err(|fault| open_error(self.database.name(), &fault))
    }

    /// Whether it is to be sealed: it holds so much, or it has more than half of that and has just grown. redb makes a file
    /// twice as long whenever it is full, and cuts off an end that is free when the file is closed. Once more has been
    /// written the end is not free any more, and what it left of the growth would stay in the file's length for ever.
    pub(super) fn is_full(&self, segment_bytes: u64) -> bool {
        let bytes = self.file_bytes();
        bytes >= segment_bytes || (bytes >= segment_bytes / 2 && self.has_grown.load(Ordering::Acquire))
    }

    fn file_bytes(&self) -> u64 {
        self.file_bytes.load(Ordering::Acquire)
    }

    /// Writes chunks in one transaction.
    pub(super) fn append(&self, chunks: &[(u64, Bytes)]) -> Result<(), WriteFault> {
        let ((), has_grown) = self.database.write_noting_growth(|transaction| {
            let mut table = transaction.open_table(CHUNKS)?;
            for (number, bytes) in chunks {
                table.insert(number, &bytes[..])?;
            }
            Ok(())
        })?;
        let bytes: usize = chunks.iter().map(|(_, bytes)| stored_bytes(bytes.len())).sum();
        self.file_bytes.fetch_add(bytes as u64, Ordering::AcqRel);
        self.has_grown.store(has_grown, Ordering::Release);
        Ok(())
    }

    /// A chunk by its number.
    pub(super) fn chunk(&self, number: u64) -> Result<Chunk, ReadError> {
        #[cfg(test)]
        super::CHUNK_READS.set(super::CHUNK_READS.get() + 1);
        let what = || format!("chunk {number} in `{}`", self.database.name());
        let bytes = self
            .database
            .read(|transaction| {
                let table = transaction.open_table(CHUNKS)?;
                Ok(table
                    .get(number)?
                    .map(|found| Bytes::copy_from_slice(found.value())))
            })
            .map_err(|fault| missing(&what(), Found::Fault(fault)))?
            .ok_or_else(|| missing(&what(), Found::Nothing))?;
        let chunk = Chunk::open(self.identity.log_id, bytes).and_then(|chunk| {
            if chunk.before.chunk != number {
                Err(Malformed("chunk: it stands under another number"))
            } else if chunk.epoch > self.identity.epoch {
                Err(Malformed("chunk: it is of a branch that this log does not know"))
            } else {
                Ok(chunk)
            }
        });
        chunk.map_err(|error| ReadError::Damaged {
            what: format!("{}: {error}", what()),
        })
    }

    /// The chunk that holds a position, which lies before the chunk `next`.
    pub(super) fn chunk_at(&self, position: u64, next: u64) -> Result<Chunk, ReadError> {
        let (mut low, mut high) = self.hint(position, next);
        // Of several chunks that begin at the same position, only the last can hold it.
        while low + 1 < high {
            let middle = low + (high - low) / 2;
            let chunk = self.chunk(middle)?;
            self.remember(&chunk);
            if chunk.before.position <= position {
                low = middle;
            } else {
                high = middle;
            }
        }
        let chunk = self.chunk(low)?;
        self.remember(&chunk);
        Ok(chunk)
    }

    /// The chunk that is known to begin at or before a position, and one known to begin behind it.
    fn hint(&self, position: u64, next: u64) -> (u64, u64) {
        let hints = self.hints.lock().unwrap_or_else(PoisonError::into_inner);
        let low = hints
            .range(..=position)
            .next_back()
            .map_or(self.first.chunk, |(_, chunk)| *chunk);
        let high = hints
            .range(position + 1..)
            .next()
            .map_or(next, |(_, chunk)| *chunk);
        (low, high.min(next).max(low + 1))
    }

    fn remember(&self, chunk: &Chunk) {
        let mut hints = self.hints.lock().unwrap_or_else(PoisonError::into_inner);
        if hints.len() >= HINTS_MAX {
            hints.clear();
        }
        let known = hints.entry(chunk.before.position).or_insert(chunk.before.chunk);
        *known = (*known).max(chunk.before.chunk);
    }

    /// Closes the file for good.
    pub(super) fn shut(&self) {
        self.database.shut();
    }

    /// Closes the file; the next read opens it again.
    pub(super) fn close(&self) {
        self.database.close();
    }
}

fn read_header(name: &str, header: &Bytes, identity: LogIdentity, number: u32) -> Result<Mark, OpenError> {
    let wrong = |error: Malformed| damaged(format!("the header of `{name}`: {error}"));
    let mut reader = Reader::new(header);
    let format = reader.byte().map_err(wrong)?;
    if format > FORMAT {
        return Err(OpenError::NewerFormat {
            what: format!("`{name}`"),
            found: u32::from(format),
            supported: u32::from(FORMAT),
        });
    }
    let body = header.get(..header.len().saturating_sub(4)).unwrap_or_default();
    let mut parse = || {
        reader.array::<3>()?;
        let log_id = reader.array::<16>()?;
        let found = u32::from_be_bytes(reader.array()?);
        let first = Mark::get(&mut reader)?;
        let crc = u32::from_be_bytes(reader.array()?);
        if crc != checksum([body]) {
            return Err(Malformed("header: its checksum does not match"));
        }
        Ok((log_id, found, first))
    };
    let (log_id, found, first) = parse().map_err(wrong)?;
    if log_id != identity.log_id.0 {
        return Err(damaged(format!(
            "`{name}` belongs to another log than `meta.redb`"
        )));
    }
    if found != number {
        return Err(damaged(format!("`{name}` is segment {found} under another name")));
    }
    Ok(first)
}

fn open_error(name: &str, fault: &Fault) -> OpenError {
    match fault {
        Fault::Damaged(_) | Fault::Panicked(_) => damaged(format!("`{name}`: {fault}")),
        Fault::Full(_) | Fault::Io(_) => OpenError::Io {
            what: format!("opening `{name}`"),
            source: std::io::Error::other(fault.to_string()),
        },
    }
}
