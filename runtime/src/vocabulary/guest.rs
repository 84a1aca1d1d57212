//! What passes between the host and a module, in the host's own types.

use bytes::Bytes;

use super::{AggregateId, CommandName, Millis, NewEvent, Version};

/// A command as a module is asked to decide it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GuestCommand {
    /// Wire name.
    pub name: CommandName,
    /// The body as it came.
    pub payload: Bytes,
}

/// Everything a decision may depend on beside state and command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    /// Which aggregate decides.
    pub aggregate_id: AggregateId,
    /// The version decided on; 0 when it does not exist yet.
    pub version: Version,
    /// The only clock.
    pub now: Millis,
    /// The only randomness.
    pub seed: [u64; 2],
    /// Who asks.
    pub actor: Option<String>,
    /// Identifies the command.
    pub command_id: String,
    /// Shared by everything that one request led to.
    pub correlation_id: String,
    /// What caused the command.
    pub causation_id: Option<String>,
}

/// An acceptance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is to be recorded, in order.
    pub events: Vec<NewEvent>,
    /// An answer for the caller beside the events.
    pub reply: Option<Bytes>,
}

/// The domain's no.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// Stable, for programs: `insufficient-funds`.
    pub code: String,
    /// For people.
    pub message: String,
    /// JSON object with the values that matter.
    pub details: Option<Bytes>,
}
