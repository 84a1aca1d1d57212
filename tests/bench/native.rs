//! The day's work: what a good engineer writes in a day instead of using annals. axum, a map of accounts, and a thread
//! that writes whatever waits in one redb transaction, one row for each command. Every acknowledgement is durable.
//!
//! It takes the very requests that annals takes, so that one generator and one ledger serve both. It has no rules that
//! can be uploaded, no idempotency, no feed.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Bytes,
    extract::{Path as Segments, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, TableError};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::{echo, failed::Failed, ledger::Log};

/// Rows in the order in which they came: the fastest thing to write, and to fold at a start.
const BY_SEQUENCE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
/// Rows by account and version, so that the history of an account can be read: each goes to another place of the tree.
const BY_ACCOUNT: TableDefinition<'_, (&str, u64), &[u8]> = TableDefinition::new("histories");
/// Rows in one transaction.
const BATCH_ROWS: usize = 1_024;
/// The same as annals gives the segment that it writes.
const CACHE_BYTES: usize = 64 << 20;
const VERSION: HeaderName = HeaderName::from_static("aggregate-version");

/// One row of the log.
#[derive(Debug, Serialize, Deserialize)]
struct Event<'a> {
    id: &'a str,
    version: u64,
    command: &'a str,
    amount: u64,
    correlation_id: &'a str,
}

#[derive(Debug, Deserialize)]
struct Payload {
    #[serde(default)]
    amount: u64,
}

#[derive(Debug, Serialize)]
struct Accepted<'a> {
    id: &'a str,
    version: u64,
    balance: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Account {
    version: u64,
    balance: u64,
}

/// By what rows are found again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Rows {
    /// By account and version, so that the history of an account can be read.
    #[default]
    Account,
    /// By the order in which they came.
    Sequence,
}

/// A row on its way to the disk, and whom to tell.
#[derive(Debug)]
struct Row {
    id: String,
    version: u64,
    event: Vec<u8>,
    told: oneshot::Sender<()>,
}

#[derive(Debug)]
struct Bank {
    accounts: Mutex<HashMap<String, Account>>,
    rows: mpsc::UnboundedSender<Row>,
}

impl Bank {
    /// Changes the account and queues the row. Both under the lock, so that rows are in the order of versions.
    fn decide(
        &self,
        id: &str,
        command: &str,
        amount: u64,
        correlation_id: &str,
    ) -> Option<(Account, oneshot::Receiver<()>)> {
        let (told, durable) = oneshot::channel();
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let account = match (command, accounts.get_mut(id)) {
            ("open", None) => accounts.entry(id.to_owned()).or_default(),
            ("deposit", Some(account)) => account,
            _ => return None,
        };
        account.balance = account.balance.checked_add(amount)?;
        account.version += 1;
        let event = Event {
            id,
            version: account.version,
            command,
            amount,
            correlation_id,
        };
        let row = Row {
            id: id.to_owned(),
            version: account.version,
            event: serde_json::to_vec(&event).ok()?,
            told,
        };
        self.rows.send(row).ok()?;
        Some((*account, durable))
    }
}

