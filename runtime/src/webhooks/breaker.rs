//! When a receiver is left alone, and which failures count as attempts. Pure: times and outcomes come in, what may be sent
//! goes out.
//!
//! A failure of the receiver counts for its events only while there is reason to think that the receiver is up: the circuit
//! is closed, and something has succeeded since the circuit was made. It takes the last attempt of none unless something
//! succeeded between the failure before and this one. Where it does not count, the circuit opens.
//!
//! ```text
//! closed ── so many failures in a row, ─► open ── its pause is over, one request is sent ──► half open
//!    ▲      or one that does not count     ▲                                                    │ │
//!    │                                     └──────────── it failed: a longer pause ─────────────┘ │
//!    └───────────────────────────────────────── a request succeeded ──────────────────────────────┘
//! ```

#[cfg(test)]
mod tests;

use super::suspects::Suspects;
use crate::vocabulary::{Millis, Position};

/// How long the first pause is, milliseconds; each further one is twice as long.
const FIRST_PAUSE_MS: Millis = 1_000;

/// What a request that failed speaks against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// The receiver: it is down, slow, or not set up.
    Receiver,
    /// The events, by what a receiver says that is up.
    Events {
        /// Whether they had not been sent before.
        is_first: bool,
    },
}

/// What a request was about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trial<'a> {
    pub(super) events: &'a [Position],
    /// The how-manieth attempt it was.
    pub(super) attempt: u32,
    /// With so many they are parked. Beyond, there was no room for that.
    pub(super) attempts: u32,
}

/// What may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// As much as there is.
    Go,
    /// One request, to see whether the receiver is back.
    Probe,
    /// Nothing, for so many milliseconds.
    Wait(Millis),
}

/// Whether requests are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Circuit {
    Closed,
    /// Until a time of the steady clock.
    Open {
        until: Millis,
    },
    HalfOpen,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Breaker {
    most_failures: usize,
    longest_pause_ms: Millis,
    circuit: Circuit,
    /// Failed requests since the last that succeeded.
    failures: usize,
    /// Those of them that open the circuit.
    counted: usize,
    /// Pauses since then.
    pauses: u32,
    /// Until when the receiver wants to be left alone.
    asked_until: Millis,
    /// Requests that succeeded.
    successes: u64,
    suspects: Suspects,
}

impl Breaker {
    pub(super) fn new(most_failures: usize, longest_pause_ms: Millis) -> Self {
        Self {
            most_failures,
            longest_pause_ms,
            circuit: Circuit::Closed,
            failures: 0,
            counted: 0,
            pauses: 0,
            asked_until: 0,
            successes: 0,
            suspects: Suspects::default(),
        }
    }

    pub(super) fn circuit(&self) -> Circuit {
        self.circuit
    }

    pub(super) fn failures(&self) -> usize {
        self.failures
    }

    pub(super) fn turn(&self, now: Millis) -> Turn {
        match self.circuit {
            Circuit::Closed => Turn::Go,
            Circuit::Open { until } if now < until => Turn::Wait(until - now),
            // Whoever asks while a probe is out has lost it.
            Circuit::Open { .. } | Circuit::HalfOpen => Turn::Probe,
        }
    }

    /// One request is sent to see whether the receiver is back.
    pub(super) fn probing(&mut self) {
        if let Circuit::Open { .. } = self.circuit {
            self.circuit = Circuit::HalfOpen;
        }
    }

    /// Whether an event has failed for what seemed to be the receiver's sake.
    pub(super) fn suspects(&self, event: Position) -> bool {
        self.suspects.contains(event)
    }

    /// A request succeeded. One that was under way does not undo what the receiver has asked for.
    pub(super) fn succeeded(&mut self, now: Millis, events: &[Position]) {
        self.successes = self.successes.saturating_add(1);
        self.suspects.clear(events);
        (self.failures, self.counted, self.pauses) = (0, 0, 0);
        self.circuit = if now < self.asked_until {
            Circuit::Open {
                until: self.asked_until,
            }
        } else {
            Circuit::Closed
        };
    }

    /// A request failed. True when that counts as an attempt with its events. `random` spreads the pauses of many.
    pub(super) fn failed(&mut self, now: Millis, fault: Fault, trial: Trial<'_>, random: u32) -> bool {
        self.failures = self.failures.saturating_add(1);
        // One event that is refused again and again tells nothing of the receiver; many different ones in a row do.
        if fault != (Fault::Events { is_first: false }) {
            self.counted = self.counted.saturating_add(1);
        }
        let is_attempt = fault != Fault::Receiver || self.is_their_own(trial);
        if is_attempt && trial.attempt == trial.attempts {
            // They are parked, and begin anew when they are replayed.
            self.suspects.clear(trial.events);
        }
        match self.circuit {
            Circuit::Closed if is_attempt && self.counted < self.most_failures => {}
            Circuit::Closed | Circuit::HalfOpen => self.open(now, random),
            Circuit::Open { .. } => {}
        }
        is_attempt
    }

    /// Whether it may be these events that the receiver fails at.
    fn is_their_own(&mut self, trial: Trial<'_>) -> bool {
        let others_succeed = self.suspects.all_before(trial.events, self.successes);
        self.suspects.note(trial.events, self.successes);
        let is_up = self.circuit == Circuit::Closed && self.successes > 0;
        is_up && (trial.attempt < trial.attempts || others_succeed)
    }

    /// The receiver wants to be left alone for so long. `random` as above.
    pub(super) fn told_to_wait(&mut self, now: Millis, wait_ms: Millis, random: u32) {
        // Also one that asks for no time at all.
        let least = FIRST_PAUSE_MS.min(self.longest_pause_ms);
        let asked = now.saturating_add(wait_ms.max(least));
        self.asked_until = self.asked_until.max(asked);
        match self.circuit {
            Circuit::Closed => {
                self.pauses = self.pauses.saturating_add(1);
                self.circuit = Circuit::Open {
                    until: self.asked_until,
                }
            }
            Circuit::Open { until } => {
                self.circuit = Circuit::Open {
                    until: until.max(self.asked_until),
                }
            }
            // It was tried, and is tried more and more seldom, whatever it asks for.
            Circuit::HalfOpen => self.open(now, random),
        }
    }

    fn open(&mut self, now: Millis, random: u32) {
        let pause = FIRST_PAUSE_MS
            .saturating_mul(1 << self.pauses.min(32))
            .min(self.longest_pause_ms);
        self.pauses = self.pauses.saturating_add(1);
        let until = now.saturating_add(spread(pause, random)).max(self.asked_until);
        self.circuit = Circuit::Open { until };
    }
}

/// A pause between half of it and all of it, so that those who failed together do not come back together.
pub(super) fn spread(pause: Millis, random: u32) -> Millis {
    let half = pause / 2;
    let share = u128::from(pause - half) * u128::from(random) / u128::from(u32::MAX);
    half + u64::try_from(share).unwrap_or(u64::MAX)
}
