//! Cursors that a server has not given out: what is inside of one, only tests may know of.

use annals::vocabulary::{Cursor, Epoch, Position};

/// What is inside.
///
/// # Panics
/// When it is no cursor: a test's finding.
#[must_use]
pub fn opened(cursor: &str) -> Cursor {
    cursor.parse().unwrap_or_else(|error| panic!("{error}"))
}

/// The position inside.
///
/// # Panics
/// When it is no cursor: a test's finding.
#[must_use]
pub fn number(cursor: &str) -> u64 {
    opened(cursor).position.0
}

/// One that lies so many positions behind another.
///
/// # Panics
/// When that is no cursor: a test's finding.
#[must_use]
pub fn later(cursor: &str, positions: u64) -> String {
    let cursor = opened(cursor);
    let position = Position(cursor.position.0 + positions);
    Cursor { position, ..cursor }.to_string()
}

/// The same place in another log.
///
/// # Panics
/// When it is no cursor: a test's finding.
#[must_use]
pub fn of_another_log(cursor: &str) -> String {
    let cursor = opened(cursor);
    let log = cursor.log.map(|byte| !byte);
    Cursor { log, ..cursor }.to_string()
}

/// The same place on a branch that has never been.
///
/// # Panics
/// When it is no cursor: a test's finding.
#[must_use]
pub fn of_another_branch(cursor: &str) -> String {
    let cursor = opened(cursor);
    let epoch = Epoch(42);
    Cursor { epoch, ..cursor }.to_string()
}
