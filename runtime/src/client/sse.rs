//! Server-sent events, as the HTML standard defines their parsing.

use super::model::EVENT_BYTES_MAX;

/// One message of an event stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SseMessage {
    /// The value of `event:`; `None` for an ordinary message.
    pub event: Option<String>,
    /// The lines of `data:`, joined by line feeds.
    pub data: String,
    /// The last `id:` of the stream so far.
    pub id: Option<String>,
}

/// A message longer than any event may be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a message of the event stream has more than {EVENT_BYTES_MAX} bytes, the most this client takes")]
pub struct MessageTooLong;

/// Takes the bytes of an event stream in any pieces and gives its messages.
#[derive(Debug, Default)]
pub struct SseParser {
    /// The line that has not ended yet.
    line: Vec<u8>,
    /// The last byte was a carriage return, so a line feed right after it belongs to it.
    after_return: bool,
    /// Whether a byte order mark can still come.
    past_first_line: bool,
    event: String,
    data: String,
    has_data: bool,
    id: Option<String>,
}

impl SseParser {
    /// Takes some bytes and adds the messages they complete to `messages`.
    ///
    /// # Errors
    /// `MessageTooLong`; the stream must then be given up.
    pub fn take(
        &mut self,
        bytes: &[u8],
        messages: &mut impl Extend<SseMessage>,
    ) -> Result<(), MessageTooLong> {
        for &byte in bytes {
            match byte {
                b'\n' if self.after_return => self.after_return = false,
                b'\n' | b'\r' => {
                    self.after_return = byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    messages.extend(self.take_line(&line));
                }
                _ => {
                    self.after_return = false;
                    self.line.push(byte);
                    if self.line.len() + self.data.len() > EVENT_BYTES_MAX {
                        return Err(MessageTooLong);
                    }
                }
            }
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) -> Option<SseMessage> {
        let line = String::from_utf8_lossy(line);
        let mut line = line.as_ref();
        if !std::mem::replace(&mut self.past_first_line, true) {
            line = line.strip_prefix('\u{feff}').unwrap_or(line);
        }
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.event),
            "data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.data.push_str(value);
                self.has_data = true;
            }
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            // Comments have an empty field name; unknown fields are to be ignored.
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<SseMessage> {
        let event = std::mem::take(&mut self.event);
        let data = std::mem::take(&mut self.data);
        std::mem::take(&mut self.has_data).then(|| SseMessage {
            event: (!event.is_empty()).then_some(event),
            data,
            id: self.id.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(event: Option<&str>, data: &str, id: Option<&str>) -> SseMessage {
        SseMessage {
            event: event.map(Into::into),
            data: data.into(),
            id: id.map(Into::into),
        }
    }

    fn parse(pieces: &[&[u8]]) -> Vec<SseMessage> {
        let mut parser = SseParser::default();
        let mut messages = Vec::new();
        for piece in pieces {
            parser.take(piece, &mut messages).unwrap();
        }
        messages
    }

    const STREAM: &str = "\u{feff}: heartbeat\n\nid: 01\ndata: {\"a\":1}\n\n\
        event: caught-up\ndata: x\n\n: heartbeat\n\ndata:first\ndata\ndata:  third \nid:02\nretry: 5\nfoo: bar\n\n";

    fn expected() -> Vec<SseMessage> {
        vec![
            message(None, "{\"a\":1}", Some("01")),
            message(Some("caught-up"), "x", Some("01")),
            message(None, "first\n\n third ", Some("02")),
        ]
    }

    #[test]
    fn messages_comments_names_and_many_lines() {
        assert_eq!(parse(&[STREAM.as_bytes()]), expected());
    }

    #[test]
    fn all_line_ends_in_all_pieces_give_the_same() {
        for line_end in ["\n", "\r\n", "\r"] {
            let stream = STREAM.replace('\n', line_end).into_bytes();
            for size in 1..stream.len() {
                let pieces: Vec<&[u8]> = stream.chunks(size).collect();
                assert_eq!(parse(&pieces), expected(), "{line_end:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_message_that_was_cut_off_is_not_given() {
        assert_eq!(parse(&[b"id: 1\ndata: x\n"]), []);
        assert_eq!(parse(&[b"id: 1\ndata: x"]), []);
    }

    #[test]
    fn an_id_alone_is_no_message_but_counts_for_the_next() {
        assert_eq!(parse(&[b"id: 7\n\ndata: x\n\n"]), [message(None, "x", Some("7"))]);
        assert_eq!(parse(&[b"id: 7\0\ndata: x\n\n"]), [message(None, "x", None)]);
    }

    #[test]
    fn an_endless_message_is_given_up() {
        let mut parser = SseParser::default();
        let mut messages = Vec::new();
        let piece = vec![b'x'; EVENT_BYTES_MAX];
        parser.take(&piece, &mut messages).unwrap();
        assert_eq!(parser.take(b"x", &mut messages), Err(MessageTooLong));
    }
}
