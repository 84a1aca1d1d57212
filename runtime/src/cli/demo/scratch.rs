//! The data directory of a demo.

use std::path::{Path, PathBuf};

use crate::cli::error::CliError;

/// A data directory; removed at the end unless it was named.
#[derive(Debug)]
pub(super) struct DataDir {
    path: PathBuf,
    is_temporary: bool,
}

impl DataDir {
    pub(super) fn open(named: Option<&Path>) -> Result<Self, CliError> {
        if let Some(path) = named {
            return Ok(Self {
                path: path.to_owned(),
                is_temporary: false,
            });
        }
        let failed = |what: &str, error: &dyn std::fmt::Display| {
            CliError::failed(format!(
                "cannot make a temporary folder{what}: {error}; name one with --data DIR"
            ))
        };
        let random = getrandom::u64().map_err(|error| failed("", &error))?;
        let path = std::env::temp_dir().join(format!("annals-demo-{random:016x}"));
        // Fails when it exists, so it is certainly ours to remove.
        std::fs::create_dir(&path).map_err(|error| failed(&format!(" `{}`", path.display()), &error))?;
        Ok(Self {
            path,
            is_temporary: true,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.is_temporary {
            // What cannot be removed is left to the system's own cleaning of temporary files.
            drop(std::fs::remove_dir_all(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_made_is_removed() {
        let temporary = DataDir::open(None).unwrap();
        let path = temporary.path().to_owned();
        std::fs::write(path.join("x"), "x").unwrap();
        drop(temporary);
        assert!(!path.exists());

        let folder = tempfile::tempdir().unwrap();
        drop(DataDir::open(Some(folder.path())).unwrap());
        assert!(folder.path().exists());
    }
}
