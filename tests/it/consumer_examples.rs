//! The examples for consumers, each killed again and again in the middle of its work, and their server once: in the end
//! every balance is that of the account, to the cent. What was delivered twice counted once, and nothing was lost.

mod bank;
mod meaning;
mod program;

use std::{net::SocketAddr, path::Path, sync::atomic::AtomicBool, time::Duration};

use annals_tests::{
    artifacts,
    server::{Api, Process, free_address},
};
use serde_json::{Value, json};

use self::{
    bank::{Balances, WHALE},
    program::{Program, Store},
};
use crate::random::Random;

const KILLS: u64 = 5;
/// What the examples book without being looked at, unless they are told otherwise.
const LARGEST: u64 = 1_000_000;
const RAISED: [(&str, &str); 1] = [("LARGEST_AMOUNT", "100000000")];

#[test]
fn every_event_counts_once_whoever_is_killed() {
    let seed = Random::seed();
    eprintln!("seed {seed} (ANNALS_TEST_SEED={seed} repeats it)");
    let folder = tempfile::tempdir().unwrap();
    let programs = program::all(folder.path());
    if programs.is_empty() {
        return;
    }
    let data = folder.path().join("data");
    let listen = free_address();
    let server = Process::start_at(&data, listen);
    server.upload(&artifacts::module("account")).ok();
    let server = among_kills(server, &data, &programs, seed);
    bank::deposit_too_much(&server, LARGEST + 1);
    let states = bank::states(&server);
    for program in &programs {
        match program.store {
            Store::WithItsPlace => stops_before_what_it_cannot_handle(program, &server, &states),
            Store::WithWhatItSaw => parks_what_it_cannot_handle(program, &server, &states),
            Store::OfAnother => {}
        }
    }
}

#[test]
fn an_address_that_is_none_is_named_and_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    for program in program::all(folder.path()) {
        for address in ["127.0.0.1:7070", "localhost:7070", "ftp://localhost"] {
            let why = program.fails(free_address(), &[("ANNALS_SERVER", address)]);
            assert!(
                why.contains(&format!("ANNALS_SERVER={address}")) && why.contains("http://"),
                "{}: {why}",
                program.name
            );
        }
    }
}

/// Deposits, with the examples at work all the time: each is killed again and again, and the server once.
fn among_kills(server: Process, data: &Path, programs: &[Program], seed: u64) -> Process {
    let address = server.address();
    let enough = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..bank::CLIENTS)
            .map(|client| {
                let enough = &enough;
                scope.spawn(move || bank::work(address, client, Random::new(seed ^ client), enough))
            })
            .collect();
        let killers: Vec<_> = programs
            .iter()
            .zip(1..)
            .map(|(program, number)| {
                let random = Random::new(seed ^ (number << 32));
                scope.spawn(move || kill_again_and_again(program, address, random))
            })
            .collect();
        std::thread::sleep(Duration::from_millis(1_500));
        server.kill();
        std::thread::sleep(Duration::from_millis(200));
        let server = Process::start_at(data, address);
        killers.into_iter().for_each(|killer| killer.join().unwrap());
        enough.store(true, std::sync::atomic::Ordering::SeqCst);
        let commands: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
        eprintln!("{commands} deposits and withdrawals, {KILLS} kills of each example");
        server
    })
}

fn kill_again_and_again(program: &Program, address: SocketAddr, mut random: Random) {
    for _ in 0..KILLS {
        let running = program.start(address);
        std::thread::sleep(Duration::from_millis(300 + random.below(700)));
        running.kill();
    }
}

/// Who keeps the place stops, with everything before the event booked, and goes on once it can.
fn stops_before_what_it_cannot_handle(program: &Program, server: &Process, states: &Balances) {
    let why = program.fails(server.address(), &[]);
    assert!(
        why.contains("1000001 is more than 1000000"),
        "{}: {why}",
        program.name
    );
    for _ in 0..2 {
        let balances = program.balances(server.address(), &RAISED);
        assert_eq!(balances, *states, "{}", program.name);
    }
}

/// A durable consumer parks it with what comes behind it, and the other accounts go on.
fn parks_what_it_cannot_handle(program: &Program, server: &Process, states: &Balances) {
    let balances = program.balances(server.address(), &[]);
    let expected = bank::without_the_large_one(states, LARGEST + 1);
    assert_eq!(balances, expected, "{}", program.name);
    let consumer = format!("/v1/consumers/{}", program.consumer);
    let parked = server.get(&format!("{consumer}/parked")).ok();
    let parked = parked["parked"].as_array().unwrap().clone();
    assert_eq!(parked.len(), 1, "{}: {parked:?}", program.name);
    assert_eq!(
        (parked[0]["id"].as_str(), &parked[0]["events"]),
        (Some(WHALE), &json!(4))
    );
    let why = parked[0]["last_error"].as_str().unwrap();
    assert!(why.contains("1000001 is more than 1000000"), "{why}");

    // What is to be done is known now: they come again, in order.
    let replay = json!({ "type": "account", "id": WHALE });
    server.post(&format!("{consumer}/replay"), &[], &replay).ok();
    assert_eq!(
        program.balances(server.address(), &RAISED),
        *states,
        "{}",
        program.name
    );
    assert_eq!(
        server.get(&format!("{consumer}/parked")).ok(),
        json!({ "parked": [] })
    );

    // Everything once more: nothing changes.
    let from_the_beginning: Value = json!({ "start": "beginning" });
    server
        .post(&format!("{consumer}/reset"), &[], &from_the_beginning)
        .ok();
    assert_eq!(
        program.balances(server.address(), &RAISED),
        *states,
        "{}",
        program.name
    );
}
