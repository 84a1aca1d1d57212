//! The documents of the HTTP interface, as a client reads them. Unknown members are ignored, so that a
//! newer server can say more.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Most bytes of one event as text: the largest payload that a server can be set to take (16 MiB), in base64, with the
/// rest of the event around it.
pub(crate) const EVENT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// JSON exactly as it was written: no number is rounded, no member moved.
pub type RawJson = Box<RawValue>;

/// The answer to an accepted command.
#[derive(Debug, Clone, Deserialize)]
pub struct Accepted {
    /// The aggregate's type.
    #[serde(rename = "type")]
    pub aggregate_type: String,
    /// The aggregate's id.
    pub id: String,
    /// The version after the command.
    pub version: u64,
    /// The cursor of its last event.
    pub position: Option<String>,
    /// What happened, oldest first; empty when the command changed nothing.
    pub events: Vec<Event>,
    /// What the module said besides; `None` when nothing.
    pub reply: Option<RawJson>,
    /// What the decision cost, in fuel.
    pub fuel: Option<u64>,
}

/// The state of an aggregate.
#[derive(Debug, Clone, Deserialize)]
pub struct State {
    /// The aggregate's type.
    #[serde(rename = "type")]
    pub aggregate_type: String,
    /// The aggregate's id.
    pub id: String,
    /// The version the state is of.
    pub version: u64,
    /// The digest of the module that rendered it.
    pub module: String,
    /// The state.
    pub state: RawJson,
}

/// An event as a CloudEvent.
#[derive(Debug, Clone)]
pub struct Event {
    /// The whole event, exactly as the server wrote it.
    pub raw: Arc<RawValue>,
    /// Its members that have a meaning for a reader.
    pub fields: EventFields,
}

/// The members of an event.
#[derive(Debug, Clone, Deserialize)]
pub struct EventFields {
    /// Unique across logs and types.
    pub id: String,
    /// `/v1/aggregates/{type}`.
    pub source: String,
    /// The aggregate id.
    pub subject: String,
    /// The event type.
    #[serde(rename = "type")]
    pub event_type: String,
    /// When it was recorded, RFC 3339.
    pub time: String,
    /// The version, as an orderable string.
    pub sequence: String,
    /// The cursor of the event.
    pub position: String,
    /// What happened, when it is JSON.
    pub data: Option<RawJson>,
    /// What happened, when it is bytes.
    pub data_base64: Option<String>,
}

impl<'de> Deserialize<'de> for Event {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawJson::deserialize(deserializer)?;
        let fields = serde_json::from_str(raw.get()).map_err(serde::de::Error::custom)?;
        Ok(Self {
            raw: raw.into(),
            fields,
        })
    }
}

impl Event {
    /// The aggregate type, from `source`.
    #[must_use]
    pub fn aggregate_type(&self) -> &str {
        let source = self.fields.source.as_str();
        source.rsplit_once('/').map_or(source, |(_, name)| name)
    }

    /// The version, from `sequence`; `None` when that is not a number.
    #[must_use]
    pub fn version(&self) -> Option<u64> {
        self.fields.sequence.parse().ok()
    }
}

/// What became of a command.
#[derive(Debug, Clone, Deserialize)]
pub struct OutcomeRecord {
    /// The idempotency key.
    pub key: String,
    /// The status of the first answer: 200 or 422.
    pub status: u16,
    /// When it was recorded, RFC 3339.
    pub recorded_at: String,
    /// The body of the first answer.
    pub body: RawJson,
}

/// The aggregate types that are deployed.
#[derive(Debug, Clone, Deserialize)]
pub struct TypeList {
    /// One for each type.
    pub types: Vec<TypeInfo>,
}

/// One deployed aggregate type.
#[derive(Debug, Clone, Deserialize)]
pub struct TypeInfo {
    /// The type's name.
    #[serde(rename = "type")]
    pub aggregate_type: String,
    /// The digest of its active module.
    pub module: String,
    /// The version the module says it has.
    #[serde(default)]
    pub module_version: Option<String>,
    /// When it was activated, RFC 3339.
    pub deployed_at: String,
    /// The commands it takes.
    #[serde(default)]
    pub commands: Vec<String>,
    /// The events it records.
    #[serde(default)]
    pub events: Vec<String>,
}

/// One aggregate in a list.
#[derive(Debug, Clone, Deserialize)]
pub struct AggregateSummary {
    /// Which one.
    pub id: String,
    /// Its version.
    pub version: u64,
    /// When its last event was recorded, RFC 3339.
    pub recorded_at: String,
}

