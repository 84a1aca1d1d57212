//! A shard: one thread that owns the lanes and the cells of its share of the aggregates. It takes messages, lets each
//! lane do its work, and hands commits to the store. Nothing it owns is shared, so nothing is locked.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::{
    store::AppendError,
    vocabulary::{AggregateKey, AggregateType},
    wasm::Module,
};

use super::{
    admission::Permit,
    lanes::Lanes,
    request::{Answer, CommandError, CommandRequest, Reply, StateRequest, StateView},
    words::Words,
    work::Worker,
};

/// How often idle lanes are looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// How long lanes are let go in one turn: each may cost a snapshot.
const SWEEP_TIME: Duration = Duration::from_millis(1);
/// Messages that came one by one, each to a shard that slept, after which the shard counts on more of the same. A second
/// client soon ends such a row; one that sends the next command when it has the answer to the last is served by it.
const CALM_AFTER: u32 = 8;
/// Lanes that are let go in one turn because the cells have too much memory.
const GIVEN_UP_AT_ONCE: usize = 64;

/// The place of a lane in its shard. It is another lane's once this one was idle and let go.
pub(crate) type LaneId = usize;

/// What a shard is told.
pub(crate) enum Message {
    Command(Box<CommandWork>),
    State(Box<StateWork>),
    /// There is a word of the store that somebody waits for.
    Look,
    /// From now on this module serves its type; `done` is called once that is so.
    Activate {
        aggregate_type: AggregateType,
        module: Arc<Module>,
        done: Reply<()>,
    },
    /// Answers what is queued, waits for what is in flight, then ends the thread.
    Stop,
}

/// The store's word on a decision. One that is durable has been answered already.
pub(crate) struct Word {
    pub(crate) lane: LaneId,
    pub(crate) number: u64,
    pub(crate) result: Result<(), Box<NotDurable>>,
}

/// A decision that the store did not take, or of which it does not know.
pub(crate) struct NotDurable {
    pub(crate) work: Box<CommandWork>,
    pub(crate) error: AppendError,
}

/// A command on its way.
pub(crate) struct CommandWork {
    pub(crate) request: CommandRequest,
    pub(crate) reply: Reply<Result<Answer, CommandError>>,
    /// How often it was decided again, after a conflict or because its ground was lost.
    pub(crate) decided_again: u8,
    /// Whether its cell ran out of memory before: it gets one of its own.
    pub(crate) alone: bool,
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
    Command(Box<CommandWork>),
    State(Box<StateWork>),
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
    words: Words,
    lanes: Lanes,
    worker: Worker,
    /// Lanes with work that can be done, each once, in the order in which it came.
    ready: VecDeque<LaneId>,
    /// Messages in a row that found the shard asleep and came alone.
    calm: u32,
    stopping: bool,
}

impl Shard {
    pub(crate) fn new(inbox: Receiver<Message>, words: Words, worker: Worker) -> Self {
        Self {
            inbox,
            words,
            lanes: Lanes::default(),
            worker,
            ready: VecDeque::new(),
            calm: 0,
            stopping: false,
        }
    }

