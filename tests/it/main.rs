//! The one integration binary: real servers, real bytes. `cargo xtask test` prepares what it needs and runs it.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod bad_input;
mod bad_requests;
mod contract;
mod determinism;
mod feed;
mod hostile;
mod idempotency;
mod kill;
mod lists;
mod random;
mod readme;
mod tidy;
mod uploads;
