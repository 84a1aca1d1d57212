//! Why there is no result.

use std::{fmt, io};

/// What went wrong, in words. Nothing in the benchmark acts on which failure it was: each one ends the run.
#[derive(Debug)]
pub(crate) struct Failed(String);

impl Failed {
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// An action that the system did not let happen.
    pub(crate) fn io(action: &str, error: &io::Error) -> Self {
        Self(format!("cannot {action}: {error}"))
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
