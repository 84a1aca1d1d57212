//! What catching up cannot be faster than: reading the log in this process, writing the same bytes to a socket, and
//! encoding the same events and writing them.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use annals::{
    store::{EventStore, FeedFilter, LocalStore, PageLimit, StoreOptions},
    vocabulary::{Position, RecordedEvent},
};
use memchr::memmem;

use crate::{failed::Failed, numbers::rate};

use super::{
    encode,
    pages::{Positions, READ_BYTES},
};

/// Events that are encoded again and again: so many that they are in no cache of the processor.
const ENCODED_EVENTS: usize = 100_000;
/// How an event begins.
const BEGINNING: &[u8] = b"{\"specversion\"";
/// What is written at a time.
const WRITE_BYTES: usize = 64 * 1024;
/// As many of a page as the server takes.
const PAGE: PageLimit = PageLimit {
    events: 1_000,
    bytes: 8 << 20,
};

/// The log of a server that has stopped.
pub(super) struct Log {
    store: LocalStore,
}

impl Log {
    pub(super) fn open(data: &Path) -> Result<Self, Failed> {
        let store = LocalStore::open(data, StoreOptions::default());
        let store = store.map_err(|error| Failed::new(format!("{}: {error}", data.display())))?;
        Ok(Self { store })
    }

    pub(super) fn close(self) {
        self.store.close();
    }

    /// Events per second that are read from it, all of them.
    pub(super) fn read(&self, events: u64) -> Result<f64, Failed> {
        let started = Instant::now();
        let mut read = 0;
        self.pages(|page| {
            read += page.len() as u64;
            true
        })?;
        let time = started.elapsed();
        if read != events {
            return Err(Failed::new(format!(
                "{read} of {events} events were read from the log"
            )));
        }
        Ok(rate(events, time))
    }

    /// Events per second that are encoded and written to a socket, of which another thread reads them. `sent` is the
    /// beginning of what the server sent of them.
    pub(super) fn encode_and_write(&self, events: u64, sent: &[u8]) -> Result<f64, Failed> {
        let (identity, kept) = (self.store.identity(), self.first(ENCODED_EVENTS)?);
        for event in kept.iter().take(10) {
            let mut text = Vec::new();
            encode::write(event, &identity, &mut text)
                .map_err(|error| Failed::new(format!("encode an event: {error}")))?;
            if memmem::find(sent, &text).is_none() {
                return Err(Failed::new(format!(
                    "the floor encodes an event as {}, which is not what the server sends",
                    String::from_utf8_lossy(&text)
                )));
            }
        }
        let through = through_socket(|socket| {
            let mut out = Vec::with_capacity(2 * WRITE_BYTES);
            for event in kept
                .iter()
                .cycle()
                .take(usize::try_from(events).unwrap_or(usize::MAX))
            {
                encode::write(event, &identity, &mut out)?;
                out.push(b'\n');
                if out.len() >= WRITE_BYTES {
                    socket.write_all(&out)?;
                    out.clear();
                }
            }
            socket.write_all(&out)
        });
        through.and_then(|through| through.per_second(events))
    }

    fn first(&self, count: usize) -> Result<Vec<RecordedEvent>, Failed> {
        let mut first = Vec::with_capacity(count);
        self.pages(|page| {
            first.extend(page);
            first.len() < count
        })?;
        first.truncate(count);
        Ok(first)
    }

    /// Reads on while `page` says so.
    fn pages(&self, mut page: impl FnMut(Vec<RecordedEvent>) -> bool) -> Result<(), Failed> {
        let (filter, mut after) = (FeedFilter::default(), Position(0));
        loop {
            let read = self.store.feed(after, &filter, PAGE);
            let read = read.map_err(|error| Failed::new(format!("read the log: {error}")))?;
            after = read.scanned;
            if !page(read.events) || read.at_head {
                return Ok(());
            }
        }
    }
}

/// Events per second that are written to a socket when nothing but writing is to be done: as many bytes, and the same.
pub(super) fn write(sent: &[u8], bytes: u64, events: u64) -> Result<f64, Failed> {
    let whole = memmem::rfind(sent, BEGINNING).filter(|end| *end > 0);
    let sent = sent.get(..whole.unwrap_or(sent.len())).unwrap_or_default();
    if sent.is_empty() {
        return Err(Failed::new("nothing was sent that could be written to a socket"));
    }
    let through = through_socket(|socket| {
        let mut left = usize::try_from(bytes).unwrap_or(usize::MAX);
        while left > 0 {
            for piece in sent.chunks(WRITE_BYTES) {
                let piece = piece.get(..left.min(piece.len())).unwrap_or_default();
                socket.write_all(piece)?;
                left -= piece.len();
            }
        }
        Ok(())
    });
    // The last event need not be whole: it is the bytes that count.
    through.map(|through| rate(events, through.time))
}

/// What came out of a socket.
struct Through {
    events: u64,
    time: Duration,
}

impl Through {
    fn per_second(&self, events: u64) -> Result<f64, Failed> {
        if self.events != events {
            return Err(Failed::new(format!(
                "{} of {events} events came out of a socket",
                self.events
            )));
        }
        Ok(rate(events, self.time))
    }
}

/// Lets another thread write to a socket, and reads as the client of a feed does.
fn through_socket(write: impl FnOnce(&mut TcpStream) -> io::Result<()> + Send) -> Result<Through, Failed> {
    let read = || -> io::Result<Through> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        std::thread::scope(|scope| {
            let writing = scope.spawn(move || {
                let (mut socket, _) = listener.accept()?;
                socket.set_nodelay(true)?;
                write(&mut socket)
            });
            let mut socket = TcpStream::connect(address)?;
            let (mut positions, mut buffer) = (Positions::in_any_order(), vec![0; READ_BYTES]);
            let started = Instant::now();
            loop {
                let read = socket.read(&mut buffer)?;
                if read == 0 {
                    break;
                }
                positions.take(buffer.get(..read).unwrap_or_default())?;
            }
            let time = started.elapsed();
            writing
                .join()
                .map_err(|_| io::Error::other("a thread panicked"))??;
            Ok(Through {
                events: positions.events,
                time,
            })
        })
    };
    read().map_err(|error| Failed::io("write to a socket", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_through_a_socket_and_are_counted() {
        let events =
            b"{\"specversion\":\"1.0\",\"sequence\":\"00000000000000000001\",\"position\":\"200000000017\"}\n".repeat(3_000);
        let through = through_socket(|socket| socket.write_all(&events)).unwrap();
        assert_eq!(through.events, 3_000);
        assert!(through.per_second(3_000).unwrap() > 0.0 && through.per_second(3_001).is_err());
        let bytes = events.len() as u64;
        assert!(write(&events, 3 * bytes + 7, 9_000).unwrap() > 0.0);
    }
}
