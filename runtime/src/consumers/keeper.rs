//! Writing down what consumers have reached: a thread of its own, which takes all that have something new at once, so that
//! many acknowledgements share a commit.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Condvar, Mutex, PoisonError, Weak},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;

use super::{
    consumer::{Changes, Consumer, Saved},
    progress::{LaneKey, Parked, Record},
    secret::Secrets,
};
use crate::{
    store::{AppendError, ConsumerRow, EventStore, ReadError},
    vocabulary::ConsumerName,
};

/// When whoever comes while the server shuts down should try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// The thread, and who waits for it.
#[derive(Debug)]
pub(super) struct Keeper {
    wanted: Arc<Wanted>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Default)]
struct Wanted {
    state: Mutex<Waiting>,
    came: Condvar,
}

/// Bounded by the number of consumers: each waits once, however often it changes.
#[derive(Debug, Default)]
struct Waiting {
    consumers: BTreeMap<ConsumerName, Arc<Consumer>>,
    stopping: bool,
}

impl Keeper {
    pub(super) fn start(store: &Arc<dyn EventStore>) -> std::io::Result<Self> {
        let wanted = Arc::new(Wanted::default());
        let (waiting, store) = (Arc::clone(&wanted), Arc::downgrade(store));
        let thread = std::thread::Builder::new()
            .name("consumer-keeper".to_owned())
            .spawn(move || run(&waiting, &store))?;
        Ok(Self {
            wanted,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Asks for a consumer to be written down as it is by the time the thread gets to it.
    pub(super) fn want(&self, consumer: &Arc<Consumer>) {
        let mut state = self.wanted.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.stopping {
            return consumer.never_saved(Some(stopped()));
        }
        state
            .consumers
            .insert(consumer.name.clone(), Arc::clone(consumer));
        self.wanted.came.notify_one();
    }

    /// Writes what waits, and ends the thread.
    pub(super) fn stop(&self) {
        let mut state = self.wanted.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopping = true;
        self.wanted.came.notify_one();
        drop(state);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the consumers' thread panicked");
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(wanted: &Wanted, store: &Weak<dyn EventStore>) {
    loop {
        let mut state = wanted.state.lock().unwrap_or_else(PoisonError::into_inner);
        while state.consumers.is_empty() && !state.stopping {
            state = wanted.came.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let consumers = mem::take(&mut state.consumers);
        let stopping = state.stopping;
        drop(state);
        match store.upgrade() {
            Some(store) => save(&*store, consumers.into_values().collect()),
            None => consumers
                .into_values()
                .for_each(|consumer| consumer.never_saved(Some(stopped()))),
        }
        if stopping {
            return;
        }
    }
}

fn stopped() -> AppendError {
    AppendError::Unavailable {
        reason: "the server is shutting down".to_owned(),
        retry_after: RETRY_AFTER,
    }
}

fn save(store: &dyn EventStore, consumers: Vec<Arc<Consumer>>) {
    let mut rows = Vec::new();
    let mut taken = Vec::new();
    for consumer in consumers {
        // One that was deleted meanwhile has taken its rows along.
        if let Some(Changes { upto, record, parked }) = consumer.take_changes() {
            rows.push(row(progress_key(&consumer.name), encode(&record)));
            let lanes: Vec<LaneKey> = parked.iter().map(|(lane, _)| lane.clone()).collect();
            rows.extend(parked.into_iter().map(|(lane, parked)| {
                let key = parked_key(&consumer.name, &lane);
                row(key, parked.and_then(|parked| encode(&(lane, parked))))
            }));
            taken.push((consumer, upto, lanes));
        }
    }
    if taken.is_empty() {
        return;
    }
    let saved = store.save_consumers(&rows);
    if let Err(error) = &saved {
        tracing::warn!(%error, "what consumers have reached could not be written down");
    }
    for (consumer, upto, lanes) in taken {
        match &saved {
            Ok(()) => consumer.saved(Saved { upto, failed: None }),
            Err(error) => {
                consumer.again(lanes);
                consumer.saved(Saved {
                    upto,
                    failed: Some(error.clone()),
                });
            }
        }
    }
}

fn row(key: Vec<u8>, value: Option<Vec<u8>>) -> ConsumerRow {
    ConsumerRow {
        key: Bytes::from(key),
        value: value.map(Bytes::from),
    }
}

/// Encoding into memory does not fail.
fn encode<T: serde::Serialize>(value: &T) -> Option<Vec<u8>> {
    postcard::to_stdvec(value).ok()
}

const PROGRESS: &[u8] = b"progress";
const PARKED: &[u8] = b"parked";
const SECRETS: &[u8] = b"secrets";

fn progress_key(name: &ConsumerName) -> Vec<u8> {
    [name.as_str().as_bytes(), b"\0", PROGRESS].concat()
}

fn secrets_key(name: &ConsumerName) -> Vec<u8> {
    [name.as_str().as_bytes(), b"\0", SECRETS].concat()
}

/// The row of what a webhook signs with; none takes it away.
pub(super) fn secrets_row(name: &ConsumerName, secrets: Option<&Secrets>) -> ConsumerRow {
    row(secrets_key(name), secrets.and_then(encode))
}

fn parked_key(name: &ConsumerName, lane: &LaneKey) -> Vec<u8> {
    let aggregate = &lane.aggregate;
    let mut key = [name.as_str().as_bytes(), b"\0", PARKED, b"\0"].concat();
    key.extend_from_slice(aggregate.aggregate_type.as_str().as_bytes());
    key.push(0);
    key.extend_from_slice(aggregate.aggregate_id.as_str().as_bytes());
    if let Some(version) = lane.alone {
        key.push(0);
        key.extend_from_slice(&version.0.to_be_bytes());
    }
    key
}

/// What a row says of a consumer.
pub(super) enum Kept {
    Progress(Record),
    Parked(LaneKey, Parked),
    Secrets(Secrets),
}

/// Whose row it is, and what it says.
///
/// # Errors
/// [`ReadError::Damaged`]: its checksum was right, so it was written by a version that writes other rows.
pub(super) fn read_row(key: &[u8], value: &[u8]) -> Result<(ConsumerName, Kept), ReadError> {
    let unknown = || ReadError::Damaged {
        what: format!(
            "the consumers' row `{}`: this version does not read it",
            key.escape_ascii()
        ),
    };
    let mut parts = key.splitn(3, |byte| *byte == 0);
    let name = parts.next().and_then(|name| std::str::from_utf8(name).ok());
    let name = name.and_then(|name| name.parse().ok()).ok_or_else(unknown)?;
    let kept = match parts.next() {
        Some(PROGRESS) => postcard::from_bytes(value).map(Kept::Progress),
        Some(PARKED) => postcard::from_bytes(value).map(|(lane, parked)| Kept::Parked(lane, parked)),
        Some(SECRETS) => postcard::from_bytes(value).map(Kept::Secrets),
        _ => return Err(unknown()),
    };
    Ok((name, kept.map_err(|_| unknown())?))
}

/// Takes away all rows of a consumer with these parked lanes.
pub(super) fn removals<'a>(
    name: &ConsumerName,
    lanes: impl Iterator<Item = &'a LaneKey>,
) -> Vec<ConsumerRow> {
    let keys = [progress_key(name), secrets_key(name)]
        .into_iter()
        .chain(lanes.map(|lane| parked_key(name, lane)));
    keys.map(|key| row(key, None)).collect()
}
