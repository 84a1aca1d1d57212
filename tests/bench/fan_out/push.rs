//! What subscribers cannot be given events faster than: pieces of what one of them was sent, written to as many sockets by
//! threads that do nothing else, and read by the same readers.

use std::{
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use annals::vocabulary::{Cursor, Position};
use annals_tests::follow::{Plan, Subscribers};
use serde_json::{Value, json};

use crate::{
    failed::Failed,
    format,
    numbers::{median, rate},
    service::{Bench, Service, own_processor_time, processor_time},
};

use super::{end_of_log, live::SUBSCRIBERS_MAX, pages};

/// As much as the server writes at a time to one who is not pushed to.
const PIECE_BYTES: usize = 32 * 1024;
/// Threads that write: on a small machine the server has as many that speak HTTP.
const WRITERS: usize = 2;
/// Events that are taken as a sample of what is sent.
const SAMPLE_EVENTS: u64 = 100;
const SAMPLE_BYTES: usize = 256 * 1024;
/// No step takes longer, unless something hangs.
const LONGEST: Duration = Duration::from_secs(60);
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const CAUGHT_UP: &str = "event: caught-up\ndata: {}\n\n";
/// The first position that is given to an event of the pieces, and the digits that all of them have.
const FIRST: u64 = 0x100_0000;
const POSITION_DIGITS: usize = 7;

/// All runs.
#[derive(Debug, Default)]
pub(super) struct Pushed {
    /// Events per second, all subscribers together.
    runs: Vec<f64>,
    events: u64,
    time: Duration,
    writers: Duration,
    readers: Duration,
}

impl Pushed {
    /// One run, with what the server has just sent.
    pub(super) fn measure(&mut self, bench: &Bench<'_>, service: &Service) -> Result<(), Failed> {
        let piece = Piece::of(&sample(service)?)?;
        let span = (bench.args.warm_up(), bench.args.measured());
        let run = push(&piece, SUBSCRIBERS_MAX, span)?;
        let per_second = rate(run.events, run.time);
        eprintln!("floor: pushing to sockets: {}/s", format::rate(per_second));
        self.runs.push(per_second);
        self.events += run.events;
        self.time += run.time;
        self.writers += run.writers;
        self.readers += run.readers;
        Ok(())
    }

    /// The median of the runs.
    pub(super) fn per_second(&self) -> f64 {
        median(&self.runs)
    }

    /// Processor time of the threads that write, for each event of one subscriber, microseconds.
    pub(super) fn us_each(&self) -> f64 {
        self.writers.as_secs_f64() * 1e6 / self.events.max(1) as f64
    }

    /// Processors that were busy on average: of those that write, and of the one that reads.
    pub(super) fn cores(&self) -> [f64; 2] {
        let time = self.time.as_secs_f64().max(f64::MIN_POSITIVE);
        [self.writers, self.readers].map(|busy| busy.as_secs_f64() / time)
    }

    pub(super) fn json(&self) -> Value {
        let [writers, readers] = self.cores();
        json!({
            "subscribers": SUBSCRIBERS_MAX,
            "per_second": self.per_second(),
            "runs": self.runs,
            "us_each": self.us_each(),
            "writer_cores": writers,
            "reader_cores": readers,
        })
    }
}

/// The last events of the log, as a subscriber is sent them.
fn sample(service: &Service) -> Result<Vec<u8>, Failed> {
    let end = end_of_log(service)?;
    let after = Cursor {
        position: Position(end.position.0.saturating_sub(SAMPLE_EVENTS)),
        ..end
    };
    let path = format!("/v1/events?after={after}");
    match pages::read(
        service.address,
        ("text/event-stream", &path),
        SAMPLE_EVENTS,
        SAMPLE_BYTES,
    )? {
        pages::Outcome::Read(reading) => Ok(reading.sample),
        pages::Outcome::Refused(status, text) => Err(Failed::new(format!("GET {path}: {status} {text}"))),
    }
}

/// Some events as one chunk of an answer, whose positions can be written over.
#[derive(Debug, Clone)]
struct Piece {
    bytes: Vec<u8>,
    /// Where the digits of each event's position begin: in its id, and in its text.
    places: Vec<[usize; 2]>,
}

impl Piece {
    fn of(sent: &[u8]) -> Result<Self, Failed> {
        let text = String::from_utf8_lossy(sent);
        let (mut content, mut places) = (String::new(), Vec::new());
        let frames = text
            .split_inclusive("\n\n")
            .filter(|frame| frame.ends_with("\n\n"));
        for frame in frames {
            let Some((frame, digits)) = renumbered(frame) else {
                continue;
            };
            if content.len() + frame.len() > PIECE_BYTES {
                break;
            }
            places.push(digits.map(|digits| content.len() + digits));
            content.push_str(&frame);
        }
        if places.is_empty() {
            return Err(Failed::new(format!("no event is in what was sent: {text}")));
        }
        let size = format!("{:x}\r\n", content.len());
        for place in places.iter_mut().flatten() {
            *place += size.len();
        }
        Ok(Self {
            bytes: format!("{size}{content}\r\n").into_bytes(),
            places,
        })
    }

    /// Gives its events the positions from this one on.
    fn number(&mut self, first: u64) {
        for (places, position) in self.places.iter().zip(first..) {
            let digits = format!("{position:0POSITION_DIGITS$x}");
            for place in places {
                if let Some(room) = self.bytes.get_mut(*place..place + POSITION_DIGITS) {
                    room.copy_from_slice(digits.as_bytes());
                }
            }
        }
    }
}

/// The frame of an event with the first position, and where its digits are; none for other frames.
fn renumbered(frame: &str) -> Option<(String, [usize; 2])> {
    let (id, _) = frame.strip_prefix("id: ")?.split_once('\n')?;
    let cursor: Cursor = id.parse().ok()?;
    let first = Cursor {
        position: Position(FIRST),
        ..cursor
    };
    let first = first.to_string();
    let frame = frame.replace(id, &first);
    let digits = |(at, _)| at + first.len() - POSITION_DIGITS;
    let places: Vec<usize> = frame.match_indices(&first).map(digits).collect();
    let places = places.try_into().ok()?;
    Some((frame, places))
}

/// One run.
struct Run {
    events: u64,
    time: Duration,
    writers: Duration,
    readers: Duration,
}

fn push(piece: &Piece, count: usize, span: (Duration, Duration)) -> Result<Run, Failed> {
    let failed = |error| Failed::io("push events to sockets", &error);
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let accepting = thread::spawn(move || accept(&listener, count));
    let plan = Plan {
        path: "/".to_owned(),
        fast: count,
        slow: 0,
        after: Some(FIRST - 1),
    };
    let subscribers = Subscribers::open(address, &plan, LONGEST).map_err(failed)?;
    let mut sockets = joined(accepting.join()).map_err(failed)?;
    let is_over = &AtomicBool::new(false);
    let (run, written) = thread::scope(|scope| {
        let groups = sockets.chunks_mut(count.div_ceil(WRITERS));
        let writers: Vec<_> = groups
            .map(|group| scope.spawn(move || write(group, piece.clone(), is_over)))
            .collect();
        let run = watch(&subscribers, span);
        is_over.store(true, Ordering::Release);
        let written = writers.into_iter().try_for_each(|writer| joined(writer.join()));
        (run, written)
    });
    // What the readers found wrong comes first: then the writers could not go on either.
    subscribers.end().map_err(failed)?;
    written.map_err(failed)?;
    run
}

/// Takes what is counted, once the warm-up is over.
fn watch(subscribers: &Subscribers, (warm_up, measured): (Duration, Duration)) -> Result<Run, Failed> {
    thread::sleep(warm_up);
    let busy = || -> Result<_, Failed> { Ok((own_processor_time()?, processor_time(subscribers.task())?)) };
    let (before, started, delivered) = (busy()?, Instant::now(), subscribers.delivered());
    thread::sleep(measured);
    let (events, time) = (subscribers.delivered() - delivered, started.elapsed());
    let after = busy()?;
    let readers = after.1.saturating_sub(before.1);
    Ok(Run {
        events,
        time,
        writers: after.0.saturating_sub(before.0).saturating_sub(readers),
        readers,
    })
}

/// Answers so many requests as a feed without events does.
fn accept(listener: &TcpListener, count: usize) -> io::Result<Vec<TcpStream>> {
    let mut sockets = Vec::with_capacity(count);
    while sockets.len() < count {
        let (mut socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(LONGEST))?;
        socket.set_write_timeout(Some(LONGEST))?;
        let (mut request, mut byte) = (Vec::new(), [0]);
        while !request.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte)?;
            request.extend_from_slice(&byte);
        }
        let answer = format!("{HEAD}{:x}\r\n{CAUGHT_UP}\r\n", CAUGHT_UP.len());
        socket.write_all(answer.as_bytes())?;
        sockets.push(socket);
    }
    Ok(sockets)
}

