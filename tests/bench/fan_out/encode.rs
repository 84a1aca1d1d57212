//! Events as CloudEvents in the way in which anybody would write them with serde: the floor of encoding. The bytes are the
//! ones that the server sends, which is checked.

use annals::{
    store::LogIdentity,
    vocabulary::{Cursor, RecordedEvent, hex},
};
use serde::Serialize;
use serde_json::value::RawValue;

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: String,
    source: String,
    subject: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    time: String,
    dataschema: String,
    data: &'a RawValue,
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

/// Appends an event of a module that writes JSON, and whose ids need no escapes.
pub(super) fn write(
    event: &RecordedEvent,
    identity: &LogIdentity,
    out: &mut Vec<u8>,
) -> serde_json::Result<()> {
    let (aggregate_type, id) = (event.key.aggregate_type.as_str(), event.key.aggregate_id.as_str());
    let (origin, version) = (&*event.origin, event.version.0);
    let time = i64::try_from(event.recorded_at).ok();
    let time = time.and_then(|time| jiff::Timestamp::from_millisecond(time).ok());
    let event = CloudEvent {
        specversion: "1.0",
        id: format!("{}/{aggregate_type}/{id}/{version}", hex(identity.log_id.half())),
        source: format!("/v1/aggregates/{aggregate_type}"),
        subject: id,
        event_type: event.event_type.as_str(),
        time: format!("{:.3}", time.unwrap_or_default()),
        dataschema: format!(
            "urn:annals:schema:{aggregate_type}:{}:{}",
            event.event_type.as_str(),
            event.schema
        ),
        data: serde_json::from_slice(&event.payload)?,
        sequence: format!("{version:020}"),
        position: Cursor::new(identity.log_id, identity.epoch, event.position).to_string(),
        correlationid: &origin.correlation_id,
        causationid: origin.causation_id.as_deref(),
        actor: origin.actor.as_deref(),
        module: hex(origin.module.half()),
        traceparent: origin.traceparent.as_deref(),
    };
    serde_json::to_writer(out, &event)
}
