//! `annals bench` as an operator types it: a server of its own, load, a kill, and its log compared.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use annals_tests::{artifacts::binary, guests};
use serde_json::Value;

/// A folder on a disk: the system's temporary one may be in memory, which the command refuses.
fn on_disk() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn counter(folder: &Path) -> PathBuf {
    let path = folder.join("counter.wasm");
    std::fs::write(&path, guests::counter()).unwrap();
    path
}

fn bench(folder: &Path, arguments: &[&str]) -> Output {
    let module = counter(folder);
    let mut command = Command::new(binary());
    command
        .arg("bench")
        .arg(module)
        .args(["--seconds", "1", "--connections", "4", "--ids", "20"]);
    command.args(arguments).current_dir(folder).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_module_is_measured_and_nothing_is_left_behind() {
    let folder = on_disk();
    let output = bench(
        folder.path(),
        &[
            "--json",
            "--command",
            "add",
            "--payload",
            "{\"amount\":1}",
            "--open",
            "add:{\"amount\":5}",
        ],
    );
    assert!(output.status.success(), "{}", stderr(&output));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |name: &str| {
        report[name]
            .as_f64()
            .unwrap_or_else(|| panic!("{name}: {report}"))
    };
    assert_eq!(
        (report["type"].as_str(), report["command"].as_str()),
        (Some("counter"), Some("add"))
    );
    assert!(
        number("per_second") > 0.0 && number("p50_us") <= number("max_us"),
        "{report}"
    );
    // With the 20 that were opened, and those of the warm-up; each makes one event.
    assert!(number("acknowledged") > 20.0 + number("per_second"), "{report}");
    assert_eq!(number("events_in_log"), number("acknowledged"));
    assert_eq!(report["not_2xx"], serde_json::json!({}));
    let left: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["counter.wasm"]);
}

#[test]
fn named_data_stays_and_is_not_measured_again() {
    let folder = on_disk();
    let arguments = [
        "--command",
        "add",
        "--payload",
        "{\"amount\":1}",
        "--data",
        "data",
    ];
    let output = bench(folder.path(), &arguments);
    assert!(output.status.success(), "{}", stderr(&output));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        table.contains("counter, add") && table.contains("were in the log"),
        "{table}"
    );
    assert!(folder.path().join("data/log").is_dir());
    let again = bench(folder.path(), &arguments);
    assert_eq!(again.status.code(), Some(2), "{}", stderr(&again));
    assert!(
        stderr(&again).contains("`data` is not empty"),
        "{}",
        stderr(&again)
    );
}

#[test]
fn what_cannot_be_measured_is_told_with_the_fix() {
    let folder = on_disk();
    for (arguments, code, says) in [
        (&["--command", "fly"][..], 1, "not one `fly` was accepted"),
        (
            &["--command", "add", "--open", "fly"][..],
            1,
            "`fly` of --open was not accepted by 20",
        ),
        (&["--command", "add", "--data", "/proc"][..], 2, "/proc"),
    ] {
        let output = bench(folder.path(), arguments);
        let told = stderr(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
        assert!(
            told.contains(says) && told.contains("fix:"),
            "{arguments:?}: {told}"
        );
    }
}
