//! The streams of HTTP/2 connections: each is a task, and can be cut by itself.
//!
//! hyper waits for a client's flow control before it asks the body of an answer for more, so that the body cannot say that
//! it is enough. When the task of a stream is dropped, the stream is reset, and the others of its connection go on.

use std::{future::Future, sync::Arc};

use hyper::rt::Executor;
use tokio::sync::Notify;

tokio::task_local! {
    static CURRENT: Stream;
}

/// The handle to a stream; clones are of the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Stream(Arc<Notify>);

impl Stream {
    /// The one whose request is being answered; none with HTTP/1.1.
    pub(super) fn current() -> Option<Self> {
        CURRENT.try_with(Clone::clone).ok()
    }

    /// Resets it, whatever is still to be written.
    pub(super) fn cut(&self) {
        self.0.notify_one();
    }
}

/// Runs streams.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams;

impl<F> Executor<F> for Streams
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, future: F) {
        let stream = Stream::default();
        let current = stream.clone();
        tokio::spawn(CURRENT.scope(current, async move {
            tokio::select! {
                biased;
                () = stream.0.notified() => {}
                _ = future => {}
            }
        }));
    }
}
