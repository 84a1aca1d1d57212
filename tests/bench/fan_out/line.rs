//! One line: commands over some connections with some who follow, in several runs.

use std::time::{Duration, Instant};

use annals_tests::follow::{Plan, Subscribers, Which};

use crate::{
    commands::deposits,
    deposits::Accounts,
    failed::Failed,
    load::{Pace, Script, Span, drive_at},
    numbers::rate,
    rates::{Busy, Rate, Runs},
    service::{Bench, Memory, Service, processor_time},
};

use super::{Books, position};

pub(super) const CONNECTIONS: usize = 64;
/// The server's thread that commits and publishes.
const WRITER: &str = "store-writer";
/// How long after the last command the last subscriber may have its last event.
const CAUGHT_UP_MAX: Duration = Duration::from_secs(600);

/// A line that is being measured.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) fast: usize,
    pub(super) slow: usize,
    pace: Pace,
    /// What is cut off beside the usual warm-up.
    settle: Duration,
    runs: Runs,
    followed: Followed,
}

/// What those who followed made of it, over all runs.
#[derive(Debug, Default)]
pub(super) struct Followed {
    /// Events that they were given while commands were sent.
    pub(super) delivered: u64,
    /// Commands that were acknowledged, in the warm-up too.
    pub(super) commands: u64,
    /// How long commands were sent.
    pub(super) time: Duration,
    /// Processor time of the server's thread that commits.
    pub(super) writer: Duration,
    /// Processor time of the server, of the thread that reads for the subscribers, and of the rest of the generator.
    pub(super) server: Duration,
    pub(super) readers: Duration,
    pub(super) generator: Duration,
    /// The longest time from the last command until all of them had all events.
    pub(super) behind: Duration,
    /// How often one of them was told that it fell behind.
    pub(super) fell_behind: u64,
    /// Of the server: with all of them connected before the first command, and at the end of the commands, for the run
    /// with the largest difference.
    pub(super) memory: Option<(Memory, Memory)>,
}

impl Line {
    pub(super) fn new(name: &str, fast: usize, slow: usize, pace: Pace) -> Self {
        Self {
            fast,
            slow,
            pace,
            settle: Duration::ZERO,
            runs: Runs::new(name, CONNECTIONS),
            followed: Followed::default(),
        }
    }

    /// Cuts off more than the usual warm-up.
    pub(super) fn settle(mut self, time: Duration) -> Self {
        self.settle = time;
        self
    }

    /// One run. It ends when each of those who follow was given every event of it, once and in order.
    pub(super) fn measure(
        &mut self,
        bench: &Bench<'_>,
        service: &Service,
        books: &mut Books,
    ) -> Result<(), Failed> {
        let accounts = bench.args.accounts;
        let warm_up = bench.args.warm_up() + self.settle;
        let span = Span::Timed {
            warm_up,
            measured: bench.args.measured(),
        };
        let after = position(service)?;
        let subscribers = self.subscribe(service, after)?;
        let before = service.memory()?;
        let scripts = deposits(CONNECTIONS, books.run(), |seed| Accounts::random(accounts, seed));
        let readers = processor_time(subscribers.task())?;
        let writer = service.thread_time(WRITER)?;
        let (busy, started) = (Busy::start(service)?, Instant::now());
        let (seen, scripts) = drive_at(self.pace, service.address, scripts, span)?;
        let (time, delivered) = (started.elapsed(), subscribers.delivered());
        let busy = busy.end(service)?;
        let writer_end = service.thread_time(WRITER)?;
        let readers = processor_time(subscribers.task())?.saturating_sub(readers);
        let stalled = service.memory()?;
        let acknowledged: Vec<_> = scripts.into_iter().flat_map(Script::into_acknowledged).collect();

        let (behind, fell_behind) = catch_up(service, subscribers, after)?;
        self.followed.add(&Followed {
            delivered,
            commands: acknowledged.len() as u64,
            time,
            server: busy.0,
            writer: writer_end.saturating_sub(writer),
            readers,
            generator: busy.1.saturating_sub(readers),
            behind,
            fell_behind,
            memory: Some((before, stalled)),
        });
        books.refused += seen.refused_total();
        books.acknowledged.extend(acknowledged);
        self.runs.add(seen, Vec::new(), busy, warm_up);
        Ok(())
    }

