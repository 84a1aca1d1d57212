//! The registry: takes uploads, knows every module, and lets one serve each type.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    aggregates::{Aggregates, UniqueIds},
    store::{AppendError, EventStore, ReadError, StoredModule},
    vocabulary::{AggregateType, Clock, DigestBeginning, LaneEpoch, ModuleDigest, is_json},
    wasm::{Host, LoadError, Module, UploadError},
};

use super::deployments::{self, Deployment};

/// The module that serves a type.
#[derive(Debug, Clone)]
pub struct ActiveModule {
    /// The module, ready to run.
    pub module: Arc<Module>,
    /// Since when.
    pub deployment: Deployment,
}

/// What came of an upload.
#[derive(Debug, Clone)]
pub struct Uploaded {
    /// The module as it is kept.
    pub module: StoredModule,
    /// Whether it was not known before.
    pub new: bool,
    /// Whether it serves its type now.
    pub active: bool,
    /// Whether this upload made it do so.
    pub activated: bool,
    /// What the uploader should know: why it was not activated, or what nothing has checked.
    pub notice: Option<String>,
}

/// Why an upload was refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UploadRefused {
    /// Not a module that can be used.
    #[error(transparent)]
    Upload(#[from] UploadError),
    /// It does not compile, does not start, or describes itself wrongly.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Types that begin with `annals-` are the server's own.
    #[error(
        "the type `{0}` is reserved: names that begin with `annals-` are the server's own. Choose another type in the module's manifest"
    )]
    ReservedType(AggregateType),
    /// It could not be kept.
    #[error(transparent)]
    NotKept(#[from] AppendError),
    /// The store could not be read.
    #[error(transparent)]
    NotRead(#[from] ReadError),
}

/// Why a module was not activated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActivateError {
    /// Nobody has uploaded it.
    #[error("no module with digest `{0}` has been uploaded")]
    UnknownModule(ModuleDigest),
    /// It serves another type.
    #[error("the module `{digest}` serves the type `{serves}`, not `{asked}`")]
    OtherType {
        /// The module.
        digest: ModuleDigest,
        /// The type in its manifest.
        serves: AggregateType,
        /// The type it was to serve.
        asked: AggregateType,
    },
    /// It was accepted once but cannot be loaded now.
    #[error(transparent)]
    Refused(#[from] UploadRefused),
}

impl From<ReadError> for ActivateError {
    fn from(error: ReadError) -> Self {
        Self::Refused(error.into())
    }
}

/// The handle to all modules.
pub struct Modules {
    store: Arc<dyn EventStore>,
    host: Host,
    aggregates: Arc<Aggregates>,
    clock: Arc<dyn Clock>,
    ids: UniqueIds,
    active: RwLock<BTreeMap<AggregateType, ActiveModule>>,
    /// Whether each known module's payloads are JSON.
    json: RwLock<HashMap<ModuleDigest, bool>>,
    /// One upload or activation at a time: the second of two equal ones finds the first's result.
    changing: Mutex<()>,
    /// Each attempt to deploy is a life of its own: one that failed must not stand in the way of the next.
    attempts: AtomicU64,
}

impl fmt::Debug for Modules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Modules").finish_non_exhaustive()
    }
}

