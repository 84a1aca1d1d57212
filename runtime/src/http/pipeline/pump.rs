//! The task of one stream: lines in, commands to the aggregates, answers out.

use std::{io::Write, sync::Arc};

use axum::body::Body;
use bytes::Bytes;
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

use super::{
    super::{
        app::{App, Running},
        connection::Connection,
        problem::Problem,
        routes::{command_status, write_command_body},
        serve::Answering,
    },
    Ending,
    line::{Prepared, Tag},
    lines::{Line, Lines},
    mailbox::{Decided, Mailbox, Slip},
    outbox::Outbox,
    window::{Bounds, Order, Place, Window},
};

/// Answers are handed to the connection in pieces of about so many bytes: enough for one write to be worth it, and small
/// enough that the connection writes one while the next is made.
const PIECE_BYTES: usize = 32 * 1024;
/// Room for the last answer of a piece.
const PIECE_ROOM_BYTES: usize = 1024;
/// Lines that are taken before answers are looked after again.
const LINES_PER_TURN: usize = 128;

/// What a line is answered with.
#[derive(Debug)]
enum Outcome {
    Decided(Decided),
    Refused(Problem),
}

/// What a stream waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// Commands that are under way. They are always decided, and nobody is hurried.
    Decisions,
    /// The client, to send.
    Lines,
    /// The client, to read.
    Reading,
}

/// The task's own data.
#[derive(Debug)]
pub(super) struct Pump {
    app: App,
    running: Running,
    connection: Connection,
    input: Option<Body>,
    lines: Lines,
    /// A line that waits for room.
    parked: Option<Prepared>,
    window: Window<Tag, Outcome>,
    mailbox: Arc<Mailbox>,
    collected: Vec<(Place, Decided)>,
    outbox: Arc<Outbox>,
    piece: Vec<u8>,
    /// The number of the last line that was taken.
    taken: u64,
    ending: Option<Ending>,
    /// What is being waited for, and since when, or since the client last did something about it.
    waiting_for: Awaited,
    since: Instant,
    stop: watch::Receiver<bool>,
    /// While commands are being decided, a server that stops waits.
    answering: Option<Answering>,
    /// Among the streams that may be open.
    place: OwnedSemaphorePermit,
}

impl Pump {
    pub(super) fn new(
        app: &App,
        running: Running,
        connection: Connection,
        order: Order,
        input: Body,
        outbox: Arc<Outbox>,
        place: OwnedSemaphorePermit,
    ) -> Self {
        let limits = app.limits();
        // One stream alone must not fill a queue, or its own lines would be refused.
        let bounds = Bounds {
            lines: limits.pipeline_lines.min(limits.shard_queue / 2).max(1),
            payload_bytes: limits.pipeline_payload_bytes.min(limits.in_flight_bytes / 2),
            of_one_aggregate: (limits.lane_queue / 2).max(1),
            answer_bytes: limits.pipeline_answer_bytes,
        };
        Self {
            app: app.clone(),
            running,
            connection,
            input: Some(input),
            lines: Lines::new(limits.pipeline_line_bytes),
            parked: None,
            window: Window::new(order, bounds),
            mailbox: Arc::default(),
            collected: Vec::new(),
            outbox,
            piece: Vec::new(),
            taken: 0,
            ending: None,
            waiting_for: Awaited::Decisions,
            since: Instant::now(),
            stop: app.stop_signal(),
            answering: None,
            place,
        }
    }

    /// Takes what has been read of the input already.
    pub(super) fn push(&mut self, first: Bytes) {
        self.lines.push(first);
    }

    /// Answers until the stream ends. What was handed over when the client goes away is decided all the same.
    pub(super) async fn run(mut self) {
        while !self.outbox.is_closed() {
            self.collect();
            self.answer();
            let has_more_lines = self.take();
            if self.window.is_decided() {
                self.answering = None;
            }
            // Lines that are refused at once are answered without anybody's word to wait for.
            if has_more_lines || self.window.has_next() {
                tokio::task::yield_now().await;
            } else if self.is_over() {
                break;
            } else {
                self.wait().await;
            }
        }
        self.end().await;
    }

