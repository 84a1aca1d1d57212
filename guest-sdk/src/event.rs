//! Events: what happened, for ever.

use crate::json::Malformed;

/// The events of an aggregate type. Derive it: `#[derive(Event)]` on an enum.
///
/// As for commands, the derive owns encoding, decoding and the schemas. An event is stored as a JSON object with the
/// variant's fields in the order of declaration, under its wire name and a schema version:
/// `#[event(name = "…", schema = 2)]`; without it the variant in kebab-case, schema 1.
///
/// Reading is strict: an event of the log with an unknown, missing or mistyped field is refused, and so is a schema
/// version other than the declared one. The log holds only what a module of this type wrote, so a difference means
/// that the enum was changed without raising `schema`. What older modules wrote is read by
/// [`upcast`](crate::Decide::upcast).
///
/// ```
/// use annals_sdk::prelude::*;
///
/// #[derive(Event)]
/// enum AccountEvent {
///     Deposited { amount: u64 },
///     #[event(name = "closed", schema = 2)]
///     ClosedForGood { by: Option<String> },
/// }
///
/// assert_eq!(AccountEvent::TYPES, [("deposited", 1), ("closed", 2)]);
/// assert_eq!(AccountEvent::Deposited { amount: 5 }.encode(), br#"{"amount":5}"#);
/// assert!(AccountEvent::decode("closed", 1, b"{}").is_err());
/// ```
pub trait Event: Sized + 'static {
    /// Wire name and schema version of every event, in the order of declaration.
    const TYPES: &'static [(&'static str, u32)];

    /// The wire name of this event.
    fn event_type(&self) -> &'static str;

    /// The schema version that this event is written with, from 1.
    fn schema(&self) -> u32;

    /// The payload, as JSON: the same bytes for the same event.
    ///
    /// # Panics
    /// When a field has no JSON form, for example a map whose keys are not text.
    fn encode(self) -> Vec<u8>;

    /// Reads an event from the log.
    ///
    /// # Errors
    /// There is no event of that type with that schema, or the payload does not decode.
    fn decode(event_type: &str, schema: u32, payload: &[u8]) -> Result<Self, EventError>;

    /// Name, version and JSON Schema of every event.
    fn schemas() -> Vec<EventSchema>;
}

/// Why an event of the log does not decode.
///
/// ```
/// use annals_sdk::EventError;
///
/// assert_eq!(EventError::Unknown.to_string(), "there is no event of this type with this schema");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventError {
    /// There is no event of this type with this schema.
    Unknown,
    /// The payload does not decode.
    Malformed(Malformed),
}

impl From<Malformed> for EventError {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

impl std::fmt::Display for EventError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unknown => formatter.write_str("there is no event of this type with this schema"),
            Self::Malformed(malformed) => malformed.fmt(formatter),
        }
    }
}

impl std::error::Error for EventError {}

/// An event as the manifest describes it.
///
/// ```
/// use annals_sdk::prelude::*;
///
/// #[derive(Event)]
/// enum AccountEvent { Deposited { amount: u64 } }
///
/// let schema = &AccountEvent::schemas()[0];
/// assert_eq!((schema.event_type, schema.schema), ("deposited", 1));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSchema {
    /// The wire name.
    pub event_type: &'static str,
    /// The schema version, from 1.
    pub schema: u32,
    /// JSON Schema (2020-12) of the payload.
    pub json_schema: String,
}

/// An event that a module wants to record, encoded.
///
/// ```
/// use annals_sdk::{NewEvent, prelude::*};
///
/// #[derive(Event)]
/// enum AccountEvent { Deposited { amount: u64 } }
///
/// let event = NewEvent::of(AccountEvent::Deposited { amount: 5 });
/// assert_eq!(event.event_type, "deposited");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    /// The wire name.
    pub event_type: &'static str,
    /// The schema version that the payload is written with.
    pub schema: u32,
    /// The event's data, as JSON.
    pub payload: Vec<u8>,
}

impl NewEvent {
    /// Encodes an event.
    ///
    /// # Panics
    /// As [`Event::encode`].
    #[must_use]
    pub fn of<E: Event>(event: E) -> Self {
        Self {
            event_type: event.event_type(),
            schema: event.schema(),
            payload: event.encode(),
        }
    }
}

/// An event of an older schema, for [`upcast`](crate::Decide::upcast).
///
/// ```
/// use annals_sdk::VersionedEvent;
///
/// let old = VersionedEvent { event_type: "opened".into(), schema: 1, payload: br#"{"name":"ann"}"#.to_vec() };
/// assert_eq!(old.json()["name"], "ann");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionedEvent {
    /// The wire name.
    pub event_type: String,
    /// The schema version of the payload, from 1.
    pub schema: u32,
    /// The event's data, as stored.
    pub payload: Vec<u8>,
}

impl VersionedEvent {
    /// The payload as a JSON value; null when it is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.payload).unwrap_or_default()
    }
}

impl From<NewEvent> for VersionedEvent {
    fn from(event: NewEvent) -> Self {
        Self {
            event_type: event.event_type.to_owned(),
            schema: event.schema,
            payload: event.payload,
        }
    }
}