impl Modules {
    /// Loads what was active when the server last ran and lets it serve again.
    ///
    /// # Errors
    /// When the store cannot be read, or a module that was accepted once no longer loads.
    pub fn open(
        store: &Arc<dyn EventStore>,
        host: Host,
        aggregates: &Arc<Aggregates>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, ActivateError> {
        let ids = UniqueIds::new().map_err(|error| ReadError::Unavailable {
            reason: error.to_string(),
        })?;
        let modules = Self {
            store: Arc::clone(store),
            host,
            aggregates: Arc::clone(aggregates),
            clock: Arc::clone(clock),
            ids,
            active: RwLock::default(),
            json: RwLock::default(),
            changing: Mutex::default(),
            attempts: AtomicU64::new(1),
        };
        for kept in store.modules()? {
            modules.learn_encoding(&kept);
        }
        for aggregate_type in deployments::deployed_types(&**store)? {
            let newest = deployments::history(&**store, &aggregate_type, 1)?;
            if let Some(deployment) = newest.first().copied() {
                let module = modules.load(&deployment.digest)?;
                modules.serve(&aggregate_type, module, deployment);
            }
        }
        Ok(modules)
    }

    /// Checks, keeps and, where nothing speaks against it, activates a module. The bytes are the upload, unchanged.
    ///
    /// # Errors
    /// [`UploadRefused`] says what was found, what was expected and the fix; nothing is kept then.
    pub fn upload(&self, bytes: &[u8], activate: bool) -> Result<Uploaded, UploadRefused> {
        let inspected = self.host.inspect(bytes)?;
        let _changing = self.change();
        let mut all = self.store.modules()?.into_iter();
        let known = all.find(|module| module.digest == inspected.digest);
        let module = self.host.load(&inspected)?;
        let aggregate_type = module.manifest().aggregate_type.clone();
        if aggregate_type.is_system() {
            return Err(UploadRefused::ReservedType(aggregate_type));
        }
        let new = known.is_none();
        let kept = match known {
            Some(kept) => kept,
            None => self.keep(&module, bytes)?,
        };
        let (activated, notice) = self.activate_upload(&module, activate)?;
        let active = self.is_active(&aggregate_type, &kept.digest);
        Ok(Uploaded {
            module: kept,
            new,
            active,
            activated,
            notice,
        })
    }

    fn keep(&self, module: &Module, bytes: &[u8]) -> Result<StoredModule, UploadRefused> {
        let kept = StoredModule {
            digest: module.digest(),
            manifest: module.manifest().clone(),
            uploaded_at: self.clock.now(),
            size_bytes: bytes.len() as u64,
        };
        self.store.put_module(&kept, bytes)?;
        self.learn_encoding(&kept);
        Ok(kept)
    }

    /// A first module for a type, and any for a type without events, activates itself. Another one for a type with
    /// events has to be asked for.
    fn activate_upload(
        &self,
        module: &Arc<Module>,
        asked: bool,
    ) -> Result<(bool, Option<String>), UploadRefused> {
        let aggregate_type = &module.manifest().aggregate_type;
        let digest = module.digest();
        let previous = self.active(aggregate_type).map(|active| active.module.digest());
        if previous == Some(digest) {
            return Ok((false, None));
        }
        let has_events = !self.store.aggregates(aggregate_type, None, 1)?.is_empty();
        if has_events && !asked {
            let notice = format!(
                "kept, not activated: `{aggregate_type}` has events. To let this module serve it, upload again with \
                 `?activate=true`, or PUT /v1/deployments/{aggregate_type} with this digest. Nothing checks yet that \
                 it can read the history."
            );
            return Ok((false, Some(notice)));
        }
        self.deploy(aggregate_type, module)?;
        Ok((true, has_events.then(|| unchecked(aggregate_type))))
    }

    /// Lets an uploaded module serve its type.
    ///
    /// # Errors
    /// [`ActivateError`].
    pub fn activate(
        &self,
        aggregate_type: &AggregateType,
        digest: &ModuleDigest,
    ) -> Result<(Deployment, Option<ModuleDigest>, Option<String>), ActivateError> {
        let _changing = self.change();
        let previous = self.active(aggregate_type);
        if let Some(active) = previous
            .as_ref()
            .filter(|active| active.module.digest() == *digest)
        {
            return Ok((active.deployment, Some(*digest), None));
        }
        let module = self.load(digest)?;
        let serves = &module.manifest().aggregate_type;
        if serves != aggregate_type {
            return Err(ActivateError::OtherType {
                digest: *digest,
                serves: serves.clone(),
                asked: aggregate_type.clone(),
            });
        }
        let has_events = !self.store.aggregates(aggregate_type, None, 1)?.is_empty();
        let deployment = self.deploy(aggregate_type, &module)?;
        let previous = previous.map(|active| active.module.digest());
        Ok((
            deployment,
            previous,
            has_events.then(|| unchecked(aggregate_type)),
        ))
    }

    fn deploy(
        &self,
        aggregate_type: &AggregateType,
        module: &Arc<Module>,
    ) -> Result<Deployment, UploadRefused> {
        let now = self.clock.now();
        let command_id = self.ids.draw();
        let attempt = LaneEpoch(self.attempts.fetch_add(1, Ordering::Relaxed));
        let deployment = deployments::record(
            &self.store,
            aggregate_type,
            module.digest(),
            now,
            command_id,
            attempt,
        )?;
        self.serve(aggregate_type, Arc::clone(module), deployment);
        tracing::info!(%aggregate_type, digest = %module.digest(), version = %deployment.version, "module activated");
        Ok(deployment)
    }

    fn serve(&self, aggregate_type: &AggregateType, module: Arc<Module>, deployment: Deployment) {
        self.aggregates.activate(aggregate_type, &module);
        let mut active = self.active.write().unwrap_or_else(PoisonError::into_inner);
        active.insert(aggregate_type.clone(), ActiveModule { module, deployment });
    }

    fn load(&self, digest: &ModuleDigest) -> Result<Arc<Module>, ActivateError> {
        let bytes = self
            .store
            .module_bytes(digest)?
            .ok_or(ActivateError::UnknownModule(*digest))?;
        let inspected = self.host.inspect(&bytes).map_err(UploadRefused::from)?;
        Ok(self.host.load(&inspected).map_err(UploadRefused::from)?)
    }

    /// The types with the module that serves each.
    #[must_use]
    pub fn all_active(&self) -> BTreeMap<AggregateType, ActiveModule> {
        self.read_active().clone()
    }

    /// The module that serves a type.
    #[must_use]
    pub fn active(&self, aggregate_type: &AggregateType) -> Option<ActiveModule> {
        self.read_active().get(aggregate_type).cloned()
    }

    /// Whether a module serves a type.
    #[must_use]
    pub fn is_active(&self, aggregate_type: &AggregateType, digest: &ModuleDigest) -> bool {
        self.read_active()
            .get(aggregate_type)
            .is_some_and(|active| active.module.digest() == *digest)
    }

    /// Every uploaded module, oldest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn all(&self) -> Result<Vec<StoredModule>, ReadError> {
        let mut modules = self.store.modules()?;
        modules.sort_by_key(|module| (module.uploaded_at, module.digest));
        Ok(modules)
    }

