//! Webhooks: a task for each consumer that has one. It fetches for its receiver as a member of the consumer, posts what it
//! is given, and acknowledges or refuses by what the receiver answers; so leases, order, attempts and parking are those of
//! any other member.
//!
//! `allowed`, `target` and `address` say where a request may go, which is checked when a webhook is asked for and again, with
//! the very address, when a connection is made. `breaker` is pure: it leaves a failing receiver alone.

mod address;
mod allowed;
mod answer;
mod breaker;
mod grouping;
mod message;
mod receiver;
mod sender;
mod service;
mod signature;
mod standing;
mod suspects;
mod target;
mod tls;

pub use address::Reach;
pub use allowed::{Allowed, HostPattern, NotAPattern, Refused};
pub use message::Encode;
pub use service::Webhooks;
pub use standing::{Standing, State};
