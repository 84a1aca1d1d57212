//! How long to wait before trying again.

use std::time::Duration;

/// Waits that double from one failure to the next, up to a limit, spread so that many clients do not
/// come back at the same instant.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Begins at `first` and never asks to wait longer than `longest`, unless the server asks for it.
    #[must_use]
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
        }
    }

    /// How long to wait after one more failure, given the `Retry-After` of the answer, if any. `spread` in
    /// 0..=255 picks a place within the upper half of the wait; a server's wish is never cut short.
    #[must_use]
    pub fn next(&mut self, retry_after: Option<Duration>, spread: u8) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let half = doubled.min(self.longest) / 2;
        let wait = half + half * u32::from(spread) / 255;
        retry_after.map_or(wait, |wish| wish.max(wait))
    }

    /// It worked: the next failure begins again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// A number to spread waits with; without a source of randomness the middle.
#[must_use]
pub(crate) fn spread() -> u8 {
    getrandom::u32().map_or(128, |random| random.to_be_bytes()[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn waits_double_up_to_the_limit_and_begin_again() {
        let mut backoff = Backoff::new(ms(100), ms(1000));
        let waits: Vec<_> = (0..6).map(|_| backoff.next(None, 255)).collect();
        assert_eq!(waits, [ms(100), ms(200), ms(400), ms(800), ms(1000), ms(1000)]);
        backoff.reset();
        assert_eq!(backoff.next(None, 0), ms(50));
    }

    #[test]
    fn the_servers_wish_is_a_minimum() {
        let mut backoff = Backoff::new(ms(100), ms(1000));
        assert_eq!(backoff.next(Some(ms(5000)), 0), ms(5000));
        assert_eq!(backoff.next(Some(ms(1)), 255), ms(200));
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let mut backoff = Backoff::new(ms(100), ms(1000));
        for _ in 0..100 {
            assert!(backoff.next(None, 255) <= ms(1000));
        }
    }
}
