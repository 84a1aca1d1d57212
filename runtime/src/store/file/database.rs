//! One redb database in a file of the data directory: opened lazily, guarded, and reopened after a failure, since a
//! handle that failed once refuses every later write.

use std::{
    fmt,
    mem::ManuallyDrop,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{Durability, ReadTransaction, ReadableDatabase as _, StorageBackend, WriteTransaction};

use super::{
    Fault, Files, WriteFault, guarded,
    shadowed::Shadowed,
    watched::{Cable, Watched},
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
    /// Commits carry what redb needs to open the file at once after an abort, for a second fsync each.
    quick_repair: bool,
    /// Pages that a commit frees are put to use again by the commit after the next one.
    frees_late: bool,
    /// A write failed: the handle refuses everything but what it has in its cache, and is to be replaced.
    failed: AtomicBool,
    /// redb panicked: its locks may be poisoned, so the handle is replaced before anything else.
    poisoned: AtomicBool,
    /// Bytes did not check out: redb must not write to the file on closing it.
    damaged: AtomicBool,
    /// The store is closed: nothing opens the file again, which may belong to another process by now.
    shut: AtomicBool,
    open: RwLock<Option<Handle>>,
}

struct Handle {
    /// Keeps the pages that the next commit frees, when they are freed late. It goes before the database does.
    pin: Mutex<Option<ReadTransaction>>,
    redb: redb::Database,
    cable: Arc<Cable>,
    /// Whether opening it was a recovery, which checks every page.
    recovered: bool,
    /// The file could not be opened for writing: this handle only reads, until that works again.
    fallback: bool,
}

/// What a handle is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Read,
    Write,
}

impl Database {
    /// A database that opens when it is first used.
    pub(in crate::store) fn new(files: Arc<dyn Files>, name: String, cache_bytes: usize, mode: Mode) -> Self {
        Self {
            files,
            name,
            cache_bytes,
            mode,
            quick_repair: false,
            frees_late: false,
            failed: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
            shut: AtomicBool::new(false),
            open: RwLock::new(None),
        }
    }

    /// For a large file whose commits nobody waits for.
    pub(in crate::store) fn with_quick_repair(mut self) -> Self {
        self.quick_repair = true;
        self
    }

    /// For a file with many small commits that somebody waits for. Behind each commit redb looks for pages that nobody reads any
    /// more, and frees them in a second commit, in memory. It takes about a tenth of a small commit's time, and is left out
    /// while somebody reads the state before the commit: then the next commit does it in passing.
    pub(in crate::store) fn with_late_frees(mut self) -> Self {
        self.frees_late = true;
        self
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
        let open = self.opened(Use::Read)?;
        let result = match open.as_ref() {
            Some(handle) => guarded(|| call(&handle.redb.begin_read()?)),
            None => Err(Fault::Io(format!("`{}` is closed", self.name))),
        };
        result.inspect_err(|fault| self.note(fault))
    }

    /// Writes in one transaction, durable when it returns.
    pub(in crate::store) fn write<T>(
        &self,
        call: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, WriteFault> {
        self.write_noting_growth(call).map(|(value, _)| value)
    }

    /// The same, and whether the file had to be made longer for it.
    pub(in crate::store) fn write_noting_growth<T>(
        &self,
        call: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>,
    ) -> Result<(T, bool), WriteFault> {
        let certain = |fault| WriteFault {
            fault,
            maybe_written: false,
        };
        let open = self.opened(Use::Write).map_err(certain)?;
        let Some(handle) = open.as_ref() else {
            return Err(certain(Fault::Io(format!("`{}` is closed", self.name))));
        };
        let mut committing = false;
        let syncs = handle.cable.syncs();
        let growths = handle.cable.growths();
        let result = guarded(|| {
            if self.frees_late {
                let pin = handle.redb.begin_read()?;
                *handle.pin.lock().unwrap_or_else(PoisonError::into_inner) = Some(pin);
            }
            // After a panic it is leaked: dropping it on poisoned locks would panic again, which aborts the process.
            let mut transaction = ManuallyDrop::new(handle.redb.begin_write()?);
            transaction.set_durability(Durability::Immediate)?;
            transaction.set_quick_repair(self.quick_repair);
            let result = call(&transaction);
            let transaction = ManuallyDrop::into_inner(transaction);
            let value = result?;
            committing = true;
            transaction.commit()?;
            Ok((value, handle.cable.growths() != growths))
        });
        result.map_err(|fault| {
            self.failed.store(true, Ordering::Release);
            self.note(&fault);
            // redb writes the header that makes a commit count right before its fsync. So a file that could not grow
            // before that holds nothing of it; after it the file may have been cut, which can fail as well.
            let before_header = handle.cable.syncs() == syncs && handle.cable.trouble.was_resizing();
            let maybe_written = committing && !before_header;
            WriteFault {
                fault: handle.cable.trouble.first().unwrap_or(fault),
                maybe_written,
            }
        })
    }

    /// Checks every page of a file that was closed properly; one that was not has been checked on opening. False
    /// when something is wrong.
    pub(in crate::store) fn verify(&self) -> Result<bool, Fault> {
        drop(self.opened(Use::Write)?);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let intact = match open.as_mut() {
            Some(handle) if !handle.recovered => {
                handle.unpin();
                guarded(|| Ok(handle.redb.check_integrity()?))
            }
            _ => Ok(true),
        };
        match &intact {
            Ok(intact) => self.damaged.store(!intact, Ordering::Release),
            Err(fault) => self.note(fault),
        }
        intact
    }

    /// Says that bytes in it did not check out, which redb itself does not notice.
    pub(in crate::store) fn distrust(&self) {
        self.damaged.store(true, Ordering::Release);
    }

    fn note(&self, fault: &Fault) {
        if fault.is_damage() {
            self.damaged.store(true, Ordering::Release);
        }
        if matches!(fault, Fault::Panicked(_)) {
            self.poisoned.store(true, Ordering::Release);
        }
    }

    /// Closes the file; the next use opens it again.
    pub(in crate::store) fn close(&self) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        self.put_away(open.take());
    }

