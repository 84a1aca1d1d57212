//! Between the task that answers and the connection that writes: answers that the client has not taken yet.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame};
use tokio::sync::Notify;

use super::super::connection::Streaming;

/// Answers on their way out.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: Mutex<Queue>,
    /// Told when the client takes something while that is being watched, and when it goes.
    pub(super) moved: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    is_finished: bool,
    /// The connection is gone, or is to go.
    is_closed: bool,
    is_watched: bool,
    waker: Option<Waker>,
}

impl Outbox {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        // Counters and a queue, whole at every step.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands answers over.
    pub(super) fn push(&self, piece: Bytes) {
        self.change(|queue| {
            queue.bytes += piece.len();
            queue.pieces.push_back(piece);
        });
    }

    /// Nothing more comes.
    pub(super) fn finish(&self) {
        self.change(|queue| queue.is_finished = true);
    }

    fn change(&self, change: impl FnOnce(&mut Queue)) {
        let mut queue = self.queue();
        change(&mut queue);
        let waker = queue.waker.take();
        drop(queue);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Bytes that the client has not taken.
    pub(super) fn held_bytes(&self) -> usize {
        self.queue().bytes
    }

    /// Whether nobody takes any more.
    pub(super) fn is_closed(&self) -> bool {
        self.queue().is_closed
    }

    /// Whether to tell when the client takes something.
    pub(super) fn watch(&self, is_watched: bool) {
        self.queue().is_watched = is_watched;
    }
}

/// The body of the response: the other end of an [`Outbox`].
#[derive(Debug)]
pub(super) struct Answers {
    outbox: Arc<Outbox>,
    /// As long as the connection has not got all of it.
    _streaming: Streaming,
}

impl Answers {
    pub(super) fn new(outbox: Arc<Outbox>, streaming: Streaming) -> Self {
        Self {
            outbox,
            _streaming: streaming,
        }
    }
}

impl HttpBody for Answers {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let mut queue = self.outbox.queue();
        if let Some(piece) = queue.pieces.pop_front() {
            queue.bytes -= piece.len();
            let is_watched = queue.is_watched;
            drop(queue);
            if is_watched {
                self.outbox.moved.notify_one();
            }
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        if queue.is_finished {
            return Poll::Ready(None);
        }
        queue.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        let queue = self.outbox.queue();
        queue.is_finished && queue.pieces.is_empty()
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        let mut queue = self.outbox.queue();
        queue.is_closed = true;
        queue.pieces.clear();
        queue.bytes = 0;
        drop(queue);
        self.outbox.moved.notify_one();
    }
}
