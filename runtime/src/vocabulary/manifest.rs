//! What a module says of itself.

use serde::{Deserialize, Serialize};

use super::{AggregateType, CommandName, EventType};

/// A command that a module takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommandSchema {
    /// Wire name.
    pub name: CommandName,
    /// JSON Schema 2020-12 of the payload, as text; checked to be JSON at upload.
    pub json_schema: String,
}

/// An event that a module records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventSchema {
    /// Wire name.
    pub event_type: EventType,
    /// Schema version, from 1.
    pub schema: u32,
    /// JSON Schema 2020-12 of the payload, as text; checked to be JSON at upload.
    pub json_schema: String,
}

/// The answer of `describe`, checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// The type that the module serves.
    pub aggregate_type: AggregateType,
    /// The author's own version, semver.
    pub module_version: String,
    /// Media type of the payloads.
    pub payload_encoding: String,
    /// Every command.
    pub commands: Vec<CommandSchema>,
    /// The events it may record, at their current schema.
    pub records: Vec<EventSchema>,
    /// Every (event type, schema) it can read.
    pub reads: Vec<(EventType, u32)>,
    /// Raised whenever meaning or layout of the saved state changes.
    pub state_version: u32,
    /// Open attributes: SDK, language, snapshot cadence and the like.
    pub attributes: Vec<(String, String)>,
}

impl Manifest {
    /// The value of an open attribute.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// Whether the manifest declares this event at this schema.
    #[must_use]
    pub fn records(&self, event_type: &EventType, schema: u32) -> bool {
        self.records
            .iter()
            .any(|declared| declared.event_type == *event_type && declared.schema == schema)
    }

    /// Whether the module takes this command.
    #[must_use]
    pub fn takes(&self, command: &CommandName) -> bool {
        self.commands.iter().any(|declared| declared.name == *command)
    }
}

/// Whether payloads of this media type are JSON.
#[must_use]
pub fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_media_types() {
        for (media_type, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("application/vnd.x+json", true),
            ("application/cbor", false),
        ] {
            assert_eq!(is_json(media_type), json, "{media_type}");
        }
    }
}
