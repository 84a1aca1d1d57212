//! What a client knows: what it sent, and what it was told. A store is right when it agrees with that.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, mpsc},
    time::Duration,
};

use bytes::Bytes;

use super::disk::Disk;
use crate::{
    store::{
        AppendError, ConsumerRow, Direction, EventStore, FeedFilter, LocalStore, OpenError, PageLimit,
        Proposal, StoreOptions, file::DataDirectory,
    },
    vocabulary::{AggregateKey, Commit, Committed, LaneEpoch, Position, RecordedEvent, Version},
};

const PLENTY: PageLimit = PageLimit {
    events: 10_000,
    bytes: 1 << 30,
};

/// The rows of two consumers, which are always saved together. Each fills most of a page.
const ROWS: [&[u8]; 2] = [b"billing\0progress", b"mail\0progress"];
const ROW_BYTES: usize = 3_200;

/// Opens the store that is on a disk.
pub(super) fn open(disk: &Disk, options: &StoreOptions) -> Result<LocalStore, OpenError> {
    LocalStore::open_in(DataDirectory::of(Arc::new(disk.clone())), options.clone())
}

/// Sent and acknowledged. Every commit in it has an idempotency key of its own.
#[derive(Debug, Default, Clone)]
pub(super) struct Ledger {
    pub(super) acked: Vec<Arc<Committed>>,
    /// Sent, and not known to be committed.
    pub(super) open: Vec<Commit>,
    /// Refused for certain: must not be there.
    pub(super) refused: Vec<Commit>,
    /// What the consumers' rows say for certain; none before the first was saved.
    pub(super) rows: Option<u64>,
    /// What they may say instead: saved, and not known to be written.
    pub(super) rows_open: Vec<u64>,
    life: u64,
    saves: u64,
}

impl Ledger {
    /// Queues commits together and notes the answers.
    pub(super) fn send(
        &mut self,
        store: &dyn EventStore,
        commits: Vec<Commit>,
    ) -> Vec<Result<(), AppendError>> {
        let (sender, receiver) = mpsc::channel();
        let count = commits.len();
        self.life += 1;
        for (index, commit) in commits.iter().cloned().enumerate() {
            let sender = sender.clone();
            let proposal = Proposal {
                lane_epoch: LaneEpoch(self.life),
                expected: Version(commit.first_version.0 - 1),
                commit,
            };
            let done = Box::new(move |result| sender.send((index, result)).unwrap_or_default());
            // Every other time the first one is written by this thread, and what happens to it happens here.
            if index == 0 && self.life.is_multiple_of(2) {
                store.append_here(proposal, done);
            } else {
                store.append(proposal, done);
            }
        }
        drop(sender);
        let mut answers: Vec<Option<Result<Arc<Committed>, AppendError>>> = vec![None; count];
        for _ in 0..count {
            let (index, result) = receiver
                .recv_timeout(Duration::from_secs(30))
                .expect("every proposal is answered");
            answers[index] = Some(result);
        }
        commits
            .into_iter()
            .zip(answers)
            .map(|(commit, answer)| match answer.unwrap() {
                Ok(committed) => {
                    self.acked.push(committed);
                    Ok(())
                }
                Err(AppendError::Unknown { reason }) => {
                    self.open.push(commit);
                    Err(AppendError::Unknown { reason })
                }
                Err(other) => {
                    self.refused.push(commit);
                    Err(other)
                }
            })
            .collect()
    }

    /// Saves the consumers' rows with a number that they have not had, and notes the answer.
    pub(super) fn save_rows(&mut self, store: &dyn EventStore) -> Result<(), AppendError> {
        self.saves += 1;
        let number = self.saves;
        let rows = ROWS.map(|key| ConsumerRow {
            key: Bytes::from_static(key),
            value: Some(Bytes::from(number.to_be_bytes().repeat(ROW_BYTES / 8))),
        });
        let saved = store.save_consumers(&rows);
        match &saved {
            Ok(()) => {
                self.rows = Some(number);
                self.rows_open.clear();
            }
            Err(AppendError::Unknown { .. }) => self.rows_open.push(number),
            Err(_) => {}
        }
        saved
    }

