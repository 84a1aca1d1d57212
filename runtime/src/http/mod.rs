//! The web room: the only one that names axum. Handlers take a request apart, make one call, and render the answer;
//! every failure becomes a problem document in one table.

mod app;
mod chunks;
mod cloudevent;
mod connection;
mod consumer_body;
#[cfg(test)]
mod counts;
mod direct;
mod document;
mod etag;
mod extract;
mod failures;
mod feed;
mod json_body;
mod linger;
mod media_type;
mod objects;
mod openapi;
mod pipeline;
mod problem;
mod protocol;
mod routes;
mod serve;
mod start_body;
mod streams;
mod webhook_body;
mod whole;

pub use app::{App, Running};
pub use cloudevent::CloudEvents;
pub use problem::Problem;
pub use serve::serve;
