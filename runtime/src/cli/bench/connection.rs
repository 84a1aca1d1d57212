//! A keep-alive connection: whole requests out, whole answers in, one at a time, with as little work as can be.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// A head that is longer is not ours.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// A connection to the server.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// A whole answer.
#[derive(Debug)]
pub(super) struct Answer<'a> {
    pub(super) status: u16,
    pub(super) body: &'a [u8],
}

impl Connection {
    pub(super) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(16 * 1024),
        })
    }

    /// Sends a request and reads its answer.
    pub(super) async fn ask(&mut self, request: &[u8]) -> io::Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let (status, head) = loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "the server closed a connection",
                ));
            }
            if let Some((status, head, length)) = frame(&self.buffer)?
                && self.buffer.len() >= head + length
            {
                break (status, head);
            }
        };
        let body = self.buffer.get(head..).unwrap_or_default();
        Ok(Answer { status, body })
    }
}

/// Status, length of the head and length of the body, once the head is whole.
fn frame(buffer: &[u8]) -> io::Result<Option<(u16, usize, usize)>> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return match buffer.len() {
            ..HEAD_BYTES_MAX => Ok(None),
            _ => Err(wrong("an answer has no end of its headers")),
        };
    };
    let head = buffer.get(..end).and_then(|head| std::str::from_utf8(head).ok());
    let head = head.ok_or_else(|| wrong("the headers of an answer are not text"))?;
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok());
    let length = head.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse().ok())?
    });
    match (status, length) {
        (Some(status), Some(length)) => Ok(Some((status, end + 4, length))),
        _ => Err(wrong("an answer without a status or without a Content-Length")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_framed_by_their_length() {
        let answer = b"HTTP/1.1 422 No\r\nA: b\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(frame(answer).unwrap(), Some((422, 44, 5)));
        assert_eq!(frame(&answer[..20]).unwrap(), None);
        for wrong in ["HTTP/1.1 200 OK\r\n\r\n", "SSH-2.0\r\ncontent-length: 1\r\n\r\n"] {
            assert!(frame(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
