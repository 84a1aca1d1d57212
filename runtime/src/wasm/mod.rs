//! The Wasm host: the only room that names wasmtime. Sync; knows no store, no HTTP, no tokio.
//!
//! ```text
//! upload bytes ── Host::inspect ──► Inspected ── Host::load ──► Module ── Cell::new ──► Cell ── create/restore ──► Live
//!                 sniff, scan,                   compile or                one Store,             handle, apply,
//!                 componentise,                  cache, describe,          one thread             save, render,
//!                 world check                    manifest check                                   check, release
//! ```
//!
//! What the room promises:
//! - A module sees nothing but its arguments: no clock, no randomness, no import but `log`.
//! - Every call has a budget of fuel, wall time, memory and bytes, and a breach is a [`Fault`] that names the limit.
//! - Any [`Fault`] retires the [`Cell`] it came from, whatever its cause: after a trap wasmtime refuses every later
//!   call into that store, and after other errors the guest was left in the middle of something. The other
//!   aggregates of the cell are rebuilt elsewhere, from the log.
//! - What runs in a cell is an `Occupant`: the instance of a component (`sandbox`), or native objects (`native`), which no
//!   upload can become; they are for measuring what the sandbox costs, and for tests.
//! - Compiled code is executed only when this process compiled it or when its keyed hash says that this server did.

mod applied;
mod bindings;
mod budget;
mod cache;
mod call;
mod cell;
mod compile;
mod component;
pub mod contract;
mod decision;
mod describe;
mod engine;
mod fault;
mod guest;
mod guest_log;
mod hmac;
mod host;
mod inspect;
mod limiter;
mod live;
mod module;
mod native;
mod occupant;
mod sandbox;
mod scan;
mod turn;
mod type_walk;
mod upload_error;
mod world;

#[cfg(test)]
pub(crate) mod tests;

pub use applied::{AppliedEvent, ApplyProblem, ApplyRefusal};
pub use cell::Cell;
pub use compile::{CompileError, Compiler};
pub use decision::{Handled, Refusal, Turn};
pub use describe::ManifestProblem;
pub use fault::Fault;
pub use host::{Host, HostError, HostOptions, LoadError};
pub use inspect::Inspected;
pub use live::{Live, Rendered};
pub use module::{CodeOrigin, Module};
pub use native::{NativeAggregate, NativeFactory};
pub use scan::{Class, ScanLimits};
pub use upload_error::UploadError;
