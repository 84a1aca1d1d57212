//! annals: an event-sourcing server that runs your aggregates as sandboxed WebAssembly.
//!
//! `ARCHITECTURE.md` is the map of the rooms and of what each promises the others.

pub mod aggregates;
pub mod bus;
pub mod cli;
pub mod client;
pub mod consumers;
pub mod http;
pub mod modules;
pub mod server;
pub mod store;
pub mod toolchain;
pub mod vocabulary;
pub mod wasm;
pub mod webhooks;