/// Writes piece after piece to each of them.
fn write(sockets: &mut [TcpStream], mut piece: Piece, is_over: &AtomicBool) -> io::Result<()> {
    let mut next = FIRST;
    while !is_over.load(Ordering::Acquire) {
        piece.number(next);
        for socket in &mut *sockets {
            socket.write_all(&piece.bytes)?;
        }
        next += piece.places.len() as u64;
    }
    Ok(())
}

fn joined<T>(ended: thread::Result<io::Result<T>>) -> io::Result<T> {
    ended.unwrap_or_else(|_| Err(io::Error::other("a thread panicked")))
}

#[cfg(test)]
mod tests {
    use annals::vocabulary::{Epoch, LogId};

    use super::*;

    fn sent() -> String {
        let cursor = |position| Cursor::new(LogId([1; 16]), Epoch(1), Position(position)).to_string();
        let event = |position| {
            let cursor = cursor(position);
            format!(
                "id: {cursor}\ndata: {{\"data\":{{}},\"sequence\":\"{position:020}\",\"position\":\"{cursor}\"}}\n\n"
            )
        };
        let place = format!(
            "event: caught-up\nid: {0}\ndata: {{\"position\":\"{0}\"}}\n\n",
            cursor(9)
        );
        format!("retry: 1000\n\n{}{}{place}id: 01", event(8), event(9))
    }

    #[test]
    fn a_piece_has_the_events_alone_and_is_numbered_anew() {
        let mut piece = Piece::of(sent().as_bytes()).unwrap();
        assert_eq!(piece.places.len(), 2);
        piece.number(FIRST + 0xabc);
        let text = String::from_utf8(piece.bytes).unwrap();
        for position in [FIRST + 0xabc, FIRST + 0xabd] {
            assert_eq!(text.matches(&format!("1{position:x}\"")).count(), 1, "{text}");
            assert_eq!(text.matches(&format!("1{position:x}\n")).count(), 1, "{text}");
        }
        assert!(!text.contains("caught-up") && !text.contains("retry"), "{text}");
        assert!(Piece::of(b"retry: 1000\n\n").is_err());
    }

    #[test]
    fn every_subscriber_is_given_them_in_order() {
        let piece = Piece::of(sent().as_bytes()).unwrap();
        let span = (Duration::from_millis(20), Duration::from_millis(200));
        let run = push(&piece, 3, span).unwrap();
        assert!(run.events > 0 && run.time >= span.1, "{}", run.events);
    }
}
