//! The few things a store does to files, behind an interface, so that tests can put a disk below that loses, tears
//! and refuses.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use redb::StorageBackend;

/// Where the files of a data directory live. Names are relative, with `/` between folder and file.
pub(in crate::store) trait Files: fmt::Debug + Send + Sync {
    /// Opens a file for reading and writing; none when it does not exist. `afresh` is said after a failure: what the
    /// system may have cached of it must not be taken for what is on the disk.
    fn open(&self, name: &str, afresh: bool) -> io::Result<Option<Box<dyn StorageBackend>>>;
    /// Opens a file that will only be read; none when it does not exist.
    fn open_sealed(&self, name: &str) -> io::Result<Option<Box<dyn StorageBackend>>>;
    /// Creates a file, or empties the one that is there.
    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>>;
    /// Renames a file over another; durable when it returns.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file if it exists; durable when it returns.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// The names in a folder, without the folder, in order. The folder is created when it does not exist.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
    /// The size of a file, bytes; 0 when it does not exist.
    fn size(&self, name: &str) -> u64;
}

/// Files on a real disk.
#[derive(Debug)]
pub(in crate::store) struct DiskFiles {
    root: PathBuf,
}

impl DiskFiles {
    /// The files below a directory.
    pub(in crate::store) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    fn sync_folder_of(&self, name: &str) -> io::Result<()> {
        let path = self.root.join(name);
        File::open(path.parent().unwrap_or(&self.root))?.sync_all()
    }

    fn open_with(&self, name: &str, options: &OpenOptions) -> io::Result<Option<File>> {
        match options.open(self.root.join(name)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl Files for DiskFiles {
    fn open(&self, name: &str, afresh: bool) -> io::Result<Option<Box<dyn StorageBackend>>> {
        let file = self.open_with(name, OpenOptions::new().read(true).write(true))?;
        if let Some(file) = file.as_ref().filter(|_| afresh) {
            // After a failed fsync Linux marks the pages clean though they never reached the disk. Dropping them makes
            // the next read tell the truth.
            rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
        Ok(file.map(boxed))
    }

    fn open_sealed(&self, name: &str) -> io::Result<Option<Box<dyn StorageBackend>>> {
        Ok(self.open_with(name, OpenOptions::new().read(true))?.map(boxed))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn StorageBackend>> {
        let path = self.root.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)?;
        self.sync_folder_of(name)?;
        Ok(boxed(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.root.join(from), self.root.join(to))?;
        self.sync_folder_of(to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.root.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Err(_) => Ok(()),
            Ok(()) => self.sync_folder_of(name),
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let path = self.root.join(folder);
        if !path.exists() {
            fs::create_dir_all(&path)?;
            self.sync_folder_of(folder)?;
        }
        let mut names = Vec::new();
        for entry in fs::read_dir(path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    fn size(&self, name: &str) -> u64 {
        fs::metadata(self.root.join(name)).map_or(0, |found| found.len())
    }
}

/// One file as redb sees it. It takes no lock: the data directory is locked as a whole.
#[derive(Debug)]
struct DiskFile(File);

fn boxed(file: File) -> Box<dyn StorageBackend> {
    Box::new(DiskFile(file))
}

impl StorageBackend for DiskFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }
}
