//! HTTP/1.1 or HTTP/2, whichever a client speaks: told apart by the first bytes of its connection.

use std::{convert::Infallible, future::Future, time::Duration};

use axum::{http::Request, response::Response};
use hyper::{
    body::Incoming,
    server::conn::{http1, http2},
    service::HttpService,
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::Watcher,
};
use tokio::net::TcpStream;

use crate::vocabulary::Limits;

use super::{
    connection::{Connection, Socket},
    streams::Streams,
};

/// What an HTTP/2 connection begins with (RFC 9113, section 3.4). No request of HTTP/1.1 begins with `PRI`.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Between two looks at a connection whose first bytes came in pieces.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How often a silent HTTP/2 connection is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(30);

/// How both are spoken here.
#[derive(Debug, Clone)]
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
    first_bytes: Duration,
}

impl Protocols {
    pub(super) fn new(limits: &Limits) -> Self {
        let mut http1 = http1::Builder::new();
        // No `pipeline_flush`: with it hyper's own answers to what it cannot parse would never leave its buffer.
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(limits.request_read)
            // Answers are short: one copy into the buffer costs less than a list of pieces for the system.
            .writev(false)
            // What is a little too large is read, so that the answer can say so; beyond that hyper gives up without words.
            .max_buf_size((2 * limits.header_bytes).max(8 * 1024));
        let count = |limit: usize| u32::try_from(limit).unwrap_or(u32::MAX);
        let mut http2 = http2::Builder::new(Streams);
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(count(limits.streams_per_connection))
            .max_header_list_size(count(2 * limits.header_bytes))
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(limits.request_read);
        Self {
            http1,
            http2,
            first_bytes: limits.request_read,
        }
    }

    /// Serves one connection to its end; one that has not said anything yet ends with `closing`.
    pub(super) async fn serve<S, F>(
        &self,
        stream: TcpStream,
        connection: Connection,
        service: S,
        watcher: Watcher,
        closing: impl Future<Output = ()>,
    ) where
        S: HttpService<Incoming, ResBody = axum::body::Body, Error = Infallible, Future = F>,
        S: hyper::service::Service<Request<Incoming>, Response = Response, Error = Infallible, Future = F>,
        F: Future<Output = Result<Response, Infallible>> + Send + 'static,
    {
        let first = async {
            tokio::select! {
                first = speaks_http2(&stream) => first,
                () = closing => Err(std::io::ErrorKind::Interrupted.into()),
            }
        };
        let ended = match tokio::time::timeout(self.first_bytes, first).await {
            Ok(Ok(true)) => {
                let connection = self.http2.serve_connection(TokioIo::new(stream), service);
                watcher.watch(connection).await
            }
            Ok(Ok(false)) => {
                let stream = Socket::new(stream, connection);
                let connection = self.http1.serve_connection(TokioIo::new(stream), service);
                watcher.watch(connection).await
            }
            // Nothing was asked, so there is nobody to answer.
            Ok(Err(error)) => return tracing::debug!(%error, "a connection ended before it began"),
            Err(_) => return tracing::debug!("a connection was silent for too long"),
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection ended");
        }
    }
}

/// Looks at the first bytes, without taking them.
async fn speaks_http2(stream: &TcpStream) -> std::io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    loop {
        let count = stream.peek(&mut first).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let seen = first.get(..count).unwrap_or_default();
        if !PREFACE.starts_with(seen) {
            return Ok(false);
        }
        if count == PREFACE.len() {
            return Ok(true);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt as _, net::TcpListener};

    use super::*;

    async fn told(pieces: &[&[u8]]) -> std::io::Result<bool> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let telling = tokio::spawn(async move { speaks_http2(&server).await });
        for piece in pieces {
            client.write_all(piece).await.unwrap();
            tokio::time::sleep(LOOK_AGAIN * 2).await;
        }
        client.shutdown().await.unwrap();
        telling.await.unwrap()
    }

    #[tokio::test]
    async fn the_first_bytes_tell() {
        let cases: [(&[&[u8]], bool); 5] = [
            (&[PREFACE], true),
            (&[&PREFACE[..1], &PREFACE[1..9], &PREFACE[9..]], true),
            (&[b"POST / HTTP/1.1\r\n"], false),
            (&[b"P", b"UT"], false),
            (&[b"GET /"], false),
        ];
        for (pieces, expected) in cases {
            assert_eq!(told(pieces).await.unwrap(), expected, "{pieces:?}");
        }
        assert!(told(&[]).await.is_err());
    }
}
