//! Rates: several runs of one line, added up.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use crate::{
    failed::Failed,
    format,
    ledger::Acknowledged,
    load::{Script, Seen, Span, drive},
    numbers::{self, Latency, mean_and_deviation, median},
    report::Section,
    service::{Bench, Service, own_processor_time},
};

/// The number that the first measured run has in a log; smaller ones are for setting up.
pub(crate) const FIRST_RUN: u64 = 100;
/// The generator is one thread: when it is this busy, it may be what limits the rate.
const GENERATOR_BUSY: f64 = 0.9;

/// All runs of one line.
#[derive(Debug)]
pub(crate) struct Rate {
    pub(crate) name: String,
    pub(crate) connections: usize,
    pub(crate) runs: Vec<f64>,
    /// Of every single second of every run.
    pub(crate) seconds: Vec<f64>,
    pub(crate) latency: Latency,
    /// The longest time in which no answer came, over all connections.
    pub(crate) stall: Duration,
    pub(crate) refused: BTreeMap<u16, u64>,
    /// The text of one of them.
    pub(crate) refusal: Option<String>,
    pub(crate) acknowledged: Vec<Acknowledged>,
    /// Processors that were busy on average.
    server_cores: f64,
    generator_cores: f64,
}

impl Rate {
    /// The median of the runs.
    pub(crate) fn per_second(&self) -> f64 {
        median(&self.runs)
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.values().sum()
    }

    /// Whether the generator itself may have been the limit.
    pub(crate) fn is_generator_bound(&self) -> bool {
        self.generator_cores >= GENERATOR_BUSY
    }

    /// The slowest and the fastest run.
    pub(crate) fn range(&self) -> String {
        format::range(&self.runs)
    }

    /// What else than 2xx was answered, where there was such a thing.
    pub(crate) fn refusal_note(&self) -> Option<String> {
        let text = self.refusal.as_ref()?;
        Some(format!(
            "{}, not 2xx: {:?}, such as {text}",
            self.name, self.refused
        ))
    }

    fn row(&self) -> Vec<String> {
        let (mean, deviation) = mean_and_deviation(&self.seconds);
        vec![
            self.name.clone(),
            format::rate(self.per_second()),
            self.range(),
            format!("{:.1} %", 100.0 * deviation / mean.max(f64::MIN_POSITIVE)),
            format::millis(self.latency.p50_us),
            format::millis(self.latency.p99_us),
            format::millis(self.latency.p999_us),
            format::count(self.refused()),
            format!("{:.2}", self.server_cores),
            format!("{:.2}", self.generator_cores),
        ]
    }

    pub(crate) fn json(&self) -> Value {
        let (mean, deviation) = mean_and_deviation(&self.seconds);
        json!({
            "name": self.name,
            "connections": self.connections,
            "per_second": self.per_second(),
            "runs": self.runs,
            "seconds": self.seconds,
            "per_second_mean": mean,
            "per_second_deviation": deviation,
            "latency": self.latency,
            "longest_silence_us": self.stall.as_secs_f64() * 1e6,
            "not_2xx": self.refused,
            "server_cores": self.server_cores,
            "generator_cores": self.generator_cores,
        })
    }
}

/// Runs of one line that are being added up.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    name: String,
    connections: usize,
    runs: Vec<f64>,
    seconds: Vec<f64>,
    latencies: Vec<u64>,
    stall: Duration,
    refused: BTreeMap<u16, u64>,
    refusal: Option<String>,
    acknowledged: Vec<Acknowledged>,
    time: Duration,
    server: Duration,
    generator: Duration,
}

impl Runs {
    pub(crate) fn new(name: impl Into<String>, connections: usize) -> Self {
        Self {
            name: name.into(),
            connections,
            ..Self::default()
        }
    }

    /// One more run, for the time that was asked for.
    pub(crate) fn measure<S: Script>(
        &mut self,
        bench: &Bench<'_>,
        service: &Service,
        scripts: Vec<S>,
    ) -> Result<(), Failed> {
        let span = Span::Timed {
            warm_up: bench.args.warm_up(),
            measured: bench.args.measured(),
        };
        let busy = Busy::start(service)?;
        let (seen, scripts) = drive(service.address, scripts, span)?;
        let busy = busy.end(service)?;
        let acknowledged = scripts.into_iter().flat_map(Script::into_acknowledged).collect();
        self.add(seen, acknowledged, busy, bench.args.warm_up());
        Ok(())
    }