/// The modules that were uploaded.
#[derive(Debug, Clone, Deserialize)]
pub struct ModuleList {
    /// One for each digest.
    pub modules: Vec<ModuleInfo>,
}

/// An uploaded module.
#[derive(Debug, Clone, Deserialize)]
pub struct ModuleInfo {
    /// Its SHA-256: its identity.
    pub digest: String,
    /// The aggregate type it serves.
    #[serde(rename = "type")]
    pub aggregate_type: String,
    /// The version it says it has.
    #[serde(default)]
    pub module_version: Option<String>,
    /// Its size, bytes.
    pub size_bytes: u64,
    /// When it was first uploaded, RFC 3339.
    pub uploaded_at: String,
    /// Whether it is the one that serves its type.
    pub active: bool,
    /// What it says of itself; only for one module.
    #[serde(default)]
    pub manifest: Option<RawJson>,
}

/// The answer to an upload.
#[derive(Debug, Clone, Deserialize)]
pub struct Uploaded {
    /// Its SHA-256: its identity.
    pub digest: String,
    /// The aggregate type it serves.
    #[serde(rename = "type")]
    pub aggregate_type: String,
    /// The version it says it has.
    #[serde(default)]
    pub module_version: Option<String>,
    /// Its size, bytes.
    pub size_bytes: u64,
    /// When it was first uploaded, RFC 3339.
    pub uploaded_at: String,
    /// Whether it serves its type now.
    pub active: bool,
    /// Whether this upload is what activated it.
    pub activated: bool,
    /// What the server wants to be known about it.
    #[serde(default)]
    pub notice: Option<String>,
    /// What it says of itself.
    #[serde(default)]
    pub manifest: Option<RawJson>,
}

/// The answer to an activation.
#[derive(Debug, Clone, Deserialize)]
pub struct Deployed {
    /// The aggregate type.
    #[serde(rename = "type")]
    pub aggregate_type: String,
    /// The digest that is active now.
    pub digest: String,
    /// The digest that was active before.
    #[serde(default)]
    pub previous: Option<String>,
    /// When it was activated, RFC 3339.
    pub deployed_at: String,
    /// What the server wants to be known about it.
    #[serde(default)]
    pub notice: Option<String>,
}

/// Which module is active for a type, and which were.
#[derive(Debug, Clone, Deserialize)]
pub struct DeploymentHistory {
    /// The aggregate type.
    #[serde(rename = "type")]
    pub aggregate_type: String,
    /// The digest that is active.
    pub active: String,
    /// All activations, oldest first.
    pub history: Vec<Deployment>,
}

/// One activation.
#[derive(Debug, Clone, Deserialize)]
pub struct Deployment {
    /// The digest that was activated.
    pub digest: String,
    /// When, RFC 3339.
    pub deployed_at: String,
    /// The number of this activation in the type's history.
    pub version: u64,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{client::transport::ANSWER_BYTES_MAX, vocabulary::limits::TABLE};

    #[test]
    fn an_event_keeps_its_exact_text() {
        let text = r#"{"specversion":"1.0","id":"l/account/alice/1","source":"/v1/aggregates/account",
            "subject":"alice","type":"opened","time":"2026-01-01T00:00:00Z",
            "data":{"z":18446744073709551616,"a":1.10},"sequence":"00000000000000000001","position":"01ab"}"#;
        let event: Event = serde_json::from_str(text).unwrap();
        assert_eq!(event.raw.get(), text);
        assert_eq!(
            event.fields.data.as_ref().unwrap().get(),
            r#"{"z":18446744073709551616,"a":1.10}"#
        );
        assert_eq!((event.aggregate_type(), event.version()), ("account", Some(1)));
    }

    #[test]
    fn what_a_server_can_be_set_to_send_is_taken() {
        // What stands around a payload in an event.
        const AROUND: u64 = 4 * 1024;
        let most = |name: &str| {
            let mut limits = TABLE.iter();
            limits.find(|limit| limit.name == name).unwrap().maximum
        };
        let base64 = |name: &str| most(name).div_ceil(3) * 4;
        let event = base64("payload_bytes") + AROUND;
        assert!(event <= EVENT_BYTES_MAX as u64, "{event}");
        let page = base64("page_bytes") + most("page_events") * AROUND;
        let accepted = base64("events_per_command_bytes")
            + most("events_per_command") * AROUND
            + base64("payload_bytes");
        for answer in [page, accepted, base64("view_bytes") + AROUND] {
            assert!(answer <= ANSWER_BYTES_MAX as u64, "{answer}");
        }
    }
}
