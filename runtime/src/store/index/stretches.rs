//! Asking for kinds: where in the log the next ones may be, and how many there are.

use std::{borrow::Cow, ops::Range};

use redb::ReadOnlyTable;

use super::{
    Index, IndexError,
    core::{Core, KINDS, Trouble},
    kinds::{Kinds, Row, Sought},
};
use crate::store::{
    FeedFilter,
    format::{Malformed, checksum},
};

/// A part of the log that may hold what is sought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Stretch {
    /// Nothing of what is sought lies before it.
    pub(in crate::store) from: u64,
    /// The first position behind it.
    pub(in crate::store) until: u64,
    /// The chunk that holds its first position, when that is known.
    pub(in crate::store) chunk: Option<u64>,
}

impl Stretch {
    /// All that comes from a position on.
    pub(in crate::store) fn rest(position: u64) -> Self {
        Self {
            from: position,
            until: u64::MAX,
            chunk: None,
        }
    }
}

/// How many events there are of what is sought.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::store) struct Counted {
    /// So many are known.
    pub(in crate::store) events: u64,
    /// Positions of which nothing is known but in the log.
    pub(in crate::store) unknown: Vec<Range<u64>>,
    /// The first position that is not in the index.
    pub(in crate::store) reached: u64,
}

impl Index {
    /// The first stretch from a position on that may hold events of the kinds that a filter lets through. What is not indexed
    /// is one stretch.
    pub(in crate::store) fn stretch(
        &self,
        position: u64,
        filter: &FeedFilter,
    ) -> Result<Stretch, IndexError> {
        // Whoever follows the log is behind all that is indexed: that is answered without a transaction.
        if position > self.core().view().kinds.reached.position {
            return Ok(Stretch::rest(position));
        }
        self.read_with(
            || format!("the kinds of events from position {position}"),
            |core, view, transaction| {
                let kinds = &view.kinds;
                let table = transaction.open_table(KINDS)?;
                let sought = Sought::new(&view.names, filter);
                Rows { core, kinds, table }.next(position, &sought)
            },
        )
    }

    /// How many events from a position on are of the kinds that a filter lets through, as far as the index knows.
    pub(in crate::store) fn count(&self, from: u64, filter: &FeedFilter) -> Result<Counted, IndexError> {
        self.read_with(
            || format!("the number of events from position {from}"),
            |core, view, transaction| {
                let kinds = &view.kinds;
                let table = transaction.open_table(KINDS)?;
                let sought = Sought::new(&view.names, filter);
                Rows { core, kinds, table }.count(from, &sought)
            },
        )
    }
}

/// The rows, as one read sees them.
struct Rows<'a> {
    core: &'a Core,
    kinds: &'a Kinds,
    table: ReadOnlyTable<u64, &'static [u8]>,
}

impl<'a> Rows<'a> {
    /// A row that checks out. The last one may have been written again since the view was made, so that one is in memory.
    fn row(&self, stretch: u64) -> Result<Cow<'a, Row>, Trouble> {
        if let Some(open) = self.kinds.open(stretch) {
            return Ok(Cow::Borrowed(open));
        }
        let bytes = self.core.row(&self.table, stretch, "kinds: a row is missing")?;
        if self.kinds.row_crc(stretch) != Some(checksum([&bytes[..]])) {
            return Err(Malformed("kinds: a row is not the one that was written").into());
        }
        Ok(Cow::Owned(Row::get(&bytes)?))
    }

    fn next(&self, position: u64, sought: &Sought) -> Result<Stretch, Trouble> {
        let shape = self.kinds.shape;
        let reached = self.kinds.reached;
        let mut at = position;
        while at < reached.position {
            let stretch = shape.stretch_at(at);
            let group = self.kinds.group_of(stretch);
            let group = group.ok_or(Malformed("kinds: a group is missing"))?;
            if !group.counts.may_hold(sought) {
                at = shape.start_of_group(stretch / shape.group + 1);
                continue;
            }
            let row = self.row(stretch)?;
            if row.counts.may_hold(sought) {
                return Ok(Stretch {
                    from: at,
                    until: shape.start_of(stretch + 1).min(reached.position),
                    chunk: (at == shape.start_of(stretch)).then_some(row.chunk),
                });
            }
            at = shape.start_of(stretch + 1);
        }
        Ok(Stretch {
            chunk: Some(reached.chunk),
            ..Stretch::rest(reached.position)
        })
    }

    fn count(&self, from: u64, sought: &Sought) -> Result<Counted, Trouble> {
        let shape = self.kinds.shape;
        let reached = self.kinds.reached.position;
        let mut counted = Counted {
            reached,
            ..Counted::default()
        };
        let mut at = from.max(1);
        while at < reached {
            let stretch = shape.stretch_at(at);
            let number = stretch / shape.group;
            let group = self.kinds.group_of(stretch);
            let group = group.ok_or(Malformed("kinds: a group is missing"))?;
            if at == shape.start_of_group(number) && !group.counts.has_unknown() {
                counted.events += group.counts.sum(sought);
                at = shape.start_of_group(number + 1);
                continue;
            }
            let end = shape.start_of(stretch + 1);
            let row = self.row(stretch)?;
            if at > shape.start_of(stretch) || row.counts.has_unknown() {
                // Nothing wanted in all of the stretch is nothing wanted in a part of it.
                if row.counts.may_hold(sought) {
                    counted.unknown.push(at..end.min(reached));
                }
            } else {
                counted.events += row.counts.sum(sought);
            }
            at = end;
        }
        Ok(counted)
    }
}
