//! Fan-out: what those who follow cost those who command; how fast a reader catches up; and consumers.

mod catch_up;
mod chunks;
mod consumers;
mod encode;
mod floors;
mod line;
mod live;
mod pages;
mod push;
mod slow;

use annals::vocabulary::Cursor;
use annals_tests::{follow::allow_open_files, server::log_end};

use crate::{
    commands::{check_log, checked_note, open_accounts},
    facts::Facts,
    failed::Failed,
    ledger::Acknowledged,
    rates::FIRST_RUN,
    report::Section,
    service::{Bench, End, Service},
};

/// Sockets of more than a thousand subscribers, on both sides.
const OPEN_FILES: u64 = 4_096;

pub(crate) use catch_up::measure as catch_up;
pub(crate) use consumers::measure as consumers;

/// Commands with and without those who follow.
pub(crate) fn followers(bench: &Bench<'_>, facts: &mut Facts) -> Result<Section, Failed> {
    followed(bench, "fan-out", |service, books| {
        live::measure(bench, service, books, facts)
    })
}

/// The same with many who hardly read.
pub(crate) fn slow(bench: &Bench<'_>, facts: &mut Facts) -> Result<Section, Failed> {
    followed(bench, "slow-subscribers", |service, books| {
        slow::measure(bench, service, books, facts)
    })
}

/// Measures on a server of its own, whose log is checked at the end.
fn followed(
    bench: &Bench<'_>,
    name: &str,
    measure: impl FnOnce(&Service, &mut Books) -> Result<Section, Failed>,
) -> Result<Section, Failed> {
    allow_open_files(OPEN_FILES).map_err(|error| Failed::io("open a thousand streams", &error))?;
    let component = bench.component(bench.args.account.as_deref(), "account")?;
    let service = bench.server(name)?;
    service.upload(&component)?;
    let mut books = Books {
        acknowledged: open_accounts(&service, bench.args.accounts)?,
        refused: 0,
        next_run: FIRST_RUN,
    };
    let mut section = measure(&service, &mut books)?;
    let (service, checked) = check_log(bench, service, "account", &books.acknowledged, books.refused)?;
    service.end(End::Stopped)?;
    section.notes.push(checked_note(bench, &checked));
    Ok(section)
}

/// What was sent to one server so far.
#[derive(Debug)]
struct Books {
    acknowledged: Vec<Acknowledged>,
    refused: u64,
    next_run: u64,
}

impl Books {
    /// The number of the next run.
    fn run(&mut self) -> u64 {
        self.next_run += 1;
        self.next_run - 1
    }
}

/// Where the log of a server ends.
fn position(service: &Service) -> Result<u64, Failed> {
    Ok(end_of_log(service)?.position.0)
}

fn end_of_log(service: &Service) -> Result<Cursor, Failed> {
    let answer = service.connect()?.request("GET", "/readyz", &[], &[]);
    let answer = answer.map_err(|error| Failed::io("ask where the log ends", &error))?;
    log_end(&answer).ok_or_else(|| Failed::new(format!("GET /readyz: no position in {}", answer.text())))
}
