//! The aggregates: one lane per live aggregate, a shard thread for each share of the lanes.
//!
//! Callers hand a request to the shard of its aggregate, with a closure for the answer. Every request that is accepted
//! is answered, exactly once.

mod admission;
mod cells;
#[cfg(test)]
mod counts;
mod decide;
mod lane;
mod lanes;
mod moving;
mod pace;
mod read;
mod rebuilds;
mod recency;
mod rehydrate;
mod request;
mod save;
mod settle;
mod shard;
mod unique;
mod words;
mod work;

use std::{
    fmt,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Sender, bounded, unbounded};

use crate::{
    store::EventStore,
    vocabulary::{AggregateKey, AggregateType, Clock, Limits},
    wasm::Module,
};

use admission::Gauge;
use cells::Cells;
use shard::{CommandWork, Message, Shard, StateWork};
use work::{Equipment, Worker};

pub use request::{
    Answer, CommandError, CommandRequest, Preconditions, RenderedState, Reply, StateRequest, StateView,
};
pub use unique::UniqueIds;

/// Guests run on the shard's own stack; wasmtime is configured to use at most 512 KiB of it.
const SHARD_STACK_BYTES: usize = 4 << 20;

/// The handle to all lanes.
pub struct Aggregates {
    shards: Vec<Handle>,
    bytes: Arc<Gauge>,
    stopping: AtomicBool,
}

struct Handle {
    inbox: Sender<Message>,
    queue: Arc<Gauge>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Aggregates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aggregates")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}

impl Aggregates {
    /// Starts `shards` threads (at least one).
    ///
    /// # Errors
    /// When a thread cannot be started, or the operating system has no randomness.
    pub fn start(
        store: &Arc<dyn EventStore>,
        clock: &Arc<dyn Clock>,
        limits: &Arc<Limits>,
        shards: usize,
    ) -> std::io::Result<Self> {
        let ids = Arc::new(UniqueIds::new()?);
        let count = shards.max(1);
        let cells = || Cells::new((limits.cells / count).max(1), limits.live_bytes / count);
        let start = |index: usize| {
            // Unbounded by itself: what enters is limited by admission.
            let (inbox, messages) = unbounded();
            let equipment = Equipment {
                store: Arc::clone(store),
                clock: Arc::clone(clock),
                limits: Arc::clone(limits),
                ids: Arc::clone(&ids),
            };
            let (words, speaker) = words::words(inbox.clone());
            let worker = Worker::new(equipment, speaker, cells());
            let thread = std::thread::Builder::new()
                .name(format!("shard-{index}"))
                .stack_size(SHARD_STACK_BYTES)
                .spawn(move || Shard::new(messages, words, worker).run())?;
            Ok(Handle {
                inbox,
                queue: Gauge::new(limits.shard_queue),
                thread: Mutex::new(Some(thread)),
            })
        };
        let shards = (0..count).map(start).collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self {
            shards,
            bytes: Gauge::new(limits.in_flight_bytes),
            stopping: AtomicBool::new(false),
        })
    }

    fn shard(&self, key: &AggregateKey) -> Option<&Handle> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(key);
        let index = usize::try_from(hash % self.shards.len() as u64).ok()?;
        self.shards.get(index)
    }

    /// Hands a command to its lane. `reply` is called exactly once: at once when the command is not taken, else on a
    /// thread of the aggregates once the decision is durable or has failed.
    pub fn send(&self, request: CommandRequest, reply: Reply<Result<Answer, CommandError>>) {
        let Some(shard) = self.shard(&request.key) else {
            return reply(Err(self.stopped()));
        };
        if self.stopping.load(Ordering::Acquire) {
            return reply(Err(self.stopped()));
        }
        let Some(queued) = shard.queue.take(1) else {
            return reply(Err(queue_full(shard)));
        };
        let Some(bytes) = self.bytes.take(request.payload.len()) else {
            let busy = CommandError::Busy {
                what: "the room for bytes in flight",
                limit: self.bytes.limit(),
            };
            return reply(Err(busy));
        };
        let span = tracing::Span::current();
        let work = Box::new(CommandWork {
            request,
            reply,
            decided_again: 0,
            alone: false,
            span,
            permits: [queued, bytes],
        });
        if let Err(error) = shard.inbox.send(Message::Command(work))
            && let Message::Command(work) = error.into_inner()
        {
            work.answer(Err(self.stopped()));
        }
    }

    /// Reads the state of an aggregate, in order with its commands. `reply` as for [`Aggregates::send`].
    pub fn state(&self, request: StateRequest, reply: Reply<Result<StateView, CommandError>>) {
        let Some(shard) = self.shard(&request.key) else {
            return reply(Err(self.stopped()));
        };
        let Some(permit) = shard.queue.take(1) else {
            return reply(Err(queue_full(shard)));
        };
        let work = Box::new(StateWork {
            request,
            reply,
            span: tracing::Span::current(),
            permit,
        });
        if let Err(error) = shard.inbox.send(Message::State(work))
            && let Message::State(work) = error.into_inner()
        {
            work.answer(Err(self.stopped()));
        }
    }

    /// Lets a module serve its type from now on. Returns once every shard has taken note: a command sent after that is
    /// decided by it.
    pub fn activate(&self, aggregate_type: &AggregateType, module: &Arc<Module>) {
        let (told, acknowledged) = bounded(self.shards.len());
        for shard in &self.shards {
            let told = told.clone();
            let done: Reply<()> = Box::new(move |()| told.send(()).unwrap_or_default());
            let message = Message::Activate {
                aggregate_type: aggregate_type.clone(),
                module: Arc::clone(module),
                done,
            };
            drop(shard.inbox.send(message));
        }
        drop(told);
        // Ends when all have answered or are gone.
        while acknowledged.recv().is_ok() {}
    }

    /// Takes no more commands, answers all that were taken, and ends the threads.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        for shard in &self.shards {
            drop(shard.inbox.send(Message::Stop));
        }
        for shard in &self.shards {
            let thread = shard.thread.lock().ok().and_then(|mut thread| thread.take());
            if thread.is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("a shard thread ended by a panic");
            }
        }
    }

    fn stopped(&self) -> CommandError {
        CommandError::Unavailable {
            reason: "the server is shutting down".into(),
            retry_after: Duration::from_secs(1),
        }
    }
}

fn queue_full(shard: &Handle) -> CommandError {
    CommandError::Busy {
        what: "the queue of the shard",
        limit: shard.queue.limit(),
    }
}
