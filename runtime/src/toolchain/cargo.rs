//! Compiling the crate under the guest profile.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Stdio,
};

use serde::Deserialize;

use super::{BuildError, GUEST_TARGET, machine::Machine, package::Package, target::Toolchain};

/// The profile's name: guests do not share artifacts with the author's own release builds.
const PROFILE: &str = "annals-guest";

/// Settings that make a small, fast and honest module, whatever the author's `Cargo.toml` says of its profiles.
///
/// - Guest code is on the path of every command, so it is optimised for speed: with `opt-level = "s"` a module with
///   serde_json was 58 KiB instead of 66 KiB, which nobody would notice.
/// - The names of functions stay (8 KiB), because a trap's backtrace is made of them; line tables go.
/// - Overflow traps: a wrong number is worse than a failed command.
const SETTINGS: &[&str] = &[
    "inherits='release'",
    "opt-level=3",
    "lto='fat'",
    "codegen-units=1",
    "panic='abort'",
    "debug=false",
    "strip='debuginfo'",
    "incremental=false",
    "overflow-checks=true",
];

/// Bytes of stack. The linker's default of 1 MiB is most of a small guest's memory, and memory is counted per cell.
/// It lies below the data, so that an overflow traps instead of overwriting something.
const STACK_BYTES: u32 = 256 * 1024;

/// One line of cargo's JSON messages, as far as it matters here.
#[derive(Debug, Deserialize)]
struct Message {
    reason: String,
    manifest_path: Option<PathBuf>,
    target: Option<MessageTarget>,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Debug, Deserialize)]
struct MessageTarget {
    name: String,
}

/// Compiles `package` and gives the path of the core module.
pub(super) fn build(
    machine: &Machine,
    toolchain: &Toolchain,
    package: &Package,
    crate_dir: &Path,
    target_dir: &Path,
    verbose: bool,
) -> Result<PathBuf, BuildError> {
    let (cargo, build_std) = match toolchain {
        Toolchain::Ready { cargo } => (cargo, None),
        Toolchain::BuildStd { cargo, rustc, linker } => (cargo, Some((rustc, linker))),
    };
    let io_error = |what, source| BuildError::Io {
        what,
        path: cargo.clone(),
        source,
    };
    let mut command = machine.command(cargo, crate_dir);
    command
        .args(["build", "--lib", "--profile", PROFILE, "--target", GUEST_TARGET])
        .args(["--message-format", "json-render-diagnostics", "--manifest-path"])
        .arg(&package.manifest)
        .arg("--target-dir")
        .arg(target_dir)
        .args(configuration())
        .stdout(Stdio::piped());
    if verbose {
        command.arg("--verbose");
    }
    if let Some((rustc, linker)) = build_std {
        command
            .args(["-Z", "build-std=std,panic_abort"])
            .env("RUSTC", rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", linker)
            // `cargo run` puts its own toolchain's libraries first, which are not this compiler's.
            .env_remove("LD_LIBRARY_PATH");
    }
    let mut child = command.spawn().map_err(|source| io_error("start", source))?;
    let mut module = None;
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.map_err(|source| io_error("read the output of", source))?;
            module = module_of(&line, package).or(module);
        }
    }
    let status = child.wait().map_err(|source| io_error("wait for", source))?;
    if !status.success() {
        return Err(BuildError::Compile {
            package: package.name.clone(),
            status,
        });
    }
    module.ok_or_else(|| BuildError::NoModule {
        package: package.name.clone(),
    })
}

/// The profile and the linker's settings as `--config` arguments. They are added to what the author's own
/// configuration says for the target.
fn configuration() -> Vec<String> {
    let mut arguments = Vec::new();
    for setting in SETTINGS {
        arguments.push("--config".to_owned());
        arguments.push(format!("profile.{PROFILE}.{setting}"));
    }
    let mut flags = vec![format!("-Clink-arg=-zstack-size={STACK_BYTES}")];
    // Panic messages carry paths: without the author's home in them, the same sources give the same digest for
    // whoever builds them, and nobody's user name is published.
    if let Some(home) = cargo_home() {
        flags.push(format!("--remap-path-prefix={}=/cargo", home.display()));
    }
    let list: Vec<String> = flags
        .iter()
        .map(|flag| serde_json::Value::from(flag.as_str()).to_string())
        .collect();
    arguments.push("--config".to_owned());
    // A JSON string is a TOML basic string.
    arguments.push(format!("target.{GUEST_TARGET}.rustflags=[{}]", list.join(",")));
    arguments
}

fn cargo_home() -> Option<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
}

/// The module that one line of cargo's output tells of, if it is the package's.
fn module_of(line: &str, package: &Package) -> Option<PathBuf> {
    // A build script or macro may print what it likes between cargo's own lines.
    let message: Message = serde_json::from_str(line).ok()?;
    let ours = message.reason == "compiler-artifact"
        && message.manifest_path.as_ref() == Some(&package.manifest)
        && message
            .target
            .is_some_and(|target| target.name == package.library);
    message
        .filenames
        .into_iter()
        .find(|file| ours && file.extension().is_some_and(|extension| extension == "wasm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_found_among_cargos_messages() {
        let package = Package {
            name: "my-guest".into(),
            library: "my_guest".into(),
            manifest: "/w/guest/Cargo.toml".into(),
            target_dir: "/w/target".into(),
        };
        let line = |manifest: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","manifest_path":"{manifest}","target":{{"name":"my_guest"}},
                    "filenames":["/t/libmy_guest.rlib","/t/my_guest.wasm"]}}"#
            )
        };
        assert_eq!(
            module_of(&line("/w/guest/Cargo.toml"), &package),
            Some("/t/my_guest.wasm".into())
        );
        assert_eq!(module_of(&line("/w/other/Cargo.toml"), &package), None);
        assert_eq!(
            module_of(r#"{"reason":"build-finished","success":true}"#, &package),
            None
        );
        assert_eq!(module_of("not json", &package), None);
    }
}
