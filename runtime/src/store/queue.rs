//! The writer's thread and its bounded queue: the same for every engine.
//!
//! What an engine can prepare for a proposal without knowing its place in the log, it prepares on the caller's thread: while
//! one group is being synced, the next one gathers, ready to be written. A caller with nothing else to do may write its
//! proposal itself while the writer's thread sleeps, which saves two changes of threads.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendError, Sender, bounded};

use super::{AppendError, Completion, Proposal, listeners::complete};

/// A proposal and whom to tell.
pub(super) type Queued = (Proposal, Completion);

/// A proposal as it is queued.
pub(super) trait Item: Send + 'static {
    /// Roughly what it takes in the log.
    fn bytes(&self) -> usize;

    /// Tells its caller that it is not written.
    fn refuse(self, error: AppendError);
}

impl Item for Queued {
    fn bytes(&self) -> usize {
        let commit = &self.0.commit;
        let events: usize = commit.events.iter().map(|event| event.payload.len() + 32).sum();
        256 + events + commit.command.payload.as_ref().map_or(0, bytes::Bytes::len)
    }

    fn refuse(self, error: AppendError) {
        complete(self.1, Err(error));
    }
}

/// What the writer's thread runs.
pub(super) trait Engine: Send + 'static {
    /// What is queued for it.
    type Item: Item;

    /// Writes what was queued, in order, and completes every proposal.
    fn write(&mut self, batch: Vec<Self::Item>);

    /// Whether a write would begin at once: nothing is being repaired and nobody is waited for.
    fn is_at_ease(&self) -> bool {
        true
    }

    /// How long until [`Engine::wake`] wants to be called; none while there is nothing to repair.
    fn wake_in(&self) -> Option<Duration> {
        None
    }

    /// Repairs what failed.
    fn wake(&mut self) {}

    /// The last call: everything queued was written.
    fn finish(&mut self) {}
}

enum Message<I> {
    /// In a box of its own: the queue has room for thousands, which would be megabytes of memory gone through in a circle.
    Propose(Box<I>),
    /// What a caller wrote itself left something to repair.
    Look,
    Close,
}

/// The way to the writer.
pub(super) struct Queue<I> {
    sender: Sender<Message<I>>,
    engine: Arc<Mutex<dyn Engine<Item = I>>>,
    /// Proposals that were queued and are not completed.
    under_way: Arc<AtomicUsize>,
    /// Held for reading while a proposal is handed over, so that nothing comes behind the last message.
    closing: RwLock<bool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How much one batch may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimit {
    /// Most commits.
    pub(super) commits: usize,
    /// Most bytes, by estimate; one proposal is taken whatever its size.
    pub(super) bytes: usize,
}

impl<I: Item> Queue<I> {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start(
        name: &str,
        capacity: usize,
        limit: BatchLimit,
        engine: impl Engine<Item = I>,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = bounded(capacity.max(1));
        let engine: Arc<Mutex<dyn Engine<Item = I>>> = Arc::new(Mutex::new(engine));
        let under_way = Arc::new(AtomicUsize::new(0));
        let writing = Writing {
            receiver,
            limit,
            engine: Arc::clone(&engine),
            under_way: Arc::clone(&under_way),
        };
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || writing.run())?;
        Ok(Self {
            sender,
            engine,
            under_way,
            closing: RwLock::new(false),
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Queues a proposal; blocks while the queue is full.
    pub(super) fn push(&self, item: I) {
        let closing = self.closing.read().unwrap_or_else(PoisonError::into_inner);
        if *closing {
            drop(closing);
            return item.refuse(closed());
        }
        self.hand_over(item);
    }

    /// Writes a proposal on this thread when nothing is under way, and queues it otherwise.
    pub(super) fn write_here(&self, item: I) {
        let closing = self.closing.read().unwrap_or_else(PoisonError::into_inner);
        if *closing {
            drop(closing);
            return item.refuse(closed());
        }
        // With nothing under way everything that this caller proposed before is completed, so that its order is kept.
        if self.under_way.load(Ordering::SeqCst) > 0 {
            return self.hand_over(item);
        }
        let Ok(mut engine) = self.engine.try_lock() else {
            return self.hand_over(item);
        };
        if !engine.is_at_ease() {
            drop(engine);
            return self.hand_over(item);
        }
        engine.write(vec![item]);
        let wants_repair = engine.wake_in().is_some();
        drop(engine);
        if wants_repair {
            // A queue that is full wakes the writer's thread as well.
            drop(self.sender.try_send(Message::Look));
        }
    }

    fn hand_over(&self, item: I) {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let sent = self.sender.send(Message::Propose(Box::new(item)));
        if let Err(SendError(Message::Propose(item))) = sent {
            self.under_way.fetch_sub(1, Ordering::SeqCst);
            item.refuse(closed());
        }
    }

    /// Finishes what is queued and ends the thread. The second call waits for the first.
    pub(super) fn close(&self) {
        *self.closing.write().unwrap_or_else(PoisonError::into_inner) = true;
        let mut thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = thread.take() {
            // The thread may be gone after a panic in the engine; then there is nothing left to tell it.
            let _ = self.sender.send(Message::Close);
            if thread.join().is_err() {
                tracing::error!("the writer's thread panicked");
            }
        }
    }
}

impl<I> fmt::Debug for Queue<I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("queued", &self.sender.len())
            .field("closing", &self.closing)
            .finish_non_exhaustive()
    }
}

/// The thread's end.
struct Writing<I> {
    receiver: Receiver<Message<I>>,
    limit: BatchLimit,
    engine: Arc<Mutex<dyn Engine<Item = I>>>,
    under_way: Arc<AtomicUsize>,
}

impl<I: Item> Writing<I> {
    fn run(self) {
        while self.go_on() {}
        if let Some(mut engine) = self.engine() {
            engine.finish();
        }
    }

