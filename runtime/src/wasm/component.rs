//! Core modules become components here, so that an author needs no tool beyond a compiler.

use std::panic::{AssertUnwindSafe, catch_unwind};

use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use super::{
    call::panic_text,
    contract,
    scan::{ScanLimits, declared_names},
    type_walk::PackageOrder,
    upload_error::UploadError,
    world,
};

/// Makes a component of a core module that carries its contract in a `component-type` section.
pub(super) fn componentise(core: &[u8], limits: &ScanLimits) -> Result<Vec<u8>, UploadError> {
    check(core, limits)?;
    // The encoder takes some nonsense in a contract for impossible and panics.
    catch_unwind(AssertUnwindSafe(|| encode(core)))
        .unwrap_or_else(|panic| {
            Err(format!(
                "its `component-type` section contradicts itself ({})",
                panic_text(panic.as_ref())
            ))
        })
        .map_err(|problem| UploadError::NotComposable { problem })
}

fn encode(core: &[u8]) -> Result<Vec<u8>, String> {
    ComponentEncoder::default()
        .module(core)
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(|error| format!("{error:#}"))
}

/// Finds what the encoder would explain less well.
fn check(core: &[u8], limits: &ScanLimits) -> Result<(), UploadError> {
    let mut has_contract = false;
    let mut packages = PackageOrder::default();
    for payload in Parser::new(0).parse_all(core) {
        match payload.map_err(|error| UploadError::damaged(core.len(), &error))? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(|error| UploadError::damaged(core.len(), &error))?;
                    check_import(import.module, import.name)?;
                }
            }
            Payload::CustomSection(section) if section.name().starts_with("component-type") => {
                has_contract = true;
                check_contract(section.data(), limits, &mut packages)?;
            }
            _ => {}
        }
    }
    if has_contract {
        Ok(())
    } else {
        Err(UploadError::NoContract)
    }
}

/// Looks into a `component-type` section before the encoder does: for other versions of the contract, for WASI, and for
/// what would make the encoder recurse without end.
fn check_contract(
    section: &[u8],
    limits: &ScanLimits,
    packages: &mut PackageOrder,
) -> Result<(), UploadError> {
    let names = declared_names(section, limits)?;
    names.iter().try_for_each(|name| world::check_version(name))?;
    packages.add(names).map_err(|package| UploadError::NotComposable {
        problem: format!(
            "its `component-type` section declares the interfaces of `{package}` before and after those of \
                 packages that use it, so the packages may depend on each other in a circle"
        ),
    })
}

fn check_import(module: &str, name: &str) -> Result<(), UploadError> {
    let import = || format!("{module}::{name}");
    if module.starts_with("wasi_") || module.starts_with("wasi:") {
        return Err(UploadError::Wasi {
            import: import(),
            fix: "Build for `wasm32-unknown-unknown` (for Rust, `annals build` does it) and use the context's time and \
                  seed",
        });
    }
    let fix = if module.starts_with("__wbindgen") {
        "It was processed by wasm-bindgen, or a dependency expects to run in a browser: turn off that dependency's \
         `js` feature"
    } else if module == "env" {
        "It is most likely a C symbol that was not linked"
    } else {
        return Ok(());
    };
    Err(UploadError::UnknownImport {
        import: import(),
        offered: contract::interface("log"),
        nearest: world::nearest(module, &[&contract::interface("log")]),
        fix,
    })
}
