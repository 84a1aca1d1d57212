//! What this room needs to know of the machine, in one value, so that tests can make a machine up.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// A machine to build on.
#[derive(Debug, Clone)]
pub(super) struct Machine {
    /// Where programs are looked for, and what children get as `PATH`.
    pub(super) search_path: OsString,
    /// Where the distribution keeps its own Rust: `/usr`.
    pub(super) usr: PathBuf,
    /// The file that says which distribution this is.
    pub(super) os_release: PathBuf,
    /// Whether packages may be installed.
    pub(super) is_root: bool,
    /// How long rustup may take: long enough for 30 MB over a slow line, short enough that a machine that
    /// cannot reach its servers goes on to the next way soon.
    pub(super) rustup_limit: Duration,
}

impl Machine {
    /// The one we are on.
    pub(super) fn this() -> Self {
        Self {
            search_path: env::var_os("PATH").unwrap_or_default(),
            usr: PathBuf::from("/usr"),
            os_release: PathBuf::from("/etc/os-release"),
            is_root: rustix::process::geteuid().is_root(),
            rustup_limit: Duration::from_secs(60),
        }
    }

    /// Where `program` is.
    pub(super) fn which(&self, program: &str) -> Option<PathBuf> {
        env::split_paths(&self.search_path)
            .map(|dir| dir.join(program))
            .find(|candidate| candidate.is_file())
    }

    /// Whether its packages come by apt-get.
    pub(super) fn is_debian(&self) -> bool {
        let text = std::fs::read_to_string(&self.os_release).unwrap_or_default();
        text.lines()
            .filter_map(|line| line.strip_prefix("ID=").or_else(|| line.strip_prefix("ID_LIKE=")))
            .flat_map(|value| value.trim_matches('"').split_whitespace())
            .any(|id| id == "debian" || id == "ubuntu")
    }

    /// A child in `dir` that knows nothing of a cargo around us.
    pub(super) fn command(&self, program: &Path, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(dir)
            .env("PATH", &self.search_path)
            .stdin(std::process::Stdio::null());
        for (name, _) in env::vars_os().filter(|(name, _)| is_left_behind(name)) {
            command.env_remove(name);
        }
        command
    }
}

/// Whether a variable belongs to the cargo, clippy or rustup that started us, and would bend another build.
/// What a user sets to reach a registry or to place caches (`CARGO_HOME`, `CARGO_TARGET_DIR`, `CARGO_NET_…`,
/// `CARGO_HTTP_…`, `CARGO_REGISTRIES_…`, `CARGO_TERM_…`, `CARGO_BUILD_JOBS`, `RUSTUP_HOME`, `RUSTUP_DIST_SERVER`)
/// stays.
fn is_left_behind(name: &OsStr) -> bool {
    const NAMES: &[&str] = &[
        "CARGO",
        "CARGO_CRATE_NAME",
        "CARGO_ENCODED_RUSTDOCFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_INCREMENTAL",
        "CARGO_MAKEFLAGS",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_PATH",
        "CARGO_PRIMARY_PACKAGE",
        "MAKEFLAGS",
        "MFLAGS",
        "RUSTC",
        "RUSTC_BOOTSTRAP",
        "RUSTC_LINKER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_WRAPPER",
        "RUSTDOC",
        "RUSTDOCFLAGS",
        "RUSTFLAGS",
        "RUSTUP_TOOLCHAIN",
        "RUST_RECURSION_COUNT",
    ];
    const PREFIXES: &[&str] = &[
        "CARGO_BIN_",
        "CARGO_BUILD_",
        "CARGO_CFG_",
        "CARGO_FEATURE_",
        "CARGO_PKG_",
        "CARGO_PROFILE_",
        "CARGO_TARGET_",
        "CARGO_UNSTABLE_",
    ];
    const KEPT: &[&str] = &["CARGO_BUILD_JOBS", "CARGO_TARGET_DIR"];
    let Some(name) = name.to_str() else { return false };
    !KEPT.contains(&name) && (NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surrounding_build_is_forgotten_and_the_users_settings_are_kept() {
        for gone in [
            "CARGO",
            "CARGO_PKG_NAME",
            "CARGO_MANIFEST_DIR",
            "CARGO_BUILD_TARGET",
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
        ] {
            assert!(is_left_behind(OsStr::new(gone)), "{gone}");
        }
        for kept in [
            "CARGO_HOME",
            "CARGO_TARGET_DIR",
            "CARGO_BUILD_JOBS",
            "CARGO_NET_OFFLINE",
            "CARGO_HTTP_PROXY",
            "CARGO_REGISTRIES_MIRROR_TOKEN",
            "RUSTUP_HOME",
            "RUSTUP_DIST_SERVER",
            "PATH",
        ] {
            assert!(!is_left_behind(OsStr::new(kept)), "{kept}");
        }
    }

    #[test]
    fn distributions_are_told_by_id_or_likeness() {
        let dir = tempfile::tempdir().unwrap();
        let os_release = dir.path().join("os-release");
        let mut machine = Machine::this();
        machine.os_release = os_release.clone();
        for (text, expected) in [
            ("NAME=x\nID=debian\n", true),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", true),
            ("ID=fedora\nPRETTY_NAME=\"not debian\"\n", false),
            ("", false),
        ] {
            std::fs::write(&os_release, text).unwrap();
            assert_eq!(machine.is_debian(), expected, "{text}");
        }
    }
}