    /// Writes one batch, or repairs; false after the last message.
    fn go_on(&self) -> bool {
        let Some(wake_in) = self.engine().map(|engine| engine.wake_in()) else {
            return false;
        };
        let first = match wake_in {
            None => self.receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(Duration::ZERO) => Err(RecvTimeoutError::Timeout),
            Some(wait) => self.receiver.recv_timeout(wait),
        };
        match first {
            Ok(Message::Propose(first)) => {
                // Before the batch is taken: what arrives while a caller writes goes with it.
                let Some(mut engine) = self.engine() else {
                    first.refuse(closed());
                    return false;
                };
                let (batch, closed) = drain(&self.receiver, self.limit, *first);
                let count = batch.len();
                engine.write(batch);
                self.under_way.fetch_sub(count, Ordering::SeqCst);
                !closed
            }
            Ok(Message::Look) => true,
            Err(RecvTimeoutError::Timeout) => {
                if let Some(mut engine) = self.engine() {
                    engine.wake();
                }
                true
            }
            Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => false,
        }
    }

    /// None once a write has panicked: what it was about is unknown, and nothing may be written behind it.
    fn engine(&self) -> Option<MutexGuard<'_, dyn Engine<Item = I> + 'static>> {
        self.engine.lock().ok()
    }
}

/// Takes everything that is queued, up to the limit: a group commit. Nothing is waited for; while a group is being
/// written, the next one gathers.
fn drain<I: Item>(receiver: &Receiver<Message<I>>, limit: BatchLimit, first: I) -> (Vec<I>, bool) {
    let mut bytes = first.bytes();
    let mut batch = Vec::with_capacity((receiver.len() + 1).min(limit.commits));
    batch.push(first);
    while batch.len() < limit.commits && bytes < limit.bytes {
        match receiver.try_recv() {
            Ok(Message::Propose(next)) => {
                bytes += next.bytes();
                batch.push(*next);
            }
            Ok(Message::Look) => {}
            Ok(Message::Close) => return (batch, true),
            Err(_) => break,
        }
    }
    (batch, false)
}

fn closed() -> AppendError {
    AppendError::Unavailable {
        reason: "the store is closed".to_owned(),
        retry_after: Duration::from_secs(1),
    }
}
