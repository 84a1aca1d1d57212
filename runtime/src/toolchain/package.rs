//! What cargo says of the crate.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{BuildError, machine::Machine};

/// The guest's package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Package {
    /// Its name, as in `Cargo.toml`.
    pub(super) name: String,
    /// The name of its library, as cargo reports artifacts.
    pub(super) library: String,
    /// Its manifest.
    pub(super) manifest: PathBuf,
    /// The target directory of its workspace.
    pub(super) target_dir: PathBuf,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    target_directory: PathBuf,
}

#[derive(Debug, Deserialize)]
struct MetadataPackage {
    name: String,
    manifest_path: PathBuf,
    targets: Vec<MetadataTarget>,
}

#[derive(Debug, Deserialize)]
struct MetadataTarget {
    name: String,
    crate_types: Vec<String>,
}

/// Asks `cargo metadata` for the package in `crate_dir`, which must make a cdylib.
pub(super) fn find(machine: &Machine, crate_dir: &Path) -> Result<Package, BuildError> {
    let cargo = machine.which("cargo").ok_or(BuildError::NoCargo)?;
    let manifest = crate_dir.join("Cargo.toml");
    let output = machine
        .command(&cargo, crate_dir)
        .args([
            "metadata",
            "--no-deps",
            "--format-version",
            "1",
            "--manifest-path",
        ])
        .arg(&manifest)
        .output()
        .map_err(|source| BuildError::Io {
            what: "start",
            path: cargo,
            source,
        })?;
    if !output.status.success() {
        return Err(BuildError::Metadata {
            manifest,
            message: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    parse(&output.stdout, crate_dir, manifest)
}

fn parse(json: &[u8], crate_dir: &Path, manifest: PathBuf) -> Result<Package, BuildError> {
    let metadata: Metadata = serde_json::from_slice(json).map_err(|problem| BuildError::Metadata {
        manifest: manifest.clone(),
        message: format!("its answer is not understood: {problem}"),
    })?;
    let Some(package) = metadata.packages.iter().find(|p| p.manifest_path == manifest) else {
        return Err(BuildError::NotAPackage {
            path: crate_dir.to_owned(),
            members: metadata.packages.into_iter().map(|p| p.name).collect(),
        });
    };
    let is_cdylib = |target: &&MetadataTarget| target.crate_types.iter().any(|t| t == "cdylib");
    let Some(library) = package.targets.iter().find(is_cdylib) else {
        return Err(BuildError::NotACdylib {
            package: package.name.clone(),
        });
    };
    Ok(Package {
        name: package.name.clone(),
        library: library.name.clone(),
        manifest,
        target_dir: metadata.target_directory,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const JSON: &str = r#"{
        "packages": [
            {"name": "plain", "manifest_path": "/w/plain/Cargo.toml",
             "targets": [{"name": "plain", "crate_types": ["lib"]}]},
            {"name": "my-guest", "manifest_path": "/w/guest/Cargo.toml",
             "targets": [{"name": "tests", "crate_types": ["bin"]},
                         {"name": "my_guest", "crate_types": ["cdylib", "rlib"]}]}
        ],
        "target_directory": "/w/target"
    }"#;

    fn parsed(dir: &str) -> Result<Package, BuildError> {
        let dir = Path::new(dir);
        parse(JSON.as_bytes(), dir, dir.join("Cargo.toml"))
    }

    #[test]
    fn the_cdylib_of_the_crate_is_found() {
        let package = parsed("/w/guest").unwrap();
        assert_eq!(
            (package.name.as_str(), package.library.as_str()),
            ("my-guest", "my_guest")
        );
        assert_eq!(package.target_dir, Path::new("/w/target"));
    }

    #[test]
    fn a_plain_library_is_told_what_to_add() {
        let message = parsed("/w/plain").unwrap_err().to_string();
        assert!(
            message.contains("crate-type = [\"cdylib\", \"rlib\"]"),
            "{message}"
        );
    }

    #[test]
    fn a_workspace_is_told_its_members() {
        let message = parsed("/w").unwrap_err().to_string();
        assert!(message.contains("plain, my-guest"), "{message}");
    }
}
