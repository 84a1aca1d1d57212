//! What a handler that streams may ask of its connection, beyond an answer.
//!
//! hyper gives up a connection whose client has shut down its sending side while an answer is being made. A client of a
//! pipelined stream may well do so after its last line, and still read. So while such a stream is answered, the end of
//! what the client sends is told to the stream, and kept from hyper until the answer is written.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures_util::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::Notify,
};

use super::{serve::Answering, streams::Stream};

/// The handle to a connection, or with HTTP/2 to one of its streams; clones are of the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    stream: Option<Stream>,
}

#[derive(Debug, Default)]
struct Shared {
    answering: Arc<AtomicUsize>,
    is_streaming: AtomicBool,
    is_cut: AtomicBool,
    /// The client has shut down its sending side, and hyper has not been told.
    is_half_closed: AtomicBool,
    half_closed: Notify,
    waker: AtomicWaker,
}

impl Connection {
    /// With the count of requests that are being answered.
    pub(super) fn new(answering: &Arc<AtomicUsize>) -> Self {
        Self {
            shared: Arc::new(Shared {
                answering: Arc::clone(answering),
                ..Shared::default()
            }),
            stream: None,
        }
    }

    /// With the stream whose request is being answered, if there are streams.
    pub(super) fn of_request(self) -> Self {
        let stream = Stream::current();
        Self { stream, ..self }
    }

    /// Counts as a request that is being answered, which a server that stops waits for.
    pub(super) fn answering(&self) -> Answering {
        Answering::begin(&self.shared.answering)
    }

    /// Completes once the client has shut down its sending side, while the connection is [streaming](Self::streaming).
    pub(super) async fn half_closed(&self) {
        while !self.shared.is_half_closed.load(Ordering::Acquire) {
            self.shared.half_closed.notified().await;
        }
    }

    /// From now on, until the guard is dropped, the client may shut down its sending side.
    pub(super) fn streaming(&self) -> Streaming {
        self.shared.is_streaming.store(true, Ordering::Release);
        Streaming(Arc::clone(&self.shared))
    }

    /// Closes the connection, or resets the stream, whatever is still to be written.
    pub(super) fn cut(&self) {
        if let Some(stream) = &self.stream {
            return stream.cut();
        }
        self.shared.is_cut.store(true, Ordering::Release);
        self.shared.waker.wake();
    }
}

/// A stream that is being answered.
#[derive(Debug)]
pub(super) struct Streaming(Arc<Shared>);

impl Drop for Streaming {
    fn drop(&mut self) {
        self.0.is_streaming.store(false, Ordering::Release);
        self.0.waker.wake();
    }
}

/// A socket with its [`Connection`].
#[derive(Debug)]
pub(super) struct Socket<S> {
    inner: S,
    connection: Connection,
}

impl<S> Socket<S> {
    pub(super) fn new(inner: S, connection: Connection) -> Self {
        Self { inner, connection }
    }

    fn check(&self, cx: &Context<'_>) -> io::Result<()> {
        let shared = &self.connection.shared;
        if shared.is_streaming.load(Ordering::Acquire) {
            shared.waker.register(cx.waker());
        }
        if shared.is_cut.load(Ordering::Acquire) {
            return Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                "the connection was cut",
            ));
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let Self { inner, connection } = &mut *self;
        let shared = &connection.shared;
        if shared.is_half_closed.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(inner).poll_read(cx, buffer))?;
        let is_end = buffer.filled().len() == before && buffer.remaining() > 0;
        if is_end && shared.is_streaming.load(Ordering::Acquire) {
            shared.is_half_closed.store(true, Ordering::Release);
            shared.half_closed.notify_one();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.inner).poll_write_vectored(cx, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// hyper flushes once everything is written: only then, and only when the stream is over, is it told of the end.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        let shared = &self.connection.shared;
        if !shared.is_streaming.load(Ordering::Acquire) && shared.is_half_closed.swap(false, Ordering::AcqRel)
        {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}
