//! How far a subscriber is read ahead: further, when it takes what is read as fast as it comes.
//!
//! A page of a busy log begins in the middle of a chunk, which has to be looked through from its beginning, and is read by another
//! thread. Large pages make little of both, and cost memory; so there are only so many at a time.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{store::PageLimit, vocabulary::Limits};

/// So many times as much.
const TIMES: usize = 8;
/// A usual page that was taken in this time was taken fast; a large one has `TIMES` as long.
const FAST: Duration = Duration::from_millis(50);

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    usual: PageLimit,
    room: Arc<Semaphore>,
    large: Option<OwnedSemaphorePermit>,
    /// When the last page was asked for.
    asked: Option<Instant>,
}

impl Pace {
    pub(super) fn new(limits: &Limits, room: &Arc<Semaphore>) -> Self {
        Self {
            usual: PageLimit {
                events: limits.stream_page_events,
                bytes: limits.stream_page_bytes,
            },
            room: Arc::clone(room),
            large: None,
            asked: None,
        }
    }

    /// The page that is read now.
    pub(super) fn page(&self) -> PageLimit {
        let times = if self.large.is_some() { TIMES } else { 1 };
        PageLimit {
            events: self.usual.events.saturating_mul(times),
            bytes: self.usual.bytes.saturating_mul(times),
        }
    }

    /// The next page is asked for: the last one has been taken, or most of it.
    pub(super) fn asks(&mut self, now: Instant) {
        let Some(before) = self.asked.replace(now) else {
            return;
        };
        let took = now.saturating_duration_since(before);
        if self.large.is_none() && took <= FAST {
            self.large = Arc::clone(&self.room).try_acquire_owned().ok();
        } else if took > FAST.saturating_mul(TIMES as u32) {
            self.large = None;
        }
    }

    /// Nothing is left to be read for now.
    pub(super) fn rests(&mut self) {
        self.large = None;
        self.asked = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_keeps_up_gets_large_pages_while_there_is_room() {
        let room = Arc::new(Semaphore::new(1));
        let limits = Limits::default();
        let [mut fast, mut second] = [0; 2].map(|_| Pace::new(&limits, &room));
        let (start, usual) = (Instant::now(), limits.stream_page_events);
        let after = |millis| start + Duration::from_millis(millis);
        for (millis, expected) in [
            (0, 1),
            (50, TIMES),
            (450, TIMES),
            (851, 1),
            (1_000, 1),
            (1_010, TIMES),
        ] {
            fast.asks(after(millis));
            assert_eq!(fast.page().events, usual * expected, "{millis} ms");
        }
        second.asks(after(0));
        second.asks(after(1));
        assert_eq!(second.page().events, usual);
        fast.rests();
        assert_eq!(fast.page().bytes, limits.stream_page_bytes);
        second.asks(after(2));
        assert_eq!(second.page().bytes, TIMES * limits.stream_page_bytes);
        drop(second);
        assert_eq!(room.available_permits(), 1);
    }
}
