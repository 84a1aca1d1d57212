//! The benchmark: floors, the day's work, durable commands, contention, subscribers, layers, cold reads, memory, disk, start,
//! the year of flights and a long run, each held against its target.
//!
//! It is the load generator: a process of its own beside the server that it starts. `docs/benchmark.md` says what each
//! line means. A run that loses an event has no result: it ends with an error.

mod args;
mod cold;
mod commands;
mod deposits;
mod disk;
mod echo;
mod facts;
mod failed;
mod fan_out;
mod flights;
mod floors;
mod format;
mod in_process;
mod large;
mod large_state;
mod ledger;
mod lines;
mod load;
mod machine;
mod memory;
mod native;
mod ndjson;
mod numbers;
mod picture;
mod pipelined;
mod rates;
mod rebuild;
mod report;
mod service;
mod skew;
mod soak;
mod svg;
mod sweep;
mod targets;
mod wire;
mod zipf;

use std::{path::Path, process::ExitCode};

use clap::Parser;

use args::{Args, Part};
use facts::Facts;
use failed::Failed;
use machine::Machine;
use picture::Picture;
use report::Report;
use service::Bench;

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match (&args.native, &args.in_process, args.echo) {
        (Some(file), _, _) => native::serve(file, args.native_rows),
        (_, Some(job), _) => in_process::serve(job),
        (_, _, true) => echo::serve(),
        _ => run(&args),
    };
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
    let mut facts = Facts::default();
    let picture = measure(&bench, &mut facts, &mut report)?;
    report.add(targets::section(&facts));
    print!("{}", report.table());
    write(args.json.as_deref(), || format!("{:#}\n", report.json()))?;
    write(args.svg.as_deref(), || picture.svg(&report.machine()))
}

fn write(path: Option<&Path>, text: impl FnOnce() -> String) -> Result<(), Failed> {
    let Some(path) = path else { return Ok(()) };
    std::fs::write(path, text()).map_err(|error| Failed::io(&format!("write {}", path.display()), &error))
}

/// Every part that was asked for, one after the other: nothing runs beside what is measured.
fn measure(bench: &Bench<'_>, facts: &mut Facts, report: &mut Report) -> Result<Picture, Failed> {
    let mut picture = Picture::default();
    let has = |part| bench.args.has(part);
    if has(Part::Floors) {
        report.add(floors::fdatasync(bench)?);
        report.add(floors::redb(bench, facts)?);
    }
    if has(Part::Commands) {
        commands::measure(bench, facts)?
            .into_iter()
            .for_each(|section| report.add(section));
    }
    if has(Part::Skew) {
        let (section, curve) = skew::measure(bench, facts)?;
        picture.skew = curve;
        report.add(section);
    }
    if has(Part::Pipelined) {
        report.add(pipelined::measure(bench, facts)?);
    }
    if has(Part::FanOut) {
        report.add(fan_out::followers(bench, facts)?);
    }
    if has(Part::SlowSubscribers) {
        report.add(fan_out::slow(bench, facts)?);
    }
    if has(Part::CatchUp) {
        report.add(fan_out::catch_up(bench, facts)?);
    }
    if has(Part::Consumers) {
        report.add(fan_out::consumers(bench, facts)?);
    }
    if has(Part::InProcess) {
        report.add(in_process::measure(bench, facts)?);
    }
    if has(Part::Cold) {
        report.add(cold::measure(bench, facts)?);
    }
    if has(Part::Rebuild) {
        report.add(rebuild::measure(bench, facts)?);
    }
    if has(Part::LargeState) {
        report.add(large_state::measure(bench, facts)?);
    }
    if has(Part::Memory) {
        report.add(memory::measure(bench, facts)?);
    }
    if has(Part::Disk) {
        report.add(disk::measure(bench, facts)?);
    }
    if has(Part::Large) {
        report.add(large::measure(bench, facts)?);
    }
    if has(Part::Sweep) {
        let (section, lines) = sweep::measure(bench)?;
        picture.sweep = lines;
        report.add(section);
    }
    if let Some(file) = bench.args.flights.as_deref().filter(|_| has(Part::Flights)) {
        report.add(flights::measure(bench, file)?);
    }
    if has(Part::Soak) {
        let (section, minute) = soak::measure(bench, facts)?;
        picture.minute = minute;
        report.add(section);
    }
    Ok(picture)
}
