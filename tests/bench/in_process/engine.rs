//! The rooms of the server below HTTP, wired as the server wires them.

use std::{path::Path, sync::Arc};

use annals::{
    aggregates::{Aggregates, CommandRequest, Preconditions},
    modules::Modules,
    store::{EventStore, FeedFilter, LocalStore, PageLimit, Proposal, StoreOptions},
    vocabulary::{
        AggregateKey, Clock, CommandRecord, Commit, ContextRecord, LaneEpoch, Limits, ModuleDigest, NewEvent,
        Outcome, Position, SystemClock, Version,
    },
    wasm::{Host, HostOptions},
};
use bytes::Bytes;

use crate::{deposits::account_id, failed::Failed, ledger::Log};

use super::{
    account,
    job::{Ask, Layer},
};

/// Told what became of a command: the version that it made, or why it made none.
pub(super) type Told = Box<dyn FnOnce(Result<u64, String>) + Send>;

/// Everything below HTTP.
pub(super) struct Engine {
    store: Arc<dyn EventStore>,
    aggregates: Arc<Aggregates>,
    clock: Arc<dyn Clock>,
    /// The module that commits of the log layer name.
    digest: ModuleDigest,
    /// The log layer's own books: the version of each account.
    versions: Vec<u64>,
}

impl Engine {
    /// Opens the store, starts a shard for each processor, and lets the layer's module serve.
    pub(super) fn open(data: &Path, layer: Layer, module: &Path) -> Result<Self, Failed> {
        let failed = |error: &dyn std::fmt::Display| Failed::new(format!("{}: {error}", data.display()));
        let store = LocalStore::open(data, StoreOptions::default()).map_err(|error| failed(&error))?;
        let store: Arc<dyn EventStore> = Arc::new(store);
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let limits = Arc::new(Limits::default());
        let host = Host::new(HostOptions {
            limits: (*limits).clone(),
            cache_dir: Some(data.join("cache")),
            cache_key: store.cache_key(),
        })
        .map_err(|error| failed(&error))?;
        let shards = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let aggregates =
            Aggregates::start(&store, &clock, &limits, shards).map_err(|error| failed(&error))?;
        let aggregates = Arc::new(aggregates);
        let digest = if layer == Layer::Native {
            let native = account::module(&host)?;
            aggregates.activate(&native.manifest().aggregate_type, &native);
            native.digest()
        } else {
            let bytes = std::fs::read(module)
                .map_err(|error| Failed::io(&format!("read {}", module.display()), &error))?;
            let modules = Modules::open(&store, host, &aggregates, &clock).map_err(|error| failed(&error))?;
            let uploaded = modules.upload(&bytes, true).map_err(|error| failed(&error))?;
            uploaded.module.digest
        };
        Ok(Self {
            store,
            aggregates,
            clock,
            digest,
            versions: Vec::new(),
        })
    }

    /// Hands a command to the lanes.
    pub(super) fn send(&self, ask: &Names, account: u32, correlation_id: String, told: Told) {
        let request = CommandRequest {
            key: ask.key(account),
            command: ask.command.clone(),
            payload: ask.payload.clone(),
            idempotency: None,
            preconditions: Preconditions::default(),
            actor: None,
            correlation_id: Some(correlation_id),
            causation_id: None,
            traceparent: None,
        };
        self.aggregates.send(
            request,
            Box::new(move |answer| {
                told(match answer {
                    Ok(answer) => Ok(answer.committed.commit.last_version().0),
                    Err(error) => Err(error.to_string()),
                });
            }),
        );
    }

