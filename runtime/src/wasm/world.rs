//! Whether a component is of the contract: its imports, its exports, and then every type in them.

use wasmparser::{Parser, Payload};
use wit_parser::Resolve;

use super::{contract, upload_error::UploadError};

const WORLD: &str = "uploaded";
/// Names that an error lists.
const LISTED_MAX: usize = 8;

/// Checks a component.
pub(super) fn check(component: &[u8]) -> Result<(), UploadError> {
    let (imports, exports) = surface(component)?;
    imports.iter().try_for_each(|import| check_import(import))?;
    check_exports(&exports)?;
    check_types(component, &exports)
}

/// The names of imports and exports. They are read from the component's own sections: decoding its whole WIT would trust
/// packages that nobody needs.
fn surface(component: &[u8]) -> Result<(Vec<String>, Vec<String>), UploadError> {
    let damaged = |error| UploadError::damaged(component.len(), &error);
    let (mut imports, mut exports) = (Vec::new(), Vec::new());
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(damaged)? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 1 => {
                for import in section {
                    imports.push(import.map_err(damaged)?.name.name.to_owned());
                }
            }
            Payload::ComponentExportSection(section) if depth == 1 => {
                for export in section {
                    exports.push(export.map_err(damaged)?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok((imports, exports))
}

fn check_import(import: &str) -> Result<(), UploadError> {
    if contract::IMPORTS
        .iter()
        .any(|name| contract::interface(name) == import)
    {
        return Ok(());
    }
    if import.starts_with("wasi:") {
        return Err(UploadError::Wasi {
            import: import.to_owned(),
            fix: "Build without WASI: Rust for `wasm32-unknown-unknown` (`annals build` does it), JavaScript with \
                  `disableFeatures`, Python with `--stub-wasi`",
        });
    }
    check_version(import)?;
    let offered = contract::interface("log");
    Err(UploadError::UnknownImport {
        nearest: nearest(import, &[&offered]),
        import: import.to_owned(),
        offered,
        fix: "Remove what needs it",
    })
}

fn check_exports(exports: &[String]) -> Result<(), UploadError> {
    exports.iter().try_for_each(|export| check_version(export))?;
    let listed = list(exports);
    let ours = exports.iter().any(|export| export.starts_with(contract::PACKAGE));
    for name in contract::REQUIRED {
        let wanted = contract::interface(name);
        if exports.contains(&wanted) {
            continue;
        }
        if !ours && !exports.is_empty() {
            return Err(UploadError::AnotherWorld { exports: listed });
        }
        let names: Vec<&str> = exports.iter().map(String::as_str).collect();
        return Err(UploadError::MissingExport {
            nearest: nearest(&wanted, &names),
            missing: wanted,
            exports: listed,
        });
    }
    Ok(())
}

/// Refuses one of the contract's interfaces in a version that this server does not speak.
pub(super) fn check_version(name: &str) -> Result<(), UploadError> {
    let Some((interface, _)) = name.strip_prefix(contract::PACKAGE).and_then(|rest| {
        let (interface, version) = rest.strip_prefix('/')?.split_once('@')?;
        (version != contract::VERSION).then_some((interface, version))
    }) else {
        return Ok(());
    };
    Err(UploadError::AnotherVersion {
        found: name.to_owned(),
        expected: contract::interface(interface),
    })
}

/// Compares every type, for the required interfaces and for those optional ones that are there.
fn check_types(component: &[u8], exports: &[String]) -> Result<(), UploadError> {
    let wrong = |problem: String| UploadError::WrongTypes { problem };
    let optional: String = contract::OPTIONAL
        .iter()
        .filter(|name| exports.contains(&contract::interface(name)))
        .map(|name| format!("export {name}; "))
        .collect();
    let world = format!(
        "package {}@{};\nworld {WORLD} {{ include minimal-module; {optional}}}",
        contract::PACKAGE,
        contract::VERSION
    );
    let host = |what: String| UploadError::Host { what };
    let (resolve, package): (Resolve, _) = contract::resolve(Some(&world)).map_err(host)?;
    let world = resolve
        .select_world(&[package], Some(WORLD))
        .map_err(|error| host(format!("{error:#}")))?;
    wit_component::targets(&resolve, world, component).map_err(|error| wrong(root(&error)))
}

/// The innermost cause is the one that names the difference.
fn root(error: &(impl std::fmt::Display + ?Sized)) -> String {
    let text = format!("{error:#}");
    text.strip_prefix("failed to validate encoded bytes: ")
        .map(str::to_owned)
        .unwrap_or(text)
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    let shown: Vec<String> = names
        .iter()
        .take(LISTED_MAX)
        .map(|name| format!("`{name}`"))
        .collect();
    let more = names.len().saturating_sub(LISTED_MAX);
    let tail = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{tail}", shown.join(", "))
}

/// `, and the nearest name is …`, when one of the candidates is near enough to be meant.
pub(super) fn nearest(name: &str, candidates: &[&str]) -> String {
    candidates
        .iter()
        .map(|candidate| (distance(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance > 0 && *distance <= candidate.len() / 3)
        .min()
        .map(|(_, candidate)| format!(", and the nearest name is `{candidate}`"))
        .unwrap_or_default()
}

/// Levenshtein distance in bytes, of the first 100 bytes.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<u8> = right.bytes().take(100).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, l) in left.bytes().take(100).enumerate() {
        let mut next = Vec::with_capacity(row.len());
        next.push(index + 1);
        for ((r, diagonal), above) in right.iter().zip(&row).zip(row.iter().skip(1)) {
            let before = next.last().copied().unwrap_or(0);
            next.push((diagonal + usize::from(l != *r)).min(above + 1).min(before + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_named_and_a_far_one_is_not() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert!(nearest("annals:aggregate/logs@0.1.0", &["annals:aggregate/log@0.1.0"]).contains("/log@"));
        assert_eq!(nearest("x", &["annals:aggregate/log@0.1.0"]), "");
    }
}
