//! The history of one aggregate, as far as a filter wants it.

use crate::{
    store::{Direction, EventStore, FeedFilter, FeedPage, Head, PageLimit, ReadError},
    vocabulary::{AggregateKey, Commit, NewEvent, Position, RecordedEvent, Version},
};

/// How much of a history one page looks at when little of it is wanted.
const STRETCH: PageLimit = PageLimit {
    events: 10_000,
    bytes: 4 << 20,
};
const ONE: PageLimit = PageLimit { events: 1, bytes: 0 };

/// The events of one aggregate that a filter wants.
#[derive(Debug, Clone)]
pub struct History {
    key: AggregateKey,
    filter: FeedFilter,
    /// Nothing before this version.
    from: Version,
    /// The first version that has not been looked at; none when only the position is known.
    next: Option<Version>,
}

/// A stretch of a history.
#[derive(Debug, Clone)]
pub struct HistoryPage {
    /// The wanted events, in the direction that was asked for.
    pub events: Vec<RecordedEvent>,
    /// Where to go on; none at the end.
    pub next: Option<Version>,
    /// Where the aggregate stood.
    pub head: Head,
}

/// Versions to look at, in the direction of reading; none are left when the first is beyond the last.
#[derive(Debug, Clone, Copy)]
struct Range {
    first: u64,
    last: u64,
    direction: Direction,
}

impl Range {
    fn is_empty(self) -> bool {
        match self.direction {
            Direction::Forward => self.first > self.last,
            Direction::Backward => self.first < self.last,
        }
    }

    fn has(self, version: Version) -> bool {
        match self.direction {
            Direction::Forward => version.0 <= self.last,
            Direction::Backward => version.0 >= self.last,
        }
    }

    fn go_beyond(&mut self, version: Version) {
        self.first = match self.direction {
            Direction::Forward => version.0.saturating_add(1),
            Direction::Backward => version.0.saturating_sub(1),
        };
    }
}

impl History {
    /// What a filter wants of an aggregate. Whether it wants the aggregate is not asked.
    #[must_use]
    pub fn new(key: AggregateKey, filter: FeedFilter) -> Self {
        let filter = FeedFilter {
            aggregate_types: vec![key.aggregate_type.clone()],
            id_prefix: None,
            ..filter
        };
        Self {
            key,
            filter,
            from: Version(1),
            next: None,
        }
    }

    /// The same from a version on, for a subscription.
    #[must_use]
    pub fn from_version(self, from: Version) -> Self {
        Self { from, ..self }
    }

