//! Requests of the account: opening, paying in, reading; each prebuilt, with digits put in place.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};

use crate::{failed::Failed, ledger::Acknowledged, load::Script, numbers::Random, wire::Answer, zipf::Zipf};

/// The digits of an account's id allow no more.
pub(crate) const ACCOUNTS_MAX: u32 = 1_000_000;
pub(crate) const ID_DIGITS: usize = 6;
pub(crate) const COMMAND_DIGITS: usize = 16;

/// The id of an account, as it is in the log.
pub(crate) fn account_id(account: u32) -> String {
    format!("a{account:0ID_DIGITS$}")
}

/// The account that an id names.
pub(crate) fn account_of(id: &str) -> Option<u32> {
    let digits = id.strip_prefix('a').filter(|digits| digits.len() == ID_DIGITS)?;
    digits.parse().ok()
}

/// The number of the command that a correlation id names.
pub(crate) fn command_of(correlation_id: &str) -> Option<u64> {
    let is_ours = correlation_id.len() == COMMAND_DIGITS;
    u64::from_str_radix(correlation_id, 16).ok().filter(|_| is_ours)
}

/// A request with places for an account and a command.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    bytes: Vec<u8>,
    id_at: usize,
    command_at: Option<usize>,
}

impl Template {
    /// A command of the type with this payload. Its number goes along as the correlation id, so that the log can be
    /// held against what was acknowledged.
    pub(crate) fn command(aggregate_type: &str, command: &str, payload: &str) -> Self {
        let path = format!("POST /v1/aggregates/{aggregate_type}/a");
        let headers = format!(
            "/commands/{command} HTTP/1.1\r\nhost: annals\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
             correlation-id: ",
            payload.len()
        );
        let text = format!(
            "{path}{:0ID_DIGITS$}{headers}{:0COMMAND_DIGITS$}\r\n\r\n{payload}",
            0, 0
        );
        Self {
            bytes: text.into_bytes(),
            id_at: path.len(),
            command_at: Some(path.len() + ID_DIGITS + headers.len()),
        }
    }

    /// A read of the state.
    pub(crate) fn state(aggregate_type: &str) -> Self {
        let path = format!("GET /v1/aggregates/{aggregate_type}/a");
        let text = format!("{path}{:0ID_DIGITS$} HTTP/1.1\r\nhost: annals\r\n\r\n", 0);
        Self {
            bytes: text.into_bytes(),
            id_at: path.len(),
            command_at: None,
        }
    }

    fn write(&self, account: u32, command: u64, request: &mut Vec<u8>) {
        let start = request.len();
        request.extend_from_slice(&self.bytes);
        let account = u64::from(account);
        put(request, start + self.id_at, ID_DIGITS, 10, account);
        if let Some(at) = self.command_at {
            put(request, start + at, COMMAND_DIGITS, 16, command);
        }
    }
}

/// Writes a number with leading zeros over what is there.
pub(crate) fn put(request: &mut [u8], at: usize, digits: usize, base: u64, mut value: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let place = request.get_mut(at..at + digits).unwrap_or_default();
    for byte in place.iter_mut().rev() {
        *byte = DIGITS.get((value % base) as usize).copied().unwrap_or(b'?');
        value /= base;
    }
}

/// Which account comes next.
#[derive(Debug, Clone)]
pub(crate) enum Accounts {
    /// Any of so many, uniformly at random, for ever.
    Random { random: Random, count: u32 },
    /// Any, some much more often than others, for ever.
    Skewed { random: Random, zipf: Arc<Zipf> },
    /// The first so often, and one of the others after each.
    Interleaved { random: Random, others: u32, left: u64 },
    /// Each of these, so often, whichever connection is free; each round begins elsewhere, so that neighbours change.
    Rounds {
        order: Arc<[u32]>,
        rounds: u32,
        taken: Arc<AtomicU32>,
    },
}

impl Accounts {
    /// One random sequence for each connection.
    pub(crate) fn random(count: u32, seed: u64) -> Self {
        Self::Random {
            random: Random::new(seed),
            count,
        }
    }

    /// One random sequence for each connection, in which small numbers come more often.
    pub(crate) fn skewed(zipf: &Arc<Zipf>, seed: u64) -> Self {
        Self::Skewed {
            random: Random::new(seed),
            zipf: Arc::clone(zipf),
        }
    }

    /// The first account `times` over, and one of `others` after each.
    pub(crate) fn interleaved(others: u32, times: u32) -> Self {
        Self::Interleaved {
            random: Random::new(1),
            others,
            left: u64::from(times) * 2,
        }
    }

    /// `count` accounts in random order, `rounds` times over.
    pub(crate) fn rounds(count: u32, rounds: u32) -> Self {
        Self::Rounds {
            order: Random::new(u64::from(rounds)).order(count).into(),
            rounds,
            taken: Arc::default(),
        }
    }

    pub(crate) fn next(&mut self) -> Option<u32> {
        match self {
            Self::Random { random, count } => Some(random.below(*count)),
            Self::Skewed { random, zipf } => Some(zipf.draw(random)),
            Self::Interleaved { random, others, left } => {
                *left = left.checked_sub(1)?;
                let is_other = left.is_multiple_of(2);
                Some(if is_other { 1 + random.below(*others) } else { 0 })
            }
            Self::Rounds { order, rounds, taken } => {
                const STEP: usize = 1_237;
                let taken = taken.fetch_add(1, Ordering::Relaxed) as usize;
                let (round, at) = (taken / order.len(), taken % order.len());
                let place = (at + round * STEP) % order.len();
                order.get(place).copied().filter(|_| round < *rounds as usize)
            }
        }
    }
}

