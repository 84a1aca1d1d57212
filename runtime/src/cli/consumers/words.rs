//! What the arguments of consumers may say, and times as people read them.

use std::time::Duration;

pub(super) use super::super::filter::time;
use crate::{
    client::ConsumerStart,
    vocabulary::{Cursor, Millis},
};

/// Where to begin: one of four ways.
pub(super) fn start(text: &str) -> Result<ConsumerStart, String> {
    match text {
        "beginning" => Ok(ConsumerStart::Beginning),
        "now" => Ok(ConsumerStart::Now),
        cursor if cursor.parse::<Cursor>().is_ok() => Ok(ConsumerStart::After(cursor.to_owned())),
        other => time(other).map(ConsumerStart::Time).map_err(|_| {
            "must be beginning, now, a cursor (the `position` of an event, unchanged) or a time such as \
             2026-11-21T08:30:00Z"
                .to_owned()
        }),
    }
}

/// Seconds, as milliseconds.
pub(super) fn seconds(text: &str) -> Result<Millis, String> {
    let seconds = text.parse::<f64>().ok();
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let millis = duration.and_then(|duration| Millis::try_from(duration.as_millis()).ok());
    millis.ok_or_else(|| "must be seconds, for example 30 or 0.5".to_owned())
}

/// Milliseconds for people, in full: `30 s`, `0.5 s`.
pub(super) fn exactly(millis: Millis) -> String {
    format!("{} s", millis as f64 / 1e3)
}

/// How long ago, as exactly as it matters: `3.4 s`, `15 min`, `30 h`, `12 d`.
pub(super) fn about(seconds: f64) -> String {
    const MINUTE: f64 = 60.0;
    const HOUR: f64 = 60.0 * MINUTE;
    const DAY: f64 = 24.0 * HOUR;
    if seconds < 2.0 * MINUTE {
        format!("{seconds:.1} s")
    } else if seconds < 2.0 * HOUR {
        format!("{:.0} min", seconds / MINUTE)
    } else if seconds < 2.0 * DAY {
        format!("{:.0} h", seconds / HOUR)
    } else {
        format!("{:.0} d", seconds / DAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_start_is_one_of_four() {
        let cursor = "20000000001ff";
        let cases = [
            ("beginning", ConsumerStart::Beginning),
            ("now", ConsumerStart::Now),
            (cursor, ConsumerStart::After(cursor.into())),
            (
                "2026-01-31T00:00:00Z",
                ConsumerStart::Time("2026-01-31T00:00:00Z".into()),
            ),
            (
                "2026-01-31T00:00:00+02:00",
                ConsumerStart::Time("2026-01-31T00:00:00+02:00".into()),
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(start(text).unwrap(), expected);
        }
        for text in ["", "end", "Now", "2ab", "2026-01-31", "yesterday"] {
            assert!(start(text).unwrap_err().contains("beginning"), "{text}");
            assert!(time(text).unwrap_err().contains("2026"), "{text}");
        }
    }

    #[test]
    fn seconds_are_read_and_shown() {
        let cases = [
            ("0", 0, "0 s"),
            ("30", 30_000, "30 s"),
            ("0.5", 500, "0.5 s"),
            ("1e2", 100_000, "100 s"),
        ];
        for (text, millis, shown) in cases {
            assert_eq!((seconds(text), exactly(millis).as_str()), (Ok(millis), shown));
        }
        for text in ["", "-1", "30s", "inf", "nan", "1e300"] {
            assert!(seconds(text).unwrap_err().contains("0.5"), "{text}");
        }
    }

    #[test]
    fn long_times_are_told_roughly() {
        let cases = [
            (0.04, "0.0 s"),
            (3.42, "3.4 s"),
            (119.0, "119.0 s"),
            (900.0, "15 min"),
            (108_000.0, "30 h"),
            (1_036_800.0, "12 d"),
        ];
        for (seconds, text) in cases {
            assert_eq!(about(seconds), text);
        }
    }
}
