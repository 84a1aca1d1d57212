//! Events as CloudEvents 1.0 in JSON (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;

use crate::{
    modules::Modules,
    store::{EventStore, LogIdentity},
    vocabulary::{
        AggregateKey, Committed, Cursor, Millis, ModuleDigest, Position, RecordedEvent, Version, push_hex,
    },
    webhooks::Encode,
};

use super::{
    app::Running,
    document::{number, padded, quoted, raw, text},
};

/// What is not encoded in ids within URIs (RFC 3986, unreserved).
pub(super) const ID: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Bytes of most events beside the payload.
const ROOM_BYTES: usize = 640;

/// An event as it is sent, borrowed from wherever it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct CloudEvent<'a> {
    key: &'a AggregateKey,
    version: Version,
    position: Position,
    event_type: &'a str,
    schema: u32,
    recorded_at: Millis,
    payload: &'a [u8],
    correlation_id: &'a str,
    causation_id: Option<&'a str>,
    actor: Option<&'a str>,
    traceparent: Option<&'a str>,
    module: &'a ModuleDigest,
}

impl<'a> From<&'a RecordedEvent> for CloudEvent<'a> {
    fn from(event: &'a RecordedEvent) -> Self {
        let origin = &*event.origin;
        Self {
            key: &event.key,
            version: event.version,
            position: event.position,
            event_type: event.event_type.as_str(),
            schema: event.schema,
            recorded_at: event.recorded_at,
            payload: &event.payload,
            correlation_id: &origin.correlation_id,
            causation_id: origin.causation_id.as_deref(),
            actor: origin.actor.as_deref(),
            traceparent: origin.traceparent.as_deref(),
            module: &origin.module,
        }
    }
}

impl<'a> CloudEvent<'a> {
    /// The events of a commit.
    pub(super) fn of(committed: &'a Committed) -> impl Iterator<Item = Self> {
        let commit = &committed.commit;
        let context = &commit.context;
        commit.events.iter().enumerate().map(move |(index, event)| Self {
            key: &commit.key,
            version: commit.first_version.plus(index),
            position: Position(committed.first_position.0 + index as u64),
            event_type: event.event_type.as_str(),
            schema: event.schema,
            recorded_at: context.now,
            payload: &event.payload,
            correlation_id: &context.correlation_id,
            causation_id: context.causation_id.as_deref(),
            actor: context.actor.as_deref(),
            traceparent: context.traceparent.as_deref(),
            module: &commit.module,
        })
    }

    /// Appends the event as JSON, on one line. Without `datacontenttype`: `data` in this format is JSON unless something else
    /// is said.
    pub(super) fn write(&self, running: &Running, out: &mut Vec<u8>) {
        self.write_of(running.store.identity(), &running.modules, out);
    }

