//! Where things are.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// This checkout and where it is compiled to.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// `target`, or wherever the user has put it.
    pub(crate) target_dir: PathBuf,
    cargo: PathBuf,
}

impl Workspace {
    /// Finds both from how cargo has started us.
    pub(crate) fn find() -> Result<Self, String> {
        let manifest_dir = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let (Some(cargo), Some(root)) = (
            env::var_os("CARGO"),
            manifest_dir.as_deref().and_then(Path::parent),
        ) else {
            return Err("run it through cargo: `cargo xtask <task>`".to_owned());
        };
        // This program is `<target>/<profile>/xtask`: true with CARGO_TARGET_DIR and with a `build.target-dir` too.
        let program = env::current_exe().map_err(|problem| format!("cannot find itself: {problem}"))?;
        let target_dir = program
            .parent()
            .and_then(Path::parent)
            .ok_or_else(|| format!("`{}` is not in a target directory", program.display()))?;
        Ok(Self {
            root: root.to_owned(),
            target_dir: target_dir.to_owned(),
            cargo: cargo.into(),
        })
    }

    /// A program that runs at the root and asks nothing.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root).stdin(Stdio::null());
        command
    }

    /// Cargo, the one that started us.
    pub(crate) fn cargo(&self) -> Command {
        self.command(&self.cargo)
    }

    /// The server's binary, once it is built.
    pub(crate) fn annals(&self) -> PathBuf {
        self.target_dir.join("release").join("annals")
    }
}
