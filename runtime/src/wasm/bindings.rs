//! What wasmtime's generator makes of `wit/`, with borrowed parameters so that payloads are not cloned.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::indexing_slicing,
    reason = "generated code; the documentation is in `wit/`"
)]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "aggregate-module",
    ownership: Borrowing { duplicate_if_necessary: true },
});