async fn command(
    State(bank): State<Arc<Bank>>,
    Segments((id, command)): Segments<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let payload: Payload = match serde_json::from_slice(&body) {
        Ok(payload) => payload,
        Err(error) => return (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    };
    let correlation_id = headers.get("correlation-id").and_then(|id| id.to_str().ok());
    let Some((account, durable)) =
        bank.decide(&id, &command, payload.amount, correlation_id.unwrap_or_default())
    else {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    };
    if durable.await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let accepted = Accepted {
        id: &id,
        version: account.version,
        balance: account.balance,
    };
    match serde_json::to_vec(&accepted) {
        Ok(body) => {
            let headers = [
                (header::CONTENT_TYPE, "application/json".to_owned()),
                (VERSION, account.version.to_string()),
            ];
            (headers, body).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Everything that waits, in one transaction; then everybody is told. A commit that fails ends the process: what is in
/// memory is ahead of the disk then. `next` is the number of the first row.
fn write(
    database: &Database,
    order: Rows,
    mut next: u64,
    mut rows: mpsc::UnboundedReceiver<Row>,
) -> Result<(), redb::Error> {
    let mut batch = Vec::with_capacity(BATCH_ROWS);
    while let Some(first) = rows.blocking_recv() {
        batch.push(first);
        while batch.len() < BATCH_ROWS
            && let Ok(row) = rows.try_recv()
        {
            batch.push(row);
        }
        let transaction = database.begin_write()?;
        match order {
            Rows::Sequence => {
                let mut table = transaction.open_table(BY_SEQUENCE)?;
                for row in &batch {
                    table.insert(next, row.event.as_slice())?;
                    next += 1;
                }
            }
            Rows::Account => {
                let mut table = transaction.open_table(BY_ACCOUNT)?;
                for row in &batch {
                    table.insert((row.id.as_str(), row.version), row.event.as_slice())?;
                }
            }
        }
        transaction.commit()?;
        for row in batch.drain(..) {
            // Whoever went away does not wait for it.
            let _ = row.told.send(());
        }
    }
    Ok(())
}

/// Looks at every row, each account's in the order of versions.
fn each_row(
    database: &Database,
    mut look: impl FnMut(Event<'_>) -> Result<(), String>,
) -> Result<(), Box<dyn std::error::Error>> {
    let transaction = database.begin_read()?;
    match transaction.open_table(BY_SEQUENCE) {
        Ok(table) => {
            for row in table.iter()? {
                look(serde_json::from_slice(row?.1.value())?)?;
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    match transaction.open_table(BY_ACCOUNT) {
        Ok(table) => {
            for row in table.iter()? {
                look(serde_json::from_slice(row?.1.value())?)?;
            }
        }
        Err(TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// The accounts as the rows leave them, and how many rows there are.
fn fold(database: &Database) -> Result<(HashMap<String, Account>, u64), Box<dyn std::error::Error>> {
    let (mut accounts, mut rows) = (HashMap::<String, Account>::new(), 0);
    each_row(database, |event| {
        let account = accounts.entry(event.id.to_owned()).or_default();
        account.version = event.version;
        account.balance += event.amount;
        rows += 1;
        Ok(())
    })?;
    Ok((accounts, rows))
}

/// What this process is with `--native FILE`.
pub(crate) fn serve(file: &Path, order: Rows) -> Result<(), Failed> {
    let failed = |error: &dyn std::fmt::Display| Failed::new(format!("the log of the day's work: {error}"));
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create(file)
        .map_err(|error| failed(&error))?;
    let (accounts, next) = fold(&database).map_err(|error| failed(&error))?;
    let (sender, rows) = mpsc::unbounded_channel();
    let writer = move || {
        if let Err(error) = write(&database, order, next, rows) {
            eprintln!("the day's work cannot write: {error}");
            std::process::exit(1);
        }
    };
    std::thread::Builder::new()
        .name("writer".to_owned())
        .spawn(writer)
        .map_err(|error| Failed::io("start the writer", &error))?;
    let bank = Arc::new(Bank {
        accounts: Mutex::new(accounts),
        rows: sender,
    });
    let router = Router::new()
        .route("/v1/aggregates/account/{id}/commands/{command}", post(command))
        .with_state(bank);
    echo::serve_router(router)
}

/// What it has left on disk.
pub(crate) fn log(file: &Path) -> Result<Log, Failed> {
    let failed = |error: &dyn std::fmt::Display| {
        Failed::new(format!("the log of the day's work, {}: {error}", file.display()))
    };
    let database = Database::open(file).map_err(|error| failed(&error))?;
    let mut log = Log::default();
    each_row(&database, |event| {
        log.add_event(event.id, &event.version.to_string(), event.correlation_id)
            .map_err(|problem| problem.to_string())
    })
    .map_err(|error| failed(&error))?;
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_on_disk_in_order_and_folded_at_a_start() {
        for order in [Rows::Sequence, Rows::Account] {
            let dir = tempfile::tempdir().unwrap();
            let file = dir.path().join("events.redb");
            let database = Database::create(&file).unwrap();
            let (sender, rows) = mpsc::unbounded_channel();
            let writer = std::thread::spawn(move || {
                write(&database, order, 0, rows).map_err(|error| error.to_string())
            });
            let bank = Bank {
                accounts: Mutex::default(),
                rows: sender,
            };
            assert!(bank.decide("a000001", "deposit", 1, "0").is_none());
            let mut last = Account::default();
            for (number, name) in ["open", "deposit", "deposit"].into_iter().enumerate() {
                let (account, durable) = bank
                    .decide("a000001", name, 2, &format!("{number:016x}"))
                    .unwrap();
                durable.blocking_recv().unwrap();
                last = account;
            }
            assert!(bank.decide("a000001", "open", 0, "0").is_none());
            assert_eq!((last.version, last.balance), (3, 6));
            drop(bank);
            writer.join().unwrap().unwrap();
            assert_eq!(log(&file).unwrap().events, 3);
            let (accounts, rows) = fold(&Database::open(&file).unwrap()).unwrap();
            let folded = accounts["a000001"];
            assert_eq!((folded.version, folded.balance, rows), (3, 6, 3), "{order:?}");
        }
    }
}
