//! The shapes that answers have.

use std::collections::BTreeSet;

use serde_json::Value;

/// Checks that an object has these members and no others.
///
/// # Panics
/// When it has not: a test's finding.
#[track_caller]
pub fn members(value: &Value, expected: &[&str]) {
    let found: BTreeSet<&str> = value
        .as_object()
        .expect("an object")
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(found, expected.iter().copied().collect(), "{value}");
}

/// Checks that a time is in UTC with milliseconds.
///
/// # Panics
/// When it is not: a test's finding.
#[track_caller]
pub fn is_rfc3339(value: &Value) {
    let text = value.as_str().unwrap_or_default();
    let shape: String = text
        .chars()
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{value}");
}
