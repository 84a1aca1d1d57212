//! What can be asked for.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, ValueEnum};

use crate::{deposits::ACCOUNTS_MAX, failed::Failed};

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
    /// Measured seconds of each run
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub(crate) seconds: u64,
    /// Seconds of each run that are cut off before the measured ones
    #[arg(long, value_name = "SECONDS", default_value_t = 1)]
    pub(crate) warm_up: u64,
    /// Runs for each number of connections; the table shows their median
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) runs: usize,
    /// Numbers of keep-alive connections, each with one request under way
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = [1, 64, 512])]
    pub(crate) connections: Vec<usize>,
    /// Accounts that commands are spread over
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) accounts: u32,
    /// Aggregates that are read cold
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    pub(crate) cold_aggregates: u32,
    /// Events of each of them; at the default the last one is the first that a snapshot follows
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) cold_events: u32,
    /// Events whose bytes on disk are counted
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    pub(crate) disk_events: u32,
    /// Leave the data where it is
    #[arg(long)]
    pub(crate) keep: bool,
    /// Never restart the server: for working on the benchmark with a store that keeps nothing
    #[arg(long, hide = true)]
    pub(crate) no_restart: bool,
    /// Be the echo server
    #[arg(long, hide = true)]
    pub(crate) echo: bool,
}

/// What can be measured by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// What the disk, redb and an HTTP echo take without annals.
    Floors,
    /// Durable commands over HTTP.
    Commands,
    /// First reads after a restart.
    Cold,
    /// Bytes on disk for each event.
    Disk,
    /// The year of flights.
    Flights,
}

impl Args {
    pub(crate) fn has(&self, part: Part) -> bool {
        self.only.is_empty() || self.only.contains(&part)
    }

    /// What clap cannot say by itself.
    pub(crate) fn check(&self) -> Result<(), Failed> {
        for (flag, value) in [
            ("--accounts", self.accounts),
            ("--cold-aggregates", self.cold_aggregates),
        ] {
            if value == 0 || value > ACCOUNTS_MAX {
                return Err(Failed::new(format!(
                    "{flag} {value} is not within 1 and {ACCOUNTS_MAX}"
                )));
            }
        }
        for (flag, is_zero) in [
            ("--seconds", self.seconds == 0),
            ("--runs", self.runs == 0),
            (
                "--connections",
                self.connections.contains(&0) || self.connections.is_empty(),
            ),
            ("--disk-events", self.disk_events == 0),
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
        Duration::from_secs(self.seconds)
    }
}
