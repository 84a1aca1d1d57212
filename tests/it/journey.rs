//! The main job from the command line, as a newcomer does it: deploy, send, read, follow, load; `kill -9`, start again, and
//! everything acknowledged is there.

use std::{
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
};

use annals_tests::{
    artifacts,
    server::{Api, Process},
};
use serde_json::{Value, json};

struct Cli<'a> {
    server: String,
    folder: &'a Path,
}

impl Cli<'_> {
    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(artifacts::binary())
            .args(["--server", &self.server, "--json"])
            .args(arguments)
            .current_dir(self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Success, with JSON on standard output.
    #[track_caller]
    fn ok(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {out}{err}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"))
    }

    /// Failure with a code, and a problem of a kind on standard error.
    #[track_caller]
    fn fails(&self, arguments: &[&str], code: i32, slug: &str) -> Value {
        let output = self.run(arguments);
        let (out, err) = texts(&output);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {out}{err}");
        let problem: Value = serde_json::from_str(err.lines().last().unwrap_or_default())
            .unwrap_or_else(|error| panic!("{arguments:?}: {error}: {err}"));
        assert!(
            problem["type"].as_str().unwrap().ends_with(slug),
            "{arguments:?}: {problem}"
        );
        problem
    }
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_newcomer_gets_through_and_a_crash_takes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    std::fs::write(folder.path().join("account.wasm"), artifacts::module("account")).unwrap();
    let server = Process::start(&data);
    let cli = Cli {
        server: format!("http://{}", server.address()),
        folder: folder.path(),
    };

    let deployed = cli.ok(&["deploy", "account.wasm"]);
    assert_eq!(
        (&deployed["type"], &deployed["activated"]),
        (&json!("account"), &json!(true))
    );
    cli.ok(&[
        "send",
        "account",
        "alice",
        "open",
        r#"{"owner":"Alice"}"#,
        "--create",
    ]);
    let first = cli.ok(&[
        "send",
        "account",
        "alice",
        "deposit",
        r#"{"amount":100}"#,
        "--key",
        "k1",
    ]);
    let again = cli.ok(&[
        "send",
        "account",
        "alice",
        "deposit",
        r#"{"amount":100}"#,
        "--key",
        "k1",
    ]);
    assert_eq!(first, again);
    cli.ok(&[
        "send",
        "account",
        "alice",
        "withdraw",
        r#"{"amount":30}"#,
        "--if-match",
        "2",
    ]);

    let rejected = cli.fails(
        &["send", "account", "alice", "withdraw", r#"{"amount":71}"#],
        3,
        ":rejected",
    );
    assert_eq!(rejected["details"], json!({ "balance": 70, "requested": 71 }));
    let malformed = cli.fails(
        &["send", "account", "alice", "deposit", r#"{"amount":"x"}"#],
        7,
        ":malformed-command",
    );
    assert_eq!(malformed["pointer"], "/amount");
    cli.fails(
        &[
            "send",
            "account",
            "alice",
            "deposit",
            r#"{"amount":1}"#,
            "--if-match",
            "2",
        ],
        5,
        ":precondition-failed",
    );
    cli.fails(&["send", "account", "alice", "fly"], 4, ":unknown-command");
    cli.fails(&["state", "account", "nobody"], 4, ":unknown-aggregate");
    cli.fails(&["state", "acount", "alice"], 4, ":unknown-type");

    let loaded = load(&cli);
    assert_eq!(
        (&loaded["accepted"], &loaded["rejected"]["total"]),
        (&json!(40), &json!(1)),
        "{loaded}"
    );

    let before = everything(&cli);
    server.kill();
    cli.fails(&["state", "account", "alice"], 6, ":unreachable");
    let server = Process::start(&data);
    let cli = Cli {
        server: format!("http://{}", server.address()),
        folder: folder.path(),
    };
    assert_eq!(everything(&cli), before);
    assert_eq!(
        cli.ok(&[
            "send",
            "account",
            "alice",
            "deposit",
            r#"{"amount":100}"#,
            "--key",
            "k1"
        ]),
        first
    );
    let reloaded = load(&cli);
    assert_eq!(reloaded["replayed"], 41, "{reloaded}");
    assert_eq!(everything(&cli), before);
}

fn load(cli: &Cli<'_>) -> Value {
    let mut lines = String::new();
    for account in 0..10 {
        let mut line = |command: &str, payload: Value| {
            lines.push_str(&json!({ "type": "account", "id": format!("l{account}"), "command": command, "payload": payload }).to_string());
            lines.push('\n');
        };
        line("open", json!({ "owner": "L" }));
        line("deposit", json!({ "amount": 5 }));
        line("deposit", json!({ "amount": 7 }));
        line("withdraw", json!({ "amount": 12 }));
        if account == 9 {
            line("withdraw", json!({ "amount": 1 }));
        }
    }
    let file = cli.folder.join("commands.ndjson");
    std::fs::write(&file, lines).unwrap();
    cli.ok(&["load", "commands.ndjson", "--keys", "--connections", "4"])
}

/// What the read commands print.
fn everything(cli: &Cli<'_>) -> Vec<String> {
    let commands: [&[&str]; 7] = [
        &["state", "account", "alice"],
        &["events", "account", "alice", "--backward"],
        &["events", "account"],
        &["events"],
        &["types"],
        &["types", "account"],
        &["modules"],
    ];
    commands
        .iter()
        .map(|command| {
            let output = cli.run(command);
            let (out, err) = texts(&output);
            assert_eq!(output.status.code(), Some(0), "{command:?}: {err}");
            assert!(!out.is_empty(), "{command:?}");
            out
        })
        .collect()
}

#[test]
fn the_demo_runs_to_its_end() {
    let output = Command::new(artifacts::binary())
        .args(["demo", "--once"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let (out, err) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{out}\n{err}");
    for word in [
        "insufficient-funds",
        "kill -9",
        "deposited",
        "the first answer to this key",
    ] {
        assert!(out.contains(word), "`{word}` is missing: {out}");
    }
}
