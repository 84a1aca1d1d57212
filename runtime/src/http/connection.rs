//! What a handler that streams may ask of its connection, beyond an answer.
//!
//! hyper gives up a connection whose client has shut down its sending side while an answer is being made. A client of a
//! pipelined stream may well do so after its last line, and still read. So while such a stream is answered, the end of
//! what the client sends is told to the stream, and kept from hyper until the answer is written.
//!
//! A feed that is followed may be written past hyper, see [`Chunks`](super::chunks::Chunks), while hyper has nothing to write.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use axum::http::Version;
use futures_util::task::AtomicWaker;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Notify,
};

use super::{serve::Answering, streams::Stream};

/// The handle to a connection, or with HTTP/2 to one of its streams; clones are of the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Connection {
    shared: Arc<Shared>,
    stream: Option<Stream>,
    /// Whether an answer without an end in sight is sent in chunks.
    has_chunks: bool,
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
    /// Somebody wants to know when everything has been given to the system.
    awaits_flush: AtomicBool,
    /// The socket's sending side, as long as hyper has the socket; none with HTTP/2.
    sending: OnceLock<Weak<Mutex<OwnedWriteHalf>>>,
}

impl Connection {
    /// With the count of requests that are being answered.
    pub(super) fn new(answering: &Arc<AtomicUsize>) -> Self {
        Self {
            shared: Arc::new(Shared {
                answering: Arc::clone(answering),
                ..Shared::default()
            }),
            ..Self::default()
        }
    }

    /// As a request of this version of HTTP has it: with its stream, if there are streams.
    pub(super) fn of_request(self, version: Version) -> Self {
        Self {
            stream: Stream::current(),
            has_chunks: version == Version::HTTP_11,
            ..self
        }
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

    /// The sending side, for those who write chunks past hyper: only while hyper has nothing to write. None where an answer
    /// has no chunks, before HTTP/1.1 and with HTTP/2.
    pub(super) fn sending(&self) -> Option<Weak<Mutex<OwnedWriteHalf>>> {
        self.shared.sending.get().filter(|_| self.has_chunks).cloned()
    }

    /// Completes once hyper has given the system all that it was given before. To be awaited by the body of an answer, which
    /// hyper asks on the connection's own task.
    pub(super) async fn flushed(&self) {
        let awaits = &self.shared.awaits_flush;
        awaits.store(true, Ordering::Release);
        let mut is_polled = false;
        std::future::poll_fn(|cx| {
            if !awaits.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            // hyper flushes when it has asked for more, and the flush wakes its task. But it may ask a second time before it goes
            // to sleep, and not flush after that.
            if !std::mem::replace(&mut is_polled, true) {
                cx.waker().wake_by_ref();
            }
            Poll::Pending
        })
        .await;
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
pub(super) struct Socket {
    receiving: OwnedReadHalf,
    sending: Arc<Mutex<OwnedWriteHalf>>,
    connection: Connection,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, connection: Connection) -> Self {
        let (receiving, sending) = stream.into_split();
        let sending = Arc::new(Mutex::new(sending));
        connection.shared.sending.get_or_init(|| Arc::downgrade(&sending));
        Self {
            receiving,
            sending,
            connection,
        }
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

    /// Nobody else has it but for the length of a write.
    fn sending<T>(&self, what: impl FnOnce(Pin<&mut OwnedWriteHalf>) -> T) -> T {
        let mut sending = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        what(Pin::new(&mut sending))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        let Self {
            receiving,
            connection,
            ..
        } = &mut *self;
        let shared = &connection.shared;
        if shared.is_half_closed.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(receiving).poll_read(cx, buffer))?;
        let is_end = buffer.filled().len() == before && buffer.remaining() > 0;
        if is_end && shared.is_streaming.load(Ordering::Acquire) {
            shared.is_half_closed.store(true, Ordering::Release);
            shared.half_closed.notify_one();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        self.sending(|sending| sending.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        self.sending(|sending| sending.poll_write_vectored(cx, pieces))
    }

    fn is_write_vectored(&self) -> bool {
        self.sending(|sending| sending.is_write_vectored())
    }

    /// hyper flushes once everything is written: only then, and only when the stream is over, is it told of the end.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.sending(|sending| sending.poll_flush(cx)))?;
        let shared = &self.connection.shared;
        let is_over = !shared.is_streaming.load(Ordering::Acquire);
        let tells_of_end = is_over && shared.is_half_closed.swap(false, Ordering::AcqRel);
        let is_awaited = shared.awaits_flush.swap(false, Ordering::AcqRel);
        if tells_of_end || is_awaited {
            cx.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sending(|sending| sending.poll_shutdown(cx))
    }
}
