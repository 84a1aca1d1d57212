//! What was acknowledged, held against what is in the log.

use std::{borrow::Cow, collections::HashMap};

use annals_tests::{http::Connection, server::next_link};
use serde::{Deserialize, Serialize};

use crate::{
    deposits::{account_id, account_of, command_of},
    failed::Failed,
};

/// A command that was answered with 2xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Acknowledged {
    pub(crate) account: u32,
    /// The version that the answer names.
    pub(crate) version: u32,
    pub(crate) command: u64,
}

/// What the feed says, account by account: the command of each version, in order.
#[derive(Debug, Default)]
pub(crate) struct Log {
    accounts: HashMap<u32, Versions>,
    /// Whether it is the end of a feed, in which the first version of an account may be any.
    is_end: bool,
    pub(crate) events: u64,
}

/// The commands of an account, from a version on.
#[derive(Debug)]
struct Versions {
    first: u32,
    commands: Vec<u64>,
}

impl Versions {
    fn command(&self, version: u32) -> Option<u64> {
        let place = version.checked_sub(self.first)?;
        self.commands.get(place as usize).copied()
    }
}

/// As much of a `CloudEvent` as is compared.
#[derive(Debug, Deserialize)]
struct Event<'a> {
    #[serde(borrow)]
    subject: Cow<'a, str>,
    #[serde(borrow)]
    sequence: Cow<'a, str>,
    #[serde(borrow)]
    correlationid: Cow<'a, str>,
}

/// The result of a comparison in which nothing was missing.
#[derive(Debug, Serialize)]
pub(crate) struct Checked {
    pub(crate) events_in_log: u64,
    pub(crate) acknowledged: u64,
    /// Events of commands that were answered with something else than 2xx, such as an unknown outcome.
    pub(crate) without_acknowledgement: u64,
}

impl Log {
    /// Reads the whole feed of one type.
    pub(crate) fn read(connection: &mut Connection, aggregate_type: &str) -> Result<Self, Failed> {
        let path = format!("/v1/events?type={aggregate_type}&limit=1000");
        Self::default().read_pages(connection, path)
    }

    /// Where the feed of one type ends now: for [`Log::read_from`].
    pub(crate) fn end(connection: &mut Connection, aggregate_type: &str) -> Result<String, Failed> {
        let path = format!("/v1/events?type={aggregate_type}&limit=1000&after=now");
        let page = connection
            .request("GET", &path, &[], &[])
            .map_err(|error| Failed::io("read the feed", &error))?;
        next_link(&page).ok_or_else(|| Failed::new(format!("GET {path}: {} {}", page.status, page.text())))
    }

    /// Reads the feed from there on.
    pub(crate) fn read_from(connection: &mut Connection, end: &str) -> Result<Self, Failed> {
        let log = Self {
            is_end: true,
            ..Self::default()
        };
        log.read_pages(connection, end.to_owned())
    }

    fn read_pages(mut self, connection: &mut Connection, mut path: String) -> Result<Self, Failed> {
        loop {
            let page = connection
                .request("GET", &path, &[], &[])
                .map_err(|error| Failed::io("read the feed", &error))?;
            if page.status != 200 {
                return Err(Failed::new(format!(
                    "GET {path}: {} {}",
                    page.status,
                    page.text()
                )));
            }
            self.add(&page.body)?;
            if page.header("caught-up") == Some("true") {
                return Ok(self);
            }
            path = next_link(&page)
                .ok_or_else(|| Failed::new(format!("GET {path}: no link to the next page")))?;
        }
    }

    fn add(&mut self, page: &[u8]) -> Result<(), Failed> {
        let events: Vec<Event<'_>> = serde_json::from_slice(page)
            .map_err(|error| Failed::new(format!("a page of the feed is not what it should be: {error}")))?;
        for event in events {
            self.add_event(&event.subject, &event.sequence, &event.correlationid)?;
        }
        Ok(())
    }

    /// The next event of the log.
    pub(crate) fn add_event(
        &mut self,
        subject: &str,
        sequence: &str,
        correlation_id: &str,
    ) -> Result<(), Failed> {
        let (Some(account), Some(command)) = (account_of(subject), command_of(correlation_id)) else {
            return Err(Failed::new(format!(
                "an event that nobody caused is in the log: version {sequence} of {subject}, caused by {correlation_id}"
            )));
        };
        let found: Option<u32> = sequence.parse().ok();
        let first = found.filter(|_| self.is_end).unwrap_or(1);
        let versions = self.accounts.entry(account).or_insert_with(|| Versions {
            first,
            commands: Vec::new(),
        });
        let next = versions.first as usize + versions.commands.len();
        if found.map(|found| found as usize) != Some(next) {
            return Err(Failed::new(format!(
                "{subject}: version {sequence} follows version {} in the log",
                next - 1
            )));
        }
        versions.commands.push(command);
        self.events += 1;
        Ok(())
    }

