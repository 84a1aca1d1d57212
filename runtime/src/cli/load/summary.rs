//! What became of all commands.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;

use super::{Stop, deliver::Delivered, progress::rate, reader::Reading};
use crate::cli::{
    exit::Exit,
    text::{count, escape, plural, table},
};

/// What became of the commands of a load, or of one worker's share.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    accepted: u64,
    events: u64,
    /// Accepted or rejected before, under the same key.
    replayed: u64,
    rejected: BTreeMap<String, u64>,
    failed: BTreeMap<String, Failures>,
    not_sent: u64,
    retries: u64,
    reading: Reading,
    pub(crate) stopped: Option<Stop>,
    pub(crate) elapsed: Duration,
}

/// Commands that failed for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Failures {
    count: u64,
    first_line: u64,
    first_detail: String,
}

impl Summary {
    /// Counts one command.
    pub(crate) fn record(&mut self, line: u64, delivered: Delivered) {
        match delivered {
            Delivered::Accepted {
                events,
                is_replayed,
                retries,
            } => {
                self.accepted += 1;
                // What was recorded by an earlier load is not counted as recorded by this one.
                self.events += if is_replayed { 0 } else { events };
                self.replayed += u64::from(is_replayed);
                self.retries += retries;
            }
            Delivered::Rejected {
                code,
                is_replayed,
                retries,
            } => {
                *self.rejected.entry(code).or_default() += 1;
                self.replayed += u64::from(is_replayed);
                self.retries += retries;
            }
            Delivered::Failed {
                reason,
                detail,
                retries,
            } => {
                let failures = Failures {
                    count: 1,
                    first_line: line,
                    first_detail: detail,
                };
                self.fail(reason, failures);
                self.retries += retries;
            }
            Delivered::NotSent => self.not_sent += 1,
        }
    }

    /// Adds the share of a worker.
    pub(crate) fn add(&mut self, share: Self) {
        self.accepted += share.accepted;
        self.events += share.events;
        self.replayed += share.replayed;
        self.not_sent += share.not_sent;
        self.retries += share.retries;
        for (code, number) in share.rejected {
            *self.rejected.entry(code).or_default() += number;
        }
        for (reason, failures) in share.failed {
            self.fail(reason, failures);
        }
    }

    /// Adds what the reader has seen.
    pub(crate) fn add_read(&mut self, reading: Reading) {
        self.reading = reading;
    }

    fn fail(&mut self, reason: String, more: Failures) {
        let failures = self.failed.entry(reason).or_default();
        if failures.count == 0 || more.first_line < failures.first_line {
            failures.first_line = more.first_line;
            failures.first_detail = more.first_detail;
        }
        failures.count += more.count;
    }

    fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }

    fn failed_total(&self) -> u64 {
        self.failed.values().map(|failures| failures.count).sum()
    }

    fn answered(&self) -> u64 {
        self.accepted + self.rejected_total() + self.failed_total()
    }

    /// A rejection is an answer; what has none, or was never asked, is a partial failure.
    pub(crate) fn exit(&self) -> Exit {
        let reading = &self.reading;
        let is_whole = self.failed.is_empty()
            && self.not_sent == 0
            && reading.malformed == 0
            && reading.broken_off.is_none();
        match self.stopped {
            Some(Stop::Unreachable) => Exit::Unreachable,
            None if is_whole => Exit::Ok,
            _ => Exit::Partial,
        }
    }

    /// For people.
    pub(crate) fn human(&self) -> String {
        let mut rows = vec![self.row("accepted", self.accepted, &plural(self.events, "new event"))];
        rows.push(self.row("rejected", self.rejected_total(), ""));
        for (code, number) in &self.rejected {
            rows.push(self.row(&format!("  {}", escape(code)), *number, ""));
        }
        rows.push(self.row("failed", self.failed_total(), ""));
        for (reason, failures) in &self.failed {
            let first = format!("line {}: {}", failures.first_line, escape(&failures.first_detail));
            rows.push(self.row(&format!("  {}", escape(reason)), failures.count, &first));
        }
        rows.push(self.row("malformed", self.reading.malformed, ""));
        let optional = [
            ("not sent", self.not_sent, ""),
            ("replayed", self.replayed, "answered before, under the same key"),
            ("retries", self.retries, "the server was busy or away"),
        ];
        let optional = optional.into_iter().filter(|(_, number, _)| *number > 0);
        rows.extend(optional.map(|(name, number, note)| self.row(name, number, note)));
        let mut text = table(&rows);
        for (line, problem) in &self.reading.shown {
            text.push_str(&format!("\nline {line} is malformed: {problem}"));
        }
        let unshown = self.reading.malformed - self.reading.shown.len() as u64;
        if unshown > 0 {
            text.push_str(&format!("\nand {} more", plural(unshown, "malformed line")));
        }
        if let Some(problem) = &self.reading.broken_off {
            text.push_str(&format!("\nthe input was not read to its end: {problem}"));
        }
        match self.stopped {
            Some(Stop::Interrupted) => text.push_str("\ninterrupted: the rest of the input was not sent"),
            Some(Stop::Unreachable) => {
                text.push_str("\nthe server went away: the rest of the input was not sent");
            }
            None => {}
        }
        text.push_str(&format!(
            "\n{} in {:.1} s, {}/s",
            plural(self.answered(), "command"),
            self.elapsed.as_secs_f64(),
            count(rate(self.answered(), self.elapsed))
        ));
        text
    }

    fn row(&self, name: &str, number: u64, note: &str) -> Vec<String> {
        let width = count(self.answered() + self.reading.malformed + self.not_sent).len();
        vec![
            name.to_owned(),
            format!("{:>width$}", count(number)),
            note.to_owned(),
        ]
    }

    /// For programs; its members are documented in `docs/cli.md`.
    pub(crate) fn json(&self) -> String {
        let by_reason: serde_json::Map<_, _> = self
            .failed
            .iter()
            .map(|(reason, failures)| {
                let value = json!({
                    "count": failures.count,
                    "first_line": failures.first_line,
                    "first_detail": failures.first_detail,
                });
                (reason.clone(), value)
            })
            .collect();
        let shown = self.reading.shown.iter();
        let shown: Vec<_> = shown
            .map(|(line, problem)| json!({ "line": line, "problem": problem }))
            .collect();
        json!({
            "lines": self.reading.lines,
            "accepted": self.accepted,
            "events": self.events,
            "rejected": { "total": self.rejected_total(), "by_code": self.rejected },
            "failed": { "total": self.failed_total(), "by_reason": by_reason },
            "malformed": { "total": self.reading.malformed, "first": shown },
            "not_sent": self.not_sent,
            "replayed": self.replayed,
            "retries": self.retries,
            "stopped": self.stopped.map(|stop| match stop {
                Stop::Interrupted => "interrupted",
                Stop::Unreachable => "unreachable",
            }),
            "broken_off": self.reading.broken_off,
            "seconds": self.elapsed.as_secs_f64(),
            "commands_per_second": rate(self.answered(), self.elapsed),
        })
        .to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepted(events: u64, is_replayed: bool) -> Delivered {
        Delivered::Accepted {
            events,
            is_replayed,
            retries: 1,
        }
    }

    fn rejected(code: &str) -> Delivered {
        Delivered::Rejected {
            code: code.into(),
            is_replayed: false,
            retries: 0,
        }
    }

    fn failed(reason: &str, detail: &str) -> Delivered {
        Delivered::Failed {
            reason: reason.into(),
            detail: detail.into(),
            retries: 0,
        }
    }

    fn example() -> Summary {
        let mut summary = Summary::default();
        let mut share = Summary::default();
        for line in 1..=1_200 {
            share.record(line, accepted(2, line == 7));
        }
        share.record(1_201, failed("412 precondition-failed", "later"));
        summary.add(share);
        let mut share = Summary::default();
        share.record(17, failed("412 precondition-failed", "version is 3"));
        share.record(18, rejected("in-the-air"));
        share.record(19, rejected("in-the-air"));
        share.record(20, rejected("not-open"));
        summary.add(share);
        summary.add_read(Reading {
            lines: 1_206,
            malformed: 1,
            shown: vec![(5, "nonsense".into())],
            broken_off: None,
        });
        summary.elapsed = Duration::from_millis(500);
        summary
    }

    #[test]
    fn people_read_a_table() {
        let expected = "\
accepted                   1,200  2,398 new events
rejected                       3
  in-the-air                   2
  not-open                     1
failed                         2
  412 precondition-failed      2  line 17: version is 3
malformed                      1
replayed                       1  answered before, under the same key
retries                    1,200  the server was busy or away
line 5 is malformed: nonsense
1,205 commands in 0.5 s, 2,410/s";
        assert_eq!(example().human(), expected);
    }

    #[test]
    fn programs_read_every_number() {
        let summary: serde_json::Value = serde_json::from_str(&example().json()).unwrap();
        let expected = json!({
            "lines": 1_206, "accepted": 1_200, "events": 2_398,
            "rejected": { "total": 3, "by_code": { "in-the-air": 2, "not-open": 1 } },
            "failed": { "total": 2, "by_reason": { "412 precondition-failed":
                { "count": 2, "first_line": 17, "first_detail": "version is 3" } } },
            "malformed": { "total": 1, "first": [{ "line": 5, "problem": "nonsense" }] },
            "not_sent": 0, "replayed": 1, "retries": 1_200, "stopped": null, "broken_off": null,
            "seconds": 0.5, "commands_per_second": 2_410,
        });
        assert_eq!(summary, expected);
    }

    #[test]
    fn the_exit_code_says_whether_all_was_answered() {
        let exit = |change: fn(&mut Summary)| {
            let mut summary = Summary::default();
            summary.record(1, accepted(1, false));
            summary.record(2, rejected("no"));
            change(&mut summary);
            summary.exit()
        };
        assert_eq!(exit(|_| ()), Exit::Ok);
        assert_eq!(exit(|summary| summary.record(3, failed("x", "y"))), Exit::Partial);
        assert_eq!(
            exit(|summary| summary.record(3, Delivered::NotSent)),
            Exit::Partial
        );
        assert_eq!(exit(|summary| summary.reading.malformed = 1), Exit::Partial);
        assert_eq!(
            exit(|summary| summary.reading.broken_off = Some("x".into())),
            Exit::Partial
        );
        assert_eq!(
            exit(|summary| summary.stopped = Some(Stop::Interrupted)),
            Exit::Partial
        );
        assert_eq!(
            exit(|summary| summary.stopped = Some(Stop::Unreachable)),
            Exit::Unreachable
        );
    }
}
