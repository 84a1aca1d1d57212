//! Durable consumers: named readers of the feed whose place the server keeps.
//!
//! A consumer reads ahead by a bounded number of events and leases them to its members, an aggregate's events one after
//! the other. What is acknowledged is written down before the acknowledgement is answered; what is not is delivered
//! again; what cannot be handled is parked with the later events of its aggregate behind it.
//!
//! `progress` is the pure part. `journal` keeps definitions as events, `keeper` writes down how far consumers have got, and
//! the rest puts them together. Webhooks, which fetch for their receivers, are a room of their own; what is kept of them is here.

mod ahead;
mod consumer;
mod definition;
mod error;
mod fetch;
mod journal;
mod keeper;
mod lag;
mod lease;
mod parked;
mod progress;
mod push;
mod secret;
mod service;
mod start;
mod status;
#[cfg(test)]
mod tests;
mod webhook;

pub use definition::{Definition, Order, OutOfBounds, Retry, Start, most};
pub use error::ConsumerError;
pub use fetch::{Fetch, Settled};
pub use journal::CONSUMER_TYPE;
pub use lag::Lag;
pub use lease::{LeaseId, LeaseRefused, NotALease, Owner};
pub use parked::{ParkedLane, ParkedPage};
pub use progress::{Delivered, LaneKey, ParkedRefused, ParkedSummary, Refusal};
pub use push::Pushed;
pub use secret::{NotASecret, Secret, Secrets};
pub use service::{Consumers, Put};
pub use status::Status;
pub use webhook::{Mode, Webhook};