    /// Hands the commit that such a command makes to the log, past the lanes.
    pub(super) fn append(&mut self, ask: &Names, account: u32, correlation_id: String, told: Told) {
        let place = account as usize;
        if self.versions.len() <= place {
            self.versions.resize(place + 1, 0);
        }
        let Some(version) = self.versions.get_mut(place) else {
            return told(Err("no such account".to_owned()));
        };
        *version += 1;
        let version = *version;
        let commit = Commit {
            key: ask.key(account),
            first_version: Version(version),
            command: CommandRecord {
                name: ask.command.clone(),
                payload: Some(ask.payload.clone()),
            },
            context: ContextRecord {
                now: self.clock.now(),
                seed: None,
                actor: None,
                // As long as those that lanes draw.
                command_id: format!("{correlation_id:0>32}"),
                correlation_id,
                causation_id: None,
                traceparent: None,
            },
            idempotency: None,
            outcome: Outcome::Accepted {
                reply: None,
                fuel: 1_000,
            },
            module: self.digest,
            events: vec![NewEvent {
                event_type: ask.event_type.clone(),
                schema: 1,
                payload: ask.payload.clone(),
            }],
        };
        let proposal = Proposal {
            lane_epoch: LaneEpoch(1),
            expected: Version(version - 1),
            commit,
        };
        self.store.append(
            proposal,
            Box::new(move |result| {
                told(match result {
                    Ok(committed) => Ok(committed.commit.last_version().0),
                    Err(error) => Err(error.to_string()),
                });
            }),
        );
    }

    /// Stops as a server does.
    pub(super) fn close(self) {
        self.aggregates.stop();
        self.store.close();
    }
}

/// The names of a command, parsed once.
pub(super) struct Names {
    aggregate_type: annals::vocabulary::AggregateType,
    command: annals::vocabulary::CommandName,
    event_type: annals::vocabulary::EventType,
    payload: Bytes,
    /// The key of each account that was asked for.
    keys: std::cell::RefCell<Vec<Option<AggregateKey>>>,
}

impl Names {
    pub(super) fn parse(ask: &Ask) -> Result<Self, Failed> {
        let named = |error: annals::vocabulary::InvalidName| Failed::new(error.to_string());
        Ok(Self {
            aggregate_type: ask.aggregate_type.parse().map_err(named)?,
            command: ask.command.parse().map_err(named)?,
            event_type: ask.event_type.parse().map_err(named)?,
            payload: Bytes::from(ask.payload.clone()),
            keys: std::cell::RefCell::default(),
        })
    }

    /// Keys are shared strings: making each once leaves more of the processor to what is measured.
    fn key(&self, account: u32) -> AggregateKey {
        let make = || {
            let id = account_id(account).parse();
            AggregateKey::new(
                self.aggregate_type.clone(),
                id.unwrap_or_else(|error| panic!("an account's id is one: {error}")),
            )
        };
        let mut keys = self.keys.borrow_mut();
        let place = account as usize;
        if keys.len() <= place {
            keys.resize(place + 1, None);
        }
        match keys.get_mut(place) {
            Some(key) => key.get_or_insert_with(make).clone(),
            None => make(),
        }
    }
}

/// What a store that is opened anew says of a type, and the position of its last event.
pub(super) fn log(data: &Path, aggregate_type: &str) -> Result<(Log, Position), Failed> {
    let failed = |error: &dyn std::fmt::Display| Failed::new(format!("{}: {error}", data.display()));
    let store = LocalStore::open(data, StoreOptions::default()).map_err(|error| failed(&error))?;
    let filter = FeedFilter::of_type(aggregate_type.parse().map_err(|error| failed(&error))?);
    let limit = PageLimit {
        events: 1_000,
        bytes: 8 << 20,
    };
    let (mut log, mut after) = (Log::default(), Position(0));
    loop {
        let page = store
            .feed(after, &filter, limit)
            .map_err(|error| failed(&error))?;
        for event in &page.events {
            log.add_event(
                event.key.aggregate_id.as_str(),
                &event.version.0.to_string(),
                &event.origin.correlation_id,
            )?;
        }
        after = page.scanned;
        if page.at_head {
            let last = store.last_position();
            store.close();
            return Ok((log, last));
        }
    }
}
