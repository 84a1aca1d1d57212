//! `annals events --follow` as an operator types it, against real servers: with filters, across a kill of the server, until its
//! limit or Ctrl-C.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use annals_tests::{
    artifacts, guests,
    server::{Api, Process, TestServer, free_address},
};
use serde_json::{Value, json};

/// Nothing here takes as long, unless something hangs.
const LIMIT: Duration = Duration::from_secs(30);

/// The command at work. What it prints is read as it comes.
struct Following {
    child: Child,
    printed: Receiver<Value>,
}

impl Following {
    fn start(server: SocketAddr, arguments: &str) -> Self {
        let mut child = Command::new(artifacts::binary())
            .args([
                "--server",
                &format!("http://{server}"),
                "--json",
                "events",
                "--follow",
            ])
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (sender, printed) = channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // A test that has failed does not listen any more.
                drop(sender.send(serde_json::from_str(&line).unwrap()));
            }
        });
        Self { child, printed }
    }

    /// The next event: id and version.
    #[track_caller]
    fn next(&self) -> (String, u64) {
        let event = self.printed.recv_timeout(LIMIT).expect("another event");
        let version = event["sequence"].as_str().unwrap().parse().unwrap();
        (event["subject"].as_str().unwrap().to_owned(), version)
    }

    #[track_caller]
    fn gives(&self, expected: &[(&str, u64)]) {
        for (id, version) in expected {
            assert_eq!(self.next(), ((*id).to_owned(), *version));
        }
    }

    /// As Ctrl-C does.
    fn interrupt(&self) {
        let id = self.child.id().to_string();
        let asked = Command::new("kill").args(["-INT", &id]).status().unwrap();
        assert!(asked.success());
    }

    /// How it ended, by itself and without another event.
    #[track_caller]
    fn ends(mut self) -> ExitStatus {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < LIMIT, "it does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let more = self.printed.recv_timeout(LIMIT);
        assert_eq!(more, Err(RecvTimeoutError::Disconnected));
        status
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn add(server: &impl Api, ids: &[&str]) {
    for id in ids {
        server
            .command(&format!("counter/{id}"), "add", &json!({ "by": 1 }))
            .ok();
    }
}

#[test]
fn what_passes_all_filters_is_shown_as_it_happens_until_the_limit() {
    let server = TestServer::start();
    server.upload(&guests::counter()).ok();
    add(&server, &["eu-1", "us-1", "eu-1"]);
    let filters = "--type counter --id-prefix eu- --event-type added --since 2000-01-01T00:00:00Z --limit 4";
    let following = Following::start(server.address(), filters);
    following.gives(&[("eu-1", 1), ("eu-1", 2)]);

    add(&server, &["us-1", "eu-2"]);
    following.gives(&[("eu-2", 1)]);
    server.command("counter/eu-1", "close", &json!({ "at": 1 })).ok();
    add(&server, &["us-1", "eu-2", "eu-2"]);
    following.gives(&[("eu-2", 2)]);
    assert_eq!(following.ends().code(), Some(0));
}

#[test]
fn one_aggregate_is_followed_from_a_version_until_ctrl_c() {
    let server = TestServer::start();
    server.upload(&guests::counter()).ok();
    add(&server, &["a", "b", "a"]);
    let following = Following::start(server.address(), "counter a --from 2");
    following.gives(&[("a", 2)]);
    add(&server, &["b", "a"]);
    following.gives(&[("a", 3)]);
    following.interrupt();
    assert_eq!(following.ends().code(), Some(0));
}

#[test]
fn a_server_that_is_killed_is_followed_on_when_it_is_back() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path().join("data");
    let server = Process::start_at(&data, free_address());
    server.upload(&guests::counter()).ok();
    let following = Following::start(server.address(), "--type counter --id-prefix a");
    for version in [1, 3, 5] {
        add(&server, &["a", "b", "a"]);
        following.gives(&[("a", version), ("a", version + 1)]);
    }
    let address = server.address();
    server.kill();
    let server = Process::start_at(&data, address);
    add(&server, &["b", "a"]);
    following.gives(&[("a", 7)]);
    server.kill();
    // Also while there is nobody to follow.
    following.interrupt();
    assert_eq!(following.ends().code(), Some(0));
}

#[test]
fn wrong_filters_are_told_before_anything_is_asked() {
    for (arguments, says) in [
        ("--since yesterday", "2026-11-21T08:30:00Z"),
        ("--until 5", "2026-11-21T08:30:00Z"),
        ("--type Counter", "[a-z]"),
        ("counter a --id-prefix b", "cannot be used with"),
    ] {
        let output = Command::new(artifacts::binary())
            .args(["--server", &format!("http://{}", free_address()), "events"])
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {told}");
        assert!(told.contains(says), "{arguments}: {told}");
    }
}
