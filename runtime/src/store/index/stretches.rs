//! Asking for kinds: where in the log the next ones may be, and how many there are.

use std::{borrow::Cow, cell::Cell, ops::Range, rc::Rc, sync::Arc};

use redb::ReadOnlyTable;

use super::{
    Index, IndexError,
    core::{Core, KINDS, Trouble},
    kinds::{Counts, Kinds, Row, Sought},
    names::Names,
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
    /// At most so many more are where the log would have to be read for it, and there is too much to be read.
    pub(in crate::store) unread: u64,
    /// Where the log is to be read.
    pub(in crate::store) parts: Vec<Part>,
    /// The first position that is not in the index.
    pub(in crate::store) reached: u64,
}

/// A part of the log of which only the log says how many events are sought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Part {
    pub(in crate::store) positions: Range<u64>,
    /// The chunk that holds its first position, when that is known.
    pub(in crate::store) chunk: Option<u64>,
    /// There are no more than so many.
    pub(in crate::store) at_most: u64,
}

impl Counted {
    /// Adds a part, to the last one where that ends: a chunk that goes over both is read once.
    fn add(&mut self, part: Part) {
        match self.parts.last_mut() {
            Some(last) if last.positions.end == part.positions.start => {
                last.positions.end = part.positions.end;
                last.at_most += part.at_most;
            }
            _ => self.parts.push(part),
        }
    }

    /// Adds a stretch, which begins somewhere, from a position on.
    fn add_stretch(&mut self, row: &Row, start: u64, positions: Range<u64>, sought: &Sought) {
        let known = row.counts.sum(sought);
        let at_most = known + row.counts.unknown();
        if at_most == 0 {
            // Nothing wanted in all of the stretch is nothing wanted in a part of it.
            return;
        }
        if known == positions.end - start {
            // And all of it is all of a part.
            self.events += positions.end - positions.start;
            return;
        }
        self.add(Part {
            chunk: (positions.start == start).then_some(row.chunk),
            positions,
            at_most,
        });
    }

    /// How many positions are to be read.
    fn to_read(&self) -> u64 {
        let parts = self.parts.iter().map(|part| &part.positions);
        parts.map(|positions| positions.end - positions.start).sum()
    }
}

/// What a filter seeks. It is worked out from the names once, for as long as they stay the same.
pub(in crate::store) struct Seeking<'a> {
    filter: &'a FeedFilter,
    known: Cell<Option<(Arc<Names>, Rc<Sought>)>>,
}

impl<'a> Seeking<'a> {
    pub(in crate::store) fn new(filter: &'a FeedFilter) -> Self {
        Self {
            filter,
            known: Cell::new(None),
        }
    }

    fn sought(&self, names: &Arc<Names>) -> Rc<Sought> {
        let known = self.known.take().filter(|(of, _)| Arc::ptr_eq(of, names));
        let known = known.unwrap_or_else(|| (Arc::clone(names), Rc::new(Sought::new(names, self.filter))));
        let sought = Rc::clone(&known.1);
        self.known.set(Some(known));
        sought
    }
}

impl Index {
    /// The first stretch from a position on that may hold events of the kinds that are sought. What is not indexed is one
    /// stretch.
    pub(in crate::store) fn stretch(
        &self,
        position: u64,
        seeking: &Seeking<'_>,
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
                Rows { core, kinds, table }.next(position, &seeking.sought(&view.names))
            },
        )
    }

    /// How many events from a position on are of the kinds that a filter lets through, as far as the index knows. It asks for
    /// the log to be read until that is as many positions as `most`; beyond, it says what there is at most.
    pub(in crate::store) fn count(
        &self,
        from: u64,
        filter: &FeedFilter,
        most: u64,
    ) -> Result<Counted, IndexError> {
        self.read_with(
            || format!("the number of events from position {from}"),
            |core, view, transaction| {
                let kinds = &view.kinds;
                let table = transaction.open_table(KINDS)?;
                let sought = Sought::new(&view.names, filter);
                Rows { core, kinds, table }.count(from, &sought, most)
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

    fn count(&self, from: u64, sought: &Sought, most: u64) -> Result<Counted, Trouble> {
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
            let is_known = |counts: &Counts| !counts.has_unknown() || counted.to_read() >= most;
            if at == shape.start_of_group(number) && is_known(&group.counts) {
                counted.events += group.counts.sum(sought);
                counted.unread += group.counts.unknown();
                at = shape.start_of_group(number + 1);
                continue;
            }
            let row = self.row(stretch)?;
            let end = shape.start_of(stretch + 1).min(reached);
            if at == shape.start_of(stretch) && is_known(&row.counts) {
                counted.events += row.counts.sum(sought);
                counted.unread += row.counts.unknown();
            } else {
                counted.add_stretch(&row, shape.start_of(stretch), at..end, sought);
            }
            at = end;
        }
        Ok(counted)
    }
}
