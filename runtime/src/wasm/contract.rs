//! The contract with modules, `wit/`, as it was when this server was built.

use wit_parser::{PackageId, Resolve, SourceMap};

/// The files of the contract: name and text.
pub const SOURCES: [(&str, &str); 10] = [
    ("aggregate.wit", include_str!("../../../wit/aggregate.wit")),
    ("invariants.wit", include_str!("../../../wit/invariants.wit")),
    ("log.wit", include_str!("../../../wit/log.wit")),
    ("manifest.wit", include_str!("../../../wit/manifest.wit")),
    ("snapshots.wit", include_str!("../../../wit/snapshots.wit")),
    ("turn.wit", include_str!("../../../wit/turn.wit")),
    ("types.wit", include_str!("../../../wit/types.wit")),
    ("upcasting.wit", include_str!("../../../wit/upcasting.wit")),
    ("view.wit", include_str!("../../../wit/view.wit")),
    ("worlds.wit", include_str!("../../../wit/worlds.wit")),
];

/// Package, without version.
pub const PACKAGE: &str = "annals:aggregate";
/// Version of the package.
pub const VERSION: &str = "0.1.0";
/// What every module must export.
pub const REQUIRED: [&str; 2] = ["manifest", "aggregate"];
/// What a module may export beside; found by presence.
pub const OPTIONAL: [&str; 5] = ["snapshots", "view", "invariants", "upcasting", "turn"];
/// What a module may import; `types` holds type definitions only.
pub const IMPORTS: [&str; 2] = ["log", "types"];

/// The full name of one of the contract's interfaces: `annals:aggregate/log@0.1.0`.
#[must_use]
pub fn interface(name: &str) -> String {
    format!("{PACKAGE}/{name}@{VERSION}")
}

/// The contract, parsed, with `extra` as one more file of the package: for example a world of one's own.
///
/// # Errors
/// When `extra` is not WIT; the contract itself always parses.
pub fn resolve(extra: Option<&str>) -> Result<(Resolve, PackageId), String> {
    let mut sources = SourceMap::new();
    for (name, text) in SOURCES {
        sources.push_str(name, text);
    }
    if let Some(text) = extra {
        sources.push_str("extra.wit", text);
    }
    let mut resolve = Resolve::default();
    let group = sources.parse().map_err(|(_, error)| error.to_string())?;
    let package = resolve.push_group(group).map_err(|error| format!("{error:?}"))?;
    Ok((resolve, package))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_is_complete_and_parses() {
        let (resolve, package) = resolve(None).unwrap();
        let package = &resolve.packages[package];
        assert_eq!(package.name.to_string(), format!("{PACKAGE}@{VERSION}"));
        for name in REQUIRED.iter().chain(&OPTIONAL).chain(&IMPORTS) {
            assert!(package.interfaces.contains_key(*name), "{name}");
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../wit"))
            .unwrap()
            .filter(|file| {
                file.as_ref()
                    .unwrap()
                    .file_name()
                    .to_string_lossy()
                    .ends_with(".wit")
            })
            .count();
        assert_eq!(files, SOURCES.len(), "a file of wit/ is missing from SOURCES");
    }
}
