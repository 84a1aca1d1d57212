//! The targets: each holds a number of this run against a bound, most of them against a floor of the same run.

use serde_json::{Value, json};

use crate::{facts::Facts, format, report::Section};

/// What a number counts, for showing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    PerSecond,
    Micros,
    Bytes,
    /// Bytes of one event.
    EventBytes,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::PerSecond => format!("{}/s", format::rate(value)),
            Self::Micros if value >= 1e6 => format!("{:.2} s", value / 1e6),
            Self::Micros => format!("{} ms", format::millis(value)),
            Self::Bytes => format!("{:.0} MB", value / 1e6),
            Self::EventBytes => format!("{value:.0} B"),
        }
    }
}

/// Where a number must lie.
#[derive(Debug, Clone, Copy)]
enum Bound {
    Least(f64),
    Most(f64),
    /// Times another number of the run.
    LeastOf(f64, &'static str),
    MostOf(f64, &'static str),
}

/// One line of the issue.
#[derive(Debug)]
struct Target {
    line: &'static str,
    fact: &'static str,
    unit: Unit,
    bound: Bound,
}

const fn target(line: &'static str, fact: &'static str, unit: Unit, bound: Bound) -> Target {
    Target {
        line,
        fact,
        unit,
        bound,
    }
}

use Bound::{Least, LeastOf, Most, MostOf};
use Unit::{Bytes, EventBytes, Micros, PerSecond};

const TARGETS: &[Target] = &[
    target(
        "64 connections, uniform",
        "commands-64",
        PerSecond,
        LeastOf(0.6, "echo-64"),
    ),
    target(
        "64 connections, uniform",
        "commands-64",
        PerSecond,
        LeastOf(1.8, "native-64"),
    ),
    target(
        "512 connections, uniform",
        "commands-512",
        PerSecond,
        LeastOf(0.6, "echo-512"),
    ),
    target(
        "512 connections, uniform",
        "commands-512",
        PerSecond,
        LeastOf(1.8, "native-512"),
    ),
    target(
        "512 connections, uniform",
        "commands-512",
        PerSecond,
        Least(10_000.0),
    ),
    target("1 connection", "commands-1", PerSecond, LeastOf(1.0, "native-1")),
    target(
        "1 connection, median",
        "commands-1.p50",
        Micros,
        MostOf(1.3, "redb-1.p50 + echo-1.p50"),
    ),
    target("64 connections, p99", "commands-64.p99", Micros, Most(6_000.0)),
    target("512 connections, p99", "commands-512.p99", Micros, Most(30_000.0)),
    target(
        "one hot aggregate, 64 connections",
        "hot",
        PerSecond,
        LeastOf(0.5, "skew-uniform"),
    ),
    target(
        "Zipf 1.5 over 100,000 aggregates, 64 connections",
        "zipf-1.5",
        PerSecond,
        LeastOf(0.8, "skew-uniform"),
    ),
    target(
        "pipelined NDJSON, one connection",
        "pipelined",
        PerSecond,
        LeastOf(2.0, "pipelined-uniform"),
    ),
    target(
        "a state read, warm, 64 connections",
        "reads",
        PerSecond,
        LeastOf(0.7, "echo-64"),
    ),
    target(
        "64 connections, 100 subscribers",
        "fan-out-100",
        PerSecond,
        LeastOf(0.7, "fan-out-0"),
    ),
    target(
        "p99 of commands with 1,000 subscribers, 900 slow",
        "fan-out-slow.p99",
        Micros,
        MostOf(1.5, "fan-out-slow-none.p99"),
    ),
    target(
        "catching up from the beginning as NDJSON",
        "catch-up",
        PerSecond,
        LeastOf(0.5, "catch-up-floor"),
    ),
    target(
        "Wasm aggregate in process",
        "in-process-wasm",
        PerSecond,
        Least(100_000.0),
    ),
    target(
        "Wasm aggregate in process",
        "in-process-wasm",
        PerSecond,
        LeastOf(0.7, "in-process-native"),
    ),
    target(
        "1,000,000 events of one aggregate, no snapshot",
        "rebuild-replayed",
        Micros,
        Most(2e6),
    ),
    target(
        "1,000,000 events of one aggregate, with snapshot",
        "rebuild-restored",
        Micros,
        Most(10_000.0),
    ),
    target(
        "10,000 cold aggregates of 100 events, no snapshots",
        "cold",
        PerSecond,
        Least(5_000.0),
    ),
    target(
        "answers of a small aggregate while one of 1,000,000 events is rebuilt",
        "large-state-rebuild",
        Micros,
        Most(25_000.0),
    ),
    target(
        "answers of a small aggregate while a state of 11 MB is restored",
        "large-state-restore",
        Micros,
        Most(50_000.0),
    ),
    target(
        "answers of a small aggregate while a state of 11 MB is saved",
        "large-state-save",
        Micros,
        Most(50_000.0),
    ),
    target(
        "answers of a small aggregate while a state of 11 MB is read",
        "large-state-read",
        Micros,
        Most(100_000.0),
    ),
    target("memory, idle", "memory-idle", Bytes, Most(60e6)),
    target("memory, 100,000 live accounts", "memory-live", Bytes, Most(300e6)),
    target(
        "memory, after 10,000,000 events",
        "memory-large",
        Bytes,
        Most(400e6),
    ),
    target(
        "disk per event of 100 bytes, 200,000 events, blocks",
        "disk",
        EventBytes,
        Most(600.0),
    ),
    target(
        "disk per event of 100 bytes, 10,000,000 events, lengths",
        "disk-large",
        EventBytes,
        Most(600.0),
    ),
    target(
        "start with 10,000,000 events, after a stop",
        "start-clean",
        Micros,
        Most(2e6),
    ),
    target(
        "start with 10,000,000 events, after kill -9",
        "start-killed",
        Micros,
        Most(5e6),
    ),
    target("worst stall in ten minutes", "stall", Micros, Most(100_000.0)),
];

/// What became of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Met,
    Missed,
    NotMeasured,
}

impl Verdict {
    fn text(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::Missed => "MISSED",
            Self::NotMeasured => "not measured",
        }
    }
}

