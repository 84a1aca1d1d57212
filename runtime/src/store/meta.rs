//! `meta.redb`: what the log is, the modules, and what consumers have reached.
//!
//! ```text
//! table "identity"      "identity" → format u8 | reserved 3 | log id 16 | epoch u32 BE | cache key 32 | CRC-32C u32 BE
//! table "modules"       digest 32 → format u8 | postcard of the module's record | CRC-32C u32 BE over it and the key
//! table "consumers"     name of the row → format u8 | content | CRC-32C u32 BE over it, the key and the log id
//! table "module-bytes"  digest 32, piece u32 BE → up to 1 MiB; the digest is their checksum
//! ```

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use redb::{ReadableTable as _, TableDefinition};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    AppendError, ConsumerRow, LogIdentity, OpenError, ReadError, StoredModule,
    file::{Database, Fault, Files, Mode},
    format::{FORMAT, Malformed, Reader, checksum, seal, unseal},
};
use crate::vocabulary::{Epoch, LogId, Manifest, Millis, ModuleDigest};

/// The file.
pub(super) const FILE: &str = "meta.redb";

type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;
const IDENTITY: Table = TableDefinition::new("identity");
const MODULES: Table = TableDefinition::new("modules");
const MODULE_BYTES: Table = TableDefinition::new("module-bytes");
const CONSUMERS: Table = TableDefinition::new("consumers");
const IDENTITY_KEY: &[u8] = b"identity";
/// A piece fills a power of two of redb's pages.
const PIECE_BYTES: usize = (1 << 20) - 64;
const CACHE_BYTES: usize = 4 << 20;

/// What is drawn when a log is created.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    /// The log.
    pub(super) log: LogIdentity,
    /// For disposable files.
    pub(super) cache_key: [u8; 32],
}

/// The small primary file.
#[derive(Debug)]
pub(super) struct Meta {
    database: Database,
    /// What it says.
    pub(super) identity: Identity,
}

#[derive(Serialize, Deserialize)]
struct ModuleRecord {
    manifest: Manifest,
    uploaded_at: Millis,
    size_bytes: u64,
}

impl Meta {
    /// Creates the file: the last step of creating a log.
    pub(super) fn create(files: &Arc<dyn Files>, identity: Identity) -> Result<(), Fault> {
        let mut value = vec![FORMAT, 0, 0, 0];
        value.extend_from_slice(&identity.log.log_id.0);
        value.extend_from_slice(&identity.log.epoch.0.to_be_bytes());
        value.extend_from_slice(&identity.cache_key);
        let crc = checksum([&value[..]]);
        value.extend_from_slice(&crc.to_be_bytes());
        Database::create(files, FILE, |transaction| {
            transaction.open_table(MODULES)?;
            transaction.open_table(MODULE_BYTES)?;
            transaction
                .open_table(IDENTITY)?
                .insert(IDENTITY_KEY, value.as_slice())?;
            Ok(())
        })
    }

    /// Opens and checks the file.
    pub(super) fn open(files: &Arc<dyn Files>) -> Result<Self, OpenError> {
        let database = Database::new(Arc::clone(files), FILE.to_owned(), CACHE_BYTES, Mode::Writable);
        let database = database.with_late_frees();
        let damaged = |what: String| OpenError::Damaged {
            what: format!("`{FILE}`: {what}"),
        };
        let value = database
            .read(|transaction| {
                let table = transaction.open_table(IDENTITY)?;
                Ok(table
                    .get(IDENTITY_KEY)?
                    .map(|found| Bytes::copy_from_slice(found.value())))
            })
            .map_err(|fault| match fault {
                Fault::Io(_) | Fault::Full(_) => OpenError::Io {
                    what: format!("opening `{FILE}`"),
                    source: std::io::Error::other(fault.to_string()),
                },
                Fault::Damaged(what) | Fault::Panicked(what) => damaged(what),
            })?
            .ok_or_else(|| damaged("it does not say which log this is".to_owned()))?;
        let found = value.first().copied().unwrap_or_default();
        if found > FORMAT {
            return Err(OpenError::NewerFormat {
                what: format!("`{FILE}`"),
                found: u32::from(found),
                supported: u32::from(FORMAT),
            });
        }
        let identity = read_identity(&value).map_err(|error| damaged(error.to_string()))?;
        // redb may abort the process when it writes to a damaged file, so a damaged one is refused first.
        match database.verify() {
            Ok(true) => {}
            Ok(false) => return Err(damaged("it has damaged pages".to_owned())),
            Err(fault) => return Err(damaged(fault.to_string())),
        }
        Ok(Self { database, identity })
    }

