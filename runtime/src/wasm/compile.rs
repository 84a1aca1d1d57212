//! From a component to machine code, and from machine code to something that runs.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmtime::{Engine, component::Component};

use super::{cache::Cache, call::panic_text, module::CodeOrigin};
use crate::vocabulary::ModuleDigest;

/// Turns components into machine code. The built-in one compiles in this process; another may do it in a child
/// process with limits on memory and processor time.
pub trait Compiler: Send + Sync + std::fmt::Debug {
    /// Compiles a component that passed inspection, for the engine of the [`Host`](super::Host) that it is given to.
    ///
    /// # Errors
    /// [`CompileError`] says what the compiler did not take.
    fn compile(&self, component: &[u8]) -> Result<Vec<u8>, CompileError>;
}

/// A component that does not compile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the module does not compile: {problem}")]
pub struct CompileError {
    /// What the compiler said.
    pub problem: String,
}

/// Compiles in this process.
#[derive(Debug)]
pub(super) struct InProcess(pub(super) Engine);

impl std::fmt::Debug for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Code({} bytes)", self.0.len())
    }
}

impl Compiler for InProcess {
    fn compile(&self, component: &[u8]) -> Result<Vec<u8>, CompileError> {
        catch_unwind(AssertUnwindSafe(|| self.0.precompile_component(component)))
            .map_err(|panic| panic_text(panic.as_ref()))
            .and_then(|compiled| compiled.map_err(|error| format!("{error:#}")))
            .map_err(|problem| CompileError { problem })
    }
}

/// Machine code that may be executed: [`Compiler`] made it just now, or [`Cache`] vouches for it.
pub(super) struct Code(Vec<u8>);

impl Code {
    /// Takes what the compiler made.
    pub(super) fn compiled(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Takes what the cache found intact and signed.
    pub(super) fn vouched(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    #[expect(
        unsafe_code,
        reason = "loading machine code; the type's two constructors are the argument that it is our own"
    )]
    fn revive(&self, engine: &Engine) -> wasmtime::Result<Component> {
        // SAFETY: the bytes come from wasmtime's own serialisation and are unmodified: either they never left this
        // process and its compiler, or their HMAC under this server's key was checked. wasmtime itself checks its
        // version and the engine's configuration.
        unsafe { Component::deserialize(engine, &self.0) }
    }
}

/// The machine code of a module: from the cache, else compiled and put there.
pub(super) fn obtain(
    engine: &Engine,
    compiler: &dyn Compiler,
    cache: Option<&Cache>,
    digest: ModuleDigest,
    component: &[u8],
) -> Result<(Component, CodeOrigin), CompileError> {
    if let Some(cache) = cache
        && let Some(code) = cache.load(digest, component)
    {
        match code.revive(engine) {
            Ok(component) => return Ok((component, CodeOrigin::Cache)),
            Err(error) => {
                tracing::warn!(%digest, error = %format!("{error:#}"), "cached code does not load; compiling again");
            }
        }
    }
    let bytes = compiler.compile(component)?;
    if let Some(cache) = cache {
        cache.store(digest, component, &bytes);
    }
    Code::compiled(bytes)
        .revive(engine)
        .map(|component| (component, CodeOrigin::Compiled))
        .map_err(|error| CompileError {
            problem: format!("{error:#}"),
        })
}
