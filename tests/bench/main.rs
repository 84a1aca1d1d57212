//! The benchmark: floors, durable commands over HTTP, cold reads, bytes on disk, and the year of flights, in one run.
//!
//! It is the load generator: a process of its own beside the server that it starts. `docs/benchmark.md` says what each
//! line means. A run that loses an event has no result: it ends with an error.

mod args;
mod cold;
mod commands;
mod deposits;
mod disk;
mod echo;
mod failed;
mod flights;
mod floors;
mod format;
mod ledger;
mod load;
mod machine;
mod numbers;
mod report;
mod service;
mod wire;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Part};
use failed::Failed;
use machine::Machine;
use report::Report;
use service::Bench;

fn main() -> ExitCode {
    let args = Args::parse();
    let result = if args.echo { echo::serve() } else { run(&args) };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            eprintln!("annals-bench: {failed}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), Failed> {
    args.check()?;
    let bench = Bench::prepare(args)?;
    let machine = Machine::look(&bench.dir)?;
    machine.must_have_a_disk()?;
    let mut report = Report::new(machine);
    if args.has(Part::Floors) {
        report.add(floors::fdatasync(&bench)?);
        report.add(floors::redb(&bench)?);
    }
    let echo = if args.has(Part::Floors) {
        let (section, rates) = echo::measure(&bench)?;
        report.add(section);
        rates
    } else {
        Vec::new()
    };
    if args.has(Part::Commands) {
        report.add(commands::measure(&bench, &echo)?);
    }
    if args.has(Part::Cold) {
        report.add(cold::measure(&bench)?);
    }
    if args.has(Part::Disk) {
        report.add(disk::measure(&bench)?);
    }
    if let Some(file) = args.flights.as_deref().filter(|_| args.has(Part::Flights)) {
        report.add(flights::measure(&bench, file)?);
    }
    print!("{}", report.table());
    if let Some(path) = &args.json {
        let text = format!("{:#}\n", report.json());
        std::fs::write(path, text)
            .map_err(|error| Failed::io(&format!("write {}", path.display()), &error))?;
    }
    Ok(())
}
