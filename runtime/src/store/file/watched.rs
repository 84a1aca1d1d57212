//! A backend that remembers what failed first, since redb itself only says that something did, and that can be cut off
//! from its file.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use redb::StorageBackend;

use super::Fault;

/// The first operation on a file that failed.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    first: Mutex<Option<(Fault, bool)>>,
}

impl Trouble {
    fn note<T>(&self, result: io::Result<T>, resizing: bool) -> io::Result<T> {
        if let Err(error) = &result {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert((Fault::from_io(error), resizing));
        }
        result
    }

    /// What failed first.
    pub(super) fn first(&self) -> Option<Fault> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.as_ref().map(|(fault, _)| fault.clone())
    }

    /// Whether that was an attempt to change the file's length.
    pub(super) fn was_resizing(&self) -> bool {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.as_ref().is_some_and(|(_, resizing)| *resizing)
    }
}

/// What lies between redb and the file.
#[derive(Debug)]
pub(super) struct Cable {
    file: RwLock<Option<Box<dyn StorageBackend>>>,
    syncs: AtomicU64,
    growths: AtomicU64,
    /// What went wrong.
    pub(super) trouble: Trouble,
}

impl Cable {
    /// Closes the file; every later operation fails.
    pub(super) fn pull(&self) {
        drop(self.file.write().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// How often the file was asked to be made durable.
    pub(super) fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Acquire)
    }

    /// How often the file was made longer.
    pub(super) fn growths(&self) -> u64 {
        self.growths.load(Ordering::Acquire)
    }

    fn with<T>(&self, call: impl FnOnce(&dyn StorageBackend) -> io::Result<T>) -> io::Result<T> {
        let file = self.file.read().unwrap_or_else(PoisonError::into_inner);
        match file.as_deref() {
            Some(file) => call(file),
            None => Err(io::Error::other("the file was closed")),
        }
    }
}

/// A backend that remembers its first failure to write.
#[derive(Debug)]
pub(super) struct Watched(Arc<Cable>);

impl Watched {
    /// Watches a backend.
    pub(super) fn new(file: Box<dyn StorageBackend>) -> Self {
        Self(Arc::new(Cable {
            file: RwLock::new(Some(file)),
            syncs: AtomicU64::new(0),
            growths: AtomicU64::new(0),
            trouble: Trouble::default(),
        }))
    }

    /// The way to cut it off.
    pub(super) fn cable(&self) -> Arc<Cable> {
        Arc::clone(&self.0)
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.0.with(|file| file.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.with(|file| file.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let grow = |file: &dyn StorageBackend| {
            if file.len()? < len {
                self.0.growths.fetch_add(1, Ordering::AcqRel);
            }
            file.set_len(len)
        };
        self.0.trouble.note(self.0.with(grow), true)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.syncs.fetch_add(1, Ordering::AcqRel);
        self.0.trouble.note(self.0.with(|file| file.sync_data()), false)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0
            .trouble
            .note(self.0.with(|file| file.write(offset, data)), false)
    }

    fn close(&self) -> io::Result<()> {
        self.0.pull();
        Ok(())
    }
}
