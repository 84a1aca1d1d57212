//! From a guest's crate to a component: what `annals build` does.
//!
//! An author installs nothing but Rust. This room finds or gets the standard library for the wasm target
//! (`target`), asks cargo what the crate is (`package`), builds it under the guest profile (`cargo`) and turns
//! the core module into a component in process (`component`). It starts child processes and writes below the
//! target directory, and nowhere else; only when the wasm target is missing does it ask `rustup` for it, and only
//! on Debian and only as root does it install packages, saying so first.
//!
//! This room names wit-component and wasmparser; it knows no other room but the vocabulary.

mod cargo;
mod component;
mod error;
mod machine;
mod package;
mod target;

use std::path::{Path, PathBuf};

pub use error::BuildError;

use crate::vocabulary::ModuleDigest;
use machine::Machine;

/// The target that guests are compiled for.
pub const GUEST_TARGET: &str = "wasm32-unknown-unknown";

/// Which crate to build, and where to.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The folder that holds the guest's `Cargo.toml`.
    pub crate_dir: PathBuf,
    /// Where compiled code goes. `None`: `annals-guests` in the workspace's own target directory. All guests of one
    /// build should share it, because their dependencies, and sometimes the standard library, are compiled into it.
    pub target_dir: Option<PathBuf>,
    /// Pass `--verbose` to cargo.
    pub verbose: bool,
}

impl BuildRequest {
    /// Builds the crate in `crate_dir` into the default target directory, quietly.
    #[must_use]
    pub fn new(crate_dir: impl Into<PathBuf>) -> Self {
        Self {
            crate_dir: crate_dir.into(),
            target_dir: None,
            verbose: false,
        }
    }
}

/// A component that is ready to be uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Built {
    /// Where it is: `<crate>.component.wasm`, an absolute path.
    pub component: PathBuf,
    /// Its size, bytes.
    pub size_bytes: u64,
    /// SHA-256 of its bytes: the identity it will have on a server.
    pub digest: ModuleDigest,
}

/// Builds a guest crate into a component.
///
/// `report` is told, one line at a time, what is being done. Cargo's own output goes to standard error as it comes;
/// standard output is left alone. The environment that a surrounding `cargo run` or `cargo test` leaves behind
/// (`CARGO`, `RUSTC`, `RUSTUP_TOOLCHAIN`, `RUSTFLAGS` and the like) is not passed on: the crate's own
/// `rust-toolchain.toml` and `.cargo/config.toml` decide.
///
/// # Errors
/// [`BuildError`] names what was missing or went wrong, and the fix.
pub fn build(request: &BuildRequest, report: &mut dyn FnMut(&str)) -> Result<Built, BuildError> {
    build_on(&Machine::this(), request, report)
}

fn build_on(
    machine: &Machine,
    request: &BuildRequest,
    report: &mut dyn FnMut(&str),
) -> Result<Built, BuildError> {
    let crate_dir = crate_dir(&request.crate_dir)?;
    let package = package::find(machine, &crate_dir)?;
    let toolchain = target::find(machine, &crate_dir, report)?;
    let target_dir = match &request.target_dir {
        Some(dir) => std::path::absolute(dir).map_err(|source| BuildError::Io {
            what: "find",
            path: dir.clone(),
            source,
        })?,
        None => package.target_dir.join("annals-guests"),
    };
    report(&format!(
        "building `{}` into {}",
        package.name,
        target_dir.display()
    ));
    let module = cargo::build(
        machine,
        &toolchain,
        &package,
        &crate_dir,
        &target_dir,
        request.verbose,
    )?;
    let built = component::make(&module)?;
    report(&format!(
        "made the component {} ({} KiB, digest {})",
        built.component.display(),
        built.size_bytes.div_ceil(1024),
        built.digest.short()
    ));
    Ok(built)
}

/// The folder as an absolute path, once it is known to hold a `Cargo.toml`.
fn crate_dir(given: &Path) -> Result<PathBuf, BuildError> {
    let missing = || BuildError::NotACrate {
        path: given.to_owned(),
    };
    let given_dir = if given.file_name().is_some_and(|name| name == "Cargo.toml") {
        given.parent().unwrap_or(given)
    } else {
        given
    };
    // A bare `Cargo.toml` has the empty path as its parent.
    let given_dir = if given_dir.as_os_str().is_empty() {
        Path::new(".")
    } else {
        given_dir
    };
    let dir = given_dir.canonicalize().map_err(|_| missing())?;
    if dir.join("Cargo.toml").is_file() {
        Ok(dir)
    } else {
        Err(missing())
    }
}

#[cfg(test)]
mod tests;
