//! Which events of a parked aggregate are parked: stretches of its versions.
//!
//! What the feed brings behind everything that was read before is a stretch that grows, of which a filter says what is
//! parked; it takes no more room for a million events than for two. While the feed is read again after a change of the
//! filter, events that are acknowledged may lie between those that are not, so each of those is named.

use std::{collections::BTreeMap, mem};

use serde::{Deserialize, Serialize};

use crate::{
    store::FeedFilter,
    vocabulary::{RecordedEvent, Version},
};

/// Most stretches of one aggregate. Beyond, the last two are taken as one with all between them: then a replay may bring
/// what was acknowledged, or what no filter wanted, but never leaves out what was parked.
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
pub(in crate::consumers) struct Stretches(
    /// By where they begin. Those that name their versions have none in common, but for what was taken as one.
    Vec<Stretch>,
);

impl Stretches {
    /// The first version that may be parked.
    pub(super) fn first(&self) -> Option<Version> {
        self.0.iter().map(|stretch| stretch.from).min()
    }

    /// Whether a version before another is named.
    pub(super) fn name_before(&self, version: Version) -> bool {
        let mut before = self.0.iter().take_while(|stretch| stretch.from < version);
        before.any(|stretch| stretch.by.is_none())
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
        while self.0.len() > STRETCHES
            && let Some(last) = self.0.pop()
            && let Some(before) = self.0.last_mut()
        {
            before.from = before.from.min(last.from);
            before.through = before.through.max(last.through);
            before.by = None;
        }
    }

    /// An event is acknowledged. Those before it that the same stretch had are, where it goes by a filter; those that are
    /// named before it have been since it was given out.
    pub(super) fn done(&mut self, version: Version) {
        let mut behind = Vec::new();
        for stretch in &mut self.0 {
            if version < stretch.from || stretch.through < version {
                continue;
            }
            if stretch.by.is_none() && stretch.from < version {
                behind.push(Stretch {
                    from: version.plus(1),
                    ..stretch.clone()
                });
                stretch.through = Version(version.0 - 1);
            } else {
                stretch.from = version.plus(1);
            }
        }
        self.0.extend(behind);
        self.put_in_order();
    }

    /// Nothing is parked before a version.
    pub(super) fn cut_before(&mut self, version: Version) {
        for stretch in &mut self.0 {
            stretch.from = stretch.from.max(version);
        }
        self.put_in_order();
    }

    /// Nothing that others have is parked up to a version. What has come since stays.
    pub(super) fn take_out(&mut self, others: &Self, through: Version) {
        let named = others.0.iter().filter(|other| other.by.is_none());
        let taken: Vec<(Version, Version)> = named
            .filter(|other| other.from <= through)
            .map(|other| (other.from, other.through.min(through)))
            .collect();
        let mut left = Vec::new();
        for mut stretch in mem::take(&mut self.0) {
            if stretch.by.is_some() {
                // All that a filter lets through up to the last that was known of was known of.
                stretch.from = stretch.from.max(through.plus(1));
                left.push(stretch);
            } else {
                without(stretch, &taken, &mut left);
            }
        }
        self.0 = left;
        self.put_in_order();
    }

    fn put_in_order(&mut self) {
        self.0.retain(|stretch| stretch.from <= stretch.through);
        self.0.sort_by_key(|stretch| stretch.from);
    }
}

/// What is left of a stretch without these, which are in order.
fn without(mut stretch: Stretch, taken: &[(Version, Version)], left: &mut Vec<Stretch>) {
    let first = taken.partition_point(|(_, through)| *through < stretch.from);
    let within = taken.iter().skip(first);
    for (from, through) in within.take_while(|(from, _)| *from <= stretch.through) {
        if stretch.from < *from {
            left.push(Stretch {
                through: Version(from.0 - 1),
                ..stretch.clone()
            });
        }
        stretch.from = stretch.from.max(through.plus(1));
    }
    left.push(stretch);
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

    #[test]
    fn what_is_named_before_what_is_acknowledged_stays() {
        let mut stretches = Stretches::default();
        for version in [2, 9, 5, 6, 7, 8] {
            stretches.name(Version(version));
        }
        assert_eq!(shown(&stretches), [(2, 2, false), (5, 8, false), (9, 9, false)]);
        stretches.done(Version(7));
        assert_eq!(
            shown(&stretches),
            [(2, 2, false), (5, 6, false), (8, 8, false), (9, 9, false)]
        );
        stretches.done(Version(5));
        stretches.done(Version(2));
        assert_eq!(shown(&stretches), [(6, 6, false), (8, 8, false), (9, 9, false)]);
        assert!(stretches.name_before(Version(7)) && !stretches.name_before(Version(6)));
    }

    #[test]
    fn they_stay_in_order_and_begin_where_the_first_of_what_is_joined_does() {
        let by = |change| By { filter: 0, change };
        let mut stretches = Stretches::default();
        stretches.grow(Version(3), by(0));
        stretches.grow(Version(9), by(0));
        stretches.name(Version(5));
        stretches.name(Version(20));
        stretches.done(Version(6));
        assert_eq!(shown(&stretches), [(5, 5, false), (7, 9, true), (20, 20, false)]);
        stretches.grow(Version(30), by(1));
        assert!(stretches.name_before(Version(7)) && !stretches.name_before(Version(5)));
    }

    #[test]
    fn what_came_since_is_not_taken_out() {
        let by = |change| By { filter: 0, change };
        let mut stretches = Stretches::default();
        for version in [2, 3, 6, 7] {
            stretches.name(Version(version));
        }
        stretches.grow(Version(10), by(0));
        let before = stretches.clone();
        for version in [4, 5] {
            stretches.name(Version(version));
        }
        stretches.grow(Version(12), by(0));
        stretches.grow(Version(15), by(1));
        let left = |through| {
            let mut stretches = stretches.clone();
            stretches.take_out(&before, Version(through));
            shown(&stretches)
        };
        assert_eq!(left(10), [(4, 5, false), (11, 12, true), (15, 15, true)]);
        let first = [(3, 5, false), (6, 7, false), (10, 12, true), (15, 15, true)];
        assert_eq!(left(2), first);
        assert_eq!(
            left(6),
            [(4, 5, false), (7, 7, false), (10, 12, true), (15, 15, true)]
        );
        assert_eq!(left(1).first(), Some(&(2, 5, false)));
    }
}
