//! A module that is ready to serve.

use std::sync::Arc;

use wasmtime::component::InstancePre;

use super::{
    bindings::exports::annals::aggregate as exports,
    fault::Fault,
    host::Host,
    limiter::CellData,
    native::{NativeFactory, Natives, native_digest},
    occupant::Occupant,
    sandbox::Sandbox,
    scan::Class,
};
use crate::vocabulary::{Limits, Manifest, ModuleDigest, is_json};

/// Who logs, traps and answers: what reports call a module.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// The aggregate type that it serves; before it said so, a stand-in.
    pub(super) name: String,
    /// The author's version.
    pub(super) version: String,
    /// The first digits of the digest.
    pub(super) digest: String,
}

/// Where a module's machine code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CodeOrigin {
    /// Compiled by this process, just now.
    Compiled,
    /// Taken from the cache of compiled code.
    Cache,
    /// Part of this program; see [`Module::native`].
    Native,
}

/// The exports of a module, looked up once: the optional ones are there when the module has them.
#[derive(Clone)]
pub(super) struct Exports {
    pub(super) manifest: exports::manifest::GuestIndices,
    pub(super) aggregate: exports::aggregate::GuestIndices,
    pub(super) snapshots: Option<exports::snapshots::GuestIndices>,
    pub(super) view: Option<exports::view::GuestIndices>,
    pub(super) invariants: Option<exports::invariants::GuestIndices>,
    pub(super) upcasting: Option<exports::upcasting::GuestIndices>,
    pub(super) turn: Option<exports::turn::GuestIndices>,
}

impl Exports {
    /// The world check went before, so an optional interface that is present has the right shape.
    pub(super) fn find(pre: &InstancePre<CellData>) -> wasmtime::Result<Self> {
        Ok(Self {
            manifest: exports::manifest::GuestIndices::new(pre)?,
            aggregate: exports::aggregate::GuestIndices::new(pre)?,
            snapshots: exports::snapshots::GuestIndices::new(pre).ok(),
            view: exports::view::GuestIndices::new(pre).ok(),
            invariants: exports::invariants::GuestIndices::new(pre).ok(),
            upcasting: exports::upcasting::GuestIndices::new(pre).ok(),
            turn: exports::turn::GuestIndices::new(pre).ok(),
        })
    }
}

/// What a module runs.
pub(super) enum Code {
    /// A component, compiled and linked.
    Component {
        pre: InstancePre<CellData>,
        exports: Exports,
        origin: CodeOrigin,
    },
    /// Rust of this program.
    Native(Arc<dyn NativeFactory>),
}

impl Code {
    /// An instance, for one cell.
    pub(super) fn occupant(&self, module: &Module) -> Result<Box<dyn Occupant>, Fault> {
        Ok(match self {
            Self::Component { pre, exports, .. } => Box::new(Sandbox::start(module, pre, exports)?),
            Self::Native(factory) => Box::new(Natives::new(factory)),
        })
    }

    /// Whether the component has an optional interface; for native code, `native`.
    fn has(&self, native: bool, exported: impl FnOnce(&Exports) -> bool) -> bool {
        match self {
            Self::Component { exports, .. } => exported(exports),
            Self::Native(_) => native,
        }
    }
}

/// A module, ready to run and described: immutable, shared by all its cells.
pub struct Module {
    pub(super) host: Host,
    pub(super) digest: ModuleDigest,
    pub(super) class: Class,
    pub(super) manifest: Manifest,
    pub(super) identity: Arc<Identity>,
    pub(super) code: Code,
    pub(super) payloads_are_json: bool,
}

impl Module {
    /// A module that is Rust of this program instead of a component, for measuring what the sandbox costs, and for tests.
    /// It runs without fuel, deadlines or limits on memory, and its answers are believed as they are. No upload can
    /// become one.
    #[must_use]
    pub fn native(host: &Host, manifest: Manifest, factory: Arc<dyn NativeFactory>) -> Arc<Self> {
        let digest = native_digest(&manifest);
        let identity = Identity {
            name: manifest.aggregate_type.to_string(),
            version: manifest.module_version.clone(),
            digest: digest.short(),
        };
        Arc::new(Self {
            host: host.clone(),
            digest,
            class: Class::Small,
            payloads_are_json: is_json(&manifest.payload_encoding),
            manifest,
            identity: Arc::new(identity),
            code: Code::Native(factory),
        })
    }

    /// What the module says of itself, checked.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the upload; of its name and version for native code.
    #[must_use]
    pub fn digest(&self) -> ModuleDigest {
        self.digest
    }

    /// Ordinary, or with a language runtime of its own and the limits that go with it.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// Where the machine code came from.
    #[must_use]
    pub fn code_origin(&self) -> CodeOrigin {
        match &self.code {
            Code::Component { origin, .. } => *origin,
            Code::Native(_) => CodeOrigin::Native,
        }
    }

    /// Whether states can be saved and restored; else every rebuild starts at the first event.
    #[must_use]
    pub fn has_snapshots(&self) -> bool {
        self.code.has(true, |exports| exports.snapshots.is_some())
    }

    /// Whether the state can be read.
    #[must_use]
    pub fn has_view(&self) -> bool {
        self.code.has(true, |exports| exports.view.is_some())
    }

    /// Whether the module checks what must always hold.
    #[must_use]
    pub fn has_invariants(&self) -> bool {
        self.code.has(false, |exports| exports.invariants.is_some())
    }

    /// Whether the module turns old events into new ones.
    #[must_use]
    pub fn has_upcasting(&self) -> bool {
        self.code.has(false, |exports| exports.upcasting.is_some())
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.host.limits()
    }

    pub(super) fn payloads_are_json(&self) -> bool {
        self.payloads_are_json
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module")
            .field("aggregate_type", &self.manifest.aggregate_type)
            .field("version", &self.manifest.module_version)
            .field("digest", &self.digest)
            .field("class", &self.class)
            .finish_non_exhaustive()
    }
}
