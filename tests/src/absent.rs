//! Programs of others that a test needs and a machine may not have.

use std::{
    ffi::OsStr,
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

/// Says that a check is left out, past the capture of a test's output.
///
/// # Panics
/// When the environment says that it is required.
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
}
