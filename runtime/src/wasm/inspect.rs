//! The way of an upload from bytes to a component of the contract, without executing or compiling any of it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use sha2::{Digest, Sha256};
use wasmtime::Engine;

use super::{
    call::panic_text,
    component::componentise,
    scan::{Class, scan},
    upload_error::UploadError,
    world,
};
use crate::vocabulary::{Limits, ModuleDigest, shown_chars};

const MAGIC: &[u8] = b"\0asm";
const CORE_VERSION: [u8; 4] = [1, 0, 0, 0];
const COMPONENT_VERSION: [u8; 4] = [0x0d, 0, 1, 0];

/// An upload that is a module of the contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// SHA-256 of the upload: the module's identity.
    pub digest: ModuleDigest,
    /// The component: the upload itself, or what was made of a core module.
    pub component: Vec<u8>,
    /// Which limits it gets.
    pub class: Class,
}

enum Kind {
    Core,
    Component,
}

/// Checks an upload and makes it a component. See [`Host::inspect`](super::Host::inspect).
pub(super) fn inspect(upload: &[u8], limits: &Limits) -> Result<Inspected, UploadError> {
    if upload.len() > limits.module_bytes {
        return Err(UploadError::TooLarge {
            found: upload.len(),
            limit: limits.module_bytes,
        });
    }
    // The tools that read uploads were not all written for hostile ones.
    catch_unwind(AssertUnwindSafe(|| inspect_unguarded(upload, limits))).unwrap_or_else(|panic| {
        Err(UploadError::Host {
            what: panic_text(panic.as_ref()),
        })
    })
}

fn inspect_unguarded(upload: &[u8], limits: &Limits) -> Result<Inspected, UploadError> {
    let kind = sniff(upload)?;
    let class = Class::of(upload.len());
    let scan_limits = class.scan_limits(limits);
    scan(upload, &scan_limits)?;
    let component = match kind {
        Kind::Component => upload.to_vec(),
        Kind::Core => {
            let component = componentise(upload, &scan_limits)?;
            scan(&component, &scan_limits)?;
            component
        }
    };
    world::check(&component)?;
    Ok(Inspected {
        digest: ModuleDigest(Sha256::digest(upload).into()),
        component,
        class,
    })
}

fn sniff(upload: &[u8]) -> Result<Kind, UploadError> {
    if upload.is_empty() {
        return Err(UploadError::Empty);
    }
    if let Some(rest) = upload.strip_prefix(MAGIC) {
        return match rest.first_chunk::<4>() {
            Some(&CORE_VERSION) => Ok(Kind::Core),
            Some(&COMPONENT_VERSION) => Ok(Kind::Component),
            Some(other) => Err(UploadError::UnknownVersion { found: hex(other) }),
            None => Err(UploadError::Damaged {
                offset: upload.len(),
                bytes: upload.len(),
                truncated: true,
                problem: "unexpected end within the header".into(),
            }),
        };
    }
    if Engine::detect_precompiled(upload).is_some() {
        return Err(UploadError::Precompiled);
    }
    Err(text(upload).unwrap_or_else(|| UploadError::NotWasm {
        beginning: hex(upload.get(..8).unwrap_or(upload)),
        looks_like: looks_like(upload),
    }))
}

/// The error for an upload that is text.
fn text(upload: &[u8]) -> Option<UploadError> {
    let text = std::str::from_utf8(upload).ok()?;
    if text.chars().any(|c| c.is_control() && !c.is_ascii_whitespace()) {
        return None;
    }
    let start = text.trim_start();
    let fix = if start.starts_with("(module") || start.starts_with("(component") || start.starts_with(";;") {
        "It looks like WebAssembly text: turn it into a binary with `wasm-tools parse`"
    } else if start.starts_with('<') || start.starts_with('{') {
        "It looks like a web page or JSON: send the file with `--data-binary @module.wasm`, not its name or a form"
    } else {
        "Send the `.wasm` file itself, for example with `--data-binary @module.wasm`"
    };
    Some(UploadError::Text {
        beginning: shown_chars(start, 40),
        fix,
    })
}

fn looks_like(upload: &[u8]) -> &'static str {
    let kinds: [(&[u8], &str); 5] = [
        (b"\x1f\x8b", ", which is gzip: unpack it first"),
        (b"PK\x03\x04", ", which is a zip archive: unpack it first"),
        (b"\x7fELF", ", which is native machine code"),
        (b"\x28\xb5\x2f\xfd", ", which is zstd: unpack it first"),
        (b"!<arch>", ", which is a static library"),
    ];
    kinds
        .iter()
        .find(|(magic, _)| upload.starts_with(magic))
        .map_or("", |(_, words)| words)
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .join(" ")
}