    /// Adds what one run has seen. `busy` is the processor time of server and generator, in the warm-up too.
    pub(crate) fn add(
        &mut self,
        seen: Seen,
        acknowledged: Vec<Acknowledged>,
        busy: (Duration, Duration),
        warm_up: Duration,
    ) {
        let rate = numbers::rate(seen.answered(), seen.time);
        eprintln!(
            "{}, run {}: {}/s",
            self.name,
            self.runs.len() + 1,
            format::rate(rate)
        );
        self.runs.push(rate);
        self.seconds
            .extend(seen.per_second.iter().map(|count| *count as f64));
        self.latencies.extend(seen.latencies);
        self.stall = self.stall.max(seen.stall);
        for (status, number) in seen.refused {
            *self.refused.entry(status).or_default() += number;
        }
        self.refusal = self.refusal.take().or(seen.refusal);
        self.acknowledged.extend(acknowledged);
        self.time += seen.time + warm_up;
        self.server += busy.0;
        self.generator += busy.1;
    }

    pub(crate) fn finish(self) -> Rate {
        let cores = |busy: Duration| busy.as_secs_f64() / self.time.as_secs_f64().max(f64::MIN_POSITIVE);
        Rate {
            name: self.name,
            connections: self.connections,
            server_cores: cores(self.server),
            generator_cores: cores(self.generator),
            runs: self.runs,
            seconds: self.seconds,
            latency: Latency::of(self.latencies),
            stall: self.stall,
            refused: self.refused,
            refusal: self.refusal,
            acknowledged: self.acknowledged,
        }
    }
}

/// Processor time of server and generator at the beginning of a run.
#[derive(Debug)]
pub(crate) struct Busy(Duration, Duration);

impl Busy {
    pub(crate) fn start(service: &Service) -> Result<Self, Failed> {
        Ok(Self(service.processor_time()?, own_processor_time()?))
    }

    /// What both have taken since then.
    pub(crate) fn end(self, service: &Service) -> Result<(Duration, Duration), Failed> {
        Ok((service.processor_time()? - self.0, own_processor_time()? - self.1))
    }
}

/// The table of some lines, with what was refused and whether the generator was the limit below it.
pub(crate) fn section(key: &'static str, title: impl Into<String>, rates: &[Rate]) -> Section {
    let mut notes = Vec::new();
    for rate in rates {
        notes.extend(rate.refusal_note());
        if rate.is_generator_bound() {
            notes.push(format!(
                "{}: the generator took {:.2} of a processor, so the rate may be its limit and not the server's",
                rate.name, rate.generator_cores
            ));
        }
    }
    Section {
        key,
        title: title.into(),
        columns: vec![
            "",
            "per second",
            "runs",
            "deviation",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "not 2xx",
            "server cores",
            "generator cores",
        ],
        rows: rates.iter().map(Rate::row).collect(),
        notes,
        json: json!(rates.iter().map(Rate::json).collect::<Vec<_>>()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(latencies: Vec<u64>, refused: u64) -> Seen {
        Seen {
            per_second: vec![latencies.len() as u64],
            latencies,
            refused: (refused > 0).then_some((429, refused)).into_iter().collect(),
            refusal: (refused > 0).then(|| "429 busy".to_owned()),
            time: Duration::from_secs(1),
            stall: Duration::from_millis(refused),
        }
    }

    #[test]
    fn runs_add_up_and_their_median_counts() {
        let second = Duration::from_secs(1);
        let mut runs = Runs::new("line", 7);
        for (answers, refused) in [(10, 0), (30, 2), (20, 1)] {
            runs.add(
                seen(vec![1_000; answers], refused),
                Vec::new(),
                (second, 2 * second),
                second,
            );
        }
        let rate = runs.finish();
        assert_eq!((rate.per_second(), rate.refused()), (20.0, 3));
        assert_eq!(rate.stall, Duration::from_millis(2));
        // One second of warm-up and one measured in each run.
        assert_eq!((rate.server_cores, rate.generator_cores), (0.5, 1.0));
        assert!(rate.is_generator_bound());
        let notes = section("k", "t", &[rate]).notes.join("\n");
        assert!(
            notes.contains("429 busy") && notes.contains("its limit"),
            "{notes}"
        );
    }
}
