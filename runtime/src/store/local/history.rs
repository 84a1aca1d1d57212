//! Reads of one aggregate and of one type: what is fresh first, then the index.

use super::Shared;
use crate::{
    store::{
        Direction, Head, PageLimit, ReadError,
        format::Malformed,
        index::{Page, Span},
        overlay::Place,
    },
    vocabulary::{AggregateId, AggregateKey, AggregateType, RecordedEvent, Version},
};

impl Shared {
    pub(super) fn history(
        &self,
        key: &AggregateKey,
        from: Version,
        direction: Direction,
        limit: PageLimit,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let (low, high) = match direction {
            Direction::Forward => (from.max(Version(1)), Version(u64::MAX - 1)),
            Direction::Backward => (Version(1), from.min(Version(u64::MAX - 1))),
        };
        // The order matters: a commit leaves the overlay only when it is in the index.
        let damaged = |error: Malformed| ReadError::Damaged {
            what: format!("the events of `{key}` from version {from}: {error}"),
        };
        let wanted = self.overlay.wanted(key);
        let count = limit.events as u64 + 1;
        let recent = self.overlay.commits(&wanted, (low.0, high.0), direction, count);
        let (fresh_from, fresh) = match recent.map_err(damaged)? {
            Some((first, commits)) => (Some(Version(first)), commits),
            None => (None, Vec::new()),
        };
        let span = Span {
            low,
            high: fresh_from.map_or(high, |first| high.min(Version(first.0 - 1))),
            certain: fresh_from.is_some(),
            direction,
        };
        let fresh = |page: &mut Page| {
            let mut add = |place: &Place| {
                let mut events: Vec<_> = place.commit()?.into_recorded_events().collect();
                if direction == Direction::Backward {
                    events.reverse();
                }
                events.retain(|event| event.version >= low && event.version <= high);
                events.into_iter().try_for_each(|event| page.push(event))
            };
            match direction {
                Direction::Forward => fresh.iter().try_for_each(&mut add),
                Direction::Backward => fresh.iter().rev().try_for_each(&mut add),
            }
        };
        let indexed = || {
            if span.low > span.high {
                return Ok(Page::new(limit, direction));
            }
            self.indexed(|index| index.history(key, &wanted, span, limit))
        };
        let page = match direction {
            Direction::Forward => {
                let mut page = indexed()?;
                fresh_after_index(&mut page, span, fresh).map_err(damaged)?;
                page
            }
            Direction::Backward => {
                let mut page = Page::new(limit, direction);
                fresh(&mut page).map_err(damaged)?;
                if !page.full {
                    for event in indexed()?.events {
                        page.push(event).map_err(damaged)?;
                    }
                }
                page
            }
        };
        Ok(page.events)
    }

    pub(super) fn aggregates(
        &self,
        aggregate_type: &AggregateType,
        after: Option<&AggregateId>,
        limit: usize,
    ) -> Result<Vec<(AggregateId, Head)>, ReadError> {
        let fresh = self.overlay.aggregates(aggregate_type, after, limit);
        let fresh = fresh.map_err(|error| ReadError::Damaged {
            what: format!("the newest aggregates of `{aggregate_type}`: {error}"),
        })?;
        let mut indexed = self
            .indexed(|index| index.aggregates(aggregate_type, after, limit))?
            .into_iter()
            .peekable();
        let mut found = Vec::new();
        for (id, head) in fresh {
            while let Some(older) = indexed.next_if(|(older, _)| *older < id) {
                found.push(older);
            }
            indexed.next_if(|(same, _)| *same == id);
            found.push((id, head));
            if found.len() >= limit {
                break;
            }
        }
        found.extend(indexed);
        found.truncate(limit);
        Ok(found)
    }
}

/// The fresh events follow the index's, unless its part was cut short by the page's limit.
fn fresh_after_index(
    page: &mut Page,
    span: Span,
    fresh: impl Fn(&mut Page) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let from_index = span.low <= span.high;
    let reached = page.events.last().map_or(span.low.0 - 1, |last| last.version.0);
    if page.full || (from_index && span.certain && reached < span.high.0) {
        return Ok(());
    }
    fresh(page)
}
