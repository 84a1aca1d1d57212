//! Acknowledged means durable, seen from below: under a system-call tracer, between two acknowledgements on one
//! connection the log's file is synced at least once, and the sync is over before the answer is written.

use std::{collections::HashMap, path::Path, process::Command};

use annals_tests::{
    artifacts, guests,
    http::Connection,
    server::{Api, Process},
};

const COMMANDS: usize = 40;

#[test]
fn every_acknowledgement_comes_after_an_fdatasync_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let mut strace = Command::new("strace");
    strace.args([
        "-f",
        "-qq",
        "-y",
        "-s",
        "96",
        "-e",
        "trace=fdatasync,fsync,write,writev,sendto,sendmsg",
        "-o",
    ]);
    strace.arg(&trace).arg(artifacts::binary());
    let server = Process::spawn(strace, &folder.path().join("data"));
    server.upload(&guests::counter()).ok();
    let mut connection = Connection::open(server.address()).unwrap();
    for number in 0..COMMANDS {
        let path = format!("/v1/aggregates/counter/c{}/commands/add", number % 5);
        let headers = [("content-type", "application/json")];
        connection
            .request("POST", &path, &headers, b"{\"by\":1}")
            .unwrap()
            .ok();
    }
    drop(connection);
    server.terminate();
    let (acknowledged, unsynced) = check(&trace);
    assert_eq!(acknowledged, COMMANDS, "the tracer saw the answers");
    assert_eq!(unsynced, 0, "answers that no sync of the log came before");
}

/// How many acknowledgements the trace holds, and how many of them no finished sync of the log came before.
fn check(trace: &Path) -> (usize, usize) {
    let (mut synced, mut acknowledged, mut unsynced) = (false, 0, 0);
    let mut unfinished: HashMap<String, bool> = HashMap::new();
    for line in std::fs::read_to_string(trace).unwrap().lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        let sync = call.starts_with("fdatasync(") || call.starts_with("fsync(");
        if sync && call.ends_with("<unfinished ...>") {
            unfinished.insert(thread.to_owned(), is_log(call));
        } else if sync {
            synced |= is_log(call) && call.ends_with("= 0");
        } else if call.contains("sync resumed>") {
            synced |= unfinished.remove(thread) == Some(true) && call.ends_with("= 0");
        } else if call.contains("HTTP/1.1 200 OK") && call.contains("etag: ") {
            acknowledged += 1;
            unsynced += usize::from(!synced);
            synced = false;
        }
    }
    (acknowledged, unsynced)
}

fn is_log(call: &str) -> bool {
    call.contains("/data/log/")
}

#[test]
fn the_check_sees_an_answer_that_was_not_synced() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let answer = r#"7 writev(9<socket:[1]>, [{iov_base="HTTP/1.1 200 OK\r\ncontent-type: application/json\r\netag: "1"#;
    let synced = "8 fdatasync(5</x/data/log/00000001.redb>) = 0\n";
    let index = "8 fdatasync(6</x/data/index.redb>) = 0\n";
    let halves =
        "8 fdatasync(5</x/data/log/00000001.redb> <unfinished ...>\n8 <... fdatasync resumed>) = 0\n";
    let unfinished = "8 fdatasync(5</x/data/log/00000001.redb> <unfinished ...>\n";
    for (before, missing) in [(synced, 0), (halves, 0), (index, 1), (unfinished, 1), ("", 1)] {
        std::fs::write(&trace, format!("{before}{answer}\n")).unwrap();
        assert_eq!(check(&trace), (1, missing), "{before}");
    }
}
