//! Events as CloudEvents 1.0 in JSON (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md>).

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::vocabulary::{Millis, RecordedEvent};

use super::app::Running;

/// What is not encoded in ids within URIs (RFC 3986, unreserved).
pub(super) const ID: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// An event as it is sent.
#[derive(Debug, Serialize)]
pub(super) struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    subject: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<&'static str>,
    dataschema: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    sequence: String,
    position: String,
    correlationid: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    causationid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<&'a str>,
    module: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    traceparent: Option<&'a str>,
}

impl<'a> CloudEvent<'a> {
    /// Renders an event of this log.
    pub(super) fn new(running: &Running, event: &'a RecordedEvent) -> Self {
        let aggregate_type = event.key.aggregate_type.as_str();
        let aggregate_id = event.key.aggregate_id.as_str();
        let encoded_id = utf8_percent_encode(aggregate_id, ID);
        let origin = &*event.origin;
        let json = event.key.aggregate_type.is_system() || running.modules.writes_json(&origin.module);
        let (data, data_base64) = payload(&event.payload, json);
        Self {
            specversion: "1.0",
            id: format!(
                "{}/{aggregate_type}/{encoded_id}/{}",
                running.store.identity().log_id,
                event.version
            ),
            source: format!("/v1/aggregates/{aggregate_type}"),
            subject: aggregate_id,
            event_type: event.event_type.as_str(),
            time: rfc3339(event.recorded_at),
            datacontenttype: data.is_some().then_some("application/json"),
            dataschema: format!(
                "urn:annals:schema:{aggregate_type}:{}:{}",
                event.event_type, event.schema
            ),
            data,
            data_base64,
            sequence: format!("{:020}", event.version.0),
            position: running.cursor(event.position).to_string(),
            correlationid: &origin.correlation_id,
            causationid: origin.causation_id.as_deref(),
            actor: origin.actor.as_deref(),
            module: origin.module.to_string(),
            traceparent: origin.traceparent.as_deref(),
        }
    }
}

/// Payload bytes as JSON where they are, else in base64.
pub(super) fn payload(bytes: &Bytes, json: bool) -> (Option<Box<RawValue>>, Option<String>) {
    match raw_json(bytes).filter(|_| json) {
        Some(raw) => (Some(raw), None),
        None => (None, Some(STANDARD.encode(bytes))),
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
    let timestamp = i64::try_from(millis)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok());
    format!("{:.3}", timestamp.unwrap_or(jiff::Timestamp::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_milliseconds() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(1_795_219_200_123), "2026-11-21T00:00:00.123Z");
        assert!(rfc3339(u64::MAX).starts_with("9999-12-3"));
    }

    #[test]
    fn payloads_are_json_or_base64() {
        let (data, base64) = payload(&Bytes::from_static(b"{\"a\":\n1}"), true);
        assert_eq!((data.unwrap().get(), base64), ("{\"a\": 1}", None));
        for (bytes, json) in [(&b"{\"a\":1}"[..], false), (b"\xff", true), (b"nope", true)] {
            let (data, base64) = payload(&Bytes::from_static(bytes), json);
            assert!(data.is_none() && base64.is_some(), "{bytes:?}");
        }
    }
}
