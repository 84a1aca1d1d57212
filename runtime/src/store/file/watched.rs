//! A backend that remembers what failed first, since redb itself only says that something did.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use redb::StorageBackend;

use super::Fault;

/// The first operation on a file that failed, of which redb only passes on that there was one.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    first: Mutex<Option<(Fault, bool)>>,
}

impl Trouble {
    fn note<T>(&self, result: io::Result<T>, growing: bool) -> io::Result<T> {
        if let Err(error) = &result {
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert((Fault::from_io(error), growing));
        }
        result
    }

    /// What failed first.
    pub(super) fn first(&self) -> Option<Fault> {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.as_ref().map(|(fault, _)| fault.clone())
    }

    /// Whether that was an attempt to make the file longer.
    pub(super) fn was_growth(&self) -> bool {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
        first.as_ref().is_some_and(|(_, growing)| *growing)
    }
}

/// A backend that remembers its first failure to write.
#[derive(Debug)]
pub(super) struct Watched {
    inner: Box<dyn StorageBackend>,
    pub(super) trouble: Arc<Trouble>,
}

impl Watched {
    /// Watches a backend.
    pub(super) fn new(inner: Box<dyn StorageBackend>) -> Self {
        Self {
            inner,
            trouble: Arc::default(),
        }
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.trouble.note(self.inner.set_len(len), true)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.trouble.note(self.inner.sync_data(), false)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.trouble.note(self.inner.write(offset, data), false)
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }
}
