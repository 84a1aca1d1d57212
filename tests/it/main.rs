//! The one integration binary: real servers, real bytes. `cargo xtask test` prepares what it needs and runs it.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod feed;
mod hostile;
mod kill;
mod random;
mod readme;
mod tidy;
