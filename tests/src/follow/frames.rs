//! Server-sent events, looked at as cheaply as can be: of each line only its beginning, of an event only its place.

use std::io;

use annals::vocabulary::Position;

use super::places::Places;

/// As much of a line as is looked at: an id with its name.
const LOOKED_AT_BYTES: usize = 64;

/// One frame of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// An event of the log.
    Event(Position),
    /// A frame of another kind, by its name: `caught-up`, `fell-behind`, `checkpoint`.
    Named(String),
}

/// A stream that is being read.
#[derive(Debug, Default)]
pub struct Frames {
    /// The beginning of a line whose end has not arrived.
    line: Vec<u8>,
    places: Places,
    id: Option<Position>,
    name: String,
    has_data: bool,
}

impl Frames {
    /// Takes what has arrived, and gives each frame whose end is in it.
    ///
    /// # Errors
    /// When an id is not a cursor, or as `frame` says.
    pub fn take(
        &mut self,
        mut content: &[u8],
        mut frame: impl FnMut(Frame) -> io::Result<()>,
    ) -> io::Result<()> {
        while !content.is_empty() {
            if let Some((position, used)) = self.event(content) {
                frame(Frame::Event(position))?;
                content = &content[used..];
                continue;
            }
            let Some(end) = memchr::memchr(b'\n', content) else {
                self.keep(content);
                break;
            };
            let ended = if self.line.is_empty() {
                self.line(&content[..end])?
            } else {
                self.keep(&content[..end]);
                let line = std::mem::take(&mut self.line);
                let ended = self.line(&line)?;
                self.line = line;
                self.line.clear();
                ended
            };
            if let Some(ended) = ended {
                frame(ended)?;
            }
            content = &content[end + 1..];
        }
        Ok(())
    }

    /// An event that is all there, as nearly all are: its position, and how long it is.
    fn event(&mut self, content: &[u8]) -> Option<(Position, usize)> {
        if self.is_within() {
            return None;
        }
        let rest = content.strip_prefix(b"id: ")?;
        let (position, digits) = self.places.known(rest)?;
        let data = rest.get(digits..)?.strip_prefix(b"\ndata: ")?;
        let end = memchr::memchr(b'\n', data)?;
        let after = data.get(end + 1..)?.strip_prefix(b"\n")?;
        Some((Position(position), content.len() - after.len()))
    }

    /// Whether a part of a frame has been taken, and the rest is to come.
    fn is_within(&self) -> bool {
        !self.line.is_empty() || self.id.is_some() || self.has_data || !self.name.is_empty()
    }

    fn keep(&mut self, part: &[u8]) {
        let room = LOOKED_AT_BYTES.saturating_sub(self.line.len());
        self.line.extend_from_slice(&part[..room.min(part.len())]);
    }

    /// Takes a line, and gives the frame that it ends.
    fn line(&mut self, line: &[u8]) -> io::Result<Option<Frame>> {
        if line.is_empty() {
            return self.end();
        }
        if let Some(id) = line.strip_prefix(b"id: ") {
            self.id = Some(Position(self.places.read(id)?));
        } else if let Some(name) = line.strip_prefix(b"event: ") {
            self.name = String::from_utf8_lossy(name).into_owned();
        } else if line.starts_with(b"data: ") {
            self.has_data = true;
        }
        Ok(None)
    }

    fn end(&mut self) -> io::Result<Option<Frame>> {
        let id = self.id.take();
        let has_data = std::mem::take(&mut self.has_data);
        if !self.name.is_empty() {
            return Ok(Some(Frame::Named(std::mem::take(&mut self.name))));
        }
        match (id, has_data) {
            (Some(position), true) => Ok(Some(Frame::Event(position))),
            (None, true) => Err(io::Error::other("an event of the stream has no id")),
            (_, false) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use annals::vocabulary::{Cursor, Epoch, LogId};

    use super::*;

    fn stream() -> String {
        let id = |position| Cursor::new(LogId([7; 16]), Epoch(1), Position(position));
        let long = "x".repeat(500);
        format!(
            "retry: 1000\n\n: heartbeat\n\nid: {}\ndata: {{\"id: \":\"{long}\"}}\n\nevent: caught-up\nid: {}\ndata: {{}}\n\n\
             id: {}\ndata: {{}}\n\n",
            id(5),
            id(5),
            id(300)
        )
    }

    #[test]
    fn frames_are_the_same_however_they_arrive() {
        for piece in [1, 2, 5, 33, 64, 10_000] {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            for piece in stream().as_bytes().chunks(piece) {
                let push = |frame| {
                    seen.push(frame);
                    Ok(())
                };
                frames.take(piece, push).unwrap();
            }
            let expected = [
                Frame::Event(Position(5)),
                Frame::Named("caught-up".to_owned()),
                Frame::Event(Position(300)),
            ];
            assert_eq!(seen, expected, "pieces of {piece}");
        }
    }

    #[test]
    fn an_event_without_a_place_is_an_error() {
        for bad in ["data: {}\n\n", "id: 5\ndata: {}\n\n"] {
            assert!(
                Frames::default().take(bad.as_bytes(), |_| Ok(())).is_err(),
                "{bad}"
            );
        }
    }
}