    fn subscribe(&self, service: &Service, after: u64) -> Result<Subscribers, Failed> {
        let plan = Plan {
            path: "/v1/events?after=now".to_owned(),
            fast: self.fast,
            slow: self.slow,
            after: Some(after),
        };
        Subscribers::open(service.address, &plan, CAUGHT_UP_MAX)
            .map_err(|error| Failed::io("follow the feed", &error))
    }

    pub(super) fn finish(self) -> (Rate, Followed) {
        (self.runs.finish(), self.followed)
    }
}

/// Waits until all of them have all events. Gives how long that took, and how often they were told that they fell behind.
fn catch_up(service: &Service, subscribers: Subscribers, after: u64) -> Result<(Duration, u64), Failed> {
    let failed = |error| Failed::io("follow the feed to its end", &error);
    let last = position(service)?;
    subscribers.release();
    let behind = subscribers
        .wait_for(Which::All, last, CAUGHT_UP_MAX)
        .map_err(failed)?;
    let told = subscribers.end().map_err(failed)?;
    if let Some(wrong) = told.iter().find(|told| told.events != last - after) {
        return Err(Failed::new(format!(
            "a subscriber was given {} of {} events. There is no result",
            wrong.events,
            last - after
        )));
    }
    Ok((behind, told.iter().map(|told| told.fell_behind).sum()))
}

impl Followed {
    fn add(&mut self, run: &Self) {
        self.delivered += run.delivered;
        self.commands += run.commands;
        self.time += run.time;
        self.server += run.server;
        self.writer += run.writer;
        self.readers += run.readers;
        self.generator += run.generator;
        self.behind = self.behind.max(run.behind);
        self.fell_behind += run.fell_behind;
        let grown = |memory: &Option<(Memory, Memory)>| {
            memory.map_or(0, |(before, stalled)| {
                stalled.resident.saturating_sub(before.resident)
            })
        };
        if self.memory.is_none() || grown(&run.memory) > grown(&self.memory) {
            self.memory = run.memory;
        }
    }

    /// Events that were delivered while commands were sent, in a second.
    pub(super) fn delivered_per_second(&self) -> f64 {
        rate(self.delivered, self.time)
    }

    /// Processor time of the server for a command and what it leads to, microseconds.
    pub(super) fn us_per_command(&self) -> f64 {
        self.server.as_secs_f64() * 1e6 / self.commands.max(1) as f64
    }

    /// The same of the thread that commits: what those who follow cost it.
    pub(super) fn writer_us_per_command(&self) -> f64 {
        self.writer.as_secs_f64() * 1e6 / self.commands.max(1) as f64
    }

    /// Processor time of the server for an event that one subscriber is given, microseconds: what remains when the
    /// commands have cost what they cost alone. None when nobody followed.
    pub(super) fn us_per_delivery(&self, alone: &Self) -> Option<f64> {
        let commands = self.commands as f64 * alone.us_per_command();
        let rest = self.server.as_secs_f64() * 1e6 - commands;
        (self.delivered > 0).then(|| rest.max(0.0) / self.delivered as f64)
    }

    /// Processors that were busy on average: of the server, of the readers, and of the rest of the generator.
    pub(super) fn cores(&self) -> [f64; 3] {
        let time = self.time.as_secs_f64().max(f64::MIN_POSITIVE);
        [self.server, self.readers, self.generator].map(|busy| busy.as_secs_f64() / time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn followed(commands: u64, delivered: u64, server_ms: u64) -> Followed {
        Followed {
            commands,
            delivered,
            time: Duration::from_secs(1),
            server: Duration::from_millis(server_ms),
            ..Followed::default()
        }
    }

    #[test]
    fn what_a_delivery_costs_is_what_the_commands_do_not() {
        let alone = followed(1_000, 0, 30);
        assert_eq!(alone.us_per_command(), 30.0);
        assert_eq!(alone.us_per_delivery(&alone), None);
        let beside = followed(500, 1_000, 20);
        assert_eq!(beside.us_per_delivery(&alone), Some(5.0));
        assert_eq!(followed(500, 1_000, 10).us_per_delivery(&alone), Some(0.0));
    }

    #[test]
    fn runs_add_up() {
        let mut all = Followed::default();
        for run in [followed(10, 100, 5), followed(20, 300, 7)] {
            all.add(&run);
        }
        assert_eq!((all.commands, all.delivered), (30, 400));
        assert_eq!(all.delivered_per_second(), 200.0);
        assert_eq!(all.cores()[0], 0.006);
    }
}
