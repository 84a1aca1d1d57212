//! How many events a slice of a rebuild has.

use std::{ops::RangeInclusive, time::Duration};

use crate::vocabulary::Version;

/// Events of the first slice: what nearly every rebuild needs, and little when each takes long.
const FIRST_SLICE_EVENTS: usize = 128;
/// What a slice should take. Later slices have more events or fewer, within their limits, so that one comes near it.
const SLICE_TIME: Duration = Duration::from_millis(2);

/// The pace of one rebuild.
#[derive(Debug)]
pub(super) struct Pace {
    events: usize,
    /// Events that together took too long: they are applied one at a time, and not beside others.
    slow: Option<RangeInclusive<Version>>,
    /// How often it had to begin again because of them.
    restarts: u32,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self {
            events: FIRST_SLICE_EVENTS,
            slow: None,
            restarts: 0,
        }
    }

    /// It begins again because of events that took too long together.
    pub(super) fn begins_again(&mut self, slow: RangeInclusive<Version>) {
        self.restarts += 1;
        self.slow_down(slow);
    }

    /// How long a slice may take: twice as long after each restart, since the machine may have stood still.
    pub(super) fn slice_wall(&self, first: Duration, most: Duration) -> Duration {
        first
            .saturating_mul(1 << self.restarts.min(16))
            .min(most)
            .max(first)
    }

    /// Takes note of events that took too long together, beside those that are known.
    pub(super) fn slow_down(&mut self, slow: RangeInclusive<Version>) {
        self.slow = Some(match self.slow.take() {
            Some(known) => *known.start().min(slow.start())..=*known.end().max(slow.end()),
            None => slow,
        });
    }

    /// Whether the event is among those.
    pub(super) fn is_slow(&self, event: Version) -> bool {
        self.slow.as_ref().is_some_and(|slow| slow.contains(&event))
    }

    /// Events of the slice that begins with this one.
    pub(super) fn events(&self, next: Version) -> usize {
        match &self.slow {
            Some(_) if self.is_slow(next) => 1,
            Some(slow) if next < *slow.start() => {
                let before = usize::try_from(slow.start().0 - next.0).unwrap_or(usize::MAX);
                self.events.min(before)
            }
            _ => self.events,
        }
    }

    /// Takes note of how long a slice took: the next has at most `most` events.
    pub(super) fn took(&mut self, took: Duration, most: usize) {
        let events = self.events;
        let next = if took > SLICE_TIME * 8 {
            (events / 8).max(1)
        } else if took > SLICE_TIME * 2 {
            (events / 2).max(1)
        } else if took < SLICE_TIME / 2 {
            events.saturating_mul(2)
        } else {
            events
        };
        self.events = next.min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_come_to_take_about_as_long_as_they_should() {
        // Events of 1 µs, 100 µs and 50 ms each.
        for (each, settled) in [(1, 1_024..=4_096), (100, 10..=40), (50_000, 1..=1)] {
            let mut pace = Pace::new();
            for _ in 0..20 {
                let events = u32::try_from(pace.events(Version(1))).unwrap();
                pace.took(Duration::from_micros(each) * events, 10_000);
            }
            let events = pace.events(Version(1));
            assert!(settled.contains(&events), "{events} events of {each} µs");
        }
    }

    #[test]
    fn what_took_too_long_together_is_applied_one_by_one() {
        let mut pace = Pace::new();
        pace.slow_down(Version(200)..=Version(300));
        let events = |pace: &Pace, next| pace.events(Version(next));
        assert_eq!(events(&pace, 1), 128);
        assert_eq!(events(&pace, 190), 10, "none of them beside others");
        assert_eq!([events(&pace, 200), events(&pace, 300)], [1, 1]);
        assert_eq!(events(&pace, 301), 128);
        pace.slow_down(Version(500)..=Version(510));
        assert_eq!(
            [events(&pace, 200), events(&pace, 510)],
            [1, 1],
            "all that is known"
        );
        let wall = |pace: &Pace| pace.slice_wall(Duration::from_millis(100), Duration::from_millis(300));
        assert_eq!(wall(&pace), Duration::from_millis(100));
        pace.begins_again(Version(1)..=Version(2));
        assert_eq!(wall(&pace), Duration::from_millis(200));
        pace.begins_again(Version(1)..=Version(2));
        assert_eq!(wall(&pace), Duration::from_millis(300));
    }
}
