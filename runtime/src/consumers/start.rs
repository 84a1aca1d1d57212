//! Where a consumer begins.

use crate::{
    store::{FeedFilter, PageLimit, ReadError},
    vocabulary::{Millis, Position},
};

use super::{definition::Start, service::Consumers};

impl Consumers {
    /// The position after which a consumer begins.
    pub(super) fn position_of(&self, start: Start) -> Result<Position, ReadError> {
        match start {
            Start::Beginning => Ok(Position(0)),
            Start::Now => Ok(self.store.last_position()),
            Start::After(position) => Ok(position),
            Start::Time(time) => self.before(time),
        }
    }

    /// The position before the first event that was recorded at this time or later, found by halving. It takes times to go
    /// up along the log; where a clock was set back, it may be that of any place between the two.
    fn before(&self, time: Millis) -> Result<Position, ReadError> {
        let (mut earlier, mut end) = (0, self.store.last_position().0);
        while earlier < end {
            let middle = earlier + (end - earlier) / 2;
            match self.recorded_after(Position(middle))? {
                Some((recorded_at, position)) if recorded_at < time => earlier = position.0,
                Some(_) | None => end = middle,
            }
        }
        Ok(Position(earlier))
    }

    /// When the event after a position was recorded, and its own.
    fn recorded_after(&self, position: Position) -> Result<Option<(Millis, Position)>, ReadError> {
        let one = PageLimit { events: 1, bytes: 1 };
        let page = self.store.feed(position, &FeedFilter::everything(), one)?;
        Ok(page
            .events
            .first()
            .map(|event| (event.recorded_at, event.position)))
    }
}
