//! A shard: one thread that owns the lanes and the cells of its share of the aggregates. It takes messages, lets each
//! lane do its work, and hands commits to the store. Nothing it owns is shared, so nothing is locked.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::{
    store::AppendError,
    vocabulary::{AggregateKey, AggregateType, Committed, LaneEpoch},
    wasm::Module,
};

use super::{
    admission::Permit,
    request::{Answer, CommandError, CommandRequest, Reply, StateRequest, StateView},
    work::Worker,
};

/// How often idle lanes are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What a shard is told.
pub(crate) enum Message {
    Command(CommandWork),
    State(StateWork),
    /// The store's word on a proposal.
    Settled {
        key: AggregateKey,
        epoch: LaneEpoch,
        result: Result<Arc<Committed>, AppendError>,
    },
    /// From now on this module serves its type; `done` is called once that is so.
    Activate {
        aggregate_type: AggregateType,
        module: Arc<Module>,
        done: Reply<()>,
    },
    /// Answers what is queued, waits for what is in flight, then ends the thread.
    Stop,
}

/// A command on its way.
pub(crate) struct CommandWork {
    pub(crate) request: CommandRequest,
    pub(crate) reply: Reply<Result<Answer, CommandError>>,
    /// How often it was decided again, after a conflict.
    pub(crate) decided_again: u8,
    /// The span of the request that brought it.
    pub(crate) span: tracing::Span,
    /// Shares of the queue and of the bytes in flight; given back with the answer.
    pub(crate) permits: [Permit; 2],
}

/// A read on its way.
pub(crate) struct StateWork {
    pub(crate) request: StateRequest,
    pub(crate) reply: Reply<Result<StateView, CommandError>>,
    pub(crate) span: tracing::Span,
    pub(crate) permit: Permit,
}

/// What waits in a lane.
pub(crate) enum Work {
    Command(CommandWork),
    State(StateWork),
}

impl Work {
    fn key(&self) -> &AggregateKey {
        match self {
            Self::Command(work) => &work.request.key,
            Self::State(work) => &work.request.key,
        }
    }

    /// Answers without having done it.
    pub(crate) fn refuse(self, error: CommandError) {
        match self {
            Self::Command(work) => work.answer(Err(error)),
            Self::State(work) => work.answer(Err(error)),
        }
    }
}

impl CommandWork {
    pub(crate) fn answer(self, answer: Result<Answer, CommandError>) {
        drop(self.permits);
        (self.reply)(answer);
    }
}

impl StateWork {
    pub(crate) fn answer(self, answer: Result<StateView, CommandError>) {
        drop(self.permit);
        (self.reply)(answer);
    }
}

/// The thread's own data.
pub(crate) struct Shard {
    inbox: Receiver<Message>,
    lanes: HashMap<AggregateKey, super::work::Entry>,
    worker: Worker,
    /// Lanes with work that can be done, each once, in the order in which it came.
    ready: VecDeque<AggregateKey>,
    stopping: bool,
}

impl Shard {
    pub(crate) fn new(inbox: Receiver<Message>, worker: Worker) -> Self {
        Self {
            inbox,
            lanes: HashMap::new(),
            worker,
            ready: VecDeque::new(),
            stopping: false,
        }
    }

    /// Runs until it is told to stop and everything that was accepted is answered.
    pub(crate) fn run(mut self) {
        let mut next_sweep = Instant::now() + SWEEP_EVERY;
        while !(self.stopping && self.lanes.values().all(|entry| entry.lane.is_idle())) {
            // What waits is moved into the lanes before the next piece of work is done, so that the lanes' own limits
            // hold however slow a guest is.
            if self.ready.is_empty() {
                match self.inbox.recv_deadline(next_sweep) {
                    Ok(message) => self.take(message),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            while let Ok(message) = self.inbox.try_recv() {
                self.take(message);
            }
            self.work();
            if Instant::now() >= next_sweep {
                self.sweep(self.worker.limits().lane_idle);
                next_sweep = Instant::now() + SWEEP_EVERY;
            }
        }
        // What slipped in behind the order to stop.
        while let Ok(message) = self.inbox.try_recv() {
            let stopped = || CommandError::Unavailable {
                reason: "the server is shutting down".into(),
                retry_after: Duration::from_secs(1),
            };
            match message {
                Message::Command(work) => work.answer(Err(stopped())),
                Message::State(work) => work.answer(Err(stopped())),
                Message::Activate { done, .. } => done(()),
                Message::Settled { .. } | Message::Stop => {}
            }
        }
        self.sweep(Duration::ZERO);
    }

    /// One piece of work of the lane whose turn it is.
    fn work(&mut self) {
        let Some(key) = self.ready.pop_front() else { return };
        let Some(entry) = self.lanes.get_mut(&key) else {
            return;
        };
        self.worker.run_one(entry);
        if entry.lane.has_ready() {
            self.ready.push_back(key);
        } else {
            entry.is_ready = false;
        }
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Command(work) => self.queue(Work::Command(work)),
            Message::State(work) => self.queue(Work::State(work)),
            Message::Settled { key, epoch, result } => {
                if let Some(entry) = self.lanes.get_mut(&key) {
                    self.worker.settle(entry, epoch, result);
                    entry.schedule(&mut self.ready);
                }
            }
            Message::Activate {
                aggregate_type,
                module,
                done,
            } => {
                self.worker.activate(aggregate_type, module);
                done(());
            }
            Message::Stop => self.stopping = true,
        }
    }

    fn queue(&mut self, work: Work) {
        let key = work.key();
        if !self.worker.serves(&key.aggregate_type) {
            let unknown = CommandError::UnknownType(key.aggregate_type.clone());
            return work.refuse(unknown);
        }
        if !self.lanes.contains_key(key) {
            self.make_room();
            let entry = self.worker.open(key.clone());
            self.lanes.insert(key.clone(), entry);
        }
        let Some(entry) = self.lanes.get_mut(work.key()) else {
            return;
        };
        let limit = self.worker.limits().lane_queue;
        if let Err(work) = entry.lane.push(work, limit) {
            return work.refuse(CommandError::Busy {
                what: "the queue of the aggregate",
                limit,
            });
        }
        entry.schedule(&mut self.ready);
    }

    /// Lets the longest idle tenth of the lanes go when there are too many.
    fn make_room(&mut self) {
        let limit = self.worker.limits().live_per_shard;
        if self.lanes.len() < limit {
            return;
        }
        let mut idle: Vec<(Instant, AggregateKey)> = self
            .lanes
            .values()
            .filter(|entry| entry.lane.is_idle())
            .map(|entry| (entry.last_used, entry.key.clone()))
            .collect();
        let count = (limit / 10).max(1).min(idle.len());
        if count == 0 {
            return;
        }
        idle.select_nth_unstable_by_key(count - 1, |(last_used, _)| *last_used);
        for (_, key) in idle.into_iter().take(count) {
            self.evict(&key);
        }
    }

    /// Evicts every lane that has been idle for this long.
    fn sweep(&mut self, idle_for: Duration) {
        let now = Instant::now();
        let idle: Vec<AggregateKey> = self
            .lanes
            .values()
            .filter(|entry| entry.lane.is_idle() && now.duration_since(entry.last_used) >= idle_for)
            .map(|entry| entry.key.clone())
            .collect();
        for key in idle {
            self.evict(&key);
        }
    }

    fn evict(&mut self, key: &AggregateKey) {
        if let Some(entry) = self.lanes.remove(key) {
            self.worker.evict(entry);
        }
    }
}
