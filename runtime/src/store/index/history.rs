//! The events of one aggregate, out of its blocks.

use std::ops::RangeInclusive;

use redb::ReadTransaction;

use super::{EVENTS, Index, IndexError, block, keys};
use crate::{
    store::{Direction, PageLimit, format::Malformed},
    vocabulary::{AggregateKey, RecordedEvent, Version},
};

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
            return Err(Malformed("history: a version is missing"));
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
    /// Fills a page with the events of a span.
    pub(in crate::store) fn history(
        &self,
        key: &AggregateKey,
        span: Span,
        page: &mut Page,
    ) -> Result<(), IndexError> {
        let what = format!("the events of `{key}` from version {}", span.low);
        self.read(&what, |transaction| {
            let high = if span.certain {
                span.high
            } else {
                match self.head_in(transaction, key)? {
                    Ok(head) => head.version.min(span.high),
                    Err(error) => return Ok(Err(error)),
                }
            };
            if high < span.low {
                return Ok(Ok(()));
            }
            match span.direction {
                Direction::Forward => self.forward(transaction, key, span.low..=high, page),
                Direction::Backward => self.backward(transaction, key, span.low..=high, page),
            }
        })
    }

    fn forward(
        &self,
        transaction: &ReadTransaction,
        key: &AggregateKey,
        versions: RangeInclusive<Version>,
        page: &mut Page,
    ) -> Result<Result<(), Malformed>, redb::Error> {
        let table = transaction.open_table(EVENTS)?;
        let prefix = keys::aggregate(key);
        let low = keys::events(key, *versions.start());
        let high = keys::events(key, *versions.end());
        let first = table
            .range::<&[u8]>(prefix.as_slice()..=low.as_slice())?
            .next_back()
            .transpose()?
            .map_or(low, |(first, _)| first.value().to_vec());
        let mut next = *versions.start();
        for row in table.range::<&[u8]>(first.as_slice()..=high.as_slice())? {
            let (row_key, value) = row?;
            let events = match self.block(row_key.value(), value.value(), key, &prefix) {
                Ok(events) => events,
                Err(error) => return Ok(Err(error)),
            };
            for event in events
                .into_iter()
                .filter(|event| versions.contains(&event.version))
            {
                if event.version != next {
                    return Ok(Err(Malformed("history: a version is missing")));
                }
                next = next.plus(1);
                if let Err(error) = page.push(event) {
                    return Ok(Err(error));
                }
            }
            if page.full {
                return Ok(Ok(()));
            }
        }
        Ok(complete(next == versions.end().plus(1)))
    }

    fn backward(
        &self,
        transaction: &ReadTransaction,
        key: &AggregateKey,
        versions: RangeInclusive<Version>,
        page: &mut Page,
    ) -> Result<Result<(), Malformed>, redb::Error> {
        let table = transaction.open_table(EVENTS)?;
        let prefix = keys::aggregate(key);
        let high = keys::events(key, *versions.end());
        let mut left = versions.end().plus(1);
        for row in table.range::<&[u8]>(prefix.as_slice()..=high.as_slice())?.rev() {
            let (row_key, value) = row?;
            let events = match self.block(row_key.value(), value.value(), key, &prefix) {
                Ok(events) => events,
                Err(error) => return Ok(Err(error)),
            };
            for event in events
                .into_iter()
                .rev()
                .filter(|event| versions.contains(&event.version))
            {
                if event.version.plus(1) != left {
                    return Ok(Err(Malformed("history: a version is missing")));
                }
                left = event.version;
                if let Err(error) = page.push(event) {
                    return Ok(Err(error));
                }
            }
            if page.full || left <= *versions.start() {
                return Ok(Ok(()));
            }
        }
        Ok(complete(left <= *versions.start()))
    }

    fn block(
        &self,
        row_key: &[u8],
        value: &[u8],
        key: &AggregateKey,
        prefix: &[u8],
    ) -> Result<Vec<RecordedEvent>, Malformed> {
        let first = keys::version_of(row_key, prefix).ok_or(Malformed("key of a block"))?;
        block::decode(&self.unseal(value, row_key)?, key, first)
    }
}

fn complete(is: bool) -> Result<(), Malformed> {
    if is {
        Ok(())
    } else {
        Err(Malformed("history: a version is missing"))
    }
}
