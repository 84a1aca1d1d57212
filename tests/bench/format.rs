//! Numbers for people.

use std::time::Duration;

/// A count with its thousands apart: `12,345`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count with its noun: `1 connection`, `64 connections`.
pub(crate) fn connections(number: usize) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} connection{plural}")
}

/// A rate without decimals, unless it is small.
pub(crate) fn rate(per_second: f64) -> String {
    if per_second < 100.0 {
        format!("{per_second:.1}")
    } else {
        count(per_second.round() as u64)
    }
}

/// The slowest and the fastest of some runs.
pub(crate) fn range(per_second: &[f64]) -> String {
    let range = |pick: fn(f64, f64) -> f64| per_second.iter().copied().reduce(pick).unwrap_or_default();
    format!("{} – {}", rate(range(f64::min)), rate(range(f64::max)))
}

/// Microseconds as milliseconds, with what can be told apart.
pub(crate) fn millis(micros: f64) -> String {
    let millis = micros / 1e3;
    match millis {
        ..1.0 => format!("{millis:.3}"),
        ..100.0 => format!("{millis:.2}"),
        _ => format!("{millis:.0}"),
    }
}

/// Seconds with two decimals.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Bytes with a binary unit.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut units = UNITS.iter();
    let mut unit = units.next();
    while value >= 1024.0 {
        let Some(next) = units.next() else { break };
        (value, unit) = (value / 1024.0, Some(next));
    }
    let decimals = usize::from(value < 100.0 && bytes >= 1024);
    format!("{value:.decimals$} {}", unit.copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            [count(0), count(999), count(1_234_567)],
            ["0", "999", "1,234,567"]
        );
        assert_eq!(
            [connections(1), connections(64)],
            ["1 connection", "64 connections"]
        );
        assert_eq!([rate(3.06), rate(12_345.6)], ["3.1", "12,346"]);
        assert_eq!(range(&[2_000.0, 1_000.0, 3_000.0]), "1,000 – 3,000");
        assert_eq!(
            [millis(42.0), millis(1_500.0), millis(250_000.0)],
            ["0.042", "1.50", "250"]
        );
        assert_eq!(
            [bytes(12), bytes(1_536), bytes(300 << 20)],
            ["12 B", "1.5 KiB", "300 MiB"]
        );
        assert_eq!(seconds(Duration::from_millis(1_234)), "1.23 s");
    }
}
