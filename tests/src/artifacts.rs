//! What `cargo xtask test` builds before it runs the tests, and where it is.

use std::path::{Path, PathBuf};

use crate::absent::works;

/// The `annals` binary: `ANNALS_TEST_BIN`, else the one that was built beside this test.
///
/// # Panics
/// When there is none: `cargo xtask test` builds it.
#[must_use]
pub fn binary() -> PathBuf {
    let path =
        std::env::var_os("ANNALS_TEST_BIN").map_or_else(|| profile_dir().join("annals"), PathBuf::from);
    assert!(
        path.exists(),
        "{} is missing: run `cargo xtask test`, which builds it",
        path.display()
    );
    path
}

/// A module built from Rust, in `ANNALS_TEST_GUESTS` or where `cargo xtask test` puts them.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn module(name: &str) -> Vec<u8> {
    let folder = std::env::var_os("ANNALS_TEST_GUESTS").map_or_else(
        || {
            profile_dir()
                .parent()
                .expect("target/<profile>")
                .join("test-guests")
        },
        PathBuf::from,
    );
    let path = folder.join(format!("{name}.wasm"));
    std::fs::read(&path).unwrap_or_else(|error| {
        panic!(
            "{}: {error}; run `cargo xtask test`, which builds it",
            path.display()
        )
    })
}

/// A Python that has the CloudEvents SDK, if `cargo xtask test` could install it.
#[must_use]
pub fn python_with_cloudevents() -> Option<PathBuf> {
    let folder = profile_dir().parent()?.join("tools").join("cloudevents");
    let python = folder.join("bin").join("python");
    works(&python, &["-c", "import cloudevents.core"]).then_some(python)
}

fn profile_dir() -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    test.parent()
        .and_then(Path::parent)
        .expect("target/<profile>/deps")
        .to_owned()
}
