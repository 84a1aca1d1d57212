//! One redb database in a file of the data directory: opened lazily, guarded, and reopened after a failure, since a
//! handle that failed once refuses every later write.

use std::{
    fmt,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{Durability, ReadTransaction, ReadableDatabase as _, StorageBackend, WriteTransaction};

use super::{
    Fault, Files, WriteFault, guarded,
    shadowed::Shadowed,
    watched::{Trouble, Watched},
};

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Mode {
    /// Reading and writing.
    Writable,
    /// Reading only: the file is never written, not even by a recovery.
    Sealed,
}

/// A database. Every call into redb goes through here.
pub(in crate::store) struct Database {
    files: Arc<dyn Files>,
    name: String,
    cache_bytes: usize,
    mode: Mode,
    /// The handle is no good any more and is to be replaced before it is used again.
    stale: AtomicBool,
    open: RwLock<Option<Handle>>,
}

struct Handle {
    redb: redb::Database,
    trouble: Arc<Trouble>,
    /// Whether opening it was a recovery, which checks every page.
    recovered: bool,
}

impl Database {
    /// A database that opens when it is first used.
    pub(in crate::store) fn new(files: Arc<dyn Files>, name: String, cache_bytes: usize, mode: Mode) -> Self {
        Self {
            files,
            name,
            cache_bytes,
            mode,
            stale: AtomicBool::new(false),
            open: RwLock::new(None),
        }
    }

    /// Creates a file with content that is there in full or not at all: it gets its name last.
    pub(in crate::store) fn create(
        files: &Arc<dyn Files>,
        name: &str,
        fill: impl FnOnce(&WriteTransaction) -> Result<(), redb::Error>,
    ) -> Result<(), Fault> {
        let unfinished = format!("{name}.new");
        let backend = files
            .create(&unfinished)
            .map_err(|error| Fault::from_io(&error))?;
        guarded(|| {
            let redb = redb::Builder::new()
                .set_cache_size(1 << 20)
                .create_with_backend(Watched::new(backend))?;
            let mut transaction = redb.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            fill(&transaction)?;
            transaction.commit()?;
            Ok(())
        })?;
        files
            .rename(&unfinished, name)
            .map_err(|error| Fault::from_io(&error))
    }

    /// The name of the file.
    pub(in crate::store) fn name(&self) -> &str {
        &self.name
    }

    /// The size of the file.
    pub(in crate::store) fn file_bytes(&self) -> u64 {
        self.files.size(&self.name)
    }

    /// Reads in one transaction.
    pub(in crate::store) fn read<T>(
        &self,
        call: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, Fault> {
        let open = self.opened()?;
        let result = match open.as_ref() {
            Some(handle) => guarded(|| call(&handle.redb.begin_read()?)),
            None => Err(Fault::Io(format!("`{}` is closed", self.name))),
        };
        if let Err(Fault::Panicked(_)) = &result {
            // Its locks may be poisoned, and every later call would panic as well.
            self.stale.store(true, Ordering::Release);
        }
        result
    }

    /// Writes in one transaction, durable when it returns.
    pub(in crate::store) fn write<T>(
        &self,
        call: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, WriteFault> {
        let certain = |fault| WriteFault {
            fault,
            maybe_written: false,
        };
        let open = self.opened().map_err(certain)?;
        let Some(handle) = open.as_ref() else {
            return Err(certain(Fault::Io(format!("`{}` is closed", self.name))));
        };
        let mut committing = false;
        let result = guarded(|| {
            let mut transaction = handle.redb.begin_write()?;
            transaction.set_durability(Durability::Immediate)?;
            let value = call(&transaction)?;
            committing = true;
            transaction.commit()?;
            Ok(value)
        });
        result.map_err(|fault| {
            self.stale.store(true, Ordering::Release);
            // redb writes the header that makes a commit count after all its pages, so a file that could not grow
            // holds nothing of it.
            let maybe_written = committing && !handle.trouble.was_growth();
            WriteFault {
                fault: handle.trouble.first().unwrap_or(fault),
                maybe_written,
            }
        })
    }

    /// Checks every page of a file that was closed properly; one that was not has been checked on opening. False
    /// when something is wrong.
    pub(in crate::store) fn verify(&self) -> Result<bool, Fault> {
        drop(self.opened()?);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        match open.as_mut() {
            Some(handle) if !handle.recovered => guarded(|| Ok(handle.redb.check_integrity()?)),
            _ => Ok(true),
        }
    }

    /// Closes the file; the next use opens it again.
    pub(in crate::store) fn close(&self) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        drop_guarded(open.take());
    }

    /// Closes the file and opens it as the disk has it.
    pub(in crate::store) fn reopen(&self) -> Result<(), Fault> {
        self.stale.store(true, Ordering::Release);
        self.opened().map(drop)
    }

    fn opened(&self) -> Result<RwLockReadGuard<'_, Option<Handle>>, Fault> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        if open.is_some() && !self.stale.load(Ordering::Acquire) {
            return Ok(open);
        }
        drop(open);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let afresh = self.stale.load(Ordering::Acquire);
        if open.is_none() || afresh {
            drop_guarded(open.take());
            *open = Some(self.open_handle(afresh)?);
            self.stale.store(false, Ordering::Release);
        }
        drop(open);
        Ok(self.open.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn open_handle(&self, afresh: bool) -> Result<Handle, Fault> {
        let found = match self.mode {
            Mode::Writable => self.files.open(&self.name, afresh),
            Mode::Sealed => self.files.open_sealed(&self.name),
        };
        let backend = found
            .map_err(|error| Fault::from_io(&error))?
            .ok_or_else(|| Fault::Damaged(format!("`{}` is missing", self.name)))?;
        // redb would make an empty file a new database.
        if backend.len().map_err(|error| Fault::from_io(&error))? == 0 {
            return Err(Fault::Damaged(format!("`{}` is empty", self.name)));
        }
        let backend: Box<dyn StorageBackend> = match self.mode {
            Mode::Writable => backend,
            Mode::Sealed => Box::new(Shadowed::new(backend)),
        };
        let watched = Watched::new(backend);
        let trouble = Arc::clone(&watched.trouble);
        let mut builder = redb::Builder::new();
        builder.set_cache_size(self.cache_bytes);
        let recovered = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&recovered);
        builder.set_repair_callback(move |_| noted.store(true, Ordering::Release));
        let redb = guarded(|| Ok(builder.create_with_backend(watched)?))?;
        Ok(Handle {
            redb,
            trouble,
            recovered: recovered.load(Ordering::Acquire),
        })
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Database")
            .field("name", &self.name)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.close();
    }
}

/// Closing writes as well, and may panic as well.
fn drop_guarded(handle: Option<Handle>) {
    if let Err(fault) = guarded(|| {
        drop(handle);
        Ok(())
    }) {
        tracing::warn!(%fault, "closing a file failed; it is recovered when it is opened again");
    }
}
