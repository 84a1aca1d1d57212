//! The log is the only truth: what is derived from it can be deleted, cut or old, and nothing changes but the time that
//! starting takes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use annals::vocabulary::Limits;
use annals_tests::{
    guests,
    server::{Api, TestServer, next_link},
};
use serde_json::json;

/// Everything that a client can read, as text.
fn everything(server: &TestServer) -> Vec<String> {
    let mut all: Vec<String> = server.whole_feed().iter().map(ToString::to_string).collect();
    for aggregate in 0..12 {
        let path = format!("/v1/aggregates/counter/c{aggregate}");
        all.push(server.get(&path).text());
        for direction in ["forward", "backward"] {
            let mut page = server.get(&format!("{path}/events?direction={direction}&limit=7"));
            all.push(page.text());
            while let Some(next) = next_link(&page) {
                page = server.get(&next);
                all.push(page.text());
            }
        }
        all.push(server.get(&format!("{path}/outcomes/key-{aggregate}")).text());
    }
    all.push(server.get("/v1/aggregates/counter").text());
    all.push(server.get("/v1/aggregates").text());
    all.push(server.get("/v1/modules").text());
    all
}

fn fill(server: &TestServer, commands: u64) {
    for number in 0..commands {
        let key = format!("key-{number}");
        let path = format!("/v1/aggregates/counter/c{}/commands/add", number % 12);
        server
            .post(
                &path,
                &[("idempotency-key", key.as_str())],
                &json!({ "by": number }),
            )
            .ok();
    }
}

/// What is done to a data directory between two starts.
type Damage<'a> = dyn Fn(&Path) + 'a;

fn index(data: &Path) -> PathBuf {
    let index = data.join("index.redb");
    assert!(index.exists(), "{} is where the index is", index.display());
    index
}

#[test]
fn the_index_can_be_deleted_cut_or_old() {
    let server = TestServer::with_limits(Limits {
        snapshot_every: 5,
        ..Limits::default()
    });
    server.upload(&guests::counter()).ok();
    fill(&server, 150);
    let mut old = Vec::new();
    let server = server.restart(|data| old = fs::read(index(data)).unwrap());
    fill(&server, 400);
    let before = everything(&server);
    let damages: [(&str, &Damage<'_>); 6] = [
        ("nothing", &|_| {}),
        ("deleted", &|data| fs::remove_file(index(data)).unwrap()),
        ("cut in half", &|data| {
            let length = fs::metadata(index(data)).unwrap().len();
            fs::OpenOptions::new()
                .write(true)
                .open(index(data))
                .unwrap()
                .set_len(length / 2)
                .unwrap();
        }),
        ("an older copy", &|data| fs::write(index(data), &old).unwrap()),
        ("empty", &|data| fs::write(index(data), []).unwrap()),
        ("not a database", &|data| {
            fs::write(index(data), "this is not an index\n".repeat(1_000)).unwrap()
        }),
    ];
    let mut server = server;
    for (damage, inflict) in damages {
        server = server.restart(inflict);
        assert_eq!(everything(&server), before, "the index was {damage}");
    }
    // And it goes on from there: keys answer as before, versions go on.
    fill(&server, 400);
    assert_eq!(everything(&server), before);
}

#[test]
fn the_index_of_another_log_is_not_believed() {
    let other = TestServer::start();
    other.upload(&guests::counter()).ok();
    fill(&other, 60);
    let mut foreign = Vec::new();
    let _other = other.restart(|data| foreign = fs::read(index(data)).unwrap());
    let server = TestServer::start();
    server.upload(&guests::counter()).ok();
    fill(&server, 40);
    let before = everything(&server);
    let server = server.restart(|data| fs::write(index(data), &foreign).unwrap());
    assert_eq!(everything(&server), before);
}

#[test]
fn the_cache_of_compiled_modules_can_be_deleted_or_damaged() {
    let server = TestServer::start();
    server.upload(&guests::counter()).ok();
    fill(&server, 24);
    let before = everything(&server);
    let server = server.restart(|data| fs::remove_dir_all(data.join("cache")).unwrap());
    assert_eq!(everything(&server), before);
    let server = server.restart(|data| {
        for file in fs::read_dir(data.join("cache")).unwrap() {
            let path = file.unwrap().path();
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
    });
    assert_eq!(everything(&server), before);
}
