//! What the integration tests share: real servers on port 0, in this process or as one of their own, and a client that
//! speaks plain bytes.

#![expect(
    clippy::indexing_slicing,
    reason = "JSON that is not as expected is a test's finding"
)]

pub mod absent;
pub mod artifacts;
pub mod cursors;
pub mod follow;
pub mod guests;
pub mod http;
pub mod receiver;
pub mod server;
pub mod shapes;
