//! Everything that an author writes with: `use annals_sdk::prelude::*;`.

pub use crate::export_aggregate;
pub use crate::log;
#[cfg(not(target_arch = "wasm32"))]
pub use crate::testing::{given, given_nothing};
pub use crate::{
    Aggregate, Command, CommandError, Context, Decide, Decision, Deserialize, Event, EventError, JsonSchema,
    Manifest, NewEvent, Recorded, Rejection, Serialize, VersionedEvent, View, json,
};
