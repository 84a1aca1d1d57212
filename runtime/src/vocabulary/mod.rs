//! The words that every room shares: ids, commands, events, commits, manifests, limits and time.
//! This room knows no other room, no I/O and no foreign crate beyond serialisation.

pub mod clock;
pub mod commit;
pub mod cursor;
pub mod guest;
pub mod hex;
pub mod ids;
pub mod json;
pub mod json_problem;
pub mod limits;
pub mod manifest;
pub mod shown;

pub use clock::{Clock, ManualClock, Millis, SystemClock};
pub use commit::{
    CommandRecord, Commit, Committed, ContextRecord, IdempotencyRecord, NewEvent, Origin, Outcome,
    RecordedEvent,
};
pub use cursor::{Cursor, CursorError};
pub use guest::{Context, Decision, GuestCommand, Rejection};
pub use hex::{hex, hex_pair, push_hex};
pub use ids::{
    AggregateId, AggregateKey, AggregateType, CommandName, ConsumerName, DigestBeginning, Epoch, EventType,
    IdempotencyKey, InvalidName, LaneEpoch, LogId, ModuleDigest, Position, RequestHash, Version,
};
pub use json::check_json;
pub use json_problem::json_problem;
pub use limits::{LimitError, Limits};
pub use manifest::{CommandSchema, EventSchema, Manifest, is_json};
pub use shown::{shown, shown_chars};