    /// Keeps a module.
    pub(super) fn put_module(&self, module: &StoredModule, bytes: &[u8]) -> Result<(), AppendError> {
        if matches!(self.module_bytes(&module.digest), Ok(Some(_))) {
            return Ok(());
        }
        let record = ModuleRecord {
            manifest: module.manifest.clone(),
            uploaded_at: module.uploaded_at,
            size_bytes: bytes.len() as u64,
        };
        let encoded = postcard::to_stdvec(&record).map_err(|error| unavailable(error.to_string()))?;
        let digest = module.digest.0;
        let value = seal(with_format(&encoded), &[&digest]);
        let written = self.database.write(|transaction| {
            let mut pieces = transaction.open_table(MODULE_BYTES)?;
            for (number, piece) in (0_u32..).zip(bytes.chunks(PIECE_BYTES)) {
                pieces.insert(piece_key(&digest, number).as_slice(), piece)?;
            }
            transaction
                .open_table(MODULES)?
                .insert(digest.as_slice(), value.as_slice())?;
            Ok(())
        });
        // Keeping it again changes nothing, so that it does not matter whether it was written.
        written.map_err(|failed| append_error(failed.fault))
    }

    /// Writes rows of consumers.
    pub(super) fn save_consumers(&self, rows: &[ConsumerRow]) -> Result<(), AppendError> {
        let sealed: Vec<_> = rows
            .iter()
            .map(|row| {
                let sealed = |content: &Bytes| seal(with_format(content), &[&row.key, self.log_id()]);
                (&row.key, row.value.as_ref().map(sealed))
            })
            .collect();
        let written = self.database.write(|transaction| {
            let mut table = transaction.open_table(CONSUMERS)?;
            for (key, value) in &sealed {
                match value {
                    Some(value) => drop(table.insert(&key[..], value.as_slice())?),
                    None => drop(table.remove(&key[..])?),
                }
            }
            Ok(())
        });
        written.map_err(|failed| {
            if failed.maybe_written {
                AppendError::Unknown {
                    reason: failed.fault.to_string(),
                }
            } else {
                append_error(failed.fault)
            }
        })
    }

    fn log_id(&self) -> &[u8] {
        &self.identity.log.log_id.0
    }

    /// Every row of consumers: its name and its content.
    pub(super) fn consumer_rows(&self) -> Result<Vec<(Bytes, Bytes)>, ReadError> {
        let what = format!("the consumers' rows in `{FILE}`");
        let rows = self.database.read(|transaction| {
            let table = match transaction.open_table(CONSUMERS) {
                // A file of a version that had none.
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
                table => table?,
            };
            let mut rows = Vec::new();
            for row in table.iter()? {
                let (key, value) = row?;
                rows.push((
                    Bytes::copy_from_slice(key.value()),
                    Bytes::copy_from_slice(value.value()),
                ));
            }
            Ok(rows)
        });
        let rows = rows.map_err(|fault| read_error(&what, &fault))?;
        let opened = rows.into_iter().map(|(key, value)| {
            match unseal(&value, &[&key, self.log_id()]).and_then(of_format) {
                Ok(content) => Ok((key, value.slice_ref(content))),
                Err(error) => Err(ReadError::Damaged {
                    what: format!("{what}, `{}`: {error}", key.escape_ascii()),
                }),
            }
        });
        opened.collect()
    }

