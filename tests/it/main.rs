//! The one integration binary: real servers, real bytes. `cargo xtask test` prepares what it needs and runs it.

#![allow(missing_docs, clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod activations;
mod alone;
mod bad_input;
mod bad_requests;
mod bench_command;
mod busy;
mod cli_events;
mod clock;
mod cloudevents;
mod consumer_examples;
mod consumers;
mod consumers_cli;
mod contract;
mod crowded;
mod determinism;
mod failing_acks;
mod failing_store;
mod fan_out;
mod feed;
mod feed_filters;
mod feed_limits;
mod feed_pages;
mod feed_streams;
mod full_cells;
mod hostile;
mod http2;
mod idempotency;
mod journey;
mod kill;
mod lists;
mod one_shard;
mod pipelined;
mod random;
mod readme;
mod rebuilds;
mod recovery;
mod startup;
mod tidy;
mod tracer;
mod turns;
mod uploads;
mod watched;
mod webhooks;
mod wire;
