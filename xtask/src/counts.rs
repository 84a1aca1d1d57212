//! Instructions of the operations that a command passes through, counted by callgrind and compared with the numbers in
//! docs/profile.md. Unlike times, they are nearly the same in each run and on a busy machine.

mod callgrind;
mod compare;
mod table;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use self::table::Table;
use crate::{
    steps::{Failed, Steps},
    workspace::Workspace,
};

const DOCUMENT: &str = "docs/profile.md";
const STEP: &str = "instruction counts";
/// Set to `required`, it lets `cargo xtask ci` fail where valgrind is missing.
const REQUIRED: &str = "ANNALS_COUNTS";

/// `cargo xtask counts`, which needs valgrind. With `bless`, what is counted becomes what is expected.
pub(crate) fn run(workspace: &Workspace, steps: &mut Steps, bless: bool) -> Result<(), Failed> {
    if !has_valgrind(workspace) {
        return Err(missing());
    }
    let found = count(workspace, steps)?;
    let document = workspace.root.join(DOCUMENT);
    let of_document = |problem: String| Failed::new(STEP, format!("{DOCUMENT}: {problem}"));
    let text = std::fs::read_to_string(&document).map_err(|problem| of_document(problem.to_string()))?;
    if bless {
        let text = found.put_into(&text).map_err(of_document)?;
        std::fs::write(&document, text).map_err(|problem| of_document(problem.to_string()))?;
        eprintln!(
            "xtask: {} counts were written to {DOCUMENT}; see `git diff`",
            found.counts.len()
        );
        return Ok(());
    }
    let expected = Table::find(&text).map_err(|problem| {
        of_document(format!(
            "{problem}; `cargo xtask counts --bless` writes the table anew"
        ))
    })?;
    let verdict = compare::compare(&expected, &found);
    eprint!("{}", verdict.report);
    for warning in &verdict.warnings {
        eprintln!("xtask: warning: {warning}");
    }
    if verdict.breaches.is_empty() {
        return Ok(());
    }
    Err(Failed::new(
        STEP,
        format!("\n  {}", verdict.breaches.join("\n  ")),
    ))
}

/// The same as a part of `ci`, which does not need valgrind unless the environment says so.
pub(crate) fn run_where_possible(workspace: &Workspace, steps: &mut Steps) -> Result<(), Failed> {
    if has_valgrind(workspace) {
        return run(workspace, steps, false);
    }
    if std::env::var_os(REQUIRED).is_some_and(|value| value == "required") {
        return Err(missing());
    }
    let why = format!(
        "valgrind is not installed; nobody looked whether a command needs more instructions than before \
         ({REQUIRED}=required makes this an error)"
    );
    steps.skipped(STEP, &why);
    Ok(())
}

fn has_valgrind(workspace: &Workspace) -> bool {
    let mut command = workspace.command(Path::new("valgrind"));
    let status = command
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    status.is_ok_and(|status| status.success())
}

fn missing() -> Failed {
    Failed::new(
        STEP,
        "valgrind is not installed, and its callgrind does the counting. Install the package `valgrind`: \
         `apt-get install valgrind`, `dnf install valgrind` or `pacman -S valgrind`.",
    )
}

/// Runs the tests of the library that have counted functions in them.
fn count(workspace: &Workspace, steps: &mut Steps) -> Result<Table, Failed> {
    let program = test_program(workspace, steps)?;
    let profile = workspace.target_dir.join("counts.callgrind");
    let mut callgrind = workspace.command(Path::new("valgrind"));
    callgrind
        .args(["--quiet", "--tool=callgrind"])
        .arg(format!("--callgrind-out-file={}", profile.display()))
        .arg(&program)
        .args(["--quiet", "--test-threads=1", "::counts::"])
        .current_dir(workspace.root.join("runtime"));
    steps.run("count instructions", &mut callgrind)?;
    let profile = std::fs::read_to_string(&profile)
        .map_err(|problem| Failed::new(STEP, format!("{}: {problem}", profile.display())))?;
    Ok(Table {
        compiler: compiler(workspace, steps)?,
        counts: callgrind::read(&profile),
    })
}

/// Builds the library's tests as `cargo xtask test` does, so that nothing is built twice, and says where they are.
fn test_program(workspace: &Workspace, steps: &mut Steps) -> Result<PathBuf, Failed> {
    let step = "build the library's tests";
    let mut build = workspace.cargo();
    build.args(["test", "--release", "--workspace", "--lib", "--no-run"]);
    build.args(["--message-format", "json-render-diagnostics"]);
    let messages = steps.output(step, &mut build)?;
    find_program(&messages).map(PathBuf::from).ok_or_else(|| {
        Failed::new(
            step,
            "cargo names no program with the tests of the library `annals`",
        )
    })
}

/// In cargo's messages, a line of JSON each, the program with the tests of the library.
fn find_program(messages: &str) -> Option<&str> {
    let is_library = |line: &&str| line.contains(r#""kind":["lib"]"#) && line.contains(r#""name":"annals","#);
    messages.lines().filter(is_library).find_map(|line| {
        let (_, rest) = line.split_once(r#""executable":""#)?;
        rest.split_once('"').map(|(program, _)| program)
    })
}

/// What the C library and others choose their instructions by.
const FEATURES: [&str; 6] = ["avx2", "avx512vl", "bmi2", "erms", "fsrm", "sha_ni"];

/// Which compiler, for which machine, with what in its processor: counts depend on each.
fn compiler(workspace: &Workspace, steps: &mut Steps) -> Result<String, Failed> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = steps.output("compiler", workspace.command(Path::new(&rustc)).arg("-vV"))?;
    let version = said.lines().next().unwrap_or("rustc");
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host.unwrap_or("an unknown machine");
    let processor = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    Ok(format!("{version} for {host}, {}", features(&processor)))
}

/// Those of the processor's features that matter, in words.
fn features(processor: &str) -> String {
    let flags = processor.lines().find(|line| line.starts_with("flags"));
    let has =
        |feature: &&str| flags.is_some_and(|flags| flags.split_whitespace().any(|flag| flag == *feature));
    let found: Vec<&str> = FEATURES.into_iter().filter(has).collect();
    if found.is_empty() {
        return "a processor without special features".to_owned();
    }
    format!("a processor with {}", found.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_of_the_processor_are_told_in_one_order() {
        let processor = "processor : 0\nflags\t\t: fpu sha_ni avx2 avx512vlx\nprocessor : 1";
        assert_eq!(features(processor), "a processor with avx2 sha_ni");
        assert_eq!(features(""), "a processor without special features");
    }

    #[test]
    fn the_program_is_found_among_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"crate_types":["lib"],"name":"annals"},"executable":null}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["bin"],"crate_types":["bin"],"name":"annals","x":1},"executable":"/t/bin"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"crate_types":["lib"],"name":"annals","x":1},"executable":"/t/lib-1"}"#,
            "\n",
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"crate_types":["lib"],"name":"annals_tests","x":1},"executable":"/t/x"}"#,
        );
        assert_eq!(find_program(messages), Some("/t/lib-1"));
        assert_eq!(find_program(""), None);
    }
}
