//! Many commands on one connection: lines in, lines out, with a bounded window between.
//!
//! One task per stream reads lines, hands their commands to the aggregates, collects the answers and renders them; there
//! is no task and no channel per line. The connection's own task only moves bytes, so that reading and writing never wait
//! for each other.

#[cfg(test)]
mod counts;
mod line;
mod lines;
mod mailbox;
mod outbox;
mod pump;
mod window;

use std::{sync::Arc, time::Duration};

use axum::body::Body;
use bytes::Bytes;

use super::{
    app::{App, Running},
    connection::Connection,
    problem::Problem,
};

use outbox::{Answers, Outbox};
use pump::Pump;

pub(super) use window::Order;

/// Begins to answer a stream of commands; `first` is what of it has been read already. The body of the response is
/// returned at once.
pub(super) fn answer(
    app: &App,
    running: Running,
    connection: &Connection,
    order: Order,
    first: Bytes,
    input: Body,
) -> Result<Body, Problem> {
    let place = app.command_stream()?;
    let outbox = Arc::new(Outbox::default());
    let answers = Answers::new(Arc::clone(&outbox), connection.streaming());
    let mut pump = Pump::new(app, running, connection.clone(), order, input, outbox, place);
    pump.push(first);
    tokio::spawn(pump.run());
    Ok(Body::new(answers))
}

/// Why a stream ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The client has said all it had to say.
    Said,
    /// What it says breaks off.
    CutOff,
    /// It has said nothing for too long.
    Idle(Duration),
    /// It does not read its answers.
    Unread { limit_bytes: usize, within: Duration },
    /// The server is shutting down.
    Stopping,
}

impl Ending {
    /// What the last line says; nothing when all is well.
    fn problem(self) -> Option<Problem> {
        match self {
            Self::Said => None,
            Self::CutOff => Some(Problem::malformed(
                "the body of the request breaks off: its end never came, and what stands after the last line end was not taken",
                "end the body as HTTP/1.1 says: with the last chunk, or after `Content-Length` bytes",
            )),
            Self::Idle(within) => Some(
                Problem::new(
                    408,
                    "request-timeout",
                    "The request came too slowly",
                    format!("no byte of another line came within {} s", within.as_secs_f64()),
                )
                .fix("open a stream again when there is more to send"),
            ),
            Self::Unread { limit_bytes, within } => Some(
                Problem::new(
                    408,
                    "answers-not-read",
                    "The answers were not read",
                    format!(
                        "{limit_bytes} bytes of answers are waiting, the limit, and none were read for {} s: no more lines were taken",
                        within.as_secs_f64()
                    ),
                )
                .fix("read answers while you write, or write fewer lines on one stream; send the lines after `lines` again")
                .with("limit_bytes", limit_bytes),
            ),
            Self::Stopping => Some(Problem::unavailable("the server is shutting down")),
        }
    }
}
