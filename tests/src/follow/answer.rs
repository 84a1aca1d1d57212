//! One answer of HTTP/1.1, taken apart as it arrives: what is in it is handed on, not kept.

use std::io;

/// A head, or the line before a chunk, that is longer is not ours.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Where in the answer the input stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Head,
    /// Before or within the line with the size of a chunk.
    Size,
    /// Within a chunk, or within the body of an answer without chunks, with so many bytes left of it.
    Data {
        left: usize,
        is_chunk: bool,
    },
    /// Within the line end behind a chunk; whether the chunk was the last.
    LineEnd {
        left: usize,
        last: bool,
    },
    End,
}

/// An answer that is being read.
#[derive(Debug)]
pub struct Answer {
    at: At,
    status: u16,
    headers: Vec<(String, String)>,
    /// What has arrived of the head, or of the size of a chunk.
    line: Vec<u8>,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            at: At::Head,
            status: 0,
            headers: Vec::new(),
            line: Vec::new(),
        }
    }
}

impl Answer {
    /// The status, once the head has arrived.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        (self.at != At::Head).then_some(self.status)
    }

    /// One header, by its name in lower case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Whether all of it has arrived.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.at == At::End
    }

    /// Takes what has arrived, and hands on what is content.
    ///
    /// # Errors
    /// When it is not an answer, or more than one, or as `content` says.
    pub fn take(
        &mut self,
        mut input: &[u8],
        mut content: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        while !input.is_empty() {
            let used = match self.at {
                At::Head => self.head(input)?,
                At::Size => self.size(input)?,
                At::Data { left, is_chunk } => {
                    let part = &input[..left.min(input.len())];
                    content(part)?;
                    self.at = Self::behind(left - part.len(), is_chunk);
                    part.len()
                }
                At::LineEnd { left, last } => {
                    let used = left.min(input.len());
                    self.at = match left - used {
                        0 if last => At::End,
                        0 => At::Size,
                        left => At::LineEnd { left, last },
                    };
                    used
                }
                At::End => {
                    return Err(io::Error::other(
                        "more was sent than the answer that was asked for",
                    ));
                }
            };
            input = &input[used..];
        }
        Ok(())
    }

    fn behind(left: usize, is_chunk: bool) -> At {
        match (left, is_chunk) {
            (0, true) => At::LineEnd { left: 2, last: false },
            (0, false) => At::End,
            (left, is_chunk) => At::Data { left, is_chunk },
        }
    }

    /// Takes as much as belongs to the head.
    fn head(&mut self, input: &[u8]) -> io::Result<usize> {
        let before = self.line.len();
        self.line.extend_from_slice(input);
        let from = before.saturating_sub(3);
        let Some(end) = self.line[from..]
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
        else {
            return self.not_too_long(input.len());
        };
        let end = from + end + 4;
        let head = String::from_utf8_lossy(&self.line[..end]).into_owned();
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok());
        self.status =
            status.ok_or_else(|| io::Error::other(format!("an answer without a status:\n{head}")))?;
        let headers = head.lines().filter_map(|line| line.split_once(':'));
        self.headers = headers
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        let length = self
            .header("content-length")
            .and_then(|length| length.parse().ok());
        self.at = match length {
            _ if self.header("transfer-encoding") == Some("chunked") => At::Size,
            Some(0) => At::End,
            Some(left) => At::Data {
                left,
                is_chunk: false,
            },
            None => return Err(io::Error::other(format!("an answer of no known length:\n{head}"))),
        };
        self.line.clear();
        Ok(end - before)
    }

    /// Takes as much as belongs to the line with the size of a chunk.
    fn size(&mut self, input: &[u8]) -> io::Result<usize> {
        let Some(end) = memchr::memchr(b'\n', input) else {
            self.line.extend_from_slice(input);
            return self.not_too_long(input.len());
        };
        self.line.extend_from_slice(&input[..end]);
        let text = String::from_utf8_lossy(&self.line);
        let digits = text.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16)
            .map_err(|_| io::Error::other(format!("`{text}` is not the size of a chunk")))?;
        self.at = match size {
            0 => At::LineEnd { left: 2, last: true },
            left => At::Data { left, is_chunk: true },
        };
        self.line.clear();
        Ok(end + 1)
    }

    fn not_too_long(&self, used: usize) -> io::Result<usize> {
        if self.line.len() > HEAD_BYTES_MAX {
            return Err(io::Error::other("a head, or the size of a chunk, does not end"));
        }
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nLink: </next>\r\n\r\n5\r\nhello\r\nA;x=y\r\n\r\n, world!\r\n0\r\n\r\n";

    /// Status, content and whether it was whole, of bytes that arrive in pieces.
    fn taken(bytes: &str, piece: usize) -> io::Result<(Answer, String)> {
        let (mut answer, mut content) = (Answer::default(), Vec::new());
        for piece in bytes.as_bytes().chunks(piece) {
            answer.take(piece, |part| {
                content.extend_from_slice(part);
                Ok(())
            })?;
        }
        Ok((answer, String::from_utf8(content).unwrap()))
    }

    #[test]
    fn answers_are_the_same_however_they_arrive() {
        let plain = "HTTP/1.1 406 Not Acceptable\r\ncontent-length: 3\r\n\r\nno!";
        for piece in [1, 2, 3, 7, 61, 1_000] {
            let (answer, content) = taken(CHUNKED, piece).unwrap();
            assert_eq!(
                (answer.status(), content.as_str()),
                (Some(200), "hello\r\n, world!")
            );
            assert!(
                answer.is_ended() && answer.header("link") == Some("</next>"),
                "{answer:?}"
            );
            let (answer, content) = taken(plain, piece).unwrap();
            assert_eq!((answer.status(), content.as_str()), (Some(406), "no!"));
            assert!(answer.is_ended());
        }
        let empty = taken("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", 9).unwrap();
        assert!(empty.0.is_ended() && empty.1.is_empty());
    }

    #[test]
    fn what_is_not_one_answer_is_refused_and_half_of_one_has_not_ended() {
        for (bytes, says) in [
            ("SSH-2.0\r\n\r\n".to_owned(), "without a status"),
            ("HTTP/1.1 200 OK\r\n\r\n".to_owned(), "no known length"),
            (format!("{CHUNKED}x"), "more was sent"),
            (
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n".to_owned(),
                "size of a chunk",
            ),
        ] {
            for piece in [1, 1_000] {
                let refused = taken(&bytes, piece).unwrap_err().to_string();
                assert!(refused.contains(says), "{refused}");
            }
        }
        let (half, _) = taken(&CHUNKED[..CHUNKED.len() - 3], 1_000).unwrap();
        assert!(!half.is_ended());
        assert_eq!(taken("HTTP/1.1 2", 4).unwrap().0.status(), None);
    }
}
