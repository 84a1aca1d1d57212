//! Acknowledged means durable, seen from below: under a system-call tracer, between a request and its answer on one
//! connection the file that holds what is acknowledged is synced: the sync begins once the request is read, and is over
//! before the answer is written. For a command that is the log, for a consumer's acknowledgement `meta.redb`.

use std::{collections::HashMap, path::Path, process::Command, time::Duration};

use annals_tests::{
    artifacts, guests,
    http::Connection,
    server::{Api, Process},
};
use serde_json::{Value, json};

const COMMANDS: usize = 40;

/// Between an answer and the next request: a sync that came too late for the one is not taken for one of the other.
const PAUSE: Duration = Duration::from_millis(10);

/// What is acknowledged.
#[derive(Debug, Clone, Copy)]
enum What {
    Command,
    Delivery,
}

impl What {
    fn is_file(self, call: &str) -> bool {
        call.contains(match self {
            Self::Command => "/data/log/",
            Self::Delivery => "/data/meta.redb",
        })
    }

    fn is_request(self, call: &str) -> bool {
        call.contains(match self {
            Self::Command => "\"POST /v1/aggregates/",
            Self::Delivery => "\"POST /v1/consumers/traced/ack ",
        })
    }

    fn is_answer(self, call: &str) -> bool {
        match self {
            Self::Command => call.contains("HTTP/1.1 200 OK") && call.contains("etag: "),
            Self::Delivery => call.contains(r#"{\"acked\":1,"#),
        }
    }
}

/// A server under the tracer, which has the counter.
fn traced(folder: &Path, trace: &Path) -> Process {
    let mut strace = Command::new("strace");
    strace.args([
        "-f",
        "-qq",
        "-y",
        "-s",
        "512",
        "-e",
        "trace=fdatasync,fsync,read,readv,recvfrom,write,writev,sendto,sendmsg",
        "-o",
    ]);
    strace.arg(trace).arg(artifacts::binary());
    let server = Process::spawn(strace, &folder.join("data"));
    server.upload(&guests::counter()).ok();
    server
}

fn post(connection: &mut Connection, path: &str, body: &Value) -> Value {
    std::thread::sleep(PAUSE);
    let headers = [("content-type", "application/json")];
    let answer = connection.request("POST", path, &headers, body.to_string().as_bytes());
    answer.unwrap().ok()
}

/// Sends the commands, to so many aggregates in turn.
fn add(connection: &mut Connection, aggregates: usize) {
    for number in 0..COMMANDS {
        let path = format!("/v1/aggregates/counter/c{}/commands/add", number % aggregates);
        post(connection, &path, &json!({ "by": 1 }));
    }
}

#[test]
fn every_acknowledgement_comes_after_an_fdatasync_of_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let server = traced(folder.path(), &trace);
    let mut connection = Connection::open(server.address()).unwrap();
    add(&mut connection, 5);
    drop(connection);
    server.terminate();
    let (acknowledged, unsynced) = check(&trace, What::Command);
    assert_eq!(acknowledged, COMMANDS, "the tracer saw the answers");
    assert_eq!(unsynced, 0, "answers that no sync of the log came before");
}

#[test]
fn every_acknowledged_delivery_comes_after_an_fdatasync_of_what_consumers_have_reached() {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let server = traced(folder.path(), &trace);
    let mut connection = Connection::open(server.address()).unwrap();
    add(&mut connection, COMMANDS);
    let headers = [("content-type", "application/json")];
    let path = "/v1/consumers/traced";
    connection.request("PUT", path, &headers, b"{}").unwrap().ok();
    // All are leased before the first is acknowledged, so that nothing else is written down between two answers.
    let mut leases = Vec::new();
    for _ in 0..COMMANDS {
        if leases.len() == COMMANDS {
            break;
        }
        let fetched = post(
            &mut connection,
            &format!("{path}/fetch"),
            &json!({ "wait_ms": 1_000 }),
        );
        let events = fetched["events"].as_array().unwrap();
        leases.extend(events.iter().map(|delivered| delivered["lease"].clone()));
    }
    assert_eq!(leases.len(), COMMANDS, "each of another aggregate");
    for lease in leases {
        let acked = post(
            &mut connection,
            &format!("{path}/ack"),
            &json!({ "leases": [lease] }),
        );
        assert_eq!(acked, json!({ "acked": 1, "already": 0 }));
    }
    drop(connection);
    server.terminate();
    let (acknowledged, unsynced) = check(&trace, What::Delivery);
    assert_eq!(acknowledged, COMMANDS, "the tracer saw the answers");
    assert_eq!(unsynced, 0, "answers that no sync of `meta.redb` came before");
}

/// How many acknowledgements the trace holds, and how many of them were not synced between request and answer.
fn check(trace: &Path, what: What) -> (usize, usize) {
    let (mut synced, mut acknowledged, mut unsynced) = (false, 0, 0);
    let mut unfinished: HashMap<String, bool> = HashMap::new();
    for line in std::fs::read_to_string(trace).unwrap().lines() {
        let (thread, call) = line.split_once(' ').unwrap();
        let call = call.trim_start();
        let sync = call.starts_with("fdatasync(") || call.starts_with("fsync(");
        if sync && call.ends_with("<unfinished ...>") {
            unfinished.insert(thread.to_owned(), what.is_file(call));
        } else if sync {
            synced |= what.is_file(call) && call.ends_with("= 0");
        } else if call.contains("sync resumed>") {
            synced |= unfinished.remove(thread) == Some(true) && call.ends_with("= 0");
        } else if what.is_request(call) {
            // A sync that has begun already is of something else.
            synced = false;
            unfinished.clear();
        } else if what.is_answer(call) {
            acknowledged += 1;
            unsynced += usize::from(!synced);
            synced = false;
        }
    }
    (acknowledged, unsynced)
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
        assert_eq!(check(&trace, What::Command), (1, missing), "{before}");
    }
    let answer = r#"7 sendto(9<socket:[1]>, "HTTP/1.1 200 OK\r\n\r\n{\"acked\":1,\"already\":0}"#;
    let request =
        "7 recvfrom(9<socket:[1]>, \"POST /v1/consumers/traced/ack HTTP/1.1\\r\\n\", 8192, 0) = 99\n";
    let meta = "8 fdatasync(7</x/data/meta.redb>) = 0\n";
    let begun = "8 fdatasync(7</x/data/meta.redb> <unfinished ...>\n";
    let over = "8 <... fdatasync resumed>) = 0\n";
    for (before, missing) in [
        (format!("{request}{meta}"), 0),
        (format!("{request}{begun}{over}"), 0),
        (format!("{meta}{request}"), 1),
        (format!("{begun}{request}{over}"), 1),
        (format!("{request}{synced}"), 1),
        (request.to_owned(), 1),
    ] {
        std::fs::write(&trace, format!("{before}{answer}\n")).unwrap();
        assert_eq!(check(&trace, What::Delivery), (1, missing), "{before}");
    }
}
