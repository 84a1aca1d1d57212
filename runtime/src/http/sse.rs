//! The feed as server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>). The socket's own
//! back-pressure is what paces a subscription: nothing is read from it that the client has not made room for.

use std::convert::Infallible;

use axum::{
    body::Body,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;

use crate::{
    bus::{Delivery, Subscription},
    vocabulary::Position,
};

use super::{app::Running, cloudevent::CloudEvent, problem::Problem};

/// Milliseconds after which a client that lost its connection comes back.
const RETRY_MS: u32 = 1_000;

/// A response that follows a subscription until the client goes or the server stops.
pub(super) fn follow(
    running: Running,
    subscription: Subscription,
    heartbeat: std::time::Duration,
) -> Response {
    let start = Following {
        running,
        subscription,
        heartbeat,
        greeted: false,
        ended: false,
    };
    let frames = stream::unfold(start, |mut following| async move {
        let frame = following.frame().await?;
        Some((Ok::<Bytes, Infallible>(frame), following))
    });
    let headers = [
        (
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream"),
        ),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    (headers, Body::from_stream(frames)).into_response()
}

struct Following {
    running: Running,
    subscription: Subscription,
    heartbeat: std::time::Duration,
    greeted: bool,
    ended: bool,
}

impl Following {
    async fn frame(&mut self) -> Option<Bytes> {
        if self.ended {
            return None;
        }
        if !self.greeted {
            self.greeted = true;
            return Some(format!("retry: {RETRY_MS}\n\n").into());
        }
        match tokio::time::timeout(self.heartbeat, self.subscription.next()).await {
            Err(_) => Some(Bytes::from_static(b": heartbeat\n\n")),
            Ok(Ok(delivery)) => self.render(delivery),
            Ok(Err(error)) => {
                self.ended = true;
                let problem = Problem::from(error).document();
                Some(format!("event: failed\ndata: {problem}\n\n").into())
            }
        }
    }

    fn render(&self, delivery: Delivery) -> Option<Bytes> {
        let frame = match delivery {
            Delivery::Event(event) => {
                let mut frame = format!("id: {}\ndata: ", self.running.cursor(event.position)).into_bytes();
                CloudEvent::from(&*event).write(&self.running, &mut frame);
                frame.extend_from_slice(b"\n\n");
                return Some(frame.into());
            }
            Delivery::CaughtUp(position) => self.named("caught-up", position),
            Delivery::FellBehind(position) => self.named("fell-behind", position),
            Delivery::Checkpoint(position) => self.named("checkpoint", position),
            Delivery::Closed => return None,
        };
        Some(frame.into())
    }

    fn named(&self, name: &str, position: Position) -> String {
        let cursor = self.running.cursor(position).to_string();
        format!(
            "event: {name}\nid: {cursor}\ndata: {}\n\n",
            json!({ "position": cursor })
        )
    }
}
