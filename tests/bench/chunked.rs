//! A streamed answer of HTTP/1.1, in chunks, taken apart into lines as it arrives.

use crate::failed::Failed;

/// A head, or the line before a chunk, that is longer is not ours.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Where in the answer the input stands.
#[derive(Debug, Default, PartialEq, Eq)]
enum At {
    #[default]
    Head,
    Size,
    /// Within a chunk, with so many bytes left of it.
    Data(usize),
    /// Before the line end that follows a chunk; whether it was the last.
    AfterData {
        last: bool,
    },
    End,
    /// In an answer that is no stream: its text.
    Text,
}

/// The answer so far.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    at: At,
    status: Option<u16>,
    /// Content that was not yet given out as lines, from `given` on.
    content: Vec<u8>,
    given: usize,
}

impl Chunks {
    /// The status, once the head has arrived.
    pub(crate) fn status(&self) -> Option<u16> {
        self.status
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.at == At::End && self.given == self.content.len()
    }

    /// What there is of the content.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }

    /// Takes what has arrived out of the buffer, as far as it is whole.
    pub(crate) fn take(&mut self, input: &mut Vec<u8>) -> Result<(), Failed> {
        let mut taken = 0;
        while let Some(rest) = input.get(taken..)
            && !rest.is_empty()
        {
            let used = self.step(rest)?;
            if used == 0 {
                break;
            }
            taken += used;
        }
        input.drain(..taken);
        Ok(())
    }

    /// Takes one piece; 0 when more has to arrive first.
    fn step(&mut self, rest: &[u8]) -> Result<usize, Failed> {
        match self.at {
            At::Head => self.head(rest),
            At::Size => {
                let Some(line) = before(rest, b"\r\n")? else {
                    return Ok(0);
                };
                let digits = String::from_utf8_lossy(line);
                let size = usize::from_str_radix(digits.split(';').next().unwrap_or_default().trim(), 16);
                let size = size.map_err(|_| Failed::new(format!("`{digits}` is not the size of a chunk")))?;
                self.at = if size == 0 {
                    At::AfterData { last: true }
                } else {
                    At::Data(size)
                };
                Ok(line.len() + 2)
            }
            At::Data(left) => {
                let part = rest.get(..left.min(rest.len())).unwrap_or_default();
                self.content.extend_from_slice(part);
                self.at = if part.len() == left {
                    At::AfterData { last: false }
                } else {
                    At::Data(left - part.len())
                };
                Ok(part.len())
            }
            At::AfterData { last } => match rest {
                [b'\r', b'\n', ..] => {
                    self.at = if last { At::End } else { At::Size };
                    Ok(2)
                }
                [] | [b'\r'] => Ok(0),
                _ => Err(Failed::new("no line end after a chunk")),
            },
            At::End => Err(Failed::new(
                "the server sent more than the answer that was asked for",
            )),
            At::Text => {
                self.content.extend_from_slice(rest);
                Ok(rest.len())
            }
        }
    }

    fn head(&mut self, rest: &[u8]) -> Result<usize, Failed> {
        let Some(head) = before(rest, b"\r\n\r\n")? else {
            return Ok(0);
        };
        let text = String::from_utf8_lossy(head).to_ascii_lowercase();
        let status = text
            .strip_prefix("http/1.1 ")
            .and_then(|rest| rest.get(..3)?.parse().ok());
        let status = status.ok_or_else(|| Failed::new(format!("an answer without a status:\n{text}")))?;
        self.status = Some(status);
        let is_chunked = text
            .lines()
            .any(|line| line.starts_with("transfer-encoding:") && line.contains("chunked"));
        self.at = match (status, is_chunked) {
            (_, true) => At::Size,
            (200, false) => return Err(Failed::new(format!("an answer that is not chunked:\n{text}"))),
            _ => At::Text,
        };
        Ok(head.len() + 4)
    }

    /// The next whole line, without its end.
    pub(crate) fn line(&mut self) -> Option<Vec<u8>> {
        let rest = self.content.get(self.given..).unwrap_or_default();
        let Some(end) = rest.iter().position(|byte| *byte == b'\n') else {
            // What is left is the beginning of a line: it moves to the front.
            self.content.drain(..self.given);
            self.given = 0;
            return None;
        };
        let line = rest.get(..end).unwrap_or_default().to_vec();
        self.given += end + 1;
        Some(line)
    }
}

/// What stands before a mark, when it has arrived.
fn before<'a>(bytes: &'a [u8], mark: &[u8]) -> Result<Option<&'a [u8]>, Failed> {
    let window = bytes.get(..bytes.len().min(HEAD_BYTES_MAX)).unwrap_or_default();
    match window.windows(mark.len()).position(|window| window == mark) {
        Some(at) => Ok(bytes.get(..at)),
        None if bytes.len() >= HEAD_BYTES_MAX => {
            Err(Failed::new("the head of an answer or of a chunk has no end"))
        }
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\none\nt\r\na;x=y\r\nwo\nthree\n4\r\n\
        4\r\nfour\r\n1\r\n\n\r\n0\r\n\r\n";

    #[test]
    fn lines_are_whole_however_they_arrive() {
        for piece in [1, 3, 17, 1_000] {
            let (mut chunks, mut input, mut lines) = (Chunks::default(), Vec::new(), Vec::new());
            for bytes in ANSWER.chunks(piece) {
                input.extend_from_slice(bytes);
                chunks.take(&mut input).unwrap();
                lines.extend(std::iter::from_fn(|| chunks.line()));
            }
            let lines: Vec<_> = lines
                .iter()
                .map(|line| std::str::from_utf8(line).unwrap())
                .collect();
            assert_eq!(lines, ["one", "two", "three", "4four"], "pieces of {piece}");
            assert!(chunks.is_ended() && input.is_empty());
        }
    }

    #[test]
    fn other_answers_are_told() {
        let mut chunks = Chunks::default();
        let mut input = b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone".to_vec();
        chunks.take(&mut input).unwrap();
        assert_eq!((chunks.status(), chunks.text().as_str()), (Some(404), "gone"));
        for wrong in [
            "SSH-2.0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc",
        ] {
            assert!(
                Chunks::default().take(&mut wrong.as_bytes().to_vec()).is_err(),
                "{wrong}"
            );
        }
    }
}
