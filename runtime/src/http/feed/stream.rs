//! Events as a stream: server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>), or JSON,
//! one value a line. The socket's own back-pressure is what paces a subscription: nothing is read from it that the
//! client has not made room for.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use tokio::time::Instant;

use crate::{
    bus::{self, Delivery, Event, Subscription, TooManySubscribers},
    store::{FeedFilter, ReadError},
    vocabulary::{Limits, Position},
};

use super::{
    super::{app::Running, chunks::Chunks, cloudevent::CloudEvent, connection::Connection, problem::Problem},
    Form,
};

/// What a client that lost its connection is told of when to come back, in milliseconds.
const GREETING: &str = "retry: 1000\n\n";

/// Frames are pushed when they come one after the other within so many times of gathering.
const FAST_GATHERS: u32 = 3;

/// How a stream goes.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct Order {
    pub(in crate::http) form: Form,
    /// Whether it goes on with what happens; else it ends where the log does now.
    pub(in crate::http) follow: bool,
    /// So many events, and no more.
    pub(in crate::http) limit: Option<usize>,
}

/// A subscription of the whole log. Those that go on without an end share what they are sent.
pub(in crate::http) fn subscribe(
    running: &Running,
    after: Position,
    filter: FeedFilter,
    order: Order,
) -> Result<Subscription, TooManySubscribers> {
    if !order.follow {
        return running.bus.subscribe(after, filter);
    }
    let is_lines = matches!(order.form, Form::Lines(_));
    let name = if is_lines { "lines" } else { "server-sent events" };
    let writer = Writer {
        running: running.clone(),
        is_lines,
    };
    let form = bus::Form::new(name, move |event, out| writer.event(event, out));
    running.bus.subscribe_written(after, filter, form)
}

/// A response that follows a subscription until its end, until the client goes or until the server stops.
pub(in crate::http) fn answer(
    limits: &Limits,
    running: Running,
    connection: &Connection,
    subscription: Subscription,
    order: Order,
) -> Response {
    let is_lines = matches!(order.form, Form::Lines(_));
    let start = Following {
        until: (!order.follow).then(|| running.store.last_position()),
        writer: Writer { running, is_lines },
        subscription,
        left: order.limit,
        heartbeat: limits.heartbeat,
        frame_bytes: limits.stream_frame_bytes,
        gather: limits.stream_gather,
        resting: None,
        past_hyper: PastHyper::of(connection, order),
        frame_came: None,
        usual_bytes: 0,
        is_greeted: is_lines,
        has_ended: false,
    };
    let frames = stream::unfold(start, |mut following| async move {
        let frame = following.frame().await?;
        Some((Ok::<Bytes, Infallible>(frame), following))
    });
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static(order.form.media_type()),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // The address means something else to those who accept something else.
        (header::VARY, HeaderValue::from_static("accept")),
    ];
    (headers, Body::from_stream(frames)).into_response()
}

struct Following {
    subscription: Subscription,
    writer: Writer,
    /// Where it ends; none when it follows.
    until: Option<Position>,
    /// So many more events; none when there is no limit.
    left: Option<usize>,
    heartbeat: Duration,
    frame_bytes: usize,
    /// How long a stream that has sent everything gathers what comes next.
    gather: Duration,
    /// Until when it does.
    resting: Option<Instant>,
    /// Where frames are pushed to while they come fast.
    past_hyper: Option<PastHyper>,
    /// When the last frame that is shared came.
    frame_came: Option<Instant>,
    /// What the last frame took.
    usual_bytes: usize,
    is_greeted: bool,
    has_ended: bool,
}

impl Following {
    /// What is to be sent next: the first delivery as soon as it is there, or as soon as it is due after the last piece, and
    /// whatever is ready with it.
    async fn frame(&mut self) -> Option<Bytes> {
        if self.has_ended {
            return None;
        }
        if !std::mem::replace(&mut self.is_greeted, true) {
            return Some(Bytes::from_static(GREETING.as_bytes()));
        }
        if let Some(until) = self.resting.take() {
            tokio::time::sleep_until(until).await;
        }
        if !self.pushed().await {
            return None;
        }
        let Ok(first) = tokio::time::timeout(self.heartbeat, self.subscription.next()).await else {
            return Some(self.idle());
        };
        if let Ok(Delivery::Event(Event::Written(written))) = first {
            self.came(Instant::now());
            return Some(written.bytes().clone());
        }
        let mut frame = Vec::with_capacity(self.usual_bytes);
        self.take(first, &mut frame);
        while !self.has_ended && frame.len() < self.frame_bytes {
            match self.subscription.try_next() {
                Some(delivery) => self.take(delivery, &mut frame),
                None => {
                    // An event after a silence is sent at once, and a busy stream is not woken for each commit.
                    let is_live = self.subscription.is_live();
                    self.resting = is_live.then(|| Instant::now() + self.gather);
                    break;
                }
            }
        }
        self.usual_bytes = frame.len();
        // A body may not have an empty piece in HTTP/1.1: it would end there.
        (!frame.is_empty()).then(|| frame.into())
    }

    /// A frame that is shared has come; when the last one did so a moment ago, the next ones may be pushed.
    fn came(&mut self, now: Instant) {
        let before = self.frame_came.replace(now);
        let is_fast = before.is_some_and(|before| now - before <= self.gather * FAST_GATHERS);
        if let Some(past_hyper) = &mut self.past_hyper {
            past_hyper.is_wanted = is_fast;
        }
    }

