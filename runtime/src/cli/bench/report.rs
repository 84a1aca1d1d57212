//! What was found, for people and for programs.

use std::time::Duration;

use serde_json::json;

use super::{books::Checked, disk::Flushes, drive::Driven};
use crate::{
    cli::text::{count, escape, table},
    vocabulary::CommandName,
};

/// One measurement.
#[derive(Debug)]
pub(super) struct Report {
    pub(super) aggregate_type: String,
    pub(super) command: CommandName,
    pub(super) ids: u32,
    pub(super) connections: u32,
    pub(super) seconds: u32,
    pub(super) floor: Flushes,
    pub(super) driven: Driven,
    pub(super) checked: Checked,
    /// From the start of the second server until it served.
    pub(super) restart: Duration,
}

fn millis(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1e3)
}

impl Report {
    fn per_second(&self) -> f64 {
        self.driven.latencies.len() as f64 / f64::from(self.seconds)
    }

    /// A table.
    pub(super) fn human(&self) -> String {
        let mut rows = Vec::new();
        let mut row = |name: &str, value: String, note: String| rows.push(vec![name.to_owned(), value, note]);
        row(
            "flush of 4 KiB",
            format!("{}/s", count(self.floor.per_second.round() as u64)),
            format!("p50 {}, p99 {}", millis(self.floor.p50), millis(self.floor.p99)),
        );
        row(
            &format!("{}, {}", escape(&self.aggregate_type), self.command),
            format!("{}/s", count(self.per_second().round() as u64)),
            format!(
                "{} connections, {} aggregates, {} s",
                count(self.connections.into()),
                count(self.ids.into()),
                count(self.seconds.into())
            ),
        );
        for (name, per_mille) in [
            ("  p50", 500),
            ("  p99", 990),
            ("  p99.9", 999),
            ("  longest", 1_000),
        ] {
            row(name, millis(self.driven.percentile(per_mille)), String::new());
        }
        let others: u64 = self.driven.refused.values().sum();
        row("  not 2xx", count(others), String::new());
        for (status, number) in &self.driven.refused {
            row(&format!("    {status}"), count(*number), String::new());
        }
        row(
            "start after kill -9",
            millis(self.restart),
            format!(
                "all of {} acknowledged commands were in the log ({} events)",
                count(self.checked.commands),
                count(self.checked.events)
            ),
        );
        let mut text = table(&rows);
        if let Some(answer) = &self.driven.refusal {
            text.push_str(&format!("\nan answer that was not 2xx: {}", escape(answer)));
        }
        text
    }

    /// Every number; documented in `docs/cli.md`.
    pub(super) fn json(&self) -> String {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let refused: serde_json::Map<_, _> = self
            .driven
            .refused
            .iter()
            .map(|(status, number)| (status.to_string(), json!(number)))
            .collect();
        json!({
            "flush": {
                "per_second": self.floor.per_second,
                "p50_us": micros(self.floor.p50),
                "p99_us": micros(self.floor.p99),
            },
            "type": self.aggregate_type,
            "command": self.command.as_str(),
            "ids": self.ids,
            "connections": self.connections,
            "seconds": self.seconds,
            "per_second": self.per_second(),
            "p50_us": micros(self.driven.percentile(500)),
            "p99_us": micros(self.driven.percentile(990)),
            "p99.9_us": micros(self.driven.percentile(999)),
            "max_us": micros(self.driven.percentile(1_000)),
            "not_2xx": refused,
            "acknowledged": self.checked.commands,
            "events_in_log": self.checked.events,
            "restart_seconds": self.restart.as_secs_f64(),
        })
        .to_string()
    }
}