    fn is_over(&self) -> bool {
        let takes_no_more = match self.ending {
            None => false,
            Some(Ending::Said) => self.parked.is_none(),
            Some(_) => true,
        };
        takes_no_more && self.window.is_empty()
    }

    /// What has been decided meanwhile.
    fn collect(&mut self) {
        self.mailbox.collect(&mut self.collected);
        for (place, decided) in self.collected.drain(..) {
            self.window.settle(place, Outcome::Decided(decided));
        }
    }

    /// Renders the answers whose turn it is, a piece at most.
    fn answer(&mut self) {
        let mut is_full = false;
        if self.window.has_next() {
            self.piece.reserve(PIECE_BYTES + PIECE_ROOM_BYTES);
        }
        while !is_full && let Some((line, tag, outcome)) = self.window.next() {
            let before = self.piece.len();
            render(&mut self.piece, &self.running, line, tag.as_deref(), outcome);
            self.window.answered(self.piece.len() - before);
            is_full = self.piece.len() >= PIECE_BYTES;
        }
        self.hand_out();
    }

    fn hand_out(&mut self) {
        if !self.piece.is_empty() {
            self.outbox.push(std::mem::take(&mut self.piece).into());
        }
    }

    /// Takes lines as far as there is room. Whether there may be more.
    fn take(&mut self) -> bool {
        let held = self.outbox.held_bytes();
        for _ in 0..LINES_PER_TURN {
            if matches!(self.ending, Some(ending) if ending != Ending::Said) {
                return false;
            }
            let Some(prepared) = self.next_line() else {
                return false;
            };
            if !self.window.has_room(prepared.weight, held) {
                self.parked = Some(prepared);
                return false;
            }
            self.hand_over(prepared);
        }
        true
    }

    fn next_line(&mut self) -> Option<Prepared> {
        if let Some(prepared) = self.parked.take() {
            return Some(prepared);
        }
        let is_said = self.ending == Some(Ending::Said);
        let next = self.lines.next();
        let (number, line) = next.or_else(|| is_said.then(|| self.lines.last())?)?;
        let limits = self.app.limits();
        Some(match line {
            Line::Whole(line) => Prepared::read(number, &line, &self.running.modules, limits.payload_bytes),
            Line::TooLong(bytes) => {
                let problem = Problem::too_large("the line", limits.pipeline_line_bytes);
                Prepared::refused(number, problem.with("found_bytes", bytes))
            }
        })
    }

    fn hand_over(&mut self, prepared: Prepared) {
        let Prepared {
            number,
            tag,
            weight,
            request,
        } = prepared;
        self.taken = number;
        let place = self.window.take(number, tag, weight);
        match request {
            Ok(request) => {
                if self.answering.is_none() {
                    self.answering = Some(self.connection.answering());
                }
                let slip = Slip::new(&self.mailbox, place);
                let reply = Box::new(move |decided| slip.answer(decided));
                self.running.aggregates.send(request, reply);
            }
            Err(problem) => self.window.settle(place, Outcome::Refused(problem)),
        }
    }

