//! What a process of a layer is told to do, and what it answers.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    deposits::Accounts,
    failed::Failed,
    load::Span,
    service::{Memory, own_processor_time},
};

use super::{
    drive::{Driven, Driver},
    engine::{self, Engine, Names},
};

/// How far down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Layer {
    /// Commits handed to the store.
    Log,
    /// A native aggregate in the lanes.
    Native,
    /// A component in the lanes.
    Wasm,
}

/// A command that is sent again and again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) aggregate_type: String,
    pub(crate) command: String,
    /// The event that it makes, with the same payload: for the log layer.
    pub(crate) event_type: String,
    pub(crate) payload: String,
}

impl Ask {
    pub(crate) fn deposit() -> Self {
        Self {
            aggregate_type: "account".to_owned(),
            command: "deposit".to_owned(),
            event_type: "deposited".to_owned(),
            payload: "{\"amount\":1}".to_owned(),
        }
    }

    fn open() -> Self {
        Self {
            command: "open".to_owned(),
            event_type: "opened".to_owned(),
            payload: "{\"owner\":\"somebody\"}".to_owned(),
            ..Self::deposit()
        }
    }
}

/// Which aggregates are asked, and for how long.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Plan {
    /// Opened accounts at random, for a time; what was acknowledged is looked for in the log.
    Timed {
        accounts: u32,
        warm_up: Duration,
        measured: Duration,
    },
    /// Each aggregate so often, round by round.
    Rounds { aggregates: u32, rounds: u32 },
    /// The first account so often, and as many events of the others in between; the first event of each opens it.
    Interleaved { events: u32, others: u32 },
}

/// All that there is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Job {
    pub(crate) layer: Layer,
    pub(crate) data: PathBuf,
    /// The component; native code needs none.
    pub(crate) module: PathBuf,
    pub(crate) ask: Ask,
    pub(crate) plan: Plan,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    /// Commands that were accepted, whenever they were.
    pub(crate) accepted: u64,
    /// Of the measured time, nanoseconds each; empty where no time is measured.
    pub(crate) latencies: Vec<u64>,
    pub(crate) per_second: Vec<u64>,
    pub(crate) stall: Duration,
    pub(crate) refused: BTreeMap<String, u64>,
    pub(crate) refusal: Option<String>,
    /// Processor time of the commands.
    pub(crate) busy: Duration,
    /// How long they took, all of them.
    pub(crate) time: Duration,
    /// At the end of them, with the generator's own.
    pub(crate) memory: Memory,
}

/// Does it, and holds the log against what was acknowledged.
pub(super) fn run(job: &Job) -> Result<Outcome, Failed> {
    let engine = Engine::open(&job.data, job.layer, &job.module)?;
    let is_timed = matches!(job.plan, Plan::Timed { .. });
    let mut worker = Worker {
        engine,
        layer: job.layer,
        driver: Driver::new(is_timed),
    };
    let mut opened = worker.open(&job.plan)?;
    let (busy, started) = (own_processor_time()?, std::time::Instant::now());
    let (accounts, span) = job.plan.asks();
    let driven = worker.send(&job.ask, accounts, span)?;
    let outcome = Outcome {
        accepted: opened.accepted + driven.accepted,
        latencies: driven.seen.latencies,
        per_second: driven.seen.per_second,
        stall: driven.seen.stall,
        refusal: driven.refused.keys().next().cloned(),
        busy: own_processor_time()? - busy,
        time: started.elapsed(),
        memory: Memory::of("self")?,
        refused: driven.refused,
    };
    worker.engine.close();
    opened.acknowledged.extend(driven.acknowledged);
    let (log, last) = if is_timed {
        engine::log(&job.data, &job.ask.aggregate_type)?
    } else {
        return Ok(outcome);
    };
    let refused = outcome.refused.values().sum();
    let checked = log.check(&opened.acknowledged, refused)?;
    if last.0 < checked.events_in_log {
        return Err(Failed::new(format!(
            "the log ends at position {}, but has {} events. There is no result",
            last.0, checked.events_in_log
        )));
    }
    Ok(outcome)
}

impl Plan {
    fn asks(&self) -> (Accounts, Span) {
        match *self {
            Self::Timed {
                accounts,
                warm_up,
                measured,
            } => (Accounts::random(accounts, 1), Span::Timed { warm_up, measured }),
            Self::Rounds { aggregates, rounds } => (Accounts::rounds(aggregates, rounds), Span::ToTheEnd),
            Self::Interleaved { events, others } => {
                (Accounts::interleaved(others, events - 1), Span::ToTheEnd)
            }
        }
    }

    /// Accounts that are opened first: all that are asked.
    fn to_open(&self) -> u32 {
        match self {
            Self::Timed { accounts, .. } => *accounts,
            Self::Rounds { .. } => 0,
            Self::Interleaved { others, .. } => others + 1,
        }
    }
}

struct Worker {
    engine: Engine,
    layer: Layer,
    driver: Driver,
}

impl Worker {
    fn open(&mut self, plan: &Plan) -> Result<Driven, Failed> {
        let accounts = plan.to_open();
        let rounds = u32::from(accounts > 0);
        let driven = self.send(
            &Ask::open(),
            Accounts::rounds(accounts.max(1), rounds),
            Span::ToTheEnd,
        )?;
        match driven.refused.iter().next() {
            None => Ok(driven),
            Some((problem, number)) => Err(Failed::new(format!(
                "{number} accounts could not be opened: {problem}"
            ))),
        }
    }

    fn send(&mut self, ask: &Ask, accounts: Accounts, span: Span) -> Result<Driven, Failed> {
        let names = Names::parse(ask)?;
        let Self {
            engine,
            layer,
            driver,
        } = self;
        match layer {
            Layer::Log => driver.drive(accounts, span, |account, id, told| {
                engine.append(&names, account, id, told);
            }),
            Layer::Native | Layer::Wasm => driver.drive(accounts, span, |account, id, told| {
                engine.send(&names, account, id, told);
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every layer does what it is told, on a new store, and its log is held against it.
    fn outcome(layer: Layer, plan: Plan) -> Outcome {
        let dir = tempfile::tempdir().unwrap();
        let module = dir.path().join("module.wasm");
        std::fs::write(&module, annals_tests::guests::counter()).unwrap();
        let job = Job {
            layer,
            data: dir.path().join("data"),
            module,
            ask: Ask::deposit(),
            plan,
        };
        let told: Job = serde_json::from_str(&serde_json::to_string(&job).unwrap()).unwrap();
        run(&told).unwrap()
    }

    #[test]
    fn the_log_and_a_native_aggregate_are_measured() {
        for layer in [Layer::Log, Layer::Native] {
            let outcome = outcome(
                layer,
                Plan::Timed {
                    accounts: 20,
                    warm_up: Duration::from_millis(100),
                    measured: Duration::from_secs(1),
                },
            );
            assert!(outcome.refused.is_empty(), "{outcome:?}");
            assert_eq!(outcome.per_second, [outcome.latencies.len() as u64]);
            assert!(
                outcome.accepted > 20 && !outcome.latencies.is_empty(),
                "{layer:?}"
            );
        }
    }

    #[test]
    fn one_account_gets_as_many_events_as_all_others() {
        let plan = Plan::Interleaved {
            events: 50,
            others: 7,
        };
        // 8 are opened; 49 deposits to the first, and one to another after each.
        assert_eq!(outcome(Layer::Log, plan).accepted, 8 + 2 * 49);
        let rounds = Plan::Rounds {
            aggregates: 5,
            rounds: 3,
        };
        assert_eq!(outcome(Layer::Log, rounds).accepted, 15);
    }
}
