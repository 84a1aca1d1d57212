//! The tasks of this workspace: `cargo xtask <task>`. Each does all of its own set-up and asks nothing.

mod absent;
mod bench;
mod cloudevents;
mod counts;
mod deny;
mod steps;
mod workspace;

use std::{path::Path, process::ExitCode};

use steps::{Failed, Steps};
use workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask <task>

  demo [ARGS…]   build annals and run its demo: a server, an account, commands, state, history, the live feed
  test [ARGS…]   build the example modules, then run every test of the workspace; ARGS go to `cargo test`
  bench [ARGS…]  measure annals beside its floors (docs/benchmark.md); ARGS go to `annals-bench`
  counts [--bless]
                 count instructions with callgrind and compare them with docs/profile.md; --bless writes them there
  check          formatting, clippy, licences and dependencies, documentation
  ci             check, then test, then counts where valgrind is installed, then the demo once
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next();
    let rest: Vec<String> = arguments.collect();
    let workspace = match Workspace::find() {
        Ok(workspace) => workspace,
        Err(problem) => {
            eprintln!("xtask: {problem}");
            return ExitCode::FAILURE;
        }
    };
    let mut steps = Steps::default();
    let result = match (task.as_deref(), rest.as_slice()) {
        (Some("demo"), _) => demo(&workspace, &mut steps, &rest),
        (Some("test"), _) => test(&workspace, &mut steps, &rest),
        (Some("bench"), _) => bench::run(&workspace, &mut steps, &rest),
        (Some("counts"), []) => counts::run(&workspace, &mut steps, false),
        (Some("counts"), [bless]) if bless == "--bless" => counts::run(&workspace, &mut steps, true),
        (Some("check"), []) => check(&workspace, &mut steps),
        (Some("ci"), []) => ci(&workspace, &mut steps),
        (Some("help" | "--help" | "-h"), _) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        (None, _) => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
        (Some(task), rest) => {
            let rest = rest.join(" ");
            eprint!(
                "xtask: there is no task `{}`\n\n{USAGE}",
                format!("{task} {rest}").trim()
            );
            return ExitCode::from(2);
        }
    };
    steps.summarise();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("xtask: {failed}");
            ExitCode::FAILURE
        }
    }
}

/// Builds the server and hands over to its own demo.
fn demo(workspace: &Workspace, steps: &mut Steps, arguments: &[String]) -> Result<(), Failed> {
    build_annals(workspace, steps)?;
    let mut demo = workspace.command(&workspace.annals());
    demo.arg("demo").args(arguments);
    steps.run("demo", &mut demo)
}

/// Everything that the README's test command promises: the set-up and the tests.
fn test(workspace: &Workspace, steps: &mut Steps, arguments: &[String]) -> Result<(), Failed> {
    // Everything at once, so that each dependency is built with one set of features: the tests' own.
    let everything = ["build", "--release", "--workspace", "--all-targets"];
    steps.run("build everything", workspace.cargo().args(everything))?;
    tracer(workspace, steps)?;
    cloudevents::install_where_possible(workspace, steps)?;
    let guests = build_guests(workspace, steps)?;
    let mut tests = workspace.cargo();
    tests
        .args(["test", "--release", "--workspace"])
        .args(arguments)
        .env("ANNALS_TEST_GUESTS", guests)
        .env("ANNALS_TEST_BIN", workspace.annals());
    absent::run_tests(workspace, steps, &mut tests)
}

/// One test runs the server under strace. Where it is missing and can be had, it is installed.
fn tracer(workspace: &Workspace, steps: &mut Steps) -> Result<(), Failed> {
    let is_there = |program: &str| {
        std::env::var_os("PATH")
            .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
    };
    if is_there("strace") || !is_there("apt-get") {
        return Ok(());
    }
    steps.run(
        "package lists",
        workspace.command(Path::new("apt-get")).args(["update", "-qq"]),
    )?;
    let install = ["install", "-y", "-qq", "--no-install-recommends", "strace"];
    steps.run(
        "install strace",
        workspace.command(Path::new("apt-get")).args(install),
    )
}

/// What has to hold before a change lands.
fn ci(workspace: &Workspace, steps: &mut Steps) -> Result<(), Failed> {
    check(workspace, steps)?;
    test(workspace, steps, &[])?;
    counts::run_where_possible(workspace, steps)?;
    let mut demo = workspace.command(&workspace.annals());
    steps.run("demo", demo.args(["demo", "--once"]))
}

fn build_annals(workspace: &Workspace, steps: &mut Steps) -> Result<(), Failed> {
    steps.run(
        "build annals",
        workspace
            .cargo()
            .args(["build", "--release", "--package", "annals", "--bin", "annals"]),
    )
}

/// Builds the examples and the tests' own guests into one folder, under names without a version or a path of cargo's in them:
/// `account.wasm`, `aircraft.wasm`, `hasher.wasm`.
fn build_guests(workspace: &Workspace, steps: &mut Steps) -> Result<std::path::PathBuf, Failed> {
    let guests = workspace.target_dir.join("test-guests");
    for source in ["examples/account", "examples/aircraft", "tests/guests/hasher"] {
        let example = source.rsplit('/').next().unwrap_or(source);
        let step = format!("build the module {example}");
        let mut build = workspace.command(&workspace.annals());
        build.arg("build").arg(source);
        let output = steps.output(&step, &mut build)?;
        let component = output.lines().last().unwrap_or_default().trim();
        std::fs::create_dir_all(&guests)
            .and_then(|()| std::fs::copy(component, guests.join(format!("{example}.wasm"))))
            .map_err(|problem| {
                Failed::new(
                    &step,
                    format!("the last line of its output, `{component}`, is no component: {problem}"),
                )
            })?;
    }
    Ok(guests)
}

/// Whatever can be said of the sources without running them.
fn check(workspace: &Workspace, steps: &mut Steps) -> Result<(), Failed> {
    steps.run("formatting", workspace.cargo().args(["fmt", "--all", "--check"]))?;
    deny::check(workspace, steps)?;
    steps.run(
        "clippy",
        workspace.cargo().args([
            "clippy",
            "--release",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]),
    )?;
    steps.run(
        "documentation",
        workspace
            .cargo()
            .args(["doc", "--release", "--workspace", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )
}