    /// Waits until something can be done: an answer is there, more comes in or goes out, or a time is over.
    async fn wait(&mut self) {
        let limits = self.app.limits();
        let is_open = self.ending.is_none();
        let wants_input = is_open && self.parked.is_none();
        // Only once nothing is under way can it be the client alone that everything waits for.
        let waiting_for = match (self.window.is_empty(), &self.parked) {
            (false, _) => Awaited::Decisions,
            (true, None) => Awaited::Lines,
            (true, Some(_)) => Awaited::Reading,
        };
        if self.waiting_for != waiting_for {
            self.waiting_for = waiting_for;
            self.since = Instant::now();
        }
        let (within, too_late) = match waiting_for {
            Awaited::Reading => {
                let (limit_bytes, within) = (limits.pipeline_answer_bytes, limits.pipeline_stall);
                (within, Ending::Unread { limit_bytes, within })
            }
            Awaited::Lines | Awaited::Decisions => (limits.pipeline_idle, Ending::Idle(limits.pipeline_idle)),
        };
        self.outbox.watch(waiting_for == Awaited::Reading);
        tokio::select! {
            biased;
            () = self.mailbox.filled.notified() => {}
            frame = frame(&mut self.input), if wants_input => self.take_in(frame),
            () = self.connection.half_closed(), if wants_input => {
                // What was sent before is there now: if that is not all, then the rest will never come.
                let frame = frame(&mut self.input).now_or_never();
                self.take_in(frame.unwrap_or(Some(Err(()))));
            }
            () = self.outbox.moved.notified() => self.since = Instant::now(),
            () = stopped(&mut self.stop), if is_open => self.ending = Some(Ending::Stopping),
            () = tokio::time::sleep_until(self.since + within), if waiting_for != Awaited::Decisions => {
                self.ending = Some(too_late);
            }
        }
    }

    fn take_in(&mut self, frame: Option<Result<Bytes, ()>>) {
        match frame {
            Some(Ok(frame)) => {
                self.since = Instant::now();
                self.lines.push(frame);
            }
            Some(Err(())) => self.ending = Some(Ending::CutOff),
            None => self.ending = Some(Ending::Said),
        }
    }

    /// Says why the stream ends, where that has to be said, and sees to it that the answers are read in time.
    async fn end(mut self) {
        let problem = self.ending.and_then(Ending::problem);
        if let Some(problem) = problem {
            let lines = self.taken;
            let _ = write!(self.piece, "{{\"end\":true,\"lines\":{lines}");
            render_problem(&mut self.piece, &problem);
            self.hand_out();
        }
        // What the client still writes is read and thrown away, so that it gets to reading.
        drop(self.input.take());
        drop(self.answering.take());
        self.outbox.watch(true);
        let within = self.app.limits().pipeline_stall;
        while self.outbox.held_bytes() > 0 && !self.outbox.is_closed() {
            if tokio::time::timeout(within, self.outbox.moved.notified())
                .await
                .is_err()
            {
                tracing::debug!("a client of a pipelined stream does not read: it is cut");
                return self.connection.cut();
            }
        }
        // Who sees the end can open another stream.
        drop(self.place);
        self.outbox.finish();
    }
}

/// What comes next from the client; an error when it breaks off.
async fn frame(input: &mut Option<Body>) -> Option<Result<Bytes, ()>> {
    let frame = input.as_mut()?.frame().await?;
    Some(
        frame
            .map(|frame| frame.into_data().unwrap_or_default())
            .map_err(drop),
    )
}

async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error is that nobody can stop it any more, because it has stopped.
    drop(stop.wait_for(|stop| *stop).await);
}

/// One answer, as a line: what stands around the body that a single request would have got.
fn render(out: &mut Vec<u8>, running: &Running, line: u64, tag: Option<&str>, outcome: Outcome) {
    // Writing into memory does not fail.
    let _ = write!(out, "{{\"line\":{line}");
    if let Some(tag) = tag {
        let _ = write!(out, ",\"tag\":{tag}");
    }
    match outcome {
        Outcome::Decided(Ok(answer)) => {
            let status = command_status(&answer.committed).as_u16();
            let replayed = if answer.replayed { ",\"replayed\":true" } else { "" };
            let _ = write!(out, ",\"status\":{status}{replayed},\"body\":");
            write_command_body(running, &answer.committed, out);
            out.extend_from_slice(b"}\n");
        }
        Outcome::Decided(Err(error)) => render_problem(out, &error.into()),
        Outcome::Refused(problem) => render_problem(out, &problem),
    }
}

fn render_problem(out: &mut Vec<u8>, problem: &Problem) {
    let _ = write!(out, ",\"status\":{}", problem.status());
    if let Some(seconds) = problem.retry_after_seconds() {
        let _ = write!(out, ",\"retry_after\":{seconds}");
    }
    let _ = writeln!(out, ",\"body\":{}}}", problem.document());
}
