//! Licences, banned crates, sources and advisories, by cargo-deny.

use std::{
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    steps::{Failed, Steps},
    workspace::Workspace,
};

/// The version that is installed when there is none.
const VERSION: &str = "0.20.2";

/// How long fetching the advisories may take before they are skipped.
const FETCH_LIMIT: Duration = Duration::from_secs(60);

/// Checks `deny.toml`. Advisories need a database from the network: without it they are skipped, aloud; the rest
/// never is.
pub(crate) fn check(workspace: &Workspace, steps: &mut Steps) -> Result<(), Failed> {
    let deny = find_or_install(workspace, steps)?;
    let run = |arguments: &[&str]| {
        let mut command = workspace.command(&deny);
        command
            .args(["--workspace", "--log-level", "error"])
            .args(arguments);
        command
    };
    steps.run(
        "deny: licences, bans, sources",
        &mut run(&["check", "--hide-inclusion-graph", "licenses", "bans", "sources"]),
    )?;
    match within(FETCH_LIMIT, &mut run(&["fetch", "db"])) {
        Ok(()) => steps.run(
            "deny: advisories",
            &mut run(&["check", "--disable-fetch", "advisories"]),
        ),
        Err(why) => {
            steps.skipped(
                "deny: advisories",
                &format!(
                    "their database cannot be fetched ({why}); known vulnerabilities were NOT looked for"
                ),
            );
            Ok(())
        }
    }
}

/// The cargo-deny of this machine, or our own below the target directory.
fn find_or_install(workspace: &Workspace, steps: &mut Steps) -> Result<PathBuf, Failed> {
    let tools = workspace.target_dir.join("tools");
    let ours = tools.join("bin").join("cargo-deny");
    for candidate in [PathBuf::from("cargo-deny"), ours.clone()] {
        let status = workspace
            .command(&candidate)
            .arg("--version")
            .stdout(Stdio::null())
            .status();
        if status.is_ok_and(|status| status.success()) {
            return Ok(candidate);
        }
    }
    // It runs for a second: what counts is how soon it is there.
    let build = tools.join("build");
    steps.run(
        "install cargo-deny",
        workspace
            .cargo()
            .args([
                "install",
                "--quiet",
                "--locked",
                "cargo-deny",
                "--version",
                VERSION,
            ])
            .args(["--no-default-features", "--root"])
            .arg(&tools)
            .env("CARGO_TARGET_DIR", &build)
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    )?;
    // 700 MB that nobody needs again; if they stay, nothing is wrong.
    let _ = std::fs::remove_dir_all(build);
    Ok(ours)
}

/// Runs a program quietly, and ends it and its children when the time is over.
fn within(limit: Duration, command: &mut Command) -> Result<(), String> {
    let mut child = command
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|problem| problem.to_string())?;
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(status.to_string()),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                // The group, because git is a child of it. Both may have ended meanwhile.
                let group = format!("-{}", child.id());
                let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it took longer than {} s", limit.as_secs_f32()));
            }
            Err(problem) => return Err(problem.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_ended_and_said() {
        let started = Instant::now();
        let why = within(
            Duration::from_millis(100),
            Command::new("sh").args(["-c", "sleep 600; true"]),
        )
        .unwrap_err();
        assert!(why.contains("longer than 0.1 s"), "{why}");
        assert!(started.elapsed() < Duration::from_secs(60));
        assert_eq!(within(Duration::from_secs(60), &mut Command::new("true")), Ok(()));
        assert!(within(Duration::from_secs(60), &mut Command::new("false")).is_err());
    }
}