/// A target with its numbers.
#[derive(Debug)]
struct Held<'a> {
    target: &'a Target,
    value: Option<f64>,
    floor: Option<f64>,
    verdict: Verdict,
}

impl Target {
    fn hold(&self, facts: &Facts) -> Held<'_> {
        let value = facts.get(self.fact);
        let floor = self.floor().and_then(|name| sum(facts, name));
        let is_met = match (self.bound, value, floor) {
            (Least(bound), Some(value), _) => Some(value >= bound),
            (Most(bound), Some(value), _) => Some(value <= bound),
            (LeastOf(times, _), Some(value), Some(floor)) => Some(value >= times * floor),
            (MostOf(times, _), Some(value), Some(floor)) => Some(value <= times * floor),
            _ => None,
        };
        let verdict = match is_met {
            Some(true) => Verdict::Met,
            Some(false) => Verdict::Missed,
            None => Verdict::NotMeasured,
        };
        Held {
            target: self,
            value,
            floor,
            verdict,
        }
    }

    fn floor(&self) -> Option<&'static str> {
        match self.bound {
            LeastOf(_, name) | MostOf(_, name) => Some(name),
            Least(_) | Most(_) => None,
        }
    }

    fn bound(&self) -> String {
        match self.bound {
            Least(bound) => format!("≥ {}", self.unit.show(bound)),
            Most(bound) => format!("≤ {}", self.unit.show(bound)),
            LeastOf(times, name) => format!("≥ {times} × {name}"),
            MostOf(times, name) => format!("≤ {times} × ({name})"),
        }
    }
}

/// Some facts, added up: `a + b`.
fn sum(facts: &Facts, names: &str) -> Option<f64> {
    names.split(" + ").map(|name| facts.get(name)).sum()
}

