//! Programs of others that a test needs and a machine may not have.

use std::{
    ffi::OsStr,
    fs::File,
    io::Write,
    process::{Command, Stdio},
};

/// Whether a program is there and ends well with these arguments.
#[must_use]
pub fn works(program: impl AsRef<OsStr>, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// The file that `cargo xtask test` reads, when the tests have ended, for what they left out: a check on each line, a tab,
/// and why.
const NOTED_IN: &str = "ANNALS_TEST_SKIPPED";

/// Says that a check is left out, past the capture of a test's output.
///
/// # Panics
/// When the environment says that it is required, or where the note that it wants cannot be written.
pub fn skip(check: &str, why: &str, variable: &str) {
    let how = format!("{variable}=required makes this an error");
    assert!(
        std::env::var_os(variable).is_none_or(|value| value != "required"),
        "{check} cannot be checked: {why}"
    );
    drop(writeln!(
        std::io::stderr(),
        "!!! SKIPPED `{check}`: {why} ({how})"
    ));
    if let Some(path) = std::env::var_os(NOTED_IN) {
        let file = File::options().create(true).append(true).open(&path);
        // One write, so that tests that run at the same time do not mix their lines.
        let noted = file.and_then(|mut file| file.write_all(format!("{check}\t{why} ({how})\n").as_bytes()));
        noted.expect("what is skipped can be noted");
    }
}
