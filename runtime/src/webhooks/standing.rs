//! How a webhook stands: its circuit, and what happened last.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::breaker::{Breaker, Circuit, Fault, Trial, Turn};
use crate::vocabulary::{Limits, Millis, Position};

/// Whether events are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// They are.
    Closed,
    /// Not for a while, since too many requests have failed or the receiver has asked for it.
    Open,
    /// One request is under way, to see whether the receiver is back.
    HalfOpen,
    /// They are not, and `last_error` says what the operator can do about it.
    Off,
}

/// A webhook as it stands. Times are those of the wall clock, since this process was started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Whether events are sent.
    pub state: State,
    /// Requests that failed since the last one that succeeded.
    pub failures: usize,
    /// When the receiver is tried again, from now on, milliseconds; none when nothing is waited for.
    pub retry_in_ms: Option<Millis>,
    /// Why the last request that failed did.
    pub last_error: Option<String>,
    /// When that was.
    pub last_failure_at: Option<Millis>,
    /// When a request last succeeded.
    pub last_success_at: Option<Millis>,
}

impl Standing {
    /// Of a webhook that is not sent to.
    pub(super) fn off(reason: String) -> Self {
        Self {
            state: State::Off,
            failures: 0,
            retry_in_ms: None,
            last_error: Some(reason),
            last_failure_at: None,
            last_success_at: None,
        }
    }
}

/// What is known of a webhook while it is sent to.
#[derive(Debug)]
pub(super) struct Record {
    begun: Instant,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    breaker: Breaker,
    last_error: Option<String>,
    last_failure_at: Option<Millis>,
    last_success_at: Option<Millis>,
}

impl Record {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            begun: Instant::now(),
            inner: Mutex::new(Inner {
                breaker: new_breaker(limits),
                last_error: None,
                last_failure_at: None,
                last_success_at: None,
            }),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> Millis {
        Millis::try_from(self.begun.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    /// Somebody has looked at it: it is tried at once.
    pub(super) fn begin_anew(&self, limits: &Limits) {
        self.lock().breaker = new_breaker(limits);
    }

    pub(super) fn turn(&self) -> Turn {
        self.lock().breaker.turn(self.now())
    }

    pub(super) fn probing(&self) {
        self.lock().breaker.probing();
    }

    /// Whether an event has failed for what seemed to be the receiver's sake.
    pub(super) fn suspects(&self, event: Position) -> bool {
        self.lock().breaker.suspects(event)
    }

    pub(super) fn succeeded(&self, events: &[Position], wall: Millis) {
        let mut inner = self.lock();
        inner.breaker.succeeded(self.now(), events);
        inner.last_success_at = Some(wall);
    }

    /// Takes note of a request that failed. True when that counts as an attempt with its events.
    pub(super) fn failed(&self, fault: Fault, trial: Trial<'_>, reason: &str, wall: Millis) -> bool {
        let mut inner = self.lock();
        inner.note(reason, wall);
        inner.breaker.failed(self.now(), fault, trial, random())
    }

    pub(super) fn told_to_wait(&self, wait: Duration, reason: &str, wall: Millis) {
        let wait = Millis::try_from(wait.as_millis()).unwrap_or(Millis::MAX);
        let mut inner = self.lock();
        inner.note(reason, wall);
        inner.breaker.told_to_wait(self.now(), wait, random());
    }

    /// Takes note of something that is not the receiver's answer to an event.
    pub(super) fn note(&self, reason: &str, wall: Millis) {
        self.lock().note(reason, wall);
    }

    pub(super) fn standing(&self) -> Standing {
        let inner = self.lock();
        let (state, retry_in_ms) = match inner.breaker.circuit() {
            Circuit::Closed => (State::Closed, None),
            Circuit::Open { until } => (State::Open, Some(until.saturating_sub(self.now()))),
            Circuit::HalfOpen => (State::HalfOpen, None),
        };
        Standing {
            state,
            failures: inner.breaker.failures(),
            retry_in_ms,
            last_error: inner.last_error.clone(),
            last_failure_at: inner.last_failure_at,
            last_success_at: inner.last_success_at,
        }
    }
}

impl Inner {
    fn note(&mut self, reason: &str, wall: Millis) {
        self.last_error = Some(reason.to_owned());
        self.last_failure_at = Some(wall);
    }
}

fn new_breaker(limits: &Limits) -> Breaker {
    let pause = Millis::try_from(limits.webhook_pause.as_millis()).unwrap_or(Millis::MAX);
    Breaker::new(limits.webhook_failures, pause)
}

/// To spread pauses; without randomness they are as long as may be.
pub(super) fn random() -> u32 {
    getrandom::u32().unwrap_or(u32::MAX)
}