    /// The uploaded modules whose digest begins so, oldest first.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn find(&self, beginning: &DigestBeginning) -> Result<Vec<StoredModule>, ReadError> {
        let mut modules = self.all()?;
        modules.retain(|module| beginning.is_of(&module.digest));
        Ok(modules)
    }

    /// The activations of a type, newest first; at most `limit`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn deployments(
        &self,
        aggregate_type: &AggregateType,
        limit: usize,
    ) -> Result<Vec<Deployment>, ReadError> {
        deployments::history(&*self.store, aggregate_type, limit)
    }

    /// Whether the payloads that a module wrote are JSON. The server's own events are.
    #[must_use]
    pub fn writes_json(&self, digest: &ModuleDigest) -> bool {
        let json = self.json.read().unwrap_or_else(PoisonError::into_inner);
        json.get(digest).copied().unwrap_or(false)
    }

    fn learn_encoding(&self, kept: &StoredModule) {
        let mut json = self.json.write().unwrap_or_else(PoisonError::into_inner);
        json.insert(kept.digest, is_json(&kept.manifest.payload_encoding));
    }

    fn change(&self) -> MutexGuard<'_, ()> {
        // The guarded unit cannot be left half-changed: what a panicking holder did stands in the log or does not.
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_active(&self) -> RwLockReadGuard<'_, BTreeMap<AggregateType, ActiveModule>> {
        self.active.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unchecked(aggregate_type: &AggregateType) -> String {
    format!("activated. Nothing has checked yet that this module can read the history of `{aggregate_type}`.")
}
