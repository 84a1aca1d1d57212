//! What can go wrong on the way from a crate to a component.

use std::{io, path::PathBuf, process::ExitStatus};

/// Why a guest was not built. Each message names what was found and says the fix.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// There is no crate in the folder.
    #[error("`{}` holds no `Cargo.toml`; name the folder of the guest's crate", path.display())]
    NotACrate {
        /// The folder as given.
        path: PathBuf,
    },
    /// The folder is a workspace without a package of its own.
    #[error(
        "`{}` is a workspace, not one crate; name the folder of one of its members: {}",
        path.display(),
        members.join(", ")
    )]
    NotAPackage {
        /// The folder as given.
        path: PathBuf,
        /// The names of the workspace's packages.
        members: Vec<String>,
    },
    /// The crate does not build a library that can become a module.
    #[error(
        "the crate `{package}` has no library of type `cdylib`, so it makes no module; put this into its \
         `Cargo.toml` (`rlib` is for its native tests):\n\n    [lib]\n    crate-type = [\"cdylib\", \"rlib\"]\n"
    )]
    NotACdylib {
        /// The crate's name.
        package: String,
    },
    /// No cargo on this machine.
    #[error("cannot find `cargo` on the PATH; install Rust from https://rustup.rs and try again")]
    NoCargo,
    /// There is no way to the standard library for the target on this machine.
    #[error(
        "Rust cannot compile for `wasm32-unknown-unknown` here: {rustup}; {debian}.\nDo one of these and try again:\n\
         \x20   rustup target add wasm32-unknown-unknown\n\
         \x20   sudo apt-get update && sudo apt-get install {packages}    (Debian)"
    )]
    NoWasmTarget {
        /// What rustup said.
        rustup: String,
        /// What is missing for the second way.
        debian: String,
        /// The Debian packages that bring it.
        packages: String,
    },
    /// apt-get could not install the tools.
    #[error(
        "`{command}` failed ({status}): its own output above says why; or run `rustup target add \
         wasm32-unknown-unknown` where rustup's servers can be reached"
    )]
    Apt {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// Cargo could not say what the crate is.
    #[error("`cargo metadata` refused `{}`: {message}", manifest.display())]
    Metadata {
        /// The crate's manifest.
        manifest: PathBuf,
        /// Cargo's own words, or what was wrong with its answer.
        message: String,
    },
    /// The crate does not compile.
    #[error("`cargo build` of `{package}` failed ({status}): its own output above says why")]
    Compile {
        /// The crate's name.
        package: String,
        /// How cargo ended.
        status: ExitStatus,
    },
    /// Cargo succeeded without telling of a module.
    #[error(
        "`cargo build` of `{package}` succeeded but made no `.wasm` file; look for `[lib]` settings or a \
         `.cargo/config.toml` that change the output"
    )]
    NoModule {
        /// The crate's name.
        package: String,
    },
    /// The module is no aggregate.
    #[error(
        "the module `{}` does not export `{expected}`; add `export_aggregate!(YourAggregate);` of `annals-sdk`, or \
         export the world `annals:aggregate/minimal-module` with wit-bindgen",
        module.display()
    )]
    NotAnAggregate {
        /// The core module.
        module: PathBuf,
        /// The interface that is missing.
        expected: &'static str,
    },
    /// The core module cannot be made a component.
    #[error(
        "the module `{}` cannot be made a component: {message}\nA module may import only `annals:aggregate/log`: an \
         import of `env`, `wasi` or `__wbindgen…` comes from a dependency that wants a clock, randomness or a \
         browser; turn that feature off or use the `Context` instead",
        module.display()
    )]
    Component {
        /// The core module.
        module: PathBuf,
        /// The chain of causes.
        message: String,
    },
    /// A program could not be started or a file not be read or written.
    #[error("could not {what} `{}`: {source}", path.display())]
    Io {
        /// A verb.
        what: &'static str,
        /// The program or file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}
