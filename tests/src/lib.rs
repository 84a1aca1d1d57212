//! What the integration tests share: real servers on port 0, in this process or as one of their own, and a client that
//! speaks plain bytes.

pub mod artifacts;
pub mod guests;
pub mod http;
pub mod server;
