//! The integration tests: one binary.

mod readme;
mod tidy;
