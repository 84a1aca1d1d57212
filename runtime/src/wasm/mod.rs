//! The Wasm host: the only room that names wasmtime. Sync; knows no store, no HTTP, no tokio.
