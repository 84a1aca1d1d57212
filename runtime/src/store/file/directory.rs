//! The data directory: ours or not, and for one process at a time.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::{Files, files::DiskFiles};
use crate::store::OpenError;

const LOCK: &str = "annals.lock";
/// Marks a directory as ours even when the lock file was tidied away.
const META: &str = "meta.redb";
/// What a fresh file system holds of its own.
const IGNORED: [&str; 1] = ["lost+found"];

/// A data directory that is locked for this process until it is dropped.
#[derive(Debug)]
pub(in crate::store) struct DataDirectory {
    /// Its files.
    pub(in crate::store) files: Arc<dyn Files>,
    /// The lock is held for as long as this file is open; none below a test's files.
    lock: Mutex<Option<File>>,
}

impl DataDirectory {
    /// A directory that exists only in a test.
    #[cfg(test)]
    pub(in crate::store) fn of(files: Arc<dyn Files>) -> Self {
        Self {
            files,
            lock: Mutex::default(),
        }
    }

    /// Creates the directory when it is missing, checks that it is ours, and locks it.
    pub(in crate::store) fn open(path: &Path) -> Result<Self, OpenError> {
        fs::create_dir_all(path).map_err(|source| refused(path, source))?;
        check_ours(path)?;
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(|source| refused(path, source))?;
        let lock = take(path, lock)?;
        Ok(Self {
            files: Arc::new(DiskFiles::new(path)),
            lock: Mutex::new(Some(lock)),
        })
    }
}

impl DataDirectory {
    /// Lets others have the directory.
    pub(in crate::store) fn release(&self) {
        drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn check_ours(path: &Path) -> Result<(), OpenError> {
    if path.join(LOCK).exists() || path.join(META).exists() {
        return Ok(());
    }
    let entries = fs::read_dir(path).map_err(|source| refused(path, source))?;
    for entry in entries {
        let found = entry.map_err(|source| refused(path, source))?.file_name();
        if !IGNORED.iter().any(|ignored| found == *ignored) {
            return Err(OpenError::NotOurs {
                path: path.to_owned(),
                found: found.to_string_lossy().into_owned(),
            });
        }
    }
    Ok(())
}

fn take(path: &Path, mut lock: File) -> Result<File, OpenError> {
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(OpenError::Locked {
                path: path.to_owned(),
                holder: holder(&mut lock),
            });
        }
        Err(TryLockError::Error(source)) => {
            return Err(OpenError::Io {
                what: format!("locking `{}`", path.join(LOCK).display()),
                source,
            });
        }
    }
    let mut note = || -> io::Result<()> {
        lock.set_len(0)?;
        lock.rewind()?;
        write!(lock, "{}", std::process::id())
    };
    note().map_err(|source| refused(&path.join(LOCK), source))?;
    Ok(lock)
}

fn holder(lock: &mut File) -> String {
    let mut text = String::new();
    let read = lock.read_to_string(&mut text);
    match text.trim().parse::<u32>() {
        Ok(pid) if read.is_ok() => format!("process {pid}"),
        _ => "another process".to_owned(),
    }
}

fn refused(path: &Path, source: io::Error) -> OpenError {
    let path: PathBuf = path.to_owned();
    match source.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            OpenError::NotWritable { path, source }
        }
        _ => OpenError::Io {
            what: format!("opening the data directory `{}`", path.display()),
            source,
        },
    }
}
