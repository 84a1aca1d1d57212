//! The accounts, and clients that move money. They, too, go on through a kill: with the same key until there is an answer.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use annals_tests::{http::Connection, server::Api};
use serde_json::{Value, json};

use crate::random::Random;

/// Cents, by account.
pub(super) type Balances = BTreeMap<String, i64>;

pub(super) const CLIENTS: u64 = 4;
const ACCOUNTS_EACH: u64 = 12;
/// Fewest and most commands of one client: what the examples are to catch up with stays within seconds.
const COMMANDS: std::ops::Range<u64> = 500..1_500;
/// The account with a deposit that the examples do not book by themselves.
pub(super) const WHALE: &str = "whale";
/// Ids that a careless program takes for something else.
const ODD: [&str; 4] = ["__proto__", "toString", "a/b c?d=%", "Ä-账户"];

fn account(client: u64, number: u64) -> String {
    let odd = usize::try_from(number).ok().filter(|_| client == 0);
    match odd.and_then(|number| ODD.get(number)) {
        Some(odd) => (*odd).to_owned(),
        None => format!("c{client}-{number}"),
    }
}

fn path(account: &str) -> String {
    let encoded: String = account.bytes().map(|byte| format!("%{byte:02X}")).collect();
    format!("/v1/aggregates/account/{encoded}")
}

/// Opens accounts and moves money until it is enough; gives how many commands were answered.
pub(super) fn work(address: SocketAddr, client: u64, mut random: Random, enough: &AtomicBool) -> u64 {
    let mut connection = None;
    for number in 0..ACCOUNTS_EACH {
        let body = json!({ "owner": "somebody" });
        let path = format!("{}/commands/open", path(&account(client, number)));
        until_answered(address, &mut connection, &path, &format!("open-{number}"), &body);
    }
    for sent in 0..COMMANDS.end {
        if sent >= COMMANDS.start && enough.load(Ordering::SeqCst) {
            return sent;
        }
        let name = if random.below(4) == 0 {
            "withdraw"
        } else {
            "deposit"
        };
        let account = account(client, random.below(ACCOUNTS_EACH));
        let body = json!({ "amount": 1 + random.below(10_000) });
        let path = format!("{}/commands/{name}", path(&account));
        until_answered(
            address,
            &mut connection,
            &path,
            &format!("{client}-{sent}"),
            &body,
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    COMMANDS.end
}

/// Sends a command until it is decided. A withdrawal may be rejected; then it moves nothing.
fn until_answered(
    address: SocketAddr,
    connection: &mut Option<Connection>,
    path: &str,
    key: &str,
    body: &Value,
) {
    let body = body.to_string();
    let headers = [("content-type", "application/json"), ("idempotency-key", key)];
    loop {
        let mut open = match connection.take().map_or_else(|| Connection::open(address), Ok) {
            Ok(open) => open,
            Err(_) => {
                std::thread::sleep(Duration::from_millis(20));
                continue;
            }
        };
        match open.request("POST", path, &headers, body.as_bytes()) {
            Ok(answer) if [200, 422].contains(&answer.status) => {
                *connection = Some(open);
                return;
            }
            Ok(answer) => assert!([429, 503].contains(&answer.status), "{}", answer.text()),
            Err(_) => {}
        }
    }
}

/// A deposit that is too large for the examples, with others before and behind it.
pub(super) fn deposit_too_much(server: &impl Api, amount: u64) {
    server
        .command(
            &format!("account/{WHALE}"),
            "open",
            &json!({ "owner": "A whale" }),
        )
        .ok();
    for amount in [7, amount, 1, 2, 3] {
        server
            .command(
                &format!("account/{WHALE}"),
                "deposit",
                &json!({ "amount": amount }),
            )
            .ok();
    }
}

/// The balances while the large deposit and those behind it are not booked.
pub(super) fn without_the_large_one(states: &Balances, amount: u64) -> Balances {
    let mut states = states.clone();
    let unbooked = i64::try_from(amount).unwrap() + 1 + 2 + 3;
    *states.get_mut(WHALE).unwrap() -= unbooked;
    states
}

/// What the server says of every account.
pub(super) fn states(server: &impl Api) -> Balances {
    let accounts =
        (0..CLIENTS).flat_map(|client| (0..ACCOUNTS_EACH).map(move |number| account(client, number)));
    let accounts = accounts.chain([WHALE.to_owned()]);
    accounts
        .map(|account| {
            let state = server.get(&path(&account)).ok();
            let balance = state["state"]["balance"].as_i64().unwrap();
            (account, balance)
        })
        .collect()
}