impl Held<'_> {
    fn ratio(&self) -> Option<f64> {
        Some(self.value? / self.floor?)
    }

    fn row(&self) -> Vec<String> {
        let show =
            |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| self.target.unit.show(value));
        let ratio = self.ratio();
        vec![
            self.target.line.to_owned(),
            show(self.value),
            show(self.floor),
            ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.2}")),
            self.target.bound(),
            self.verdict.text().to_owned(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "line": self.target.line,
            "value": self.value,
            "floor": self.floor,
            "ratio": self.ratio(),
            "target": self.target.bound(),
            "verdict": self.verdict.text(),
        })
    }
}

/// The table of all targets, in the order of the requirements.
pub(crate) fn section(facts: &Facts) -> Section {
    let held: Vec<Held<'_>> = TARGETS.iter().map(|target| target.hold(facts)).collect();
    let number = |verdict| held.iter().filter(|held| held.verdict == verdict).count();
    Section {
        key: "targets",
        title: "Targets".to_owned(),
        columns: vec!["", "value", "floor", "ratio", "target", "verdict"],
        rows: held.iter().map(Held::row).collect(),
        notes: vec![format!(
            "{} met, {} missed, {} not measured in this run",
            number(Verdict::Met),
            number(Verdict::Missed),
            number(Verdict::NotMeasured)
        )],
        json: json!(held.iter().map(Held::json).collect::<Vec<_>>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(bound: Bound, facts: &[(&str, f64)]) -> Verdict {
        let mut all = Facts::default();
        for (name, value) in facts {
            all.put(*name, *value);
        }
        target("a line", "value", PerSecond, bound).hold(&all).verdict
    }

    #[test]
    fn a_bound_itself_is_met() {
        let value = [("value", 10.0)];
        assert_eq!(verdict(Least(10.0), &value), Verdict::Met);
        assert_eq!(verdict(Least(10.1), &value), Verdict::Missed);
        assert_eq!(verdict(Most(10.0), &value), Verdict::Met);
        assert_eq!(verdict(Most(9.9), &value), Verdict::Missed);
    }

    #[test]
    fn floors_of_the_run_are_multiplied_and_added() {
        let facts = [("value", 12.0), ("a", 5.0), ("b", 5.0)];
        assert_eq!(verdict(LeastOf(2.0, "a"), &facts), Verdict::Met);
        assert_eq!(verdict(LeastOf(2.5, "a"), &facts), Verdict::Missed);
        assert_eq!(verdict(MostOf(1.2, "a + b"), &facts), Verdict::Met);
        assert_eq!(verdict(MostOf(1.1, "a + b"), &facts), Verdict::Missed);
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        assert_eq!(verdict(Least(1.0), &[]), Verdict::NotMeasured);
        assert_eq!(
            verdict(LeastOf(1.0, "a"), &[("value", 1.0)]),
            Verdict::NotMeasured
        );
        assert_eq!(
            verdict(MostOf(1.0, "a + b"), &[("value", 1.0), ("a", 1.0)]),
            Verdict::NotMeasured
        );
    }

    #[test]
    fn the_table_counts_its_verdicts() {
        let mut facts = Facts::default();
        facts.put("commands-64", 90.0);
        facts.put("echo-64", 100.0);
        facts.put("native-64", 60.0);
        let section = section(&facts);
        assert_eq!(
            section.rows[0],
            [
                "64 connections, uniform",
                "90.0/s",
                "100/s",
                "0.90",
                "≥ 0.6 × echo-64",
                "met"
            ]
        );
        assert_eq!(section.rows[1][3..], ["1.50", "≥ 1.8 × native-64", "MISSED"]);
        assert!(
            section.notes[0].starts_with("1 met, 1 missed"),
            "{:?}",
            section.notes
        );
        assert_eq!(section.rows.len(), TARGETS.len());
    }
}
