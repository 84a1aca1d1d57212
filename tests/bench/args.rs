//! What can be asked for.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

use crate::{deposits::ACCOUNTS_MAX, failed::Failed, native::Rows};

/// Measures annals beside its floors on this machine. `cargo xtask bench` builds everything and runs it.
#[derive(Debug, Parser)]
#[command(name = "annals-bench")]
pub(crate) struct Args {
    /// The server's binary; by default the one beside this program
    #[arg(long, value_name = "FILE")]
    pub(crate) annals: Option<PathBuf>,
    /// The component of examples/account; by default it is built
    #[arg(long, value_name = "FILE")]
    pub(crate) account: Option<PathBuf>,
    /// The component of examples/aircraft; by default it is built
    #[arg(long, value_name = "FILE")]
    pub(crate) aircraft: Option<PathBuf>,
    /// The commands that examples/aircraft/flights.py prints; without it the flights are left out
    #[arg(long, value_name = "FILE")]
    pub(crate) flights: Option<PathBuf>,
    /// Where data is written, on the disk that is to be measured; by default target/bench
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
    /// Where the numbers are written as JSON too
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// What is measured; by default everything
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    pub(crate) only: Vec<Part>,
    /// Everything smaller: a few minutes, to see whether all is well; its targets are not the real ones
    #[arg(long)]
    pub(crate) quick: bool,
    /// Measured seconds of each run; 5, or 2 with --quick
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    /// Seconds of each run that are cut off before the measured ones
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    pub(crate) warm_up: u64,
    /// Runs of each line, of which the table shows the median; 3, or 1 with --quick
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// Numbers of keep-alive connections, each with one request under way
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 64, 512])]
    pub(crate) connections: Vec<usize>,
    /// Numbers of subscribers beside commands; the first is what the others are held against
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [0, 1, 10, 100])]
    pub(crate) subscribers: Vec<usize>,
    /// Accounts that commands are spread over
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) accounts: u32,
    /// Aggregates that are read cold; 10,000, or 2,000 with --quick
    #[arg(long, value_name = "N")]
    cold_aggregates: Option<u32>,
    /// Events of each of them
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) cold_events: u32,
    /// Events whose bytes on disk are counted; 200,000, or 50,000 with --quick
    #[arg(long, value_name = "N")]
    disk_events: Option<u32>,
    /// Events of one aggregate that is rebuilt, written among as many of others; 1,000,000, or 100,000 with --quick
    #[arg(long, value_name = "N")]
    rebuild_events: Option<u32>,
    /// Events of the aggregate with a large state; 1,000,000, or 100,000 with --quick
    #[arg(long, value_name = "N")]
    large_state_events: Option<u32>,
    /// Events of the large log, for memory, disk and start; 10,000,000, or 500,000 with --quick
    #[arg(long, value_name = "N")]
    large_events: Option<u32>,
    /// Events that are read from the beginning when a reader catches up; 1,000,000, or 100,000 with --quick
    #[arg(long, value_name = "N")]
    catch_up_events: Option<u32>,
    /// Events that a durable consumer is given; 200,000, or 20,000 with --quick
    #[arg(long, value_name = "N")]
    consumer_events: Option<u32>,
    /// Seconds of the long run; 600, or 0 with --quick, which leaves it out
    #[arg(long, value_name = "SECONDS")]
    soak_seconds: Option<u64>,
    /// Commands per second of the long run, over all connections; without it as many as are answered
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) soak_rate: Option<u32>,
    /// Where the picture is drawn
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// By what the day's work finds its rows again: with `sequence` it cannot read the history of one account, and is faster
    #[arg(long, value_name = "KEY", default_value = "account")]
    pub(crate) native_rows: Rows,
    /// Leave the data where it is
    #[arg(long)]
    pub(crate) keep: bool,
    /// Never restart the server: for working on the benchmark with a store that keeps nothing
    #[arg(long, hide = true)]
    pub(crate) no_restart: bool,
    /// Be the echo server
    #[arg(long, hide = true)]
    pub(crate) echo: bool,
    /// Be the day's work, with its log in this file
    #[arg(long, hide = true, value_name = "FILE")]
    pub(crate) native: Option<PathBuf>,
    /// Measure the library in this process, as this JSON says
    #[arg(long, hide = true, value_name = "JSON")]
    pub(crate) in_process: Option<String>,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// What the disk and redb take without annals.
    Floors,
    /// Durable commands and state reads over HTTP, beside an echo and the day's work.
    Commands,
    /// One hot account, and accounts by Zipf's law.
    Skew,
    /// Many commands on one connection.
    Pipelined,
    /// Commands beside those who follow.
    FanOut,
    /// Commands beside a thousand who follow, of whom most hardly read.
    SlowSubscribers,
    /// Reading the log from its beginning.
    CatchUp,
    /// Durable consumers.
    Consumers,
    /// The layers below HTTP, one by one.
    InProcess,
    /// First reads after a restart.
    Cold,
    /// One aggregate with many events.
    Rebuild,
    /// A large aggregate beside a small one on the same shard.
    LargeState,
    /// Memory, idle and with many live accounts.
    Memory,
    /// Bytes on disk for each event.
    Disk,
    /// A large log: memory, disk, start.
    Large,
    /// Throughput and latency over connections, for the picture.
    Sweep,
    /// The year of flights.
    Flights,
    /// Ten minutes: stalls, memory, latency.
    Soak,
}

