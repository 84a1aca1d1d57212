//! The load: connections with one command under way each, on the thread of this program.

use std::{
    cell::Cell,
    collections::BTreeMap,
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant},
};

use serde::{Deserialize, de::IgnoredAny};
use tokio::task::LocalSet;

use super::{connection::Connection, request::Template};
use crate::cli::error::CliError;

/// How long commands are sent.
#[derive(Debug, Clone, Copy)]
pub(super) enum Span {
    /// One to each aggregate.
    EachOnce,
    /// To aggregates at random, for a time of which the beginning is not counted.
    Timed { warm_up: Duration, measured: Duration },
}

/// A command that was answered with 2xx.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) aggregate: u32,
    /// The version after it.
    pub(super) version: u64,
    pub(super) events: u64,
    pub(super) command: u64,
}

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Driven {
    /// Of 2xx answers within the measured time, in order of length.
    pub(super) latencies: Vec<Duration>,
    /// All others, by status, whenever they came.
    pub(super) refused: BTreeMap<u16, u64>,
    /// One of them.
    pub(super) refusal: Option<String>,
    /// All that were, whenever they were.
    pub(super) acknowledged: Vec<Acknowledged>,
}

/// As much of an answer as is kept.
#[derive(Debug, Deserialize)]
struct Accepted {
    version: u64,
    events: Vec<IgnoredAny>,
}

/// What the connections of a run share; they take turns on one thread.
struct Run {
    template: Template,
    ids: u32,
    span: Span,
    started: Instant,
    /// Aggregates that got their command, where each gets one.
    opened: Cell<u32>,
    /// The number of the next command; no other run of this log has it.
    next: Cell<u64>,
    random: Cell<u64>,
}

/// Sends commands over so many connections. `run` numbers the runs of one log.
pub(super) async fn drive(
    address: SocketAddr,
    template: &Template,
    connections: usize,
    ids: u32,
    span: Span,
    run: u64,
) -> Result<Driven, CliError> {
    let run = Rc::new(Run {
        template: template.clone(),
        ids,
        span,
        started: Instant::now(),
        opened: Cell::new(0),
        next: Cell::new(run << 40),
        random: Cell::new(run),
    });
    let all = LocalSet::new();
    let tasks: Vec<_> = (0..connections)
        .map(|_| all.spawn_local(Rc::clone(&run).converse(address)))
        .collect();
    all.await;
    let mut driven = Driven::default();
    for task in tasks {
        let part = task
            .await
            .map_err(|error| CliError::failed(format!("a connection ended: {error}")))?;
        driven.add(
            part.map_err(|error| CliError::failed(format!("a connection to {address} failed: {error}")))?,
        );
    }
    driven.latencies.sort_unstable();
    Ok(driven)
}

impl Run {
    async fn converse(self: Rc<Self>, address: SocketAddr) -> std::io::Result<Driven> {
        let mut connection = Connection::open(address).await?;
        let mut driven = Driven::default();
        let mut request = Vec::new();
        while let Some(aggregate) = self.aggregate() {
            let command = self.next.get();
            self.next.set(command + 1);
            self.template.write(aggregate, command, &mut request);
            let asked = Instant::now();
            let answer = connection.ask(&request).await?;
            let now = Instant::now();
            let accepted = serde_json::from_slice::<Accepted>(answer.body);
            match (answer.status, accepted) {
                (200..300, Ok(accepted)) => {
                    if self.counts(now) {
                        driven.latencies.push(now - asked);
                    }
                    driven.acknowledged.push(Acknowledged {
                        aggregate,
                        version: accepted.version,
                        events: accepted.events.len() as u64,
                        command,
                    });
                }
                (200..300, Err(error)) => return Err(std::io::Error::other(error)),
                (status, _) => {
                    *driven.refused.entry(status).or_default() += 1;
                    let text = || format!("{status} {}", String::from_utf8_lossy(answer.body));
                    driven.refusal.get_or_insert_with(text);
                }
            }
        }
        Ok(driven)
    }

    /// Who gets the next command; nobody once it is over.
    fn aggregate(&self) -> Option<u32> {
        match self.span {
            Span::EachOnce => {
                let next = self.opened.get();
                self.opened.set(next + 1);
                Some(next).filter(|next| *next < self.ids)
            }
            Span::Timed { warm_up, measured } => {
                (self.started.elapsed() < warm_up + measured).then(|| self.any())
            }
        }
    }

    /// One of all, uniformly at random (splitmix64), the same ones in each run of the program.
    fn any(&self) -> u32 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * u128::from(self.ids)) >> 64) as u32
    }

    fn counts(&self, now: Instant) -> bool {
        match self.span {
            Span::EachOnce => true,
            Span::Timed { warm_up, measured } => {
                (warm_up..warm_up + measured).contains(&(now - self.started))
            }
        }
    }
}

impl Driven {
    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.acknowledged.extend(other.acknowledged);
        for (status, number) in other.refused {
            *self.refused.entry(status).or_default() += number;
        }
        self.refusal = self.refusal.take().or(other.refusal);
    }

    /// The smallest latency that at least this share of all does not exceed.
    pub(super) fn percentile(&self, per_mille: usize) -> Duration {
        let rank = (self.latencies.len() * per_mille).div_ceil(1_000).max(1);
        self.latencies.get(rank - 1).copied().unwrap_or_default()
    }
}
