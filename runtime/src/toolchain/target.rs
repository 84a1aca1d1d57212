//! Finding the standard library for the wasm target: three ways, in this order.
//!
//! 1. The toolchain has it.
//! 2. `rustup target add`, which is what nearly everybody has.
//! 3. Debian's own Rust with the sources of the standard library, which cargo then compiles too. For machines that
//!    cannot reach rustup's servers.

use std::{
    io::Read,
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use super::{BuildError, GUEST_TARGET, machine::Machine};

/// The Debian packages of the third way.
const DEBIAN_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src", "lld"];

/// How cargo is to be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Toolchain {
    /// The toolchain of the PATH has the target.
    Ready {
        /// The cargo of the PATH.
        cargo: PathBuf,
    },
    /// The distribution's compiler, which has the sources of the standard library only.
    BuildStd {
        /// The distribution's cargo.
        cargo: PathBuf,
        /// The distribution's compiler.
        rustc: PathBuf,
        /// A linker for wasm.
        linker: PathBuf,
    },
}

/// Finds, or gets, a toolchain that can compile the crate in `crate_dir` for wasm.
pub(super) fn find(
    machine: &Machine,
    crate_dir: &Path,
    report: &mut dyn FnMut(&str),
) -> Result<Toolchain, BuildError> {
    let cargo = machine.which("cargo").ok_or(BuildError::NoCargo)?;
    if has_target(machine, crate_dir) {
        return Ok(Toolchain::Ready { cargo });
    }
    report(&format!(
        "the standard library for {GUEST_TARGET} is not installed; running `rustup target add {GUEST_TARGET}`"
    ));
    let rustup = match rustup_target_add(machine, crate_dir) {
        Ok(()) if has_target(machine, crate_dir) => return Ok(Toolchain::Ready { cargo }),
        Ok(()) => "rustup added the target to another toolchain than the one on the PATH".to_owned(),
        Err(problem) => problem,
    };
    report(&format!(
        "{rustup}; looking for a Rust of the distribution with the sources of the standard library"
    ));
    let missing = match debian(machine) {
        Ok(toolchain) => return Ok(chosen(toolchain, report)),
        Err(missing) => missing,
    };
    let packages = DEBIAN_PACKAGES.join(" ");
    let debian_problem = if !machine.is_debian() {
        "this is not a Debian, whose packages could be used instead".to_owned()
    } else if !machine.is_root {
        format!(
            "Debian's packages could be used instead, but {missing} is not installed and only root can install it"
        )
    } else if let Some(apt) = machine.which("apt-get") {
        install(machine, &apt, crate_dir, &missing, report)?;
        match debian(machine) {
            Ok(toolchain) => return Ok(chosen(toolchain, report)),
            Err(missing) => format!("Debian's packages are installed, but {missing} is still missing"),
        }
    } else {
        format!("{missing} is not installed, and there is no apt-get to install it with")
    };
    Err(BuildError::NoWasmTarget {
        rustup,
        debian: debian_problem,
        packages,
    })
}

fn chosen(toolchain: Toolchain, report: &mut dyn FnMut(&str)) -> Toolchain {
    if let Toolchain::BuildStd { rustc, .. } = &toolchain {
        report(&format!(
            "using {} and compiling the standard library from source: two or three minutes the first time",
            rustc.display()
        ));
    }
    toolchain
}

/// The first way. The compiler is asked in the crate's folder, because a `rust-toolchain.toml` may choose it.
fn has_target(machine: &Machine, crate_dir: &Path) -> bool {
    let Some(rustc) = machine.which("rustc") else {
        return false;
    };
    let output = machine
        .command(&rustc, crate_dir)
        .args(["--print", "target-libdir", "--target", GUEST_TARGET])
        .output();
    let Ok(output) = output else { return false };
    let libdir = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    output.status.success()
        && libdir
            .read_dir()
            .is_ok_and(|mut entries| entries.next().is_some())
}

/// The second way; the error is the reason, for people.
fn rustup_target_add(machine: &Machine, crate_dir: &Path) -> Result<(), String> {
    let rustup = machine
        .which("rustup")
        .ok_or_else(|| "there is no rustup on the PATH".to_owned())?;
    let mut child = machine
        .command(&rustup, crate_dir)
        .args(["target", "add", GUEST_TARGET])
        .env("RUSTUP_MAX_RETRIES", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|problem| format!("rustup could not be started ({problem})"))?;
    // Read on a thread of its own: a child that fills the pipe would never end. The thread is not joined when the
    // child is killed, because a grandchild may hold the pipe open.
    let mut stderr = child.stderr.take();
    let words = std::thread::spawn(move || {
        let mut text = String::new();
        if let Some(stderr) = stderr.as_mut() {
            // What could not be read is only missing from a message.
            let _ = stderr.read_to_string(&mut text);
        }
        text
    });
    let deadline = Instant::now() + machine.rustup_limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => {
                let text = words.join().unwrap_or_default();
                let reason = text
                    .lines()
                    .map(str::trim)
                    .find(|line| line.starts_with("error"))
                    .unwrap_or("it gave no reason");
                return Err(format!(
                    "`rustup target add {GUEST_TARGET}` failed ({status}, {reason})"
                ));
            }
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                // It may have ended by itself meanwhile; either way it is gone after this.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!(
                    "`rustup target add {GUEST_TARGET}` had not finished after {} s",
                    machine.rustup_limit.as_secs_f32()
                ));
            }
            Err(problem) => return Err(format!("rustup could not be waited for ({problem})")),
        }
    }
}

/// The third way, if all of it is there; otherwise what is missing.
fn debian(machine: &Machine) -> Result<Toolchain, String> {
    let need = |path: PathBuf| {
        if path.is_file() {
            Ok(path)
        } else {
            Err(format!("`{}`", path.display()))
        }
    };
    let rustc = need(machine.usr.join("bin/rustc"))?;
    let cargo = need(machine.usr.join("bin/cargo"))?;
    need(machine.usr.join("lib/rustlib/src/rust/library/std/Cargo.toml"))?;
    let linker = machine.which("wasm-ld").ok_or_else(|| "`wasm-ld`".to_owned())?;
    Ok(Toolchain::BuildStd { cargo, rustc, linker })
}

/// Installs what the third way needs. apt-get's own output goes to standard error.
fn install(
    machine: &Machine,
    apt: &Path,
    dir: &Path,
    missing: &str,
    report: &mut dyn FnMut(&str),
) -> Result<(), BuildError> {
    // `--no-remove`: a Rust of another kind that is in the way is the user's to decide about.
    let mut install = vec!["install", "--yes", "--no-install-recommends", "--no-remove"];
    install.extend(DEBIAN_PACKAGES);
    for arguments in [vec!["update"], install] {
        let command = format!("apt-get {}", arguments.join(" "));
        report(&format!("{missing} is missing; running `{command}`"));
        let status = machine
            .command(apt, dir)
            .args(&arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdout(Stdio::from(std::io::stderr()))
            .status()
            .map_err(|source| BuildError::Io {
                what: "start",
                path: apt.to_owned(),
                source,
            })?;
        if !status.success() {
            return Err(BuildError::Apt { command, status });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
