//! The events of one aggregate, out of the runs.

use super::{
    Index, IndexError,
    core::Trouble,
    keys,
    reads::{Reading, Spot},
};
use crate::{
    store::{Direction, PageLimit, format::Malformed, overlay::Wanted},
    vocabulary::{AggregateKey, RecordedEvent, Version},
};

const MISSING: Malformed = Malformed("history: a version is missing");

/// Which versions are wanted: all from the index's side of a history.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Span {
    /// The lowest.
    pub(in crate::store) low: Version,
    /// The highest.
    pub(in crate::store) high: Version,
    /// Whether the aggregate is known to have got that far; otherwise the index's head is the end.
    pub(in crate::store) certain: bool,
    /// From which end.
    pub(in crate::store) direction: Direction,
}

/// Events of one aggregate, without a gap, until it is full.
#[derive(Debug)]
pub(in crate::store) struct Page {
    limit: PageLimit,
    direction: Direction,
    bytes: usize,
    /// The events.
    pub(in crate::store) events: Vec<RecordedEvent>,
    /// Whether something did not fit any more.
    pub(in crate::store) full: bool,
}

impl Page {
    pub(in crate::store) fn new(limit: PageLimit, direction: Direction) -> Self {
        Self {
            limit,
            direction,
            bytes: 0,
            events: Vec::new(),
            full: false,
        }
    }

    /// Adds the next event. Versions are dense: one that is not next to the last is damage.
    pub(in crate::store) fn push(&mut self, event: RecordedEvent) -> Result<(), Malformed> {
        if self.full {
            return Ok(());
        }
        let expected = self.events.last().map(|last| match self.direction {
            Direction::Forward => last.version.0 + 1,
            Direction::Backward => last.version.0 - 1,
        });
        if expected.is_some_and(|expected| expected != event.version.0) {
            return Err(MISSING);
        }
        self.bytes += event.payload.len();
        let fits = self.events.is_empty()
            || (self.events.len() < self.limit.events && self.bytes <= self.limit.bytes);
        if fits {
            self.events.push(event);
        } else {
            self.full = true;
        }
        Ok(())
    }
}

impl Index {
    /// The events of a span, as many as go into a page.
    pub(in crate::store) fn history(
        &self,
        key: &AggregateKey,
        wanted: &Wanted,
        span: Span,
        limit: PageLimit,
    ) -> Result<Page, IndexError> {
        let what = || format!("the events of `{key}` from version {}", span.low);
        self.read(what, |reading| {
            let walk = Walk {
                reading,
                key,
                name: &keys::aggregate(key),
                hash: wanted.hash(),
                span,
            };
            let mut part = Page::new(limit, span.direction);
            match span.direction {
                Direction::Forward => walk.forward(&mut part)?,
                Direction::Backward => walk.backward(&mut part)?,
            }
            Ok(part)
        })
    }
}

struct Walk<'a> {
    reading: &'a Reading<'a>,
    key: &'a AggregateKey,
    name: &'a [u8],
    hash: u64,
    span: Span,
}

impl Walk<'_> {
    /// The newest layer in which something of the aggregate begins at or before a version, and the segment.
    fn find(&self, version: u64) -> Result<Option<(usize, Spot)>, Trouble> {
        for (index, layer) in self.reading.view.layers.iter().enumerate().rev() {
            if layer.may_hold(self.hash)
                && let Some(spot) = self.reading.at_or_before(layer, self.name, version)?
            {
                return Ok(Some((index, spot)));
            }
        }
        Ok(None)
    }

    fn forward(&self, page: &mut Page) -> Result<(), Trouble> {
        let (low, high) = (self.span.low.0, self.span.high.0);
        let mut next = low;
        match self.find(low)? {
            None => {
                if self.find(high)?.is_some() {
                    return Err(MISSING.into());
                }
            }
            Some((start, spot)) => {
                let mut spot = Some(spot);
                for layer in self.reading.view.layers.iter().skip(start) {
                    if spot.is_none() && layer.may_hold(self.hash) {
                        spot = self.reading.seek(layer, self.name, 0)?;
                    }
                    while let Some(current) = spot.take() {
                        if !self.add_forward(&current, &mut next, page)? {
                            break;
                        }
                        if page.full || next > high {
                            return Ok(());
                        }
                        spot = self.reading.after(layer, current)?;
                    }
                }
            }
        }
        if self.span.certain && next <= high {
            return Err(MISSING.into());
        }
        Ok(())
    }

    /// Adds the events of a segment; false when it is of another aggregate.
    fn add_forward(&self, spot: &Spot, next: &mut u64, page: &mut Page) -> Result<bool, Trouble> {
        let head = spot.head()?;
        if !self.is_own(spot)? {
            return Ok(false);
        }
        if head.first_version > *next {
            return Err(MISSING.into());
        }
        let room = page.limit.events.saturating_sub(page.events.len()) as u64;
        let end = self
            .span
            .high
            .0
            .min(head.last_version())
            .min(next.saturating_add(room));
        if end < *next {
            return Ok(true);
        }
        let names = &self.reading.view.names;
        page.events.reserve((end - *next + 1) as usize);
        spot.block()
            .read(&head, self.key, names, &(*next..=end), |event| {
                if event.version.0 != *next {
                    return Err(MISSING);
                }
                *next += 1;
                page.push(event)
            })?;
        Ok(true)
    }

    fn backward(&self, page: &mut Page) -> Result<(), Trouble> {
        let (low, high) = (self.span.low.0, self.span.high.0);
        let Some((start, spot)) = self.find(high)? else {
            // Nothing begins at or below it, so there must be nothing at all.
            let none = !self.span.certain && self.find(u64::MAX)?.is_none();
            return if none { Ok(()) } else { Err(MISSING.into()) };
        };
        // One more than the next event's version.
        let mut left = high.min(spot.head()?.last_version()) + 1;
        if self.span.certain && left <= high {
            return Err(MISSING.into());
        }
        let mut spot = Some(spot);
        for layer in self.reading.view.layers.iter().take(start + 1).rev() {
            if spot.is_none() && layer.may_hold(self.hash) {
                spot = self.reading.at_or_before(layer, self.name, left - 1)?;
            }
            while let Some(current) = spot.take() {
                if !self.add_backward(&current, &mut left, page)? {
                    break;
                }
                if page.full || left <= low {
                    return Ok(());
                }
                spot = self.reading.before(layer, current)?;
            }
        }
        Err(MISSING.into())
    }

    fn add_backward(&self, spot: &Spot, left: &mut u64, page: &mut Page) -> Result<bool, Trouble> {
        let head = spot.head()?;
        if !self.is_own(spot)? {
            return Ok(false);
        }
        if head.last_version() < *left - 1 {
            return Err(MISSING.into());
        }
        let room = page.limit.events.saturating_sub(page.events.len()) as u64;
        let start = self
            .span
            .low
            .0
            .max(head.first_version)
            .max(left.saturating_sub(room + 1));
        let mut events = Vec::new();
        let names = &self.reading.view.names;
        spot.block()
            .read(&head, self.key, names, &(start..=*left - 1), |event| {
                events.push(event);
                Ok(())
            })?;
        for event in events.into_iter().rev() {
            if event.version.0 + 1 != *left {
                return Err(MISSING.into());
            }
            *left -= 1;
            page.push(event)?;
        }
        Ok(true)
    }

    fn is_own(&self, spot: &Spot) -> Result<bool, Trouble> {
        Ok(spot.name()? == self.name)
    }
}
