//! Compiled code on disk. It is disposable: the upload is the truth, and anything that is not right is compiled again.
//!
//! ```text
//! {digest}-{engine}.cwasm   machine code | HMAC-SHA-256, 32 bytes
//! ```
//!
//! `engine` is a hash of wasmtime's version, its configuration and the target. The HMAC, under a key that stays with
//! the server's data, is over a tag, the file's name, the component and the code: nothing that this server did not
//! write itself is executed, also not another module's code under this name.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    hash::{Hash, Hasher},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use sha2::{Digest, Sha256};
use wasmtime::Engine;

use super::{
    compile::Code,
    hmac::{equal, hmac_sha256},
};
use crate::vocabulary::ModuleDigest;

const TAG: &[u8] = b"annals compiled module 1\0";
const TRAILER_BYTES: usize = 32;

/// The cache directory.
#[derive(Debug)]
pub(super) struct Cache {
    directory: PathBuf,
    key: [u8; 32],
    engine: String,
}

impl Cache {
    /// Opens the directory, makes it readable for this user only, and removes what no engine like this one wrote.
    pub(super) fn open(directory: &Path, key: [u8; 32], engine: &Engine) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
        let cache = Self {
            directory: directory.to_owned(),
            key,
            engine: engine_name(engine),
        };
        cache.prune()?;
        Ok(cache)
    }

    /// The code of a module, when it is there and intact.
    pub(super) fn load(&self, digest: ModuleDigest, component: &[u8]) -> Option<Code> {
        let name = self.name(digest);
        let path = self.directory.join(&name);
        let mut bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "cached code cannot be read; compiling again");
                return None;
            }
        };
        let intact = bytes
            .split_last_chunk::<TRAILER_BYTES>()
            .is_some_and(|(code, trailer)| equal(&self.sign(&name, component, code), trailer));
        if !intact {
            tracing::warn!(
                path = %path.display(),
                "cached code is damaged or was not written by this server; compiling again"
            );
            return None;
        }
        bytes.truncate(bytes.len() - TRAILER_BYTES);
        Some(Code::vouched(bytes))
    }

    /// Keeps the code of a module. A failure costs only the time to compile again.
    pub(super) fn store(&self, digest: ModuleDigest, component: &[u8], code: &[u8]) {
        let name = self.name(digest);
        if let Err(error) = self.write(&name, code, &self.sign(&name, component, code)) {
            tracing::warn!(directory = %self.directory.display(), %error, "compiled code cannot be cached");
        }
    }

    fn write(&self, name: &str, code: &[u8], trailer: &[u8; TRAILER_BYTES]) -> io::Result<()> {
        static SERIAL: AtomicU64 = AtomicU64::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let temporary = self
            .directory
            .join(format!("{name}.{}-{serial}.tmp", std::process::id()));
        let written = (|| {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(code)?;
            file.write_all(trailer)?;
            file.sync_all()?;
            fs::rename(&temporary, self.directory.join(name))?;
            File::open(&self.directory)?.sync_all()
        })();
        if written.is_err() {
            // The first failure is the one to report; what is left behind is removed at the next start.
            drop(fs::remove_file(&temporary));
        }
        written
    }

    fn sign(&self, name: &str, component: &[u8], code: &[u8]) -> [u8; 32] {
        let component: [u8; 32] = Sha256::digest(component).into();
        hmac_sha256(&self.key, &[TAG, name.as_bytes(), &component, code])
    }

    fn name(&self, digest: ModuleDigest) -> String {
        format!("{digest}-{}.cwasm", self.engine)
    }

    fn prune(&self) -> io::Result<()> {
        let current = format!("-{}.cwasm", self.engine);
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let ours = name.ends_with(".cwasm") || name.ends_with(".tmp");
            if ours && !name.ends_with(&current) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

/// The engine's compatibility as the first half of a SHA-256.
fn engine_name(engine: &Engine) -> String {
    struct Sink(Sha256);
    impl Hasher for Sink {
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
        fn finish(&self) -> u64 {
            0
        }
    }
    let mut sink = Sink(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut sink);
    sink.0
        .finalize()
        .iter()
        .take(16)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
