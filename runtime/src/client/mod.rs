//! A client of the HTTP interface: what the command line is made of, and what tests drive a server with.
//!
//! One [`Client`] speaks to one server over kept-alive HTTP/1.1 connections, without TLS (put a proxy in
//! front when there is a network between). It adds nothing of its own to what the server says: no retries,
//! no caches. [`Follow`] is the exception, because a feed that survives a lost connection is its whole point.

mod address;
mod aggregates;
mod answer;
mod backoff;
mod commands;
mod consumers;
mod deliveries;
mod error;
mod feed;
mod follow;
mod link;
mod model;
mod modules;
mod parked;
mod pipeline;
mod problem;
mod sse;
mod transport;
mod verbatim;
mod webhooks;

#[cfg(test)]
pub(crate) mod fake;

pub use address::{BaseUrl, InvalidAddress};
pub use aggregates::{HistoryQuery, Page};
pub use answer::Answer;
pub use backoff::Backoff;
pub(crate) use backoff::spread;
pub use commands::{Precondition, SendCommand};
pub use consumers::{
    Consumer, ConsumerFilter, ConsumerLag, ConsumerList, ConsumerRetry, ConsumerSettings, ConsumerStart,
    ParkedCounts, RetrySettings,
};
pub use deliveries::{Delivery, FetchQuery, Fetched, Leases, Nack, Settled};
pub use error::ClientError;
pub use feed::{EventFilter, FeedPage, FeedQuery};
pub use follow::{Follow, FollowItem, HistoryStart};
pub(crate) use model::EVENT_BYTES_MAX;
pub use model::{
    Accepted, AggregateSummary, Deployed, Deployment, DeploymentHistory, Event, ModuleInfo, ModuleList,
    OutcomeRecord, RawJson, State, TypeInfo, TypeList, Uploaded,
};
pub use parked::{Parked, ParkedEvents, ParkedKey, Replaying, Skipped};
pub use pipeline::{LineAnswer, PipelineAnswer, PipelineReader, PipelineWriter};
pub use problem::Problem;
pub use sse::{SseMessage, SseParser};
pub use transport::Client;
pub use verbatim::Verbatim;
pub use webhooks::{ConsumerWebhook, WebhookSecret, WebhookSettings};