    /// Every acknowledged command is in the log, where its answer said it is, and no command is there twice.
    /// `refused` commands were answered with something else, and may or may not be there.
    pub(crate) fn check(&self, acknowledged: &[Acknowledged], refused: u64) -> Result<Checked, Failed> {
        let (mut lost, mut first) = (0_u64, None);
        for ack in acknowledged {
            let versions = self.accounts.get(&ack.account);
            let found = versions.and_then(|versions| versions.command(ack.version));
            if found != Some(ack.command) {
                lost += 1;
                first.get_or_insert((ack, found));
            }
        }
        if let Some((ack, found)) = first {
            return Err(Failed::new(format!(
                "LOST: {lost} of {} acknowledged commands are not in the log. The first: {} at version {} of {}, where \
                 the log has {found:x?}. There is no result",
                acknowledged.len(),
                format_args!("{:016x}", ack.command),
                ack.version,
                account_id(ack.account),
            )));
        }
        let mut commands: Vec<u64> = self
            .accounts
            .values()
            .flat_map(|versions| versions.commands.iter().copied())
            .collect();
        commands.sort_unstable();
        if let Some(twice) = commands.windows(2).find(|pair| matches!(pair, [a, b] if a == b)) {
            return Err(Failed::new(format!(
                "TWICE: the command {twice:016x?} is in the log twice. There is no result"
            )));
        }
        let checked = Checked {
            events_in_log: self.events,
            acknowledged: acknowledged.len() as u64,
            without_acknowledgement: self.events.saturating_sub(acknowledged.len() as u64),
        };
        if checked.without_acknowledgement > refused {
            return Err(Failed::new(format!(
                "UNASKED: {} events are in the log that no acknowledged command caused, and only {refused} commands were \
                 answered with anything but 2xx. There is no result",
                checked.without_acknowledgement
            )));
        }
        Ok(checked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(events: &[(u32, u32, u64)]) -> Result<Log, Failed> {
        let mut log = Log::default();
        for (account, version, command) in events {
            let page = format!(
                "[{{\"subject\":\"a{account:06}\",\"sequence\":\"{version:020}\",\"correlationid\":\"{command:016x}\",\
                 \"type\":\"deposited\"}}]"
            );
            log.add(page.as_bytes())?;
        }
        Ok(log)
    }

    fn ack(account: u32, version: u32, command: u64) -> Acknowledged {
        Acknowledged {
            account,
            version,
            command,
        }
    }

    #[test]
    fn what_was_acknowledged_is_there() {
        let log = log(&[(1, 1, 10), (2, 1, 11), (1, 2, 12), (1, 3, 13)]).unwrap();
        let acknowledged = [ack(1, 1, 10), ack(1, 2, 12), ack(2, 1, 11)];
        let checked = log.check(&acknowledged, 1).unwrap();
        let numbers = (
            checked.events_in_log,
            checked.acknowledged,
            checked.without_acknowledgement,
        );
        assert_eq!(numbers, (4, 3, 1));
        let refused = log.check(&acknowledged, 0).unwrap_err().to_string();
        assert!(refused.contains("UNASKED: 1 events"), "{refused}");
    }

    #[test]
    fn what_is_missing_or_elsewhere_is_lost() {
        let log = log(&[(1, 1, 10), (1, 2, 12)]).unwrap();
        for lost in [ack(1, 3, 13), ack(1, 1, 12), ack(2, 1, 10), ack(1, 0, 10)] {
            let failed = log.check(&[ack(1, 1, 10), lost], 9).unwrap_err().to_string();
            assert!(failed.contains("LOST: 1 of 2"), "{failed}");
        }
    }

    #[test]
    fn the_end_of_a_feed_may_begin_at_any_version_and_has_no_gaps() {
        let mut log = Log {
            is_end: true,
            ..Log::default()
        };
        for (version, command) in [("7", 10), ("8", 11)] {
            log.add_event("a000001", version, &format!("{command:016x}"))
                .unwrap();
        }
        log.check(&[ack(1, 7, 10), ack(1, 8, 11)], 0).unwrap();
        assert!(log.check(&[ack(1, 6, 10)], 9).is_err());
        let gap = log
            .add_event("a000001", "10", &format!("{:016x}", 12))
            .unwrap_err();
        assert!(gap.to_string().contains("follows version 8"), "{gap}");
    }

    #[test]
    fn gaps_and_doubles_are_seen() {
        let failed = log(&[(1, 1, 10), (1, 3, 11)]).unwrap_err().to_string();
        assert!(failed.contains("follows version 1"), "{failed}");
        let log = log(&[(1, 1, 10), (1, 2, 10)]).unwrap();
        let failed = log.check(&[ack(1, 1, 10)], 9).unwrap_err().to_string();
        assert!(failed.contains("TWICE"), "{failed}");
    }
}
