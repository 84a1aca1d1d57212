//! The host: one engine for the process, and what turns uploads into modules.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use wasmtime::{
    Engine,
    component::{InstancePre, Linker},
};

use super::{
    budget::Budget,
    cache::Cache,
    call::{guarded, instantiate, store_for},
    compile::{CompileError, Compiler, InProcess, obtain},
    describe::{self, ManifestProblem},
    engine::{Ticker, engine},
    fault::Fault,
    guest_log,
    inspect::{Inspected, inspect},
    limiter::CellData,
    module::{Code, Exports, Identity, Module},
    scan::Class,
    upload_error::UploadError,
};
use crate::vocabulary::{Limits, Manifest};

/// How the host is set up.
#[derive(Debug, Clone)]
pub struct HostOptions {
    /// The limits in force.
    pub limits: Limits,
    /// Where compiled code is kept; without, every start compiles every module.
    pub cache_dir: Option<PathBuf>,
    /// Signs what is kept there. Keep it with the server's data, and secret: who has it can have code executed.
    pub cache_key: [u8; 32],
}

/// The host cannot start.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The engine does not start on this machine.
    #[error("the Wasm engine does not start: {problem}")]
    Engine {
        /// What it said.
        problem: String,
    },
    /// The directory for compiled code cannot be used.
    #[error("the directory for compiled modules, `{}`, cannot be used: {source}", directory.display())]
    Cache {
        /// Which directory.
        directory: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The thread behind the deadlines does not start.
    #[error("the thread that enforces deadlines does not start: {0}")]
    Ticker(#[source] std::io::Error),
}

/// A module of the contract that cannot serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// It does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// It does not link: the world check and the linker disagree.
    #[error("the module cannot be linked: {problem}")]
    Link {
        /// What the linker said.
        problem: String,
    },
    /// It failed while it started or described itself.
    #[error("the module cannot be started and asked for its manifest: {0}")]
    Describe(#[source] Fault),
    /// Its manifest is not acceptable.
    #[error("the module's manifest is not acceptable: {0}")]
    Manifest(#[from] ManifestProblem),
}

impl LoadError {
    /// A stable name for programs, logs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Compile(_) => "does-not-compile",
            Self::Link { .. } => "does-not-link",
            Self::Describe(_) => "does-not-describe",
            Self::Manifest(_) => "bad-manifest",
        }
    }
}

/// The Wasm host of a process. A cheap handle: clones share everything.
#[derive(Clone)]
pub struct Host(Arc<Shared>);

struct Shared {
    engine: Engine,
    linker: Linker<CellData>,
    limits: Limits,
    cache: Option<Cache>,
    compiler: Box<dyn Compiler>,
    cells: AtomicUsize,
    _ticker: Ticker,
}

impl Host {
    /// Starts the engine.
    ///
    /// # Errors
    /// [`HostError`] when the machine does not let it.
    pub fn new(options: HostOptions) -> Result<Self, HostError> {
        Self::start(options, |engine| Box::new(InProcess(engine)))
    }

    /// As [`Host::new`], with a compiler of one's own. What it makes is executed, so it must be as trusted as this
    /// program.
    ///
    /// # Errors
    /// [`HostError`] when the machine does not let it.
    pub fn with_compiler(options: HostOptions, compiler: Box<dyn Compiler>) -> Result<Self, HostError> {
        Self::start(options, |_| compiler)
    }

    fn start(
        options: HostOptions,
        compiler: impl FnOnce(Engine) -> Box<dyn Compiler>,
    ) -> Result<Self, HostError> {
        let problem = |error: wasmtime::Error| HostError::Engine {
            problem: format!("{error:#}"),
        };
        let (engine, _) = engine(&options.limits).map_err(problem)?;
        let mut linker = Linker::new(&engine);
        guest_log::add_to_linker(&mut linker).map_err(problem)?;
        let cache = options
            .cache_dir
            .map(|directory| {
                Cache::open(&directory, options.cache_key, &engine)
                    .map_err(|source| HostError::Cache { directory, source })
            })
            .transpose()?;
        let ticker = Ticker::start(&engine).map_err(HostError::Ticker)?;
        Ok(Self(Arc::new(Shared {
            compiler: compiler(engine.clone()),
            engine,
            linker,
            limits: options.limits,
            cache,
            cells: AtomicUsize::new(0),
            _ticker: ticker,
        })))
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Cells that exist, count.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.0.cells.load(Ordering::Relaxed)
    }

