//! The CloudEvents SDK for Python, which somebody else wrote and the tests read our events with.

use std::{fs, path::Path, process::Stdio};

use crate::{
    steps::{Failed, Steps},
    workspace::Workspace,
};

/// What is installed, from PyPI.
const SDK: &str = "cloudevents==2.2.0";
const STEP: &str = "install the CloudEvents SDK";
/// Set to `required`, it makes a machine without the SDK an error.
const REQUIRED: &str = "ANNALS_CLOUDEVENTS";

/// Puts the SDK into a virtual environment below the target directory, once. Where there is no Python, or nothing to
/// install from, the check is skipped, aloud.
pub(crate) fn install_where_possible(workspace: &Workspace, steps: &mut Steps) -> Result<(), Failed> {
    let folder = workspace.target_dir.join("tools").join("cloudevents");
    if is_whole(workspace, &folder) {
        return Ok(());
    }
    match install(workspace, steps, &folder) {
        Ok(()) => Ok(()),
        Err(failed) if std::env::var_os(REQUIRED).is_some_and(|value| value == "required") => Err(failed),
        Err(failed) => {
            let why = format!(
                "{failed}; events were NOT read by an SDK of others ({REQUIRED}=required makes this an error)"
            );
            steps.skipped("CloudEvents by their SDK", &why);
            Ok(())
        }
    }
}

/// An earlier installation may have been cut short.
fn is_whole(workspace: &Workspace, folder: &Path) -> bool {
    let mut import = workspace.command(&folder.join("bin").join("python"));
    import
        .args(["-c", "import cloudevents.core"])
        .stderr(Stdio::null());
    import.status().is_ok_and(|status| status.success())
}

fn install(workspace: &Workspace, steps: &mut Steps, folder: &Path) -> Result<(), Failed> {
    // An environment does not like to be moved, so it is built in its place, and taken away unless it is whole.
    let installed = environment(workspace, steps, folder);
    if installed.is_err() {
        let _ = fs::remove_dir_all(folder);
    }
    installed
}

fn environment(workspace: &Workspace, steps: &mut Steps, folder: &Path) -> Result<(), Failed> {
    let mut create = workspace.command(Path::new("python3"));
    steps.run(
        "make a Python environment",
        create.args(["-m", "venv"]).arg(folder),
    )?;
    let mut pip = workspace.command(&folder.join("bin").join("python"));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
    steps.run(STEP, pip.args(["--retries", "1", "--timeout", "20", SDK]))
}