    /// Whether the consumers' rows, as they were read, are those of one call: of the last that was answered, or of a later
    /// one of which it is not known.
    pub(super) fn check_rows(&self, rows: &[(Bytes, Bytes)]) -> Result<(), String> {
        let found: Vec<_> = rows.iter().map(|(key, _)| key.as_ref()).collect();
        let number = match rows {
            [] => None,
            [(_, first), ..] if found == ROWS && rows.iter().all(|(_, value)| value == first) => {
                first.first_chunk().map(|number| u64::from_be_bytes(*number))
            }
            _ => return Err(format!("rows of {found:?}, or not of one call")),
        };
        if number == self.rows || number.is_some_and(|number| self.rows_open.contains(&number)) {
            return Ok(());
        }
        let (known, open) = (self.rows, &self.rows_open);
        Err(format!(
            "the rows are {number:?}, and should be {known:?} or of {open:?}"
        ))
    }

    /// Compares a store with what the client knows.
    pub(super) fn check(&self, store: &dyn EventStore) -> Result<(), String> {
        let feed = read_feed(store)?;
        for committed in &self.acked {
            let commit = &committed.commit;
            if outcome(store, commit)?.as_ref() != Some(committed) {
                return Err(format!("acknowledged, and lost: {}", describe(commit)));
            }
            for event in committed.recorded_events() {
                if feed.get(event.position.0 as usize - 1) != Some(&event) {
                    return Err(format!("acknowledged, and not in the feed: {}", describe(commit)));
                }
            }
        }
        let mut events: u64 = self
            .acked
            .iter()
            .map(|committed| committed.commit.events.len() as u64)
            .sum();
        for commit in &self.open {
            let Some(found) = outcome(store, commit)? else {
                continue;
            };
            if found.commit != *commit {
                return Err(format!("another commit under its key: {}", describe(commit)));
            }
            if found
                .recorded_events()
                .any(|event| feed.get(event.position.0 as usize - 1) != Some(&event))
            {
                return Err(format!(
                    "its key is there and its events are not: {}",
                    describe(commit)
                ));
            }
            events += commit.events.len() as u64;
        }
        for commit in &self.refused {
            if outcome(store, commit)?.is_some() {
                return Err(format!("refused for certain, and there: {}", describe(commit)));
            }
        }
        if feed.len() as u64 != events {
            return Err(format!(
                "{} events in the feed, {events} accounted for",
                feed.len()
            ));
        }
        let rows = store.consumer_rows().map_err(|error| error.to_string())?;
        self.check_rows(&rows)?;
        check_histories(store, &feed, self)
    }
}

fn describe(commit: &Commit) -> String {
    format!(
        "{} from version {} ({:?})",
        commit.key,
        commit.first_version,
        commit.idempotency.as_ref().map(|r| &r.key)
    )
}

fn outcome(store: &dyn EventStore, commit: &Commit) -> Result<Option<Arc<Committed>>, String> {
    let record = commit.idempotency.as_ref().unwrap();
    store
        .outcome(&commit.key, &record.key)
        .map_err(|error| error.to_string())
}

fn read_feed(store: &dyn EventStore) -> Result<Vec<RecordedEvent>, String> {
    let filter = FeedFilter::everything();
    let mut events: Vec<RecordedEvent> = Vec::new();
    let mut after = Position(0);
    loop {
        let page = store
            .feed(after, &filter, PLENTY)
            .map_err(|error| error.to_string())?;
        events.extend(page.events);
        if page.at_head {
            break;
        }
        after = page.scanned;
    }
    for (position, event) in (1..).zip(&events) {
        if event.position != Position(position) {
            return Err(format!("position {position} is {}", event.position));
        }
    }
    Ok(events)
}

fn check_histories(store: &dyn EventStore, feed: &[RecordedEvent], ledger: &Ledger) -> Result<(), String> {
    let mut histories: BTreeMap<AggregateKey, Vec<RecordedEvent>> = BTreeMap::new();
    let known: BTreeSet<_> = ledger
        .acked
        .iter()
        .map(|committed| &committed.commit.key)
        .chain(ledger.open.iter().map(|commit| &commit.key))
        .chain(ledger.refused.iter().map(|commit| &commit.key))
        .collect();
    for key in known {
        histories.insert(key.clone(), Vec::new());
    }
    for event in feed {
        histories
            .entry(event.key.clone())
            .or_default()
            .push(event.clone());
    }
    for (key, expected) in histories {
        let head = store.head(&key).map_err(|error| error.to_string())?;
        let found = store
            .history(&key, Version(1), Direction::Forward, PLENTY)
            .map_err(|error| error.to_string())?;
        if found != expected {
            return Err(format!(
                "{key}: its history has {} of {} events",
                found.len(),
                expected.len()
            ));
        }
        if head.version.0 != expected.len() as u64 {
            return Err(format!(
                "{key}: its head is {}, not {}",
                head.version,
                expected.len()
            ));
        }
    }
    Ok(())
}
