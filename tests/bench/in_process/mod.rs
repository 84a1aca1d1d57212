//! The layers below HTTP, in a process of its own that links the library: the log alone; a native aggregate in the lanes;
//! the same as WebAssembly. And large logs, which are written fastest this way.

mod account;
mod drive;
mod engine;
mod job;

use std::{path::Path, process::Stdio};

use serde_json::json;

use crate::{
    facts::Facts,
    failed::Failed,
    format,
    load::Seen,
    rates::{self, Rate, Runs},
    report::Section,
    service::Bench,
};

pub(crate) use job::{Ask, Job, Layer, Outcome, Plan};

/// What this process is with `--in-process JSON`.
pub(crate) fn serve(job: &str) -> Result<(), Failed> {
    let job: Job =
        serde_json::from_str(job).map_err(|error| Failed::new(format!("--in-process: {error}")))?;
    let outcome = job::run(&job)?;
    println!("{}", json!(outcome));
    Ok(())
}

/// Does a job in a process of its own.
pub(crate) fn run(job: &Job) -> Result<Outcome, Failed> {
    let output = Bench::itself()?
        .arg("--in-process")
        .arg(json!(job).to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failed::io("start the process of a layer", &error))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(Failed::new(format!(
            "the process of a layer ended with {}",
            output.status
        )));
    }
    serde_json::from_str(&text)
        .map_err(|error| Failed::new(format!("the process of a layer said `{text}`: {error}")))
}

const LAYERS: [(Layer, &str, &str); 3] = [
    (Layer::Log, "in-process-log", "log append alone"),
    (
        Layer::Native,
        "in-process-native",
        "native aggregate in the lanes",
    ),
    (Layer::Wasm, "in-process-wasm", "Wasm aggregate in the lanes"),
];

/// Measures the layers in turns, each run on new data.
pub(crate) fn measure(bench: &Bench<'_>, facts: &mut Facts) -> Result<Section, Failed> {
    let module = bench.component_path(bench.args.account.as_deref(), "account")?;
    let mut all = LAYERS.map(|(_, _, title)| Runs::new(title, 0));
    for run in 0..bench.args.runs() {
        for ((layer, fact, _), runs) in LAYERS.iter().zip(&mut all) {
            let data = bench.dir.join(format!("{fact}-{run}"));
            let outcome = self::run(&Job {
                layer: *layer,
                data: data.clone(),
                module: module.clone(),
                ask: Ask::deposit(),
                plan: Plan::Timed {
                    accounts: bench.args.accounts,
                    warm_up: bench.args.warm_up(),
                    measured: bench.args.measured(),
                },
            })?;
            remove(&data)?;
            add(runs, outcome, bench);
        }
    }
    let rates = all.map(Runs::finish);
    for ((_, fact, _), rate) in LAYERS.iter().zip(&rates) {
        facts.put_rate(fact, rate);
    }
    Ok(section(bench, &rates))
}

fn add(runs: &mut Runs, outcome: Outcome, bench: &Bench<'_>) {
    let refused: u64 = outcome.refused.values().sum();
    let seen = Seen {
        latencies: outcome.latencies,
        per_second: outcome.per_second,
        // No status of HTTP: they are of no kind.
        refused: (refused > 0).then_some((0, refused)).into_iter().collect(),
        refusal: outcome.refusal,
        time: bench.args.measured(),
        stall: outcome.stall,
    };
    runs.add(
        seen,
        Vec::new(),
        (outcome.busy, std::time::Duration::ZERO),
        bench.args.warm_up(),
    );
}

fn section(bench: &Bench<'_>, rates: &[Rate]) -> Section {
    let mut section = rates::section(
        "in_process",
        format!(
            "Layers, in process without HTTP: deposits to {} accounts, {} under way",
            format::count(u64::from(bench.args.accounts)),
            format::count(drive::WINDOW as u64)
        ),
        rates,
    );
    section.notes.push(
        "the generator is a thread of the measured process: `server cores` has both; `not 2xx` are commands that were not \
         accepted"
            .to_owned(),
    );
    if let [log, native, wasm] = rates {
        let micros = |rate: &Rate| 1e6 / rate.per_second().max(f64::MIN_POSITIVE);
        section.notes.push(format!(
            "time of one command: {:.1} µs in the log, {:.1} µs more for lanes and a native aggregate, {:.1} µs more for \
             WebAssembly",
            micros(log),
            micros(native) - micros(log),
            micros(wasm) - micros(native)
        ));
    }
    section.notes.push(
        "after each run the store was opened anew, and every acknowledged command was in its log once"
            .to_owned(),
    );
    section
}

/// Gives the room of a run back.
pub(crate) fn remove(data: &Path) -> Result<(), Failed> {
    std::fs::remove_dir_all(data).map_err(|error| Failed::io(&format!("remove {}", data.display()), &error))
}