    /// Ends a handle. Only one that is known to be good may write on the way out, which is what closing it does.
    fn put_away(&self, handle: Option<Handle>) {
        let Some(handle) = handle else { return };
        let good = self.mode == Mode::Writable
            && !handle.fallback
            && ![&self.failed, &self.poisoned, &self.damaged]
                .iter()
                .any(|flag| flag.load(Ordering::Acquire));
        if good {
            let closed = guarded(|| {
                drop(handle);
                Ok(())
            });
            if let Err(fault) = closed {
                tracing::warn!(%fault, name = self.name, "closing failed; the file is recovered when it is opened again");
            }
        } else {
            handle.abandon();
        }
    }

    /// Closes the file for good.
    pub(in crate::store) fn shut(&self) {
        self.shut.store(true, Ordering::Release);
        self.close();
    }

    /// Closes the file and opens it as the disk has it.
    pub(in crate::store) fn reopen(&self) -> Result<(), Fault> {
        self.failed.store(true, Ordering::Release);
        self.opened(Use::Write).map(drop)
    }

    fn is_good(&self, handle: Option<&Handle>, wanted: Use) -> bool {
        let Some(handle) = handle else { return false };
        let usable = match wanted {
            Use::Read => handle.fallback || !self.failed.load(Ordering::Acquire),
            Use::Write => !handle.fallback && !self.failed.load(Ordering::Acquire),
        };
        usable && !self.poisoned.load(Ordering::Acquire)
    }

    fn opened(&self, wanted: Use) -> Result<RwLockReadGuard<'_, Option<Handle>>, Fault> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        if self.is_good(open.as_ref(), wanted) {
            return Ok(open);
        }
        drop(open);
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if self.shut.load(Ordering::Acquire) {
            return Err(Fault::Io("the store is closed".to_owned()));
        }
        if !self.is_good(open.as_ref(), wanted) {
            let failed = self.failed.load(Ordering::Acquire);
            self.put_away(open.take());
            self.poisoned.store(false, Ordering::Release);
            match self.open_handle(self.mode, failed) {
                Ok(handle) => {
                    *open = Some(handle);
                    self.damaged.store(false, Ordering::Release);
                    self.failed.store(false, Ordering::Release);
                }
                Err(fault) => {
                    // Whoever only reads need not wait until writing works again.
                    let fallback = self.open_handle(Mode::Sealed, failed);
                    *open = fallback.ok().map(|handle| Handle {
                        fallback: true,
                        ..handle
                    });
                    if wanted == Use::Write || open.is_none() {
                        return Err(fault);
                    }
                }
            }
        }
        drop(open);
        Ok(self.open.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn open_handle(&self, mode: Mode, afresh: bool) -> Result<Handle, Fault> {
        let found = match mode {
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
        let backend: Box<dyn StorageBackend> = match mode {
            Mode::Writable => backend,
            Mode::Sealed => Box::new(Shadowed::new(backend)),
        };
        let watched = Watched::new(backend);
        let cable = watched.cable();
        let mut builder = redb::Builder::new();
        builder.set_cache_size(self.cache_bytes);
        let recovered = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&recovered);
        builder.set_repair_callback(move |_| noted.store(true, Ordering::Release));
        let redb = guarded(|| Ok(builder.create_with_backend(watched)?))?;
        Ok(Handle {
            pin: Mutex::default(),
            redb,
            cable,
            recovered: recovered.load(Ordering::Acquire),
            fallback: false,
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

impl Handle {
    /// Lets go of the reader that keeps pages.
    fn unpin(&mut self) {
        *self.pin.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Lets go of a handle without a last write: on a damaged file redb may panic there, and panic again in what it
    /// drops then, which would abort the process. With the cable pulled its next operation fails, and a handle that
    /// has seen a failure writes nothing when it is dropped.
    fn abandon(mut self) {
        self.unpin();
        self.cable.pull();
        let result = guarded(|| Ok(self.redb.check_integrity()?));
        if matches!(result, Err(Fault::Panicked(_)) | Ok(_)) {
            // Its locks are poisoned. The descriptor is free already; the little that is left is lost.
            std::mem::forget(self.redb);
        } else if let Err(fault) = guarded(|| {
            drop(self.redb);
            Ok(())
        }) {
            tracing::debug!(%fault, "an abandoned file handle panicked");
        }
    }
}
