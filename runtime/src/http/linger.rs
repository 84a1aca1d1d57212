//! Reading on after an early answer. A request may be refused before its body has been read; were the connection closed
//! then, the system would reset it, and a client that is still writing would never see why.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::runtime::Handle;

/// Most bytes that are read and thrown away after an answer: twice the largest upload by default.
const DISCARD_BYTES_MAX: usize = 64 << 20;
/// Longest time for that.
const DISCARD_TIME_MAX: Duration = Duration::from_secs(10);

/// The body of a request. What of it has not been read when it is dropped is read and thrown away, within limits.
#[derive(Debug)]
pub(super) struct Lingering {
    body: Option<Incoming>,
}

impl Lingering {
    pub(super) fn new(body: Incoming) -> Self {
        let body = Some(body).filter(|body| !body.is_end_stream());
        Self { body }
    }
}

impl From<Lingering> for Body {
    fn from(body: Lingering) -> Self {
        Self::new(body)
    }
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(&mut *body).poll_frame(cx);
        let ended = match &polled {
            Poll::Pending => false,
            Poll::Ready(Some(Ok(_))) => body.is_end_stream(),
            Poll::Ready(_) => true,
        };
        if ended {
            self.body = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if let Some(body) = self.body.take()
            && let Ok(runtime) = Handle::try_current()
        {
            drop(runtime.spawn(tokio::time::timeout(DISCARD_TIME_MAX, discard(body))));
        }
    }
}

async fn discard(mut body: Incoming) {
    let mut left = DISCARD_BYTES_MAX;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
