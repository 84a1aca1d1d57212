//! The generated side of the contract, once for every author.
#![allow(
    unsafe_code,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::uninlined_format_args,
    reason = "generated"
)]

wit_bindgen::generate!({
    path: "../wit",
    world: "aggregate-module",
    pub_export_macro: true,
    export_macro_name: "__export_module",
    default_bindings_module: "annals_sdk::__rt::bindings",
    generate_unused_types: true,
    runtime_path: "::annals_sdk::__rt::wit_bindgen::rt",
});