/// One connection's requests, and what was acknowledged.
#[derive(Debug)]
pub(crate) struct Requests {
    template: Template,
    accounts: Accounts,
    /// The number of the next command; each connection of each run counts in a range of its own.
    command: u64,
    account: u32,
    check: Check,
    acknowledged: Vec<Acknowledged>,
}

/// What an answer must be.
#[derive(Debug, Clone)]
pub(crate) enum Check {
    /// Anything: it only echoes.
    Nothing,
    /// An acknowledgement with a version, which is kept.
    Acknowledgement,
    /// A state, at whatever version.
    AnyState,
    /// The state at this version, with this text in it.
    State { version: u64, text: String },
}

/// Commands that one connection may send in one run.
const COMMANDS_PER_CONNECTION: u64 = 1 << 28;

/// The number before the first command of a connection in a run.
pub(crate) fn first_command(run: u64, connection: u64) -> u64 {
    ((run << 16) + connection) * COMMANDS_PER_CONNECTION
}

impl Requests {
    /// The scripts of all connections of a run. `run` numbers the runs of one log.
    pub(crate) fn connections(
        count: usize,
        run: u64,
        template: &Template,
        check: &Check,
        accounts: impl Fn(u64) -> Accounts,
    ) -> Vec<Self> {
        (0..count as u64)
            .map(|connection| Self {
                template: template.clone(),
                accounts: accounts((run << 16) + connection),
                command: first_command(run, connection),
                account: 0,
                check: check.clone(),
                acknowledged: Vec::new(),
            })
            .collect()
    }
}

impl Requests {
    /// Takes any answer, for a server that only echoes.
    pub(crate) fn check_nothing(&mut self) {
        self.check = Check::Nothing;
    }
}

impl Script for Requests {
    fn next(&mut self, request: &mut Vec<u8>) -> bool {
        let Some(account) = self.accounts.next() else {
            return false;
        };
        self.account = account;
        self.command += 1;
        self.template.write(account, self.command, request);
        true
    }

    fn into_acknowledged(self) -> Vec<Acknowledged> {
        self.acknowledged
    }

    fn answered(&mut self, answer: &Answer<'_>) -> Result<(), Failed> {
        if !answer.is_success() {
            return Ok(());
        }
        let version = answer
            .header("aggregate-version")
            .and_then(|version| version.parse().ok());
        match (&self.check, version) {
            (Check::Nothing, _) | (Check::AnyState, Some(1..)) => Ok(()),
            (Check::Acknowledgement, Some(version)) => {
                self.acknowledged.push(Acknowledged {
                    account: self.account,
                    version,
                    command: self.command,
                });
                Ok(())
            }
            (
                Check::State {
                    version: expected,
                    text,
                },
                Some(version),
            ) if u64::from(version) == *expected
                && String::from_utf8_lossy(answer.body).contains(text.as_str()) =>
            {
                Ok(())
            }
            _ => Err(Failed::new(format!(
                "{}: expected {:?}, answered {}",
                account_id(self.account),
                self.check,
                answer.text()
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_have_their_digits_in_place() {
        let mut request = Vec::new();
        Template::command("account", "deposit", "{\"amount\":1}").write(4_711, 0xbeef, &mut request);
        let expected = "POST /v1/aggregates/account/a004711/commands/deposit HTTP/1.1\r\nhost: annals\r\n\
                        content-type: application/json\r\ncontent-length: 12\r\n\
                        correlation-id: 000000000000beef\r\n\r\n{\"amount\":1}";
        assert_eq!(String::from_utf8(request).unwrap(), expected);
        let mut request = Vec::new();
        Template::state("account").write(999_999, 1, &mut request);
        assert!(request.starts_with(b"GET /v1/aggregates/account/a999999 HTTP/1.1\r\n"));
        assert_eq!(account_of(&account_id(4_711)), Some(4_711));
        assert_eq!((account_of("b000001"), account_of("a1")), (None, None));
        assert_eq!(
            (command_of("000000000000beef"), command_of("beef")),
            (Some(0xbeef), None)
        );
    }

    #[test]
    fn the_first_account_takes_turns_with_the_others() {
        let mut accounts = Accounts::interleaved(3, 100);
        let all: Vec<u32> = std::iter::from_fn(|| accounts.next()).collect();
        assert_eq!(all.len(), 200);
        assert!(
            all.chunks(2)
                .all(|pair| pair[0] == 0 && (1..=3).contains(&pair[1]))
        );
    }

    #[test]
    fn rounds_take_each_account_equally_often() {
        let mut accounts = Accounts::rounds(100, 3);
        let mut other = accounts.clone();
        let mut times = [0; 100];
        while let Some(account) = accounts.next() {
            times[account as usize] += 1;
            if let Some(account) = other.next() {
                times[account as usize] += 1;
            }
        }
        assert_eq!(times, [3; 100]);
    }
}