    /// Every module.
    pub(super) fn modules(&self) -> Result<Vec<StoredModule>, ReadError> {
        let rows = self.database.read(|transaction| {
            let table = transaction.open_table(MODULES)?;
            let mut rows = Vec::new();
            for row in table.iter()? {
                let (key, value) = row?;
                rows.push((key.value().to_vec(), value.value().to_vec()));
            }
            Ok(rows)
        });
        rows.map_err(|fault| read_error("the list of modules", &fault))?
            .into_iter()
            .map(|(key, value)| {
                read_module(&key, &value).map_err(|error| ReadError::Damaged {
                    what: format!("a module's record in `{FILE}`: {error}"),
                })
            })
            .collect()
    }

    /// The bytes of a module, checked against its digest.
    pub(super) fn module_bytes(&self, digest: &ModuleDigest) -> Result<Option<Bytes>, ReadError> {
        let what = format!("module {digest} in `{FILE}`");
        let bytes = self.database.read(|transaction| {
            let known = transaction
                .open_table(MODULES)?
                .get(digest.0.as_slice())?
                .is_some();
            let table = transaction.open_table(MODULE_BYTES)?;
            let range = piece_key(&digest.0, 0)..=piece_key(&digest.0, u32::MAX);
            let mut bytes = Vec::new();
            for row in table.range::<&[u8]>(range.start().as_slice()..=range.end().as_slice())? {
                bytes.extend_from_slice(row?.1.value());
            }
            Ok((known || !bytes.is_empty()).then_some(bytes))
        });
        let Some(bytes) = bytes.map_err(|fault| read_error(&what, &fault))? else {
            return Ok(None);
        };
        let found: [u8; 32] = Sha256::digest(&bytes).into();
        if found != digest.0 {
            return Err(ReadError::Damaged {
                what: format!("{what}: its bytes do not match its digest; upload it again"),
            });
        }
        Ok(Some(Bytes::from(bytes)))
    }

    /// Closes the file for good.
    pub(super) fn shut(&self) {
        self.database.shut();
    }
}

fn unavailable(reason: String) -> AppendError {
    AppendError::Unavailable {
        reason,
        retry_after: Duration::from_secs(1),
    }
}

fn append_error(fault: Fault) -> AppendError {
    match fault {
        Fault::Full(reason) => AppendError::Full { reason },
        other => unavailable(other.to_string()),
    }
}

/// A value begins with the format that it is written in.
fn with_format(content: &[u8]) -> Vec<u8> {
    [&[FORMAT][..], content].concat()
}

fn of_format(value: &[u8]) -> Result<&[u8], Malformed> {
    match value.split_first() {
        Some((&FORMAT, content)) => Ok(content),
        _ => Err(Malformed("value: its format is not known here")),
    }
}

fn piece_key(digest: &[u8; 32], number: u32) -> Vec<u8> {
    let mut key = digest.to_vec();
    key.extend_from_slice(&number.to_be_bytes());
    key
}

fn read_identity(value: &Bytes) -> Result<Identity, Malformed> {
    let body = value.get(..value.len().saturating_sub(4)).unwrap_or_default();
    let mut reader = Reader::new(value);
    reader.array::<4>()?;
    let identity = Identity {
        log: LogIdentity {
            log_id: LogId(reader.array()?),
            epoch: Epoch(u32::from_be_bytes(reader.array()?)),
        },
        cache_key: reader.array()?,
    };
    if u32::from_be_bytes(reader.array()?) != checksum([body]) {
        return Err(Malformed("identity: its checksum does not match"));
    }
    reader.end()?;
    Ok(identity)
}

fn read_module(key: &[u8], value: &[u8]) -> Result<StoredModule, Malformed> {
    let encoded = unseal(value, &[key]).and_then(of_format)?;
    let record: ModuleRecord = postcard::from_bytes(encoded).map_err(|_| Malformed("value"))?;
    Ok(StoredModule {
        digest: ModuleDigest(key.try_into().map_err(|_| Malformed("key"))?),
        manifest: record.manifest,
        uploaded_at: record.uploaded_at,
        size_bytes: record.size_bytes,
    })
}

fn read_error(what: &str, fault: &Fault) -> ReadError {
    if fault.is_damage() {
        ReadError::Damaged {
            what: format!("{what}: {fault}"),
        }
    } else {
        ReadError::Unavailable {
            reason: format!("{what}: {fault}"),
        }
    }
}
