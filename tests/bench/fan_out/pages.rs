//! A feed read from its beginning by one client, as fast as it can: page after page, or one long answer.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use annals_tests::follow::{Answer, Places};
use memchr::memmem::Finder;

use crate::failed::Failed;

pub(super) const READ_BYTES: usize = 256 * 1024;
/// No read takes longer, unless something hangs.
const LONGEST: Duration = Duration::from_secs(300);

/// A reading from the first event to the last.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) events: u64,
    /// Of content, without what HTTP puts around it.
    pub(super) bytes: u64,
    pub(super) requests: u64,
    pub(super) time: Duration,
    /// The beginning of the content.
    pub(super) sample: Vec<u8>,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Outcome {
    Read(Reading),
    /// The server does not answer in this way; its status and text.
    Refused(u16, String),
}

/// Reads as many events as there are, with the beginning of their bytes as a sample. Each must be at the position after
/// the one before.
pub(super) fn read(
    address: SocketAddr,
    (media_type, path): (&str, &str),
    events: u64,
    sample_bytes: usize,
) -> Result<Outcome, Failed> {
    let failed = |error| Failed::io(&format!("read the feed as {media_type}"), &error);
    let mut client = Client::connect(address, sample_bytes).map_err(failed)?;
    let mut path = path.to_owned();
    let started = Instant::now();
    loop {
        let answer = client.ask(&path, media_type, events).map_err(failed)?;
        let status = answer.status().unwrap_or_default();
        if status != 200 {
            return Ok(Outcome::Refused(
                status,
                String::from_utf8_lossy(&client.sample).into_owned(),
            ));
        }
        if client.positions.events >= events {
            return Ok(Outcome::Read(Reading {
                events: client.positions.events,
                bytes: client.bytes,
                requests: client.requests,
                time: started.elapsed(),
                sample: client.sample,
            }));
        }
        let next = next_link(&answer).filter(|_| answer.header("caught-up") != Some("true"));
        path = next.ok_or_else(|| {
            Failed::new(format!(
                "the feed as {media_type} ended after {} of {events} events",
                client.positions.events
            ))
        })?;
    }
}

fn next_link(answer: &Answer) -> Option<String> {
    let target = answer.header("link")?.strip_prefix('<')?;
    target.strip_suffix(">; rel=\"next\"").map(str::to_owned)
}

struct Client {
    socket: TcpStream,
    buffer: Vec<u8>,
    positions: Positions,
    bytes: u64,
    requests: u64,
    sample: Vec<u8>,
    sample_bytes: usize,
}

impl Client {
    fn connect(address: SocketAddr, sample_bytes: usize) -> io::Result<Self> {
        let socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(LONGEST))?;
        Ok(Self {
            socket,
            buffer: vec![0; READ_BYTES],
            positions: Positions::one_after_the_other(),
            bytes: 0,
            requests: 0,
            sample: Vec::with_capacity(sample_bytes),
            sample_bytes,
        })
    }

    /// Asks for a page, and reads it; an answer that goes on only until all events are there.
    fn ask(&mut self, path: &str, media_type: &str, events: u64) -> io::Result<Answer> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: annals\r\naccept: {media_type}\r\n\r\n");
        self.socket.write_all(request.as_bytes())?;
        self.requests += 1;
        let mut answer = Answer::default();
        while !answer.is_ended() && self.positions.events < events {
            let read = self.socket.read(&mut self.buffer)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Self {
                positions,
                bytes,
                sample,
                sample_bytes,
                buffer,
                ..
            } = self;
            answer.take(buffer.get(..read).unwrap_or_default(), |content| {
                *bytes += content.len() as u64;
                let room = sample_bytes.saturating_sub(sample.len());
                sample.extend_from_slice(content.get(..room.min(content.len())).unwrap_or_default());
                positions.take(content)
            })?;
        }
        Ok(answer)
    }
}

