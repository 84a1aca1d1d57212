//! Core modules become components here, so that an author needs no tool beyond a compiler.

use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use super::{contract, upload_error::UploadError, world};

/// Makes a component of a core module that carries its contract in a `component-type` section.
pub(super) fn componentise(core: &[u8]) -> Result<Vec<u8>, UploadError> {
    check(core)?;
    let problem = |error: &dyn std::fmt::Display| UploadError::NotComposable {
        problem: format!("{error:#}"),
    };
    ComponentEncoder::default()
        .module(core)
        .map_err(|error| problem(&error))?
        .validate(true)
        .encode()
        .map_err(|error| problem(&error))
}

/// Finds what the encoder would explain less well.
fn check(core: &[u8]) -> Result<(), UploadError> {
    let mut has_contract = false;
    for payload in Parser::new(0).parse_all(core) {
        match payload.map_err(|error| UploadError::damaged(core.len(), &error))? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.map_err(|error| UploadError::damaged(core.len(), &error))?;
                    check_import(import.module, import.name)?;
                }
            }
            Payload::CustomSection(section) => has_contract |= section.name().starts_with("component-type"),
            _ => {}
        }
    }
    if has_contract {
        Ok(())
    } else {
        Err(UploadError::NoContract)
    }
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
