//! The generator: one thread with a window of commands under way.

use std::{
    collections::BTreeMap,
    sync::mpsc::{Receiver, Sender, channel},
    time::{Duration, Instant},
};

use crate::{
    deposits::Accounts,
    failed::Failed,
    ledger::Acknowledged,
    load::{Clock, Seen, Span},
};

use super::engine::Told;

/// Commands under way.
pub(crate) const WINDOW: usize = 1_024;
/// Nothing takes longer unless something hangs.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// An answer on its way back.
struct Answer {
    account: u32,
    command: u64,
    asked: Instant,
    at: Instant,
    version: Result<u64, String>,
}

/// What came of it.
pub(super) struct Driven {
    pub(super) seen: Seen,
    pub(super) acknowledged: Vec<Acknowledged>,
    pub(super) accepted: u64,
    pub(super) refused: BTreeMap<String, u64>,
}

/// One generator, which numbers its commands on from one call to the next.
pub(super) struct Driver {
    sender: Sender<Answer>,
    receiver: Receiver<Answer>,
    command: u64,
    /// Whether every acknowledgement is kept, to be looked for in the log.
    keeps: bool,
}

impl Driver {
    pub(super) fn new(keeps: bool) -> Self {
        let (sender, receiver) = channel();
        Self {
            sender,
            receiver,
            command: 0,
            keeps,
        }
    }

    /// Sends until the time is over or there are no more accounts, and takes every answer.
    pub(super) fn drive(
        &mut self,
        mut accounts: Accounts,
        span: Span,
        mut send: impl FnMut(u32, String, Told),
    ) -> Result<Driven, Failed> {
        let clock = Clock::start(span);
        let mut driven = Driven {
            seen: Seen::default(),
            acknowledged: Vec::new(),
            accepted: 0,
            refused: BTreeMap::new(),
        };
        let (mut under_way, mut is_over) = (0, false);
        loop {
            while under_way < WINDOW && !is_over {
                let Some(account) = accounts.next().filter(|_| !clock.is_over()) else {
                    is_over = true;
                    break;
                };
                self.command += 1;
                let command = self.command;
                let (sender, asked) = (self.sender.clone(), Instant::now());
                let told: Told = Box::new(move |version| {
                    let at = Instant::now();
                    let answer = Answer {
                        account,
                        command,
                        asked,
                        at,
                        version,
                    };
                    // The generator outlives what it has sent.
                    sender.send(answer).unwrap_or_default();
                });
                send(account, format!("{command:016x}"), told);
                under_way += 1;
            }
            if under_way == 0 {
                driven.seen.end(&clock);
                return Ok(driven);
            }
            let first = self.receiver.recv_timeout(ANSWER_LIMIT);
            let first =
                first.map_err(|_| Failed::new(format!("{under_way} commands were not answered in time")))?;
            for answer in std::iter::once(first).chain(self.receiver.try_iter()) {
                under_way -= 1;
                driven.take(answer, &clock, self.keeps);
            }
        }
    }
}

impl Driven {
    fn take(&mut self, answer: Answer, clock: &Clock, keeps: bool) {
        match answer.version {
            Ok(version) => {
                self.accepted += 1;
                if keeps {
                    self.seen.success(clock, answer.asked, answer.at);
                    self.acknowledged.push(Acknowledged {
                        account: answer.account,
                        version: u32::try_from(version).unwrap_or(u32::MAX),
                        command: answer.command,
                    });
                }
            }
            Err(problem) => {
                // A few kinds, however many answers: numbers in texts would make each a kind of its own.
                let kind: String = problem
                    .chars()
                    .filter(|c| !c.is_ascii_digit())
                    .take(120)
                    .collect();
                *self.refused.entry(kind).or_default() += 1;
            }
        }
    }
}