    /// Checks an upload without executing or compiling it, and makes it a component when it is a core module.
    ///
    /// # Errors
    /// [`UploadError`] says what was found, what was expected and what to do.
    pub fn inspect(&self, upload: &[u8]) -> Result<Inspected, UploadError> {
        inspect(upload, &self.0.limits)
    }

    /// Compiles a module or takes it from the cache, starts it once and asks it for its manifest.
    ///
    /// # Errors
    /// [`LoadError`] says which of these failed and why.
    pub fn load(&self, inspected: &Inspected) -> Result<Arc<Module>, LoadError> {
        let (component, origin) = obtain(
            &self.0.engine,
            self.0.compiler.as_ref(),
            self.0.cache.as_ref(),
            inspected.digest,
            &inspected.component,
        )?;
        let link = |error: wasmtime::Error| LoadError::Link {
            problem: format!("{error:#}"),
        };
        let pre = self.0.linker.instantiate_pre(&component).map_err(link)?;
        let exports = Exports::find(&pre).map_err(link)?;
        let mut identity = Identity {
            name: "module under inspection".into(),
            version: "not known yet".into(),
            digest: inspected.digest.short(),
        };
        let manifest = self.describe(&pre, &exports, inspected.class, &identity)?;
        identity.name = manifest.aggregate_type.to_string();
        identity.version.clone_from(&manifest.module_version);
        Ok(Arc::new(Module {
            host: self.clone(),
            digest: inspected.digest,
            class: inspected.class,
            payloads_are_json: crate::vocabulary::is_json(&manifest.payload_encoding),
            manifest,
            identity: Arc::new(identity),
            code: Code::Component { pre, exports, origin },
        }))
    }

    /// Asks a module for its manifest, twice, in an instance of its own.
    fn describe(
        &self,
        pre: &InstancePre<CellData>,
        exports: &Exports,
        class: Class,
        identity: &Identity,
    ) -> Result<Manifest, LoadError> {
        let limits = self.limits();
        let memory_bytes = class.memory_bytes(limits);
        let budget = Budget::describe(class, limits);
        let answers = store_for(self, Arc::new(identity.clone()), memory_bytes).and_then(|mut store| {
            let instance = instantiate(&mut store, budget, pre)?;
            guarded(&mut store, budget, |store| {
                let manifest = exports.manifest.load(&mut *store, &instance)?;
                let first = manifest.call_describe(&mut *store)?;
                Ok((first, manifest.call_describe(&mut *store)?))
            })
        });
        let (first, second) = answers.map_err(LoadError::Describe)?;
        let manifest = describe::check(first)?;
        // The first answer is the one with a good message; only then is it worth comparing.
        if describe::check(second).as_ref() != Ok(&manifest) {
            return Err(ManifestProblem::Unstable.into());
        }
        Ok(manifest)
    }

    pub(super) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// The right to have one more cell.
    pub(super) fn cell_permit(&self) -> Result<CellPermit, Fault> {
        let limit = self.0.limits.cells;
        self.0
            .cells
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |cells| {
                (cells < limit).then_some(cells + 1)
            })
            .map(|_| CellPermit(self.clone()))
            .map_err(|_| Fault::CellLimit { limit })
    }
}

/// Counts a cell for as long as it exists.
pub(super) struct CellPermit(Host);

impl Drop for CellPermit {
    fn drop(&mut self) {
        self.0.0.cells.fetch_sub(1, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host")
            .field("limits", &self.0.limits)
            .field("cache", &self.0.cache)
            .field("compiler", &self.0.compiler)
            .field("cells", &self.cells())
            .finish_non_exhaustive()
    }
}
