//! Chunks of HTTP/1.1 (RFC 9112, section 7.1) that are written to a connection past hyper.
//!
//! hyper copies what it sends, for every client once. A frame that is the same for a hundred subscribers need not be: while
//! hyper waits for more of an answer in chunks and has nothing to write, a chunk that somebody else writes to its socket is
//! part of the answer. That is so after [`Connection::flushed`] until the body of the answer is asked again.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    sync::{Mutex, PoisonError, Weak},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use tokio::{io::AsyncWrite as _, net::tcp::OwnedWriteHalf};

use super::connection::Connection;
use crate::bus::{Outlet, Put};

/// What stands behind the content of a chunk.
const END: &[u8] = b"\r\n";

/// An answer in chunks.
#[derive(Debug)]
pub(super) struct Chunks {
    connection: Connection,
    sending: Weak<Mutex<OwnedWriteHalf>>,
    /// What there was no room for.
    rest: Mutex<VecDeque<Bytes>>,
}

impl Chunks {
    /// None where the answer has no chunks.
    pub(super) fn of(connection: &Connection) -> Option<Self> {
        Some(Self {
            sending: connection.sending()?,
            connection: connection.clone(),
            rest: Mutex::default(),
        })
    }

    /// Completes once hyper has nothing to write: see [`Connection::flushed`].
    pub(super) async fn may_be_written(&self) {
        self.connection.flushed().await;
    }

    /// Completes once nothing is kept any more. False when a chunk cannot be finished, which [breaks the answer
    /// off](Self::break_off).
    pub(super) async fn finished(&self) -> bool {
        let is_finished = poll_fn(|cx| self.poll_finish(cx)).await.is_ok();
        if !is_finished {
            self.break_off();
        }
        is_finished
    }

    /// Closes the connection, since a chunk may be unfinished: what hyper writes at the end of an answer would be taken for
    /// what the chunk lacks.
    pub(super) fn break_off(&self) {
        self.connection.cut();
    }

    fn poll_finish(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut rest = self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(piece) = rest.front_mut() {
            let Some(sending) = self.sending.upgrade() else {
                return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
            };
            let mut sending = sending.lock().unwrap_or_else(PoisonError::into_inner);
            match Pin::new(&mut *sending).poll_write(cx, piece) {
                Poll::Ready(Ok(written)) => piece.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
            if piece.is_empty() {
                rest.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what there is room for, and gives how much that was; none when the socket has been closed. What an error keeps
    /// from being written is not lost: [`Self::finished`] tries again, and says whether it is for good.
    fn write(&self, mut pieces: &mut [IoSlice<'_>]) -> Option<usize> {
        let sending = self.sending.upgrade()?;
        let sending = sending.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = 0;
        while !pieces.is_empty() {
            let Ok(written) = sending.try_write_vectored(pieces) else {
                break;
            };
            all += written;
            IoSlice::advance_slices(&mut pieces, written);
        }
        Some(all)
    }

    /// Keeps what of a chunk has not been written.
    fn keep(&self, pieces: [Bytes; 3], mut written: usize) {
        let left = pieces.into_iter().filter_map(|mut piece| {
            let part = written.min(piece.len());
            written -= part;
            piece.advance(part);
            (!piece.is_empty()).then_some(piece)
        });
        *self.rest.lock().unwrap_or_else(PoisonError::into_inner) = left.collect();
    }
}

impl Outlet for Chunks {
    fn put(&self, frame: &Bytes) -> Put {
        let size = format!("{:x}\r\n", frame.len());
        let mut pieces = [size.as_bytes(), frame, END].map(IoSlice::new);
        let Some(written) = self.write(pieces.as_mut_slice()) else {
            return Put::Gone;
        };
        if written == size.len() + frame.len() + END.len() {
            return Put::Passed;
        }
        self.keep([size.into(), frame.clone(), Bytes::from_static(END)], written);
        Put::Kept
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::Version;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{TcpSocket, TcpStream},
    };

    use super::{super::connection::Socket, *};

    /// Both ends of a connection: the server's as hyper has it, and the client's, whose system takes little.
    async fn connected() -> (Socket, Connection, TcpStream) {
        let listening = TcpSocket::new_v4().unwrap();
        listening.set_send_buffer_size(8 * 1024).unwrap();
        listening.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = listening.listen(1).unwrap();
        let client = TcpSocket::new_v4().unwrap();
        client.set_recv_buffer_size(8 * 1024).unwrap();
        let client = client.connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        let connection = Connection::default();
        let socket = Socket::new(server, connection.clone());
        (socket, connection, client)
    }

    #[tokio::test]
    async fn what_there_is_no_room_for_is_kept_and_every_byte_arrives_once() {
        let (socket, connection, mut client) = connected().await;
        let chunks = Chunks::of(&connection.of_request(Version::HTTP_11)).unwrap();
        let reading = tokio::spawn(async move {
            let mut all = Vec::new();
            client.read_to_end(&mut all).await.unwrap();
            all
        });
        let (mut expected, mut kept) = (Vec::new(), 0);
        for round in 0..200_usize {
            let frame: Bytes = (0..round * 997 % 70_000 + 1)
                .map(|at| (at + round) as u8)
                .collect();
            expected.extend(format!("{:x}\r\n", frame.len()).bytes());
            expected.extend_from_slice(&frame);
            expected.extend_from_slice(b"\r\n");
            match chunks.put(&frame) {
                Put::Passed => assert!(chunks.finished().await),
                Put::Kept => {
                    kept += 1;
                    assert!(chunks.finished().await);
                }
                Put::Gone => panic!("the client is there"),
            }
        }
        assert!(kept > 0, "there was always room");
        drop(socket);
        assert!(reading.await.unwrap() == expected);
        assert_eq!(chunks.put(&Bytes::from_static(b"x")), Put::Gone);
    }

    #[tokio::test]
    async fn an_answer_breaks_off_within_a_chunk_and_the_socket_is_not_held_open() {
        let (mut socket, connection, client) = connected().await;
        let chunks = Arc::new(Chunks::of(&connection.of_request(Version::HTTP_11)).unwrap());
        let frame: Bytes = vec![b'x'; 1 << 20].into();
        assert_eq!(chunks.put(&frame), Put::Kept);
        drop(client);
        assert!(!chunks.finished().await);
        let end = socket.write(b"0\r\n\r\n").await.unwrap_err();
        assert_eq!(end.kind(), io::ErrorKind::ConnectionAborted, "{end}");
        drop(socket);
        assert_eq!(chunks.put(&frame), Put::Gone);
    }

    #[tokio::test]
    async fn only_http_1_1_has_chunks() {
        let (_socket, connection, _client) = connected().await;
        for (version, expected) in [
            (Version::HTTP_10, false),
            (Version::HTTP_11, true),
            (Version::HTTP_2, false),
        ] {
            let chunks = Chunks::of(&connection.clone().of_request(version));
            assert_eq!(chunks.is_some(), expected, "{version:?}");
        }
        assert!(Chunks::of(&Connection::default().of_request(Version::HTTP_11)).is_none());
    }
}
