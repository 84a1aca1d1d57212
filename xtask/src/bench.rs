//! The benchmark, with everything it needs.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use crate::{
    build_guests,
    steps::{Failed, Steps},
    workspace::Workspace,
};

/// Builds server, modules and load generator, fetches the flights once, and measures.
pub(crate) fn run(workspace: &Workspace, steps: &mut Steps, arguments: &[String]) -> Result<(), Failed> {
    // Both at once, so that each dependency is built with one set of features.
    let mut build = workspace.cargo();
    build.args([
        "build",
        "--release",
        "--package",
        "annals",
        "--package",
        "annals-tests",
    ]);
    build.args(["--bin", "annals", "--bin", "annals-bench"]);
    steps.run("build annals and the benchmark", &mut build)?;
    let guests = build_guests(workspace, steps)?;
    let folder = workspace.target_dir.join("bench");
    fs::create_dir_all(&folder)
        .map_err(|problem| Failed::new("bench", format!("cannot create {}: {problem}", folder.display())))?;
    let mut bench = workspace.command(&workspace.target_dir.join("release").join("annals-bench"));
    bench.arg("--annals").arg(workspace.annals());
    bench.arg("--account").arg(guests.join("account.wasm"));
    bench.arg("--aircraft").arg(guests.join("aircraft.wasm"));
    if !names_option(arguments, "--dir") {
        bench.arg("--dir").arg(&folder);
    }
    for (option, file) in [("--json", "result.json"), ("--svg", "result.svg")] {
        if !names_option(arguments, option) {
            bench.arg(option).arg(folder.join(file));
        }
    }
    if wants_flights(arguments)
        && let Some(flights) = flights(workspace, steps, &folder)
    {
        bench.arg("--flights").arg(flights);
    }
    steps.run("bench", bench.args(arguments))
}

fn names_option(arguments: &[String], option: &str) -> bool {
    arguments.iter().any(|argument| {
        let value = argument.strip_prefix(option);
        value.is_some_and(|value| value.is_empty() || value.starts_with('='))
    })
}

/// Unless they are given, something else is to be measured only, or it is to be quick.
fn wants_flights(arguments: &[String]) -> bool {
    let is_only = names_option(arguments, "--only") || names_option(arguments, "--quick");
    let names_them = arguments
        .iter()
        .any(|argument| argument.split(['=', ',']).any(|word| word == "flights"));
    !names_option(arguments, "--flights") && (!is_only || names_them)
}

/// The year as commands; none, said aloud, when it cannot be fetched.
fn flights(workspace: &Workspace, steps: &mut Steps, folder: &Path) -> Option<PathBuf> {
    const STEP: &str = "fetch the year of flights";
    let file = folder.join("flights.ndjson");
    if file.exists() {
        return Some(file);
    }
    // Under another name until it is whole.
    let partial = folder.join("flights.partial");
    let made = File::create(&partial)
        .map_err(|problem| Failed::new(STEP, format!("cannot create {}: {problem}", partial.display())))
        .and_then(|output| {
            let mut script = workspace.command(Path::new("python3"));
            script.arg("examples/aircraft/flights.py").stdout(output);
            steps.run(STEP, &mut script)
        })
        .and_then(|()| {
            fs::rename(&partial, &file)
                .map_err(|problem| Failed::new(STEP, format!("cannot create {}: {problem}", file.display())))
        });
    match made {
        Ok(()) => Some(file),
        Err(failed) => {
            steps.skipped("the year of flights", &failed.to_string());
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flights_are_fetched_when_they_are_measured() {
        for (line, expected) in [
            ("", true),
            ("--runs 5", true),
            ("--only flights", true),
            ("--only cold,flights", true),
            ("--only=disk,flights", true),
            ("--only cold", false),
            ("--quick", false),
            ("--quick --only flights", true),
            ("--only=floors,commands", false),
            ("--only flights --flights mine.ndjson", false),
        ] {
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            assert_eq!(wants_flights(&arguments), expected, "{line}");
        }
    }
}
