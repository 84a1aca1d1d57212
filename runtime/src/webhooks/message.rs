//! What is posted: CloudEvents, with the headers of Standard Webhooks.

use std::fmt;

use bytes::Bytes;
use ring::digest;

use super::signature::signatures;
use crate::{
    consumers::{Delivered, Mode, Secrets},
    vocabulary::{Millis, RecordedEvent, hex},
};

/// How events are written, which the room that serves them knows.
pub trait Encode: Send + Sync + fmt::Debug {
    /// The CloudEvent's id.
    fn id(&self, event: &RecordedEvent) -> String;

    /// Appends the CloudEvent as JSON.
    fn write(&self, event: &RecordedEvent, out: &mut Vec<u8>);
}

/// One request, but for where it goes.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) content_type: &'static str,
    pub(super) id: String,
    /// Seconds since the Unix epoch.
    pub(super) timestamp: u64,
    pub(super) signatures: String,
    pub(super) body: Bytes,
}

impl Message {
    /// A message of these events, signed now.
    pub(super) fn of(
        events: &[Delivered],
        mode: Mode,
        encode: &dyn Encode,
        secrets: &Secrets,
        now: Millis,
    ) -> Self {
        let (content_type, id, body) = match mode {
            Mode::Event => (
                "application/cloudevents+json",
                event_id(events, encode),
                one(events, encode),
            ),
            Mode::Batch => (
                "application/cloudevents-batch+json",
                batch_id(events, encode),
                all(events, encode),
            ),
        };
        let timestamp = now / 1_000;
        Self {
            content_type,
            signatures: signatures(secrets.at(now), &id, timestamp, &body),
            id,
            timestamp,
            body: Bytes::from(body),
        }
    }
}

/// The CloudEvent's id, the same each time that the event is sent. Its full stops are encoded, since in what is signed they
/// separate the id from the time.
fn event_id(events: &[Delivered], encode: &dyn Encode) -> String {
    let id = events.first().map(|delivered| encode.id(&delivered.event));
    id.unwrap_or_default().replace('.', "%2E")
}

/// The same for the same events.
fn batch_id(events: &[Delivered], encode: &dyn Encode) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for delivered in events {
        context.update(encode.id(&delivered.event).as_bytes());
        context.update(b"\n");
    }
    let hash = context.finish();
    format!("batch_{}", hex(hash.as_ref().get(..16).unwrap_or_default()))
}

fn one(events: &[Delivered], encode: &dyn Encode) -> Vec<u8> {
    let mut body = Vec::new();
    if let Some(delivered) = events.first() {
        encode.write(&delivered.event, &mut body);
    }
    body
}

fn all(events: &[Delivered], encode: &dyn Encode) -> Vec<u8> {
    let mut body = vec![b'['];
    for delivered in events {
        if body.len() > 1 {
            body.push(b',');
        }
        encode.write(&delivered.event, &mut body);
    }
    body.push(b']');
    body
}
