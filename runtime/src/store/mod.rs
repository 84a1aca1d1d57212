//! The store: conditional atomic append with its idempotency record, reads of one aggregate and of everything,
//! snapshots and modules. Sync; knows no Wasm, no HTTP, no tokio.
//!
//! [`EventStore`] is the seam: the embedded engine implements it, an in-memory one does for tests, a remote engine
//! can later; one conformance suite runs over all of them.

mod api;
#[doc(hidden)]
pub mod conformance;
mod error;
mod file;
mod filter;
mod format;
mod index;
mod listeners;
mod local;
mod log;
mod memory;
mod meta;
mod options;
mod overlay;
mod queue;
mod rules;
pub mod system;
mod undecided;

pub use api::{
    CommitListener, Completion, ConsumerRow, Direction, EventCount, EventStore, FeedPage, Head, LogIdentity,
    PageLimit, Proposal, Snapshot, StoredModule,
};
pub use error::{AppendError, OpenError, ReadError};
pub use filter::FeedFilter;
pub use local::LocalStore;
pub use memory::MemoryStore;
pub use options::{Progress, ProgressListener, Step, StoreOptions};

#[cfg(test)]
mod tests;