    fn write_of(&self, log: LogIdentity, modules: &Modules, out: &mut Vec<u8>) {
        let aggregate_type = self.key.aggregate_type.as_str().as_bytes();
        let is_json = self.key.aggregate_type.is_system() || modules.writes_json(self.module);
        out.reserve(ROOM_BYTES + self.payload.len());
        out.extend_from_slice(br#"{"specversion":"1.0","id":""#);
        self.write_id(log, out);
        out.extend_from_slice(br#"","source":"/v1/aggregates/"#);
        out.extend_from_slice(aggregate_type);
        out.extend_from_slice(br#"","subject":"#);
        text(self.key.aggregate_id.as_str(), out);
        out.extend_from_slice(br#","type":"#);
        text(self.event_type, out);
        out.extend_from_slice(br#","time":""#);
        push_rfc3339(self.recorded_at, out);
        out.extend_from_slice(br#"","dataschema":"urn:annals:schema:"#);
        out.extend_from_slice(aggregate_type);
        out.push(b':');
        out.extend_from_slice(self.event_type.as_bytes());
        out.push(b':');
        number(u64::from(self.schema), out);
        let name: &[u8] = if is_json {
            br#"","data":"#
        } else {
            br#"","data_base64":"#
        };
        out.extend_from_slice(name);
        write_payload(self.payload, is_json, out);
        out.extend_from_slice(br#","sequence":""#);
        padded(self.version.0, out);
        out.extend_from_slice(br#"","position":""#);
        Cursor::new(log.log_id, log.epoch, self.position).push(out);
        out.extend_from_slice(br#"","correlationid":"#);
        text(self.correlation_id, out);
        let optional = |name: &[u8], value: Option<&str>, out: &mut Vec<u8>| {
            if let Some(value) = value {
                out.extend_from_slice(name);
                text(value, out);
            }
        };
        optional(br#","causationid":"#, self.causation_id, out);
        optional(br#","actor":"#, self.actor, out);
        out.extend_from_slice(br#","module":""#);
        push_hex(self.module.half(), out);
        out.push(b'"');
        optional(br#","traceparent":"#, self.traceparent, out);
        out.push(b'}');
    }

    /// Unique across logs and types: half of the log id, type, aggregate id and version.
    fn write_id(&self, log: LogIdentity, out: &mut Vec<u8>) {
        push_hex(log.log_id.half(), out);
        out.push(b'/');
        out.extend_from_slice(self.key.aggregate_type.as_str().as_bytes());
        out.push(b'/');
        for part in utf8_percent_encode(self.key.aggregate_id.as_str(), ID) {
            out.extend_from_slice(part.as_bytes());
        }
        out.push(b'/');
        number(self.version.0, out);
    }
}

/// Writes events for those who do not answer requests.
#[derive(Debug, Clone)]
pub struct CloudEvents {
    store: Arc<dyn EventStore>,
    modules: Arc<Modules>,
}

impl CloudEvents {
    /// Those of a log, with what its modules say of their payloads.
    #[must_use]
    pub fn new(store: &Arc<dyn EventStore>, modules: &Arc<Modules>) -> Self {
        Self {
            store: Arc::clone(store),
            modules: Arc::clone(modules),
        }
    }
}

impl Encode for CloudEvents {
    fn id(&self, event: &RecordedEvent) -> String {
        let mut id = Vec::new();
        CloudEvent::from(event).write_id(self.store.identity(), &mut id);
        // Hexadecimal digits, names and percent-encoded text are ASCII.
        String::from_utf8(id).unwrap_or_default()
    }

    fn write(&self, event: &RecordedEvent, out: &mut Vec<u8>) {
        CloudEvent::from(event).write_of(self.store.identity(), &self.modules, out);
    }
}

/// Payload bytes as JSON where they are, which was checked before they got into the log; else in base64.
pub(super) fn write_payload(bytes: &[u8], is_json: bool, out: &mut Vec<u8>) {
    if is_json {
        raw(bytes, out);
    } else {
        quoted(STANDARD.encode(bytes), out);
    }
}

/// JSON on one line, as streams need it; none when the bytes are not JSON.
pub(super) fn raw_json(bytes: &[u8]) -> Option<Box<RawValue>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let raw: Box<RawValue> = serde_json::from_str(text).ok()?;
    if !raw.get().contains(['\n', '\r']) {
        return Some(raw);
    }
    // Line ends inside JSON are white space only: within strings they are escaped.
    let one_line = raw.get().replace(['\n', '\r'], " ");
    RawValue::from_string(one_line).ok()
}

/// RFC 3339 in UTC with milliseconds.
pub(super) fn rfc3339(millis: Millis) -> String {
    let mut text = Vec::with_capacity(24);
    push_rfc3339(millis, &mut text);
    // Digits and their separators are ASCII.
    String::from_utf8(text).unwrap_or_default()
}

/// Appends a time as [`rfc3339`] has it.
fn push_rfc3339(millis: Millis, out: &mut Vec<u8>) {
    let millis = i64::try_from(millis).unwrap_or(i64::MAX);
    let time = match jiff::Timestamp::from_millisecond(millis) {
        Ok(timestamp) => jiff::tz::Offset::UTC.to_datetime(timestamp),
        // The last day of the year 9999, which is as far as the calendar goes.
        Err(_) => EPOCH.saturating_add(jiff::SignedDuration::from_millis(millis)),
    };
    let parts = [
        two(i32::from(time.year()) / 100),
        two(i32::from(time.year()) % 100),
        two(time.month().into()),
        two(time.day().into()),
        two(time.hour().into()),
        two(time.minute().into()),
        two(time.second().into()),
        two(i32::from(time.millisecond()) / 10),
        two(i32::from(time.millisecond()) % 10 * 10),
    ];
    let [
        [a, b],
        [c, d],
        [e, f],
        [g, h],
        [i, j],
        [k, l],
        [m, n],
        [o, p],
        [q, _],
    ] = parts;
    out.extend_from_slice(&[
        a, b, c, d, b'-', e, f, b'-', g, h, b'T', i, j, b':', k, l, b':', m, n, b'.', o, p, q, b'Z',
    ]);
}

/// Reads a time of RFC 3339, and nothing else. What is finer than a millisecond is rounded up, so that what was recorded
/// in milliseconds is on the same side of both; what is before 1970 is 0.
pub(super) fn parse_rfc3339(text: &str) -> Option<Millis> {
    let text = text.to_ascii_uppercase();
    let (time, rest) = text.split_at_checked(19)?;
    let (fraction, offset) = match rest.strip_prefix('.') {
        None => ("", rest),
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            rest.split_at_checked(digits).filter(|_| digits > 0)?
        }
    };
    if !is_shape(time, "0000-00-00T00:00:00") {
        return None;
    }
    // By the calendar: a timestamp of the library ends a day before the year 9999 does.
    let time: jiff::civil::DateTime = time.parse().ok()?;
    let seconds = time.duration_since(EPOCH).as_secs();
    let millis = (seconds - offset_seconds(offset)?).saturating_mul(1_000) + millis_of(fraction);
    Some(Millis::try_from(millis).unwrap_or(0))
}

const EPOCH: jiff::civil::DateTime = jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// Whether a text has a digit wherever its shape has a `0`, and is the same elsewhere.
fn is_shape(text: &str, shape: &str) -> bool {
    let fits = |(byte, shape): (u8, u8)| {
        if shape == b'0' {
            byte.is_ascii_digit()
        } else {
            byte == shape
        }
    };
    text.len() == shape.len() && text.bytes().zip(shape.bytes()).all(fits)
}

/// How far a time is ahead of UTC: `Z`, or hours and minutes of a day.
fn offset_seconds(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = match text.chars().next()? {
        '-' => -1,
        _ => 1,
    };
    if !is_shape(text, "+00:00") && !is_shape(text, "-00:00") {
        return None;
    }
    let hours: i64 = text.get(1..3)?.parse().ok()?;
    let minutes: i64 = text.get(4..6)?.parse().ok()?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

/// The digits behind the point as milliseconds, rounded up.
fn millis_of(digits: &str) -> i64 {
    let (whole, finer) = digits.split_at_checked(3).unwrap_or((digits, ""));
    let millis: i64 = format!("{whole:0<3}").parse().unwrap_or(0);
    millis + i64::from(finer.bytes().any(|digit| digit != b'0'))
}

/// The two digits of a number below 100.
fn two(value: i32) -> [u8; 2] {
    [value / 10, value % 10].map(|digit| b'0' + digit.unsigned_abs() as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_219_200_123), "2026-11-21T00:00:00.123Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn times_are_what_their_library_makes_of_them() {
        for millis in (0..4_000_000_000_000_i64).step_by(86_399_999 * 17) {
            let expected = format!("{:.3}", jiff::Timestamp::from_millisecond(millis).unwrap());
            assert_eq!(rfc3339(millis.unsigned_abs()), expected);
        }
    }

    #[test]
    fn times_are_read_strictly() {
        for (text, millis) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-21T00:00:00.123Z", 1_795_219_200_123),
            ("2026-11-21t01:30:00.123+01:30", 1_795_219_200_123),
            ("2026-11-20T23:00:00.1230000-01:00", 1_795_219_200_123),
            ("2026-11-21T00:00:00.122000001z", 1_795_219_200_123),
            ("2026-11-21T00:00:00.1230000000000Z", 1_795_219_200_123),
            ("2026-11-21T00:00:00.1220000000001Z", 1_795_219_200_123),
            ("2026-11-21T00:00:00.1Z", 1_795_219_200_100),
            ("2026-11-20T00:01:00.123-23:59", 1_795_219_200_123),
            ("1969-12-31T23:59:59Z", 0),
            ("0000-01-01T00:00:00Z", 0),
            ("9999-12-31T23:59:59Z", 253_402_300_799_000),
            ("9999-12-31T23:59:59.9999-00:01", 253_402_300_860_000),
        ] {
            assert_eq!(parse_rfc3339(text), Some(millis), "{text}");
        }
        for wrong in [
            "",
            "2026-11-21",
            "2026-11-21T00:00Z",
            "2026-11-21 00:00:00Z",
            "2026-11-21T00:00:00",
            "2026-11-21T00:00:00.Z",
            "2026-11-21T00:00:00,5Z",
            "2026-11-21T00:00:00+0100",
            "2026-11-21T00:00:00 01:00",
            "2026-11-21T00:00:00Z[UTC]",
            "2026-02-30T00:00:00Z",
            "2026-11-21T25:00:00Z",
            "2026-11-21T15:00:00+25:00",
            "2026-11-21T15:00:00+24:00",
            "2026-11-21T15:00:00-01:60",
            "+002026-11-21T00:00:00Z",
            "1795219200",
            "\u{661}026-11-21T00:00:00Z",
        ] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
        for millis in (0..4_000_000_000_000_u64).step_by(86_399_999 * 17) {
            assert_eq!(parse_rfc3339(&rfc3339(millis)), Some(millis));
        }
        assert_eq!(rfc3339(253_402_300_799_000), "9999-12-31T23:59:59.000Z");
    }

    #[test]
    fn payloads_are_json_or_base64() {
        for (bytes, is_json, expected) in [
            (&b"{\"a\":\n1}"[..], true, "{\"a\": 1}"),
            (b"{\"a\":1}", false, "\"eyJhIjoxfQ==\""),
            (b"\xff", false, "\"/w==\""),
        ] {
            let mut out = Vec::new();
            write_payload(bytes, is_json, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
