//! The writer's thread and its bounded queue: the same for every engine.

use std::{
    fmt,
    sync::{Mutex, PoisonError, RwLock},
    thread::JoinHandle,
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::{AppendError, Completion, Proposal, listeners::complete};

/// A proposal and whom to tell.
pub(super) type Queued = (Proposal, Completion);

/// What the writer's thread runs.
pub(super) trait Engine: Send + 'static {
    /// Writes what was queued, in order, and completes every proposal.
    fn write(&mut self, batch: Vec<Queued>);

    /// How long until [`Engine::wake`] wants to be called; none while there is nothing to repair.
    fn wake_in(&self) -> Option<Duration> {
        None
    }

    /// Repairs what failed.
    fn wake(&mut self) {}

    /// The last call: everything queued was written.
    fn finish(&mut self) {}
}

enum Message {
    Propose(Box<Queued>),
    Close,
}

/// The way to the writer.
pub(super) struct Queue {
    sender: Sender<Message>,
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

impl Queue {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start(
        name: &str,
        capacity: usize,
        limit: BatchLimit,
        engine: impl Engine,
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
    pub(super) fn push(&self, proposal: Proposal, done: Completion) {
        let closing = self.closing.read().unwrap_or_else(PoisonError::into_inner);
        if *closing {
            drop(closing);
            return complete(done, Err(closed()));
        }
        if let Err(refused) = self.sender.send(Message::Propose(Box::new((proposal, done)))) {
            if let Message::Propose(queued) = refused.into_inner() {
                complete(queued.1, Err(closed()));
            }
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

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("queued", &self.sender.len())
            .field("closing", &self.closing)
            .finish_non_exhaustive()
    }
}

fn run(receiver: &Receiver<Message>, limit: BatchLimit, mut engine: impl Engine) {
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
fn drain(receiver: &Receiver<Message>, limit: BatchLimit, first: Queued) -> (Vec<Queued>, bool) {
    let mut bytes = estimate(&first.0);
    let mut batch = vec![first];
    while batch.len() < limit.commits && bytes < limit.bytes {
        match receiver.try_recv() {
            Ok(Message::Propose(next)) => {
                bytes += estimate(&next.0);
                batch.push(*next);
            }
            Ok(Message::Close) => return (batch, true),
            Err(_) => break,
        }
    }
    (batch, false)
}

/// Roughly what a proposal takes in the log.
fn estimate(proposal: &Proposal) -> usize {
    let commit = &proposal.commit;
    let events: usize = commit.events.iter().map(|event| event.payload.len() + 32).sum();
    256 + events + commit.command.payload.as_ref().map_or(0, bytes::Bytes::len)
}

fn closed() -> AppendError {
    AppendError::Unavailable {
        reason: "the store is closed".to_owned(),
        retry_after: Duration::from_secs(1),
    }
}