/// What stands before the position of an event: its version, in so many digits. A place that is no event's has none.
const SEQUENCE: &str = "\"sequence\":\"";
const SEQUENCE_DIGITS: usize = 20;
const POSITION: &str = "\",\"position\":\"";

/// Finds the positions of events in whatever they are sent as, and counts them.
pub(super) struct Positions {
    finder: Finder<'static>,
    /// What may be the beginning of a position.
    carry: Vec<u8>,
    places: Places,
    is_dense: bool,
    last: Option<u64>,
    pub(super) events: u64,
}

impl Positions {
    /// Each must be the one after the one before.
    pub(super) fn one_after_the_other() -> Self {
        Self {
            is_dense: true,
            ..Self::in_any_order()
        }
    }

    pub(super) fn in_any_order() -> Self {
        Self {
            finder: Finder::new(SEQUENCE),
            carry: Vec::new(),
            places: Places::default(),
            is_dense: false,
            last: None,
            events: 0,
        }
    }

    pub(super) fn take(&mut self, content: &[u8]) -> io::Result<()> {
        let mut carry = std::mem::take(&mut self.carry);
        carry.extend_from_slice(content);
        let mut from = 0;
        let keep_from = loop {
            let Some(at) = carry.get(from..).and_then(|rest| self.finder.find(rest)) else {
                break from.max(carry.len().saturating_sub(SEQUENCE.len() - 1));
            };
            let digits = from + at + SEQUENCE.len() + SEQUENCE_DIGITS + POSITION.len();
            let rest = carry.get(digits..).unwrap_or_default();
            let Some(length) = memchr::memchr(b'"', rest) else {
                break from + at;
            };
            self.found(rest.get(..length).unwrap_or_default())?;
            from = digits + length;
        };
        carry.drain(..keep_from);
        self.carry = carry;
        Ok(())
    }

    fn found(&mut self, cursor: &[u8]) -> io::Result<()> {
        let position = self.places.read(cursor)?;
        if self.is_dense && self.last.is_some_and(|last| position != last + 1) {
            return Err(io::Error::other(format!(
                "position {position} came after position {}",
                self.last.unwrap_or_default()
            )));
        }
        self.last = Some(position);
        self.events += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use annals::vocabulary::{Cursor, Epoch, LogId, Position};

    use super::*;

    fn text(positions: &[u64]) -> String {
        let cursor = |position: &u64| Cursor::new(LogId([1; 16]), Epoch(1), Position(*position));
        let event = |position| {
            format!(
                "{{\"data\":{{}},\"sequence\":\"{:020}\",\"position\":\"{}\"}}\n",
                7,
                cursor(position)
            )
        };
        let place = format!("{{\"annals\":\"checkpoint\",\"position\":\"{}\"}}\n", cursor(&1));
        positions.iter().map(event).collect::<Vec<_>>().join(&place)
    }

    fn counted(positions: &[u64], piece: usize) -> io::Result<u64> {
        let mut all = Positions::one_after_the_other();
        for piece in text(positions).as_bytes().chunks(piece) {
            all.take(piece)?;
        }
        Ok(all.events)
    }

    #[test]
    fn positions_are_found_however_they_arrive_and_gaps_are_seen() {
        for piece in [1, 7, 11, 12, 46, 80, 1_000] {
            assert_eq!(counted(&[7, 8, 9], piece).unwrap(), 3);
            assert!(counted(&[7, 9], piece).is_err() && counted(&[7, 7], piece).is_err());
        }
        let mut any = Positions::in_any_order();
        any.take(text(&[9, 7, 9]).as_bytes()).unwrap();
        assert_eq!(any.events, 3);
    }

    #[test]
    fn links_lead_to_the_next_page() {
        let mut answer = Answer::default();
        let head = "HTTP/1.1 200 OK\r\nlink: </v1/events?after=x>; rel=\"next\"\r\ncontent-length: 0\r\n\r\n";
        answer.take(head.as_bytes(), |_| Ok(())).unwrap();
        assert_eq!(next_link(&answer).unwrap(), "/v1/events?after=x");
    }
}
