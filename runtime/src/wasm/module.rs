//! A module that is ready to serve.

use std::sync::Arc;

use wasmtime::component::InstancePre;

use super::{bindings::exports::annals::aggregate as exports, host::Host, limiter::CellData, scan::Class};
use crate::vocabulary::{Limits, Manifest, ModuleDigest};

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
        })
    }
}

/// A module, compiled, linked and described: immutable, shared by all its cells.
pub struct Module {
    pub(super) host: Host,
    pub(super) digest: ModuleDigest,
    pub(super) class: Class,
    pub(super) manifest: Manifest,
    pub(super) identity: Arc<Identity>,
    pub(super) pre: InstancePre<CellData>,
    pub(super) exports: Exports,
    pub(super) origin: CodeOrigin,
    pub(super) payloads_are_json: bool,
}

impl Module {
    /// What the module says of itself, checked.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// SHA-256 of the upload.
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
        self.origin
    }

    /// Whether states can be saved and restored; else every rebuild starts at the first event.
    #[must_use]
    pub fn has_snapshots(&self) -> bool {
        self.exports.snapshots.is_some()
    }

    /// Whether the state can be read.
    #[must_use]
    pub fn has_view(&self) -> bool {
        self.exports.view.is_some()
    }

    /// Whether the module checks what must always hold.
    #[must_use]
    pub fn has_invariants(&self) -> bool {
        self.exports.invariants.is_some()
    }

    /// Whether the module turns old events into new ones.
    #[must_use]
    pub fn has_upcasting(&self) -> bool {
        self.exports.upcasting.is_some()
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