impl Args {
    pub(crate) fn has(&self, part: Part) -> bool {
        let is_left_out = part == Part::Soak && self.soak_seconds() == 0;
        !is_left_out && (self.only.is_empty() || self.only.contains(&part))
    }

    /// What was asked for, else the size of a full or of a quick run.
    fn sized<T>(&self, asked: Option<T>, full: T, quick: T) -> T {
        asked.unwrap_or(if self.quick { quick } else { full })
    }

    pub(crate) fn runs(&self) -> usize {
        self.sized(self.runs, 3, 1)
    }

    pub(crate) fn cold_aggregates(&self) -> u32 {
        self.sized(self.cold_aggregates, 10_000, 2_000)
    }

    pub(crate) fn disk_events(&self) -> u32 {
        self.sized(self.disk_events, 200_000, 50_000)
    }

    pub(crate) fn rebuild_events(&self) -> u32 {
        self.sized(self.rebuild_events, 1_000_000, 100_000)
    }

    pub(crate) fn large_state_events(&self) -> u32 {
        self.sized(self.large_state_events, 1_000_000, 100_000)
    }

    pub(crate) fn large_events(&self) -> u32 {
        self.sized(self.large_events, 10_000_000, 500_000)
    }

    pub(crate) fn catch_up_events(&self) -> u32 {
        self.sized(self.catch_up_events, 1_000_000, 100_000)
    }

    pub(crate) fn consumer_events(&self) -> u32 {
        self.sized(self.consumer_events, 200_000, 20_000)
    }

    pub(crate) fn soak_seconds(&self) -> u64 {
        self.sized(self.soak_seconds, 600, 0)
    }

    /// What clap cannot say by itself.
    pub(crate) fn check(&self) -> Result<(), Failed> {
        for (flag, value) in [
            ("--accounts", self.accounts),
            ("--cold-aggregates", self.cold_aggregates()),
        ] {
            if value == 0 || value > ACCOUNTS_MAX {
                return Err(Failed::new(format!(
                    "{flag} {value} is not within 1 and {ACCOUNTS_MAX}"
                )));
            }
        }
        for (flag, is_zero) in [
            ("--seconds", self.measured().is_zero()),
            ("--runs", self.runs() == 0),
            (
                "--connections",
                self.connections.contains(&0) || self.connections.is_empty(),
            ),
            ("--disk-events", self.disk_events() == 0),
            ("--rebuild-events", self.rebuild_events() == 0),
            ("--large-state-events", self.large_state_events() == 0),
            ("--large-events", self.large_events() == 0),
            ("--catch-up-events", self.catch_up_events() == 0),
            ("--consumer-events", self.consumer_events() == 0),
        ] {
            if is_zero {
                return Err(Failed::new(format!("{flag} must be more than 0")));
            }
        }
        if self.cold_events < 3 {
            return Err(Failed::new(format!(
                "--cold-events {} is less than 3: each account is opened, paid into, read, and paid into again",
                self.cold_events
            )));
        }
        if self.only.contains(&Part::Soak) && self.soak_seconds() == 0 {
            return Err(Failed::new(
                "--only soak needs --soak-seconds of more than 0; with --quick there is none by default",
            ));
        }
        if self.only.contains(&Part::Flights) && self.flights.is_none() {
            return Err(Failed::new(
                "--only flights needs --flights FILE, which examples/aircraft/flights.py prints",
            ));
        }
        Ok(())
    }

    pub(crate) fn warm_up(&self) -> Duration {
        Duration::from_secs(self.warm_up)
    }

    pub(crate) fn measured(&self) -> Duration {
        Duration::from_secs(self.sized(self.seconds, 5, 2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::try_parse_from(std::iter::once("annals-bench").chain(line.split_whitespace())).unwrap()
    }

    #[test]
    fn quick_is_smaller_and_what_is_asked_for_counts() {
        let (full, quick) = (args(""), args("--quick --large-events 7"));
        assert_eq!(
            (full.runs(), full.large_events(), full.soak_seconds()),
            (3, 10_000_000, 600)
        );
        assert_eq!(
            (quick.runs(), quick.large_events(), quick.soak_seconds()),
            (1, 7, 0)
        );
        assert!(full.has(Part::Soak) && !quick.has(Part::Soak) && quick.has(Part::Cold));
        assert!(!args("--only cold,in-process").has(Part::Disk));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        for (line, says) in [
            ("--runs 0", "--runs must be more than 0"),
            ("--accounts 0", "--accounts 0 is not within 1"),
            ("--cold-events 2", "less than 3"),
            ("--large-events 0", "--large-events"),
            ("--quick --only soak", "--soak-seconds"),
            ("--only flights", "--flights FILE"),
        ] {
            let failed = args(line).check().unwrap_err().to_string();
            assert!(failed.contains(says), "{line}: {failed}");
        }
        args("").check().unwrap();
    }
}