    /// A page, from a version in a direction; from the end that the reading begins at without one.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn page(
        &self,
        store: &dyn EventStore,
        from: Option<Version>,
        direction: Direction,
        limit: PageLimit,
    ) -> Result<HistoryPage, ReadError> {
        let head = store.head(&self.key)?;
        let mut range = self.range(store, head, from, direction)?;
        let mut page = HistoryPage {
            events: Vec::new(),
            next: None,
            head,
        };
        let mut taken = Taken::default();
        while !range.is_empty() && !taken.is_long(limit) {
            let slice = PageLimit {
                events: self.slice(limit.events.saturating_sub(page.events.len())),
                bytes: limit.bytes,
            };
            let read = store.history(&self.key, Version(range.first), direction, slice)?;
            if read.is_empty() || !self.fill(&mut page, read, &mut range, &mut taken, limit) {
                break;
            }
        }
        page.next = (!range.is_empty()).then_some(Version(range.first));
        Ok(page)
    }

    /// Takes what is wanted until the page is full; false when it is.
    fn fill(
        &self,
        page: &mut HistoryPage,
        read: Vec<RecordedEvent>,
        range: &mut Range,
        taken: &mut Taken,
        limit: PageLimit,
    ) -> bool {
        for event in read {
            if !range.has(event.version) {
                range.go_beyond(event.version);
                return false;
            }
            let bytes = event.payload.len();
            taken.looked_at.events += 1;
            taken.looked_at.bytes += bytes;
            if !self.filter.wants(&event) {
                range.go_beyond(event.version);
                continue;
            }
            if !page.events.is_empty() && taken.bytes + bytes > limit.bytes {
                return false;
            }
            taken.bytes += bytes;
            range.go_beyond(event.version);
            page.events.push(event);
            // Here and no later, so that a full page goes on at the same place whenever it is read.
            if page.events.len() >= limit.events {
                return false;
            }
        }
        true
    }

    /// How many events to read for so many wanted ones.
    fn slice(&self, wanted: usize) -> usize {
        let wants_all = self.filter.event_types.is_empty() && self.filter.actor.is_none();
        let least = if wants_all { 1 } else { STRETCH.events / 10 };
        wanted.max(least)
    }

    /// The versions that the times of the filter leave: an aggregate's events are in the order of their times.
    fn range(
        &self,
        store: &dyn EventStore,
        head: Head,
        from: Option<Version>,
        direction: Direction,
    ) -> Result<Range, ReadError> {
        let oldest = self.since(store, head)?.0;
        let newest = match self.filter.until {
            Some(until) => self
                .search(store, head, |event| event.recorded_at >= until)?
                .0
                .saturating_sub(1),
            None => head.version.0,
        };
        Ok(match direction {
            Direction::Forward => Range {
                first: from.map_or(oldest, |from| from.0.max(oldest)),
                last: newest,
                direction,
            },
            Direction::Backward => Range {
                first: from.map_or(newest, |from| from.0.min(newest)),
                last: oldest,
                direction,
            },
        })
    }

    /// The first version that the filter's `since` leaves.
    fn since(&self, store: &dyn EventStore, head: Head) -> Result<Version, ReadError> {
        match self.filter.since {
            Some(since) => self.search(store, head, |event| event.recorded_at >= since),
            None => Ok(Version(1)),
        }
    }

    /// The first version of which something holds that holds of all later ones; the one after the head when of none.
    fn search(
        &self,
        store: &dyn EventStore,
        head: Head,
        holds: impl Fn(&RecordedEvent) -> bool,
    ) -> Result<Version, ReadError> {
        let (mut low, mut high) = (1, head.version.0 + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let found = store.history(&self.key, Version(middle), Direction::Forward, ONE)?;
            if found.first().is_some_and(&holds) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok(Version(low))
    }

    /// For a subscription: the next page after a position, and the version to go on at.
    pub(super) fn read(
        &self,
        store: &dyn EventStore,
        after: Position,
        limit: PageLimit,
    ) -> Result<(FeedPage, Version), ReadError> {
        // Looked at first: what is at or before it is in what is read below.
        let last = store.last_position();
        let head = store.head(&self.key)?;
        let next = match self.next {
            Some(next) => next,
            None => self.begin(store, after, head)?,
        };
        let mut events = if next > head.version {
            Vec::new()
        } else {
            store.history(&self.key, next, Direction::Forward, limit)?
        };
        let end = events.last().map(|event| (event.version, event.position));
        let at_head = end.is_none_or(|(version, _)| version >= head.version);
        let read_to = end.map_or(after, |(_, position)| position);
        events.retain(|event| event.position > after && self.filter.wants(event));
        let page = FeedPage {
            events,
            scanned: if at_head {
                read_to.max(last).max(after)
            } else {
                read_to
            },
            at_head,
        };
        Ok((page, end.map_or(next, |(version, _)| version.plus(1))))
    }

    /// The first version after a position, as far as the filter and the beginning leave it.
    fn begin(&self, store: &dyn EventStore, after: Position, head: Head) -> Result<Version, ReadError> {
        let next = if after >= head.position {
            head.version.plus(1)
        } else if after == Position(0) {
            Version(1)
        } else {
            self.search(store, head, |event| event.position > after)?
        };
        Ok(next.max(self.since(store, head)?).max(self.from))
    }

    /// Goes on at a version, which a read has said.
    pub(super) fn go_on_at(&mut self, next: Version) {
        self.next = Some(next);
    }

    /// Whether commits of an aggregate are looked at.
    pub(super) fn is_of(&self, key: &AggregateKey) -> bool {
        self.key == *key
    }

    /// Whether any event of a commit can be wanted.
    pub(super) fn wants_commit(&self, commit: &Commit) -> bool {
        self.is_of(&commit.key) && self.filter.wants_commit(commit)
    }

    /// Whether an event of a commit that can be wanted is.
    pub(super) fn wants_event(&self, commit: &Commit, index: usize, event: &NewEvent) -> bool {
        let is_ahead = self
            .next
            .is_none_or(|next| commit.first_version.plus(index) >= next);
        is_ahead
            && self
                .filter
                .wants_kind(&commit.key.aggregate_type, &event.event_type)
    }

    /// Takes note of a commit that was looked at.
    pub(super) fn passed(&mut self, commit: &Commit) {
        if self.is_of(&commit.key) {
            let beyond = commit.last_version().plus(1);
            self.next = Some(self.next.map_or(beyond, |next| next.max(beyond)));
        }
    }
}

/// What a page has taken so far.
#[derive(Debug)]
struct Taken {
    /// Payloads on the page, bytes.
    bytes: usize,
    looked_at: PageLimit,
}

impl Default for Taken {
    fn default() -> Self {
        Self {
            bytes: 0,
            looked_at: PageLimit { events: 0, bytes: 0 },
        }
    }
}

impl Taken {
    /// Whether so much has been looked at that the page ends, however little of it was wanted.
    fn is_long(&self, limit: PageLimit) -> bool {
        let bytes = STRETCH.bytes.min(limit.bytes / 2);
        self.looked_at.events >= STRETCH.events || self.looked_at.bytes > bytes
    }
}

#[cfg(test)]
mod tests;