    /// Runs until it is told to stop and everything that was accepted is answered.
    pub(crate) fn run(mut self) {
        let mut next_sweep = Instant::now() + SWEEP_EVERY;
        while !self.is_done() {
            // What waits is moved into the lanes before the next piece of work is done, so that the lanes' own limits
            // hold however slow a guest is.
            self.listen();
            if self.has_nothing_to_do() {
                self.words.wants(self.stopping || self.worker.awaits_words());
                self.listen();
            }
            if self.has_nothing_to_do() && !self.is_done() && self.inbox.is_empty() {
                let until = self
                    .worker
                    .rebuilds
                    .wakes_at()
                    .map_or(next_sweep, |at| at.min(next_sweep));
                match self.inbox.recv_deadline(until) {
                    Ok(message) => {
                        self.calm = self.calm.saturating_add(1);
                        self.take(message);
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            while let Ok(message) = self.inbox.try_recv() {
                self.calm = 0;
                self.take(message);
            }
            let now = Instant::now();
            self.work(now);
            self.rebuild(now);
            if now >= next_sweep {
                let is_finished = self.sweep(now);
                next_sweep = if is_finished { now + SWEEP_EVERY } else { now };
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
                Message::Look | Message::Stop => {}
            }
        }
        while let Some((lane, _)) = self.lanes.oldest() {
            self.evict(lane);
        }
    }

    fn has_nothing_to_do(&self) -> bool {
        self.ready.is_empty() && self.worker.rebuilds.is_empty()
    }

    fn is_done(&self) -> bool {
        self.stopping && self.has_nothing_to_do() && self.lanes.are_idle()
    }

    /// Takes the store's words.
    fn listen(&mut self) {
        while let Some(Word { lane, number, result }) = self.words.next() {
            if let Some(entry) = self.lanes.get_mut(lane) {
                self.worker.settle(entry, number, result);
                self.worker.schedule(entry, &mut self.ready);
            }
        }
    }

    /// One piece of work of the lane whose turn it is.
    fn work(&mut self, now: Instant) {
        let Some(lane) = self.ready.pop_front() else {
            return;
        };
        let Some(entry) = self.lanes.using(lane, now) else {
            return;
        };
        entry.is_ready = false;
        self.worker.has_time =
            self.calm > CALM_AFTER && self.ready.is_empty() && self.worker.rebuilds.is_empty();
        self.worker.run_one(entry);
        self.worker.schedule(entry, &mut self.ready);
        self.give_memory_back();
    }

    /// One slice of the rebuild whose turn it is, when it is.
    fn rebuild(&mut self, now: Instant) {
        let others_wait = !self.ready.is_empty();
        let Some(lane) = self.worker.next_rebuild(others_wait, now) else {
            return;
        };
        let Some(entry) = self.lanes.using(lane, now) else {
            return;
        };
        self.worker.rebuild(entry);
        self.worker.schedule(entry, &mut self.ready);
        self.give_memory_back();
    }

    fn take(&mut self, message: Message) {
        match message {
            Message::Command(work) => self.queue(Work::Command(work)),
            Message::State(work) => self.queue(Work::State(work)),
            // It is taken before the shard goes to sleep again.
            Message::Look => {}
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
        let lane = match self.lanes.of(key) {
            Some(lane) => lane,
            None if !self.worker.serves(&key.aggregate_type) => {
                let unknown = CommandError::UnknownType(key.aggregate_type.clone());
                return work.refuse(unknown);
            }
            None => {
                let key = key.clone();
                self.make_room();
                let worker = &mut self.worker;
                self.lanes.insert(key.clone(), |lane| worker.open(lane, key))
            }
        };
        let Some(entry) = self.lanes.get_mut(lane) else {
            return;
        };
        let limit = self.worker.limits().lane_queue;
        if let Err(work) = entry.lane.push(work, limit) {
            return work.refuse(CommandError::Busy {
                what: "the queue of the aggregate",
                limit,
            });
        }
        self.worker.schedule(entry, &mut self.ready);
    }

    /// Lets the longest unused lanes go when there are too many.
    fn make_room(&mut self) {
        while self.lanes.len() >= self.worker.limits().live_per_shard
            && let Some(lane) = self.lanes.oldest_idle()
        {
            self.evict(lane);
        }
    }

    /// Lets lanes go that have been idle for long enough; false when there are more than one turn has time for.
    fn sweep(&mut self, now: Instant) -> bool {
        let idle_for = self.worker.limits().lane_idle;
        let started = Instant::now();
        while started.elapsed() < SWEEP_TIME {
            let Some((lane, entry)) = self.lanes.oldest() else {
                return true;
            };
            if now.saturating_duration_since(entry.last_used) < idle_for {
                return true;
            }
            if entry.lane.is_idle() {
                self.evict(lane);
            } else {
                self.lanes.using(lane, now);
            }
        }
        false
    }

    /// Empties the cell of the longest unused lane when the cells have too much memory: it returns by whole cells only.
    fn give_memory_back(&mut self) {
        for _ in 0..GIVEN_UP_AT_ONCE {
            if !self.worker.cells_are_too_large() {
                return;
            }
            let Some(lane) = self.lanes.oldest_idle() else {
                return;
            };
            if let Some(entry) = self.lanes.remove(lane) {
                self.worker.evict_with_cell(entry);
            }
        }
    }

    fn evict(&mut self, lane: LaneId) {
        if let Some(entry) = self.lanes.remove(lane) {
            self.worker.evict(entry);
        }
    }
}
