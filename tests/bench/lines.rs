//! A streamed answer of HTTP/1.1, taken apart into lines as it arrives.

use annals_tests::follow::Answer;

use crate::failed::Failed;

/// The answer so far.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    answer: Answer,
    /// Content that was not yet given out as lines, from `given` on.
    content: Vec<u8>,
    given: usize,
}

impl Lines {
    /// The status, once the head has arrived.
    pub(crate) fn status(&self) -> Option<u16> {
        self.answer.status()
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.answer.is_ended() && self.given == self.content.len()
    }

    /// What there is of the content.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.content).into_owned()
    }

    /// Takes what has arrived.
    pub(crate) fn take(&mut self, input: &[u8]) -> Result<(), Failed> {
        let Self { answer, content, .. } = self;
        let taken = answer.take(input, |part| {
            content.extend_from_slice(part);
            Ok(())
        });
        taken.map_err(|error| Failed::io("understand the answer", &error))
    }

    /// The next whole line, without its end.
    pub(crate) fn line(&mut self) -> Option<Vec<u8>> {
        let rest = self.content.get(self.given..).unwrap_or_default();
        let Some(end) = memchr::memchr(b'\n', rest) else {
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

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\none\nt\r\na;x=y\r\nwo\nthree\n4\r\n\
        4\r\nfour\r\n1\r\n\n\r\n0\r\n\r\n";

    #[test]
    fn lines_are_whole_however_they_arrive() {
        for piece in [1, 3, 17, 1_000] {
            let (mut answer, mut lines) = (Lines::default(), Vec::new());
            for bytes in ANSWER.chunks(piece) {
                answer.take(bytes).unwrap();
                lines.extend(std::iter::from_fn(|| answer.line()));
            }
            let lines: Vec<_> = lines
                .iter()
                .map(|line| std::str::from_utf8(line).unwrap())
                .collect();
            assert_eq!(lines, ["one", "two", "three", "4four"], "pieces of {piece}");
            assert!(answer.is_ended());
        }
    }

    #[test]
    fn other_answers_are_told() {
        let mut answer = Lines::default();
        answer
            .take(b"HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\ngone")
            .unwrap();
        assert_eq!((answer.status(), answer.text().as_str()), (Some(404), "gone"));
        let refused = Lines::default().take(b"SSH-2.0\r\n\r\n").unwrap_err().to_string();
        assert!(refused.contains("cannot understand the answer"), "{refused}");
    }
}
