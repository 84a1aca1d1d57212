//! Which events of a parked aggregate are parked: stretches of its versions.
//!
//! What the feed brings behind everything that was read before is a stretch that grows, of which a filter says what is
//! parked; it takes no more room for a million events than for two. While the feed is read again after a change of the
//! filter, events that are acknowledged may lie between those that are not, so each of those is named.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    store::FeedFilter,
    vocabulary::{RecordedEvent, Version},
};

/// Most stretches of one aggregate. Beyond, the last two are taken as one with all between them: then a replay may bring
/// what was acknowledged, but never leaves out what was not.
const STRETCHES: usize = 4_096;

/// Versions from one to another, both included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Stretch {
    from: Version,
    through: Version,
    /// Which of them; none for each.
    by: Option<By>,
}

/// A filter, by its number, as it was put in force the how-manieth time that any was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct By {
    pub(super) filter: u32,
    pub(super) change: u32,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::consumers) struct Stretches(Vec<Stretch>);

impl Stretches {
    /// The first version that may be parked.
    pub(super) fn first(&self) -> Option<Version> {
        self.0.iter().map(|stretch| stretch.from).min()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a filter is gone by.
    pub(super) fn go_by(&self, filter: u32) -> bool {
        self.filters().any(|found| found == filter)
    }

    fn filters(&self) -> impl Iterator<Item = u32> + '_ {
        self.0.iter().filter_map(|stretch| stretch.by.map(|by| by.filter))
    }

    /// One more event that a filter wants, with nothing acknowledged between it and the last that was added so.
    pub(super) fn grow(&mut self, version: Version, by: By) {
        match self.0.iter_mut().find(|stretch| stretch.by == Some(by)) {
            Some(stretch) => stretch.through = stretch.through.max(version),
            None => self.insert(Stretch {
                from: version,
                through: version,
                by: Some(by),
            }),
        }
    }

    /// One more event, which is named.
    pub(super) fn name(&mut self, version: Version) {
        let follows = |stretch: &&mut Stretch| stretch.by.is_none() && stretch.through.plus(1) == version;
        match self.0.iter_mut().find(follows) {
            Some(stretch) => stretch.through = version,
            None => self.insert(Stretch {
                from: version,
                through: version,
                by: None,
            }),
        }
    }

    fn insert(&mut self, stretch: Stretch) {
        let place = self.0.partition_point(|other| other.from <= stretch.from);
        self.0.insert(place, stretch);
        if self.0.len() > STRETCHES
            && let Some(last) = self.0.pop()
            && let Some(before) = self.0.last_mut()
        {
            before.through = before.through.max(last.through);
            before.by = None;
        }
    }

    /// An event is acknowledged. Those before it that the same stretch had are.
    pub(super) fn done(&mut self, version: Version) {
        self.cut(
            |stretch| stretch.from <= version && version <= stretch.through,
            version.plus(1),
        );
    }

    /// Nothing is parked before a version.
    pub(super) fn cut_before(&mut self, version: Version) {
        self.cut(|stretch| stretch.from < version, version);
    }

    fn cut(&mut self, which: impl Fn(&Stretch) -> bool, from: Version) {
        for stretch in self.0.iter_mut().filter(|stretch| which(stretch)) {
            stretch.from = from;
        }
        self.0.retain(|stretch| stretch.from <= stretch.through);
    }
}

/// Stretches with the filters that they go by: what says of any event whether it is parked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::consumers) struct ParkedEvents {
    pub(super) stretches: Stretches,
    filters: BTreeMap<u32, FeedFilter>,
}

impl ParkedEvents {
    pub(super) fn new(stretches: &Stretches, filters: &Filters) -> Self {
        let named = stretches.filters();
        let named = named.filter_map(|number| Some((number, filters.known.get(&number)?.clone())));
        Self {
            filters: named.collect(),
            stretches: stretches.clone(),
        }
    }

    /// The first version that may be parked.
    pub(in crate::consumers) fn first(&self) -> Version {
        self.stretches.first().unwrap_or_default()
    }

    /// The last parked version.
    pub(in crate::consumers) fn last(&self) -> Version {
        let last = self.stretches.0.iter().map(|stretch| stretch.through).max();
        last.unwrap_or_default()
    }

    /// Whether an event of the aggregate is parked.
    pub(in crate::consumers) fn have(&self, event: &RecordedEvent) -> bool {
        self.stretches.0.iter().any(|stretch| {
            let filter = stretch.by.and_then(|by| self.filters.get(&by.filter));
            stretch.from <= event.version
                && event.version <= stretch.through
                && filter.is_none_or(|filter| filter.wants(event))
        })
    }
}

/// The filters that something still goes by, each under a number, so that thousands of parked aggregates share one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Filters {
    known: BTreeMap<u32, FeedFilter>,
    current: By,
}

impl Filters {
    pub(super) fn new(filter: FeedFilter) -> Self {
        Self {
            known: BTreeMap::from([(0, filter)]),
            current: By { filter: 0, change: 0 },
        }
    }

    /// The one that is in force.
    pub(super) fn current(&self) -> By {
        self.current
    }

    /// Puts another one in force.
    pub(super) fn change(&mut self, filter: FeedFilter) {
        let found = self.known.iter().find(|(_, known)| **known == filter);
        let next = || {
            self.known
                .last_key_value()
                .map_or(0, |(last, _)| last.wrapping_add(1))
        };
        let number = found.map_or_else(next, |(number, _)| *number);
        self.known.insert(number, filter);
        self.current = By {
            filter: number,
            change: self.current.change.wrapping_add(1),
        };
    }

    /// Forgets the filters that nothing goes by any more.
    pub(super) fn retain(&mut self, is_used: impl Fn(u32) -> bool) {
        let current = self.current.filter;
        self.known
            .retain(|number, _| *number == current || is_used(*number));
    }

    pub(super) fn get(&self, number: u32) -> Option<&FeedFilter> {
        self.known.get(&number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(stretches: &Stretches) -> Vec<(u64, u64, bool)> {
        let stretches = stretches.0.iter();
        stretches
            .map(|stretch| (stretch.from.0, stretch.through.0, stretch.by.is_some()))
            .collect()
    }

    #[test]
    fn what_grows_takes_no_room_and_what_is_named_is_joined() {
        let by = By { filter: 0, change: 0 };
        let mut stretches = Stretches::default();
        for version in [3, 7, 9] {
            stretches.grow(Version(version), by);
        }
        for version in [1, 2, 5] {
            stretches.name(Version(version));
        }
        stretches.grow(Version(12), By { change: 1, ..by });
        assert_eq!(
            shown(&stretches),
            [(1, 2, false), (3, 9, true), (5, 5, false), (12, 12, true)]
        );
        stretches.done(Version(5));
        assert_eq!(shown(&stretches), [(1, 2, false), (6, 9, true), (12, 12, true)]);
        stretches.cut_before(Version(9));
        assert_eq!(shown(&stretches), [(9, 9, true), (12, 12, true)]);
        assert_eq!(stretches.first(), Some(Version(9)));
    }

    #[test]
    fn so_many_gaps_are_kept_and_no_more() {
        let mut stretches = Stretches::default();
        for gap in 1..=STRETCHES as u64 + 2 {
            stretches.name(Version(gap * 2));
        }
        assert_eq!(stretches.0.len(), STRETCHES);
        let last = shown(&stretches).pop().unwrap();
        assert_eq!(last, (STRETCHES as u64 * 2, STRETCHES as u64 * 2 + 4, false));
    }
}