    /// Lets what comes fast go past hyper, until it no longer does. False when that breaks the answer off.
    async fn pushed(&mut self) -> bool {
        let Some(past_hyper) = self.past_hyper.as_mut().filter(|way| way.is_wanted) else {
            return true;
        };
        past_hyper.is_wanted = false;
        past_hyper.chunks.may_be_written().await;
        let outlet = Arc::clone(&past_hyper.chunks);
        if self.subscription.push(outlet).await {
            return past_hyper.chunks.finished().await;
        }
        past_hyper.chunks.break_off();
        false
    }

    /// In silence: where it has got to, when that is news.
    fn idle(&mut self) -> Bytes {
        let mut frame = Vec::new();
        match self.subscription.checkpoint() {
            Some(position) => self.writer.place("checkpoint", position, &mut frame),
            None => self.writer.heartbeat(&mut frame),
        }
        frame.into()
    }

    fn take(&mut self, delivery: Result<Delivery, ReadError>, frame: &mut Vec<u8>) {
        match delivery {
            Ok(Delivery::Event(event)) => {
                self.writer.event(&event, frame);
                self.given(event.position(), frame);
            }
            Ok(Delivery::CaughtUp(position)) => {
                self.writer.place("caught-up", position, frame);
                self.has_ended = self.until.is_some();
            }
            Ok(Delivery::Checkpoint(position)) if self.is_end(position) => self.end(position, frame),
            Ok(Delivery::Checkpoint(position)) => self.writer.place("checkpoint", position, frame),
            Ok(Delivery::FellBehind(position)) => self.writer.place("fell-behind", position, frame),
            Ok(Delivery::Closed) => self.has_ended = true,
            Err(error) => {
                // Everything that was found has been delivered by now.
                let place = self.subscription.reached();
                self.writer.failed(error.into(), place, frame);
                self.has_ended = true;
            }
        }
    }

    /// An event has been written: perhaps it was the last one.
    fn given(&mut self, position: Position, frame: &mut Vec<u8>) {
        if self.is_end(position) {
            return self.end(position, frame);
        }
        if let Some(left) = &mut self.left {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.writer.place("checkpoint", position, frame);
                self.has_ended = true;
            }
        }
    }

    fn is_end(&self, position: Position) -> bool {
        self.until.is_some_and(|until| position >= until)
    }

    fn end(&mut self, position: Position, frame: &mut Vec<u8>) {
        self.writer.place("caught-up", position, frame);
        self.has_ended = true;
    }
}

/// The way past hyper.
struct PastHyper {
    chunks: Arc<Chunks>,
    is_wanted: bool,
}

impl PastHyper {
    /// None for a stream that has an end, and where there is no such way.
    fn of(connection: &Connection, order: Order) -> Option<Self> {
        let chunks = Chunks::of(connection).filter(|_| order.follow)?;
        Some(Self {
            chunks: Arc::new(chunks),
            is_wanted: false,
        })
    }
}

/// What is sent, in the form of the stream.
struct Writer {
    running: Running,
    is_lines: bool,
}

impl Writer {
    fn event(&self, event: &Event, frame: &mut Vec<u8>) {
        match event {
            Event::Written(written) => frame.extend_from_slice(written.bytes()),
            Event::Read(read) => self.framed(read.position, frame, |out| {
                CloudEvent::from(read).write(&self.running, out);
            }),
            Event::Live(live) => self.framed(live.position(), frame, |out| {
                let (committed, index) = live.of();
                if let Some(event) = CloudEvent::of(committed).nth(index) {
                    event.write(&self.running, out);
                }
            }),
        }
    }

    fn framed(&self, position: Position, frame: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        if self.is_lines {
            write(frame);
            frame.push(b'\n');
        } else {
            frame.extend_from_slice(b"id: ");
            self.cursor(position, frame);
            frame.extend_from_slice(b"\ndata: ");
            write(frame);
            frame.extend_from_slice(b"\n\n");
        }
    }

    /// Says where the stream has got to, and why.
    fn place(&self, name: &str, position: Position, frame: &mut Vec<u8>) {
        if self.is_lines {
            frame.extend_from_slice(format!("{{\"annals\":\"{name}\",\"position\":\"").as_bytes());
            self.cursor(position, frame);
            frame.extend_from_slice(b"\"}\n");
        } else {
            frame.extend_from_slice(format!("event: {name}\nid: ").as_bytes());
            self.cursor(position, frame);
            frame.extend_from_slice(b"\ndata: {\"position\":\"");
            self.cursor(position, frame);
            frame.extend_from_slice(b"\"}\n\n");
        }
    }

    fn failed(&self, problem: Problem, place: Position, frame: &mut Vec<u8>) {
        let (problem, place) = (problem.document(), self.running.cursor(place));
        let text = if self.is_lines {
            format!("{{\"annals\":\"failed\",\"position\":\"{place}\",\"problem\":{problem}}}\n")
        } else {
            format!("event: failed\nid: {place}\ndata: {problem}\n\n")
        };
        frame.extend_from_slice(text.as_bytes());
    }

    fn heartbeat(&self, frame: &mut Vec<u8>) {
        frame.extend_from_slice(if self.is_lines { b"\n" } else { b": heartbeat\n\n" });
    }

    fn cursor(&self, position: Position, frame: &mut Vec<u8>) {
        self.running.cursor(position).push(frame);
    }
}
