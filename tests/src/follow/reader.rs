//! One subscriber: its socket, how far it has read, and whether it reads at all.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use socket2::{Domain, Protocol, Socket, Type};

use super::{
    Told,
    answer::Answer,
    frames::{Frame, Frames},
};

/// Bytes that a slow subscriber reads at a time.
const SLOW_BYTES: usize = 16;
/// How long it rests after that.
const SLOW_REST: Duration = Duration::from_secs(1);
/// What fits into a packet of an Ethernet. The loopback's own packets are so large that a system holds megabytes for
/// each socket that is not read.
const PACKET_BYTES: u32 = 1_448;
const SLOW_WINDOW_BYTES: usize = 8 * 1024;
/// The window once it is released: a window that was small at first cannot become larger than 64 KiB.
const RELEASED_WINDOW_BYTES: usize = 64 * 1024;
/// Reads of one subscriber before the next has its turn.
const READS_AT_A_TIME: usize = 4;

/// A subscriber.
#[derive(Debug)]
pub(super) struct Reader {
    socket: TcpStream,
    answer: Answer,
    frames: Frames,
    told: Told,
    /// Until the first event, when any will do.
    takes_any: bool,
    is_slow: bool,
    rests_until: Option<Instant>,
}

impl Reader {
    /// Connects and asks for the stream.
    pub(super) fn open(
        address: SocketAddr,
        path: &str,
        is_slow: bool,
        after: Option<u64>,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        if is_slow {
            socket.set_recv_buffer_size(SLOW_WINDOW_BYTES)?;
            socket.set_tcp_mss(PACKET_BYTES)?;
        }
        socket.connect(&address.into())?;
        let mut socket = TcpStream::from(socket);
        let request = format!("GET {path} HTTP/1.1\r\nhost: annals\r\naccept: text/event-stream\r\n\r\n");
        socket.write_all(request.as_bytes())?;
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket,
            answer: Answer::default(),
            frames: Frames::default(),
            told: Told {
                position: after.unwrap_or_default(),
                ..Told::default()
            },
            takes_any: after.is_none(),
            is_slow,
            rests_until: None,
        })
    }

    pub(super) fn told(&self) -> &Told {
        &self.told
    }

    /// Whether it reads now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.rests_until.is_none_or(|until| now >= until)
    }

    /// From now on it reads whatever has come.
    pub(super) fn release(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_slow) {
            self.rests_until = None;
            socket2::SockRef::from(&self.socket).set_recv_buffer_size(RELEASED_WINDOW_BYTES)?;
        }
        Ok(())
    }

    /// Reads what there is; a slow one, once it was told that it is at the end, a few bytes of it. True when there may be more
    /// that it would read.
    pub(super) fn read(&mut self, buffer: &mut [u8], now: Instant) -> io::Result<bool> {
        let is_slow = self.is_slow && self.told.caught_up > 0;
        let (bytes, times) = if is_slow {
            self.rests_until = Some(now + SLOW_REST);
            (SLOW_BYTES.min(buffer.len()), 1)
        } else {
            (buffer.len(), READS_AT_A_TIME)
        };
        for _ in 0..times {
            let read = match self.socket.read(&mut buffer[..bytes]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.take(&buffer[..read])?;
            if read < bytes {
                return Ok(false);
            }
        }
        Ok(!is_slow)
    }

    fn take(&mut self, input: &[u8]) -> io::Result<()> {
        let Self {
            answer,
            frames,
            told,
            takes_any,
            ..
        } = self;
        answer.take(input, |content| {
            frames.take(content, |frame| told.take(frame, takes_any))
        })?;
        match answer.status() {
            Some(200) if answer.is_ended() => Err(io::Error::other("the server ended the stream")),
            Some(200) | None => Ok(()),
            Some(status) => {
                let text = String::from_utf8_lossy(input);
                Err(io::Error::other(format!(
                    "the stream was refused with {status}: {text}"
                )))
            }
        }
    }
}

impl Told {
    fn take(&mut self, frame: Frame, takes_any: &mut bool) -> io::Result<()> {
        match frame {
            Frame::Event(position) => {
                if position.0 != self.position + 1 && !*takes_any {
                    let before = self.position;
                    return Err(io::Error::other(format!(
                        "position {} came after position {before}",
                        position.0
                    )));
                }
                *takes_any = false;
                self.position = position.0;
                self.events += 1;
            }
            Frame::Named(name) if name == "caught-up" => self.caught_up += 1,
            Frame::Named(name) if name == "fell-behind" => self.fell_behind += 1,
            Frame::Named(name) if name == "checkpoint" => {}
            Frame::Named(name) => return Err(io::Error::other(format!("the stream says `{name}`"))),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use annals::vocabulary::Position;

    use super::*;

    fn told(positions: &[u64], mut takes_any: bool) -> io::Result<Told> {
        let mut told = Told::default();
        for position in positions {
            told.take(Frame::Event(Position(*position)), &mut takes_any)?;
        }
        Ok(told)
    }

    #[test]
    fn gaps_repetitions_and_going_back_are_seen() {
        assert_eq!(told(&[1, 2, 3], false).unwrap().events, 3);
        assert_eq!(told(&[7, 8], true).unwrap().position, 8);
        for (bad, takes_any) in [
            (&[1, 3][..], false),
            (&[1, 1], false),
            (&[7, 6], true),
            (&[2], false),
        ] {
            let refused = told(bad, takes_any).unwrap_err().to_string();
            assert!(refused.contains("came after position"), "{refused}");
        }
    }
}
