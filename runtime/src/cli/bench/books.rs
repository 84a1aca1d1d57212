//! What was acknowledged, held against what is in the log.

use std::collections::HashMap;

use serde::Deserialize;

use super::{
    drive::Acknowledged,
    request::{command_of, id, number_of},
};
use crate::{
    cli::error::CliError,
    client::{Client, Event, FeedQuery},
};

/// What was acknowledged, and how much was answered otherwise.
#[derive(Debug, Default)]
pub(super) struct Books {
    acknowledged: Vec<Acknowledged>,
    others: u64,
}

/// The result of a comparison in which nothing was missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) commands: u64,
    pub(super) events: u64,
}

/// The command behind each event: by aggregate, and from version 1 on.
#[derive(Debug, Default)]
struct Log(HashMap<u32, Vec<u64>>);

#[derive(Deserialize)]
struct Cause<'a> {
    #[serde(borrow)]
    correlationid: std::borrow::Cow<'a, str>,
}

impl Books {
    pub(super) fn add(&mut self, acknowledged: Vec<Acknowledged>) {
        self.acknowledged.extend(acknowledged);
    }

    /// Commands that were answered with something else than 2xx: they may be in the log or not.
    pub(super) fn other_answers(&mut self, number: u64) {
        self.others += number;
    }

    /// Reads the whole feed of the type, and compares.
    pub(super) async fn check(&self, client: &Client, aggregate_type: &str) -> Result<Checked, CliError> {
        let query = FeedQuery {
            aggregate_types: vec![aggregate_type.to_owned()],
            limit: Some(1_000),
            ..FeedQuery::default()
        };
        let mut log = Log::default();
        let mut page = client.feed(&query).await?;
        loop {
            page.events
                .iter()
                .try_for_each(|event| log.add(event))
                .map_err(CliError::failed)?;
            if page.caught_up {
                return self.compare(&log).map_err(CliError::failed);
            }
            page = client.feed_next(&page.next).await?;
        }
    }

    fn compare(&self, log: &Log) -> Result<Checked, String> {
        let mut acknowledged_events = 0;
        for ack in &self.acknowledged {
            acknowledged_events += ack.events;
            let commands = log.0.get(&ack.aggregate).map(Vec::as_slice).unwrap_or_default();
            let end = usize::try_from(ack.version).unwrap_or(usize::MAX);
            let start = end.saturating_sub(usize::try_from(ack.events).unwrap_or(usize::MAX));
            let is_there = commands
                .get(start..end)
                .is_some_and(|found| found.iter().all(|command| *command == ack.command));
            if !is_there {
                return Err(format!(
                    "an acknowledged command is not in the log: {:016x}, with {} at version {} of {}. There is no result: \
                     please report this",
                    ack.command,
                    crate::cli::text::plural(ack.events, "event"),
                    ack.version,
                    id(ack.aggregate)
                ));
            }
        }
        let events: u64 = log.0.values().map(|commands| commands.len() as u64).sum();
        // What was answered with anything else may be there, but nothing that nobody asked for.
        if events != acknowledged_events && self.others == 0 {
            return Err(format!(
                "the log has {events} events, and {acknowledged_events} were acknowledged. There is no result: please \
                 report this"
            ));
        }
        Ok(Checked {
            commands: self.acknowledged.len() as u64,
            events,
        })
    }
}

impl Log {
    fn add(&mut self, event: &Event) -> Result<(), String> {
        let cause: Option<Cause<'_>> = serde_json::from_str(event.raw.get()).ok();
        let command = cause.and_then(|cause| command_of(&cause.correlationid));
        let (Some(aggregate), Some(command)) = (number_of(&event.fields.subject), command) else {
            return Err(format!(
                "an event that nobody asked for is in the log: {}",
                event.raw.get()
            ));
        };
        let commands = self.0.entry(aggregate).or_default();
        commands.push(command);
        if event.version() == Some(commands.len() as u64) {
            return Ok(());
        }
        Err(format!(
            "{}: version {} follows version {} in the log. There is no result: please report this",
            event.fields.subject,
            event.fields.sequence,
            commands.len() - 1
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(commands: &[u64]) -> Log {
        Log(HashMap::from([(7, commands.to_vec())]))
    }

    fn books(acknowledged: &[(u64, u64, u64)], others: u64) -> Books {
        let acknowledged = acknowledged
            .iter()
            .map(|(version, events, command)| Acknowledged {
                aggregate: 7,
                version: *version,
                events: *events,
                command: *command,
            });
        Books {
            acknowledged: acknowledged.collect(),
            others,
        }
    }

    #[test]
    fn what_was_acknowledged_is_there_with_all_its_events() {
        let log = log(&[10, 11, 11, 12]);
        let checked = books(&[(1, 1, 10), (3, 2, 11), (3, 0, 99), (4, 1, 12)], 0)
            .compare(&log)
            .unwrap();
        assert_eq!((checked.commands, checked.events), (4, 4));
        books(&[(1, 1, 10)], 1).compare(&log).unwrap();
    }

    #[test]
    fn what_is_missing_or_too_much_is_told() {
        let log = log(&[10, 11, 11]);
        for (acknowledged, says) in [
            (
                vec![(4, 1, 12)],
                "000000000000000c, with 1 event at version 4 of bench-000007",
            ),
            (vec![(1, 1, 11)], "not in the log"),
            (vec![(2, 2, 11)], "not in the log"),
            (vec![(1, 1, 10)], "3 events, and 1 were acknowledged"),
        ] {
            let problem = books(&acknowledged, 0).compare(&log).unwrap_err();
            assert!(problem.contains(says), "{problem}");
        }
    }
}
