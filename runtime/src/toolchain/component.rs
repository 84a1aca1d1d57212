//! From the core module to the component.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

use super::{BuildError, Built};
use crate::vocabulary::ModuleDigest;

/// What a module must export, without the version.
const REQUIRED: [&str; 2] = ["annals:aggregate/manifest", "annals:aggregate/aggregate"];

/// Makes `<name>.component.wasm` beside the core module `<name>.wasm`.
pub(super) fn make(module: &Path) -> Result<Built, BuildError> {
    let core = fs::read(module).map_err(|source| BuildError::Io {
        what: "read",
        path: module.to_owned(),
        source,
    })?;
    let bytes = encode(&core, module)?;
    let component = module.with_extension("component.wasm");
    write_atomically(&component, &bytes)?;
    Ok(Built {
        component,
        size_bytes: bytes.len() as u64,
        digest: ModuleDigest(Sha256::digest(&bytes).into()),
    })
}

fn encode(core: &[u8], module: &Path) -> Result<Vec<u8>, BuildError> {
    let refused = |message: String| BuildError::Component {
        module: module.to_owned(),
        message,
    };
    let exports = export_names(core).map_err(|problem| refused(problem.to_string()))?;
    for expected in REQUIRED {
        // The name of an export is `package/interface@version#function`.
        let found = exports
            .iter()
            .filter_map(|name| name.strip_prefix(expected))
            .any(|rest| rest.starts_with(['@', '#']));
        if !found {
            return Err(BuildError::NotAnAggregate {
                module: module.to_owned(),
                expected,
            });
        }
    }
    ComponentEncoder::default()
        .validate(true)
        .module(core)
        .and_then(|mut encoder| encoder.encode())
        .map_err(|problem| refused(format!("{problem:#}")))
}

fn export_names(core: &[u8]) -> Result<Vec<String>, wasmparser::BinaryReaderError> {
    let mut names = Vec::new();
    for payload in Parser::new(0).parse_all(core) {
        if let Payload::ExportSection(section) = payload? {
            for export in section {
                names.push(export?.name.to_owned());
            }
        }
    }
    Ok(names)
}

/// Two builds at once, or a reader at the wrong moment, never see half a component.
fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), BuildError> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(format!(".{}.tmp", std::process::id()));
    let unfinished = PathBuf::from(unfinished);
    fs::write(&unfinished, bytes)
        .and_then(|()| fs::rename(&unfinished, path))
        .map_err(|source| BuildError::Io {
            what: "write",
            path: path.to_owned(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        let core = wat::parse_str(text).unwrap();
        encode(&core, Path::new("x.wasm")).unwrap_err().to_string()
    }

    #[test]
    fn a_module_that_is_no_aggregate_is_told_what_to_export() {
        let message = refusal("(module)");
        assert!(message.contains("annals:aggregate/manifest"), "{message}");
        assert!(message.contains("export_aggregate!"), "{message}");
        let message = refusal(r#"(module (func (export "annals:aggregate/manifest@0.1.0#describe")))"#);
        assert!(message.contains("`annals:aggregate/aggregate`"), "{message}");
    }

    #[test]
    fn a_module_with_a_foreign_import_is_told_where_it_comes_from() {
        let message = refusal(
            r#"(module (import "env" "now" (func))
                (func (export "annals:aggregate/manifest@0.1.0#describe"))
                (func (export "annals:aggregate/aggregate@0.1.0#[constructor]instance")))"#,
        );
        assert!(message.contains("env"), "{message}");
        assert!(message.contains("clock, randomness"), "{message}");
    }

    #[test]
    fn bytes_that_are_no_module_are_refused() {
        let problem = encode(b"MZ", Path::new("x.wasm")).unwrap_err();
        assert!(matches!(problem, BuildError::Component { .. }), "{problem}");
    }
}
