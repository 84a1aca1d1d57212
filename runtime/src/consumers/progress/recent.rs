//! What came last, as many as are to be remembered, and whether something is among it.

use std::{
    collections::{BTreeSet, VecDeque},
    ops::RangeInclusive,
};

/// See the module.
#[derive(Debug)]
pub(super) struct Recent<T> {
    order: VecDeque<T>,
    /// The same, so that nobody walks through all of it for each lease of a request.
    known: BTreeSet<T>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self {
            order: VecDeque::new(),
            known: BTreeSet::new(),
        }
    }
}

impl<T: Ord + Copy> Recent<T> {
    /// Remembers one more, and forgets the oldest beyond so many.
    pub(super) fn push(&mut self, one: T, most: usize) {
        if self.known.insert(one) {
            self.order.push_back(one);
        }
        while self.order.len() > most
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, one: &T) -> bool {
        self.known.contains(one)
    }

    /// Forgets all within a range, of which there is seldom anything.
    pub(super) fn forget(&mut self, range: &RangeInclusive<T>) {
        if self.known.range(range.clone()).next().is_some() {
            self.known.retain(|one| !range.contains(one));
            self.order.retain(|one| !range.contains(one));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let mut recent = Recent::default();
        for one in [1, 5, 3, 5, 4] {
            recent.push(one, 3);
        }
        let among = |recent: &Recent<u32>| (1..=5).filter(|one| recent.contains(one)).collect::<Vec<_>>();
        assert_eq!(among(&recent), [3, 4, 5]);
        recent.forget(&(4..=9));
        assert_eq!(among(&recent), [3]);
        recent.push(5, 1);
        assert_eq!(among(&recent), [5]);
    }
}
