//! The disk that is measured: a folder on it, and how long a flush takes there.

use std::{
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::cli::error::CliError;

const BLOCK_BYTES: usize = 4 * 1024;
const FLUSHING: Duration = Duration::from_secs(1);

/// A new data directory; removed at the end unless it was named.
#[derive(Debug)]
pub(super) struct BenchDir {
    path: PathBuf,
    is_temporary: bool,
}

impl BenchDir {
    pub(super) fn open(named: Option<&Path>) -> Result<Self, CliError> {
        let dir = match named {
            Some(path) => Self {
                path: path.to_owned(),
                is_temporary: false,
            },
            None => {
                let random = getrandom::u64()
                    .map_err(|error| CliError::failed(format!("the system has no randomness: {error}")))?;
                Self {
                    path: PathBuf::from(format!("annals-bench-{random:016x}")),
                    is_temporary: true,
                }
            }
        };
        let failed = |error: io::Error| {
            let what = format!("cannot use the folder `{}`: {error}", dir.path.display());
            CliError::usage(what, "name one that can be written with --data DIR")
        };
        std::fs::create_dir_all(&dir.path).map_err(failed)?;
        if std::fs::read_dir(&dir.path).map_err(failed)?.next().is_some() {
            return Err(CliError::usage(
                format!("the folder `{}` is not empty", dir.path.display()),
                "name a new or empty one with --data DIR: what is in it would be measured too",
            ));
        }
        if in_memory(&dir.path).map_err(failed)? {
            return Err(CliError::usage(
                format!(
                    "the folder `{}` is in memory (tmpfs), where a flush costs nothing",
                    dir.path.display()
                ),
                "name one on the disk that is to be measured with --data DIR",
            ));
        }
        Ok(dir)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for BenchDir {
    fn drop(&mut self) {
        if self.is_temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            eprintln!("cannot remove `{}`: {error}", self.path.display());
        }
    }
}

/// Whether a folder is on a filesystem that keeps nothing.
#[cfg(target_os = "linux")]
fn in_memory(path: &Path) -> io::Result<bool> {
    // TMPFS_MAGIC and RAMFS_MAGIC of linux/magic.h.
    const IN_MEMORY: [i128; 2] = [0x0102_1994, 0x8584_58f6];
    let found = rustix::fs::statfs(path)?.f_type;
    Ok(IN_MEMORY.contains(&i128::from(found)))
}

/// Elsewhere nobody says so.
#[cfg(not(target_os = "linux"))]
fn in_memory(_: &Path) -> io::Result<bool> {
    Ok(false)
}

/// The floor: 4 KiB appended and flushed, one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flushes {
    pub(super) per_second: f64,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
}

/// Flushes for a second.
pub(super) fn flushes(dir: &Path) -> Result<Flushes, CliError> {
    let path = dir.join("flushes");
    let loops = || -> io::Result<(Vec<Duration>, Duration)> {
        let file = File::create_new(&path)?;
        let (block, started) = ([0xa5; BLOCK_BYTES], Instant::now());
        let mut times = Vec::new();
        while started.elapsed() < FLUSHING {
            let before = Instant::now();
            file.write_all_at(&block, (times.len() * BLOCK_BYTES) as u64)?;
            file.sync_data()?;
            times.push(before.elapsed());
        }
        let time = started.elapsed();
        std::fs::remove_file(&path)?;
        times.sort_unstable();
        Ok((times, time))
    };
    let failed = |error| CliError::failed(format!("cannot write to `{}`: {error}", path.display()));
    let (times, time) = loops().map_err(failed)?;
    let at = |percent: usize| {
        times
            .get(times.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    Ok(Flushes {
        per_second: times.len() as f64 / time.as_secs_f64(),
        p50: at(50),
        p99: at(99),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_with_something_in_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x"), "x").unwrap();
        let error = BenchDir::open(Some(folder.path())).unwrap_err();
        assert_eq!(error.exit() as u8, 2);
        assert!(error.to_string().contains("is not empty"), "{error}");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn memory_is_refused_as_a_disk() {
        // Every Linux with glibc's shared memory has it; where it is something else, it is not refused either.
        let shared = Path::new("/dev/shm");
        if shared.is_dir() && in_memory(shared).unwrap() {
            let folder = tempfile::tempdir_in(shared).unwrap();
            let error = BenchDir::open(Some(folder.path())).unwrap_err();
            assert!(error.to_string().contains("tmpfs"), "{error}");
        }
        assert!(!in_memory(Path::new("/proc")).unwrap());
    }

    #[test]
    fn what_was_named_stays_and_flushes_leave_nothing() {
        let folder = tempfile::tempdir_in(".").unwrap();
        let floor = flushes(folder.path()).unwrap();
        assert!(floor.per_second > 0.0 && floor.p50 <= floor.p99, "{floor:?}");
        assert!(std::fs::read_dir(folder.path()).unwrap().next().is_none());
        drop(BenchDir::open(Some(folder.path())));
        assert!(folder.path().exists());
    }
}
