//! The day's work: what a good engineer writes in a day instead of using annals. axum, a map of accounts, and a thread
//! that writes whatever waits in one redb transaction, one row for each command. Every acknowledgement is durable.
//!
//! It takes the very requests that annals takes, so that one generator and one ledger serve both. It has no rules that
//! can be uploaded, no history that can be read, no idempotency, no feed.

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
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::{echo, failed::Failed, ledger::Log};

const EVENTS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("events");
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

/// A row on its way to the disk, and whom to tell.
type Row = (Vec<u8>, oneshot::Sender<()>);

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
        let row = serde_json::to_vec(&event).ok()?;
        self.rows.send((row, told)).ok()?;
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
/// memory is ahead of the disk then.
fn write(database: &Database, mut rows: mpsc::UnboundedReceiver<Row>) -> Result<(), redb::Error> {
    let mut next = 0;
    let mut told = Vec::with_capacity(BATCH_ROWS);
    while let Some(first) = rows.blocking_recv() {
        let transaction = database.begin_write()?;
        {
            let mut events = transaction.open_table(EVENTS)?;
            let mut waiting = Some(first);
            while let Some((row, teller)) = waiting {
                events.insert(next, row.as_slice())?;
                next += 1;
                told.push(teller);
                waiting = if told.len() < BATCH_ROWS {
                    rows.try_recv().ok()
                } else {
                    None
                };
            }
        }
        transaction.commit()?;
        for teller in told.drain(..) {
            // Whoever went away does not wait for it.
            let _ = teller.send(());
        }
    }
    Ok(())
}

/// What this process is with `--native FILE`.
pub(crate) fn serve(file: &Path) -> Result<(), Failed> {
    let failed = |error: redb::Error| Failed::new(format!("the log of the day's work: {error}"));
    let database = Database::builder()
        .set_cache_size(CACHE_BYTES)
        .create(file)
        .map_err(|error| failed(error.into()))?;
    let (sender, rows) = mpsc::unbounded_channel();
    let writer = move || {
        if let Err(error) = write(&database, rows) {
            eprintln!("the day's work cannot write: {error}");
            std::process::exit(1);
        }
    };
    std::thread::Builder::new()
        .name("writer".to_owned())
        .spawn(writer)
        .map_err(|error| Failed::io("start the writer", &error))?;
    let bank = Arc::new(Bank {
        accounts: Mutex::default(),
        rows: sender,
    });
    let router = Router::new()
        .route("/v1/aggregates/account/{id}/commands/{command}", post(command))
        .with_state(bank);
    echo::serve_router(router)
}

/// What it has left on disk.
pub(crate) fn log(file: &Path) -> Result<Log, Failed> {
    let rows = || -> Result<Log, Box<dyn std::error::Error>> {
        let database = Database::open(file)?;
        let transaction = database.begin_read()?;
        let mut log = Log::default();
        for row in transaction.open_table(EVENTS)?.iter()? {
            let (_, row) = row?;
            let event: Event<'_> = serde_json::from_slice(row.value())?;
            log.add_event(event.id, &event.version.to_string(), event.correlation_id)
                .map_err(|failed| failed.to_string())?;
        }
        Ok(log)
    };
    rows().map_err(|error| Failed::new(format!("the log of the day's work, {}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_told_is_on_disk_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("events.redb");
        let database = Database::create(&file).unwrap();
        let (sender, rows) = mpsc::unbounded_channel();
        let writer = std::thread::spawn(move || write(&database, rows).map_err(|error| error.to_string()));
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
    }
}
