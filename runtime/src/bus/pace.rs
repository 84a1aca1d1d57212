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
/// So many in a row, which are more than what the buffers of a socket take for a client that does not read.
const FAST_PAGES: u32 = 8;

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    usual: PageLimit,
    room: Arc<Semaphore>,
    large: Option<OwnedSemaphorePermit>,
    /// When the last page was asked for.
    asked: Option<Instant>,
    /// How many pages in a row were taken fast.
    fast: u32,
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
            fast: 0,
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
        let times = if self.large.is_some() { TIMES as u32 } else { 1 };
        if took > FAST.saturating_mul(times) {
            self.rests();
            self.asked = Some(now);
            return;
        }
        self.fast = self.fast.saturating_add(1);
        if self.large.is_none() && self.fast >= FAST_PAGES {
            self.large = Arc::clone(&self.room).try_acquire_owned().ok();
        }
    }

    /// Nothing is left to be read for now.
    pub(super) fn rests(&mut self) {
        self.large = None;
        self.asked = None;
        self.fast = 0;
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
        let asks = |pace: &mut Pace, millis| {
            pace.asks(after(millis));
            pace.page().events / usual
        };
        let read: Vec<usize> = (0..10).map(|page| asks(&mut fast, 50 * page)).collect();
        assert_eq!(read, [1, 1, 1, 1, 1, 1, 1, 1, TIMES, TIMES]);
        assert!(
            (0..20).all(|page| asks(&mut second, page) == 1),
            "there is room for one"
        );
        // A large page has longer, and who takes even longer begins again.
        assert_eq!(
            (
                asks(&mut fast, 850),
                asks(&mut fast, 1_251),
                asks(&mut fast, 1_260)
            ),
            (TIMES, 1, 1)
        );
        assert_eq!(asks(&mut second, 21), TIMES);
        second.rests();
        assert_eq!(second.page().bytes, limits.stream_page_bytes);
        assert_eq!(room.available_permits(), 1);
        // A page that was slow is no beginning.
        assert!((0..40).all(|page| asks(&mut second, 1_000 + 51 * page) == 1));
        drop(second);
        assert_eq!(room.available_permits(), 1);
    }
}
