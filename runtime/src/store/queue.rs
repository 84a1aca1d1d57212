//! The writer's thread and its bounded queue: the same for every engine.
//!
//! What an engine can prepare for a proposal without knowing its place in the log, it prepares on the caller's thread: while
//! one group is being synced, the next one gathers, ready to be written.

use std::{
    fmt,
    sync::{Mutex, PoisonError, RwLock},
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
    Close,
}

/// The way to the writer.
pub(super) struct Queue<I> {
    sender: Sender<Message<I>>,
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
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&receiver, limit, engine))?;
        Ok(Self {
            sender,
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
        let sent = self.sender.send(Message::Propose(Box::new(item)));
        if let Err(SendError(Message::Propose(item))) = sent {
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

fn run<I: Item>(receiver: &Receiver<Message<I>>, limit: BatchLimit, mut engine: impl Engine<Item = I>) {
    loop {
        let first = match engine.wake_in() {
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(Duration::ZERO) => Err(RecvTimeoutError::Timeout),
            Some(wait) => receiver.recv_timeout(wait),
        };
        match first {
            Ok(Message::Propose(first)) => {
                let (batch, closed) = drain(receiver, limit, *first);
                engine.write(batch);
                if closed {
                    break;
                }
            }
            Err(RecvTimeoutError::Timeout) => engine.wake(),
            Ok(Message::Close) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    engine.finish();
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
