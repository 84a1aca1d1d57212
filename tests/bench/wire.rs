//! As much of HTTP/1.1 as a load generator needs: whole requests out, whole answers in, one at a time.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::failed::Failed;

/// Room for an answer to a command without growing.
const BUFFER_BYTES: usize = 16 * 1024;
/// A head that is longer is not ours.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// An answer, within the buffer of its connection.
#[derive(Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    /// From the status line to the empty one.
    head: &'a str,
    pub(crate) body: &'a [u8],
}

impl Answer<'_> {
    pub(crate) fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// A header, by its name in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(self.head, name)
    }

    /// Status and body, for the reader of an error.
    pub(crate) fn text(&self) -> String {
        format!("{} {}", self.status, String::from_utf8_lossy(self.body))
    }
}

/// A keep-alive connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// Where an answer is in the buffer.
struct Frame {
    status: u16,
    head: usize,
    end: usize,
}

impl Wire {
    pub(crate) async fn open(address: std::net::SocketAddr) -> Result<Self, Failed> {
        let open = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = open
            .await
            .map_err(|error| Failed::io(&format!("connect to {address}"), &error))?;
        Ok(Self {
            stream,
            buffer: Vec::with_capacity(BUFFER_BYTES),
        })
    }

    /// Sends a request and reads its answer.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Answer<'_>, Failed> {
        self.stream
            .write_all(request)
            .await
            .map_err(|error| Failed::io("send a request", &error))?;
        self.buffer.clear();
        let frame = loop {
            let read = self.stream.read_buf(&mut self.buffer).await;
            if read.map_err(|error| Failed::io("read an answer", &error))? == 0 {
                return Err(Failed::new(
                    "the server closed a connection before it had answered",
                ));
            }
            if let Some(frame) = frame(&self.buffer)?
                && self.buffer.len() >= frame.end
            {
                break frame;
            }
        };
        if self.buffer.len() > frame.end {
            return Err(Failed::new(
                "the server sent more than the answer that was asked for",
            ));
        }
        let (head, body) = self.buffer.split_at(frame.head);
        Ok(Answer {
            status: frame.status,
            head: text(head)?,
            body,
        })
    }
}

/// The frame of the answer that the buffer begins with, once its head is whole.
fn frame(buffer: &[u8]) -> Result<Option<Frame>, Failed> {
    let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
        return if buffer.len() > HEAD_BYTES_MAX {
            Err(Failed::new("an answer has no end of its headers"))
        } else {
            Ok(None)
        };
    };
    let (head, _) = buffer.split_at(end + 4);
    let head = text(head)?;
    let status = head
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.get(..3)?.parse().ok());
    let length = header(head, "content-length").and_then(|length| length.parse::<usize>().ok());
    match (status, length) {
        (Some(status), Some(length)) => Ok(Some(Frame {
            status,
            head: head.len(),
            end: head.len() + length,
        })),
        _ => Err(Failed::new(format!(
            "an answer without a status or without a Content-Length:\n{head}"
        ))),
    }
}

fn text(head: &[u8]) -> Result<&str, Failed> {
    std::str::from_utf8(head).map_err(|_| Failed::new("the headers of an answer are not text"))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.split("\r\n").find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// What is made of these bytes, which arrive in pieces of `piece` bytes.
    async fn asked(bytes: &'static [u8], piece: usize) -> Result<(u16, Option<String>, String), String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut request = [0; 4];
            stream.read_exact(&mut request).await.unwrap();
            for piece in bytes.chunks(piece) {
                stream.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let mut wire = Wire::open(address).await.unwrap();
        let answer = wire.ask(b"ask!").await.map_err(|failed| failed.to_string())?;
        let version = answer.header("Aggregate-Version").map(str::to_owned);
        let body = String::from_utf8(answer.body.to_vec()).unwrap();
        let seen = (answer.status, version, body);
        serving.await.unwrap();
        Ok(seen)
    }

    const WHOLE: &[u8] = b"HTTP/1.1 200 OK\r\naggregate-version: 7\r\nContent-Length: 5\r\n\r\nhello";

    #[tokio::test]
    async fn answers_are_whole_however_they_arrive() {
        for piece in [1, 7, 61, 1_000] {
            let expected = (200, Some("7".to_owned()), "hello".to_owned());
            assert_eq!(asked(WHOLE, piece).await.unwrap(), expected, "pieces of {piece}");
        }
        let empty = b"HTTP/1.1 304 Not Modified\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(asked(empty, 9).await.unwrap(), (304, None, String::new()));
    }

    #[tokio::test]
    async fn half_and_double_answers_are_failures() {
        let cases: [(&[u8], &str); 4] = [
            (WHOLE.split_at(WHOLE.len() - 1).0, "closed a connection"),
            (
                b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nx",
                "more than the answer",
            ),
            (b"HTTP/1.1 200 OK\r\n\r\n", "without a Content-Length"),
            (b"SSH-2.0\r\n\r\n", "without a status"),
        ];
        for (bytes, expected) in cases {
            let failed = asked(bytes, 1_000).await.unwrap_err();
            assert!(failed.contains(expected), "{failed}");
        }
    }
}
