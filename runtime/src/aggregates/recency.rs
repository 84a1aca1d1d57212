//! The lanes in the order of their last use: a list threaded through their places, so that taking note of a use and finding
//! the longest unused one cost the same however many there are.

use super::shard::LaneId;

const NONE: LaneId = LaneId::MAX;

#[derive(Debug, Clone, Copy)]
struct Link {
    older: LaneId,
    newer: LaneId,
}

const UNLINKED: Link = Link {
    older: NONE,
    newer: NONE,
};

/// An order over lanes.
#[derive(Debug)]
pub(crate) struct Recency {
    links: Vec<Link>,
    oldest: LaneId,
    newest: LaneId,
}

impl Default for Recency {
    fn default() -> Self {
        Self {
            links: Vec::new(),
            oldest: NONE,
            newest: NONE,
        }
    }
}

impl Recency {
    /// Adds a lane that is not in the list, as the newest.
    pub(crate) fn insert(&mut self, lane: LaneId) {
        if self.links.len() <= lane {
            self.links.resize(lane + 1, UNLINKED);
        }
        let older = std::mem::replace(&mut self.newest, lane);
        self.set(lane, Link { older, newer: NONE });
        match self.links.get_mut(older) {
            Some(link) => link.newer = lane,
            None => self.oldest = lane,
        }
    }

    /// Takes a lane out that is in the list.
    pub(crate) fn remove(&mut self, lane: LaneId) {
        let Some(Link { older, newer }) = self.links.get(lane).copied() else {
            return;
        };
        match self.links.get_mut(older) {
            Some(link) => link.newer = newer,
            None => self.oldest = newer,
        }
        match self.links.get_mut(newer) {
            Some(link) => link.older = older,
            None => self.newest = older,
        }
        self.set(lane, UNLINKED);
    }

    /// Makes a lane that is in the list the newest.
    pub(crate) fn touch(&mut self, lane: LaneId) {
        if self.newest != lane {
            self.remove(lane);
            self.insert(lane);
        }
    }

    /// From the longest unused to the newest.
    pub(crate) fn oldest_first(&self) -> impl Iterator<Item = LaneId> {
        let present = |lane: LaneId| (lane != NONE).then_some(lane);
        std::iter::successors(present(self.oldest), move |lane| {
            present(self.links.get(*lane)?.newer)
        })
    }

    fn set(&mut self, lane: LaneId, link: Link) {
        if let Some(place) = self.links.get_mut(lane) {
            *place = link;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_orders_as_a_plain_list_does(steps in proptest::collection::vec((0..8_usize, 0..3_u8), 0..200)) {
            let (mut order, mut plain) = (Recency::default(), Vec::new());
            for (lane, step) in steps {
                let is_in = plain.contains(&lane);
                match step {
                    0 if !is_in => {
                        order.insert(lane);
                        plain.push(lane);
                    }
                    1 if is_in => {
                        order.remove(lane);
                        plain.retain(|other| *other != lane);
                    }
                    2 if is_in => {
                        order.touch(lane);
                        plain.retain(|other| *other != lane);
                        plain.push(lane);
                    }
                    _ => {}
                }
                prop_assert_eq!(order.oldest_first().collect::<Vec<_>>(), plain.clone());
            }
        }
    }
}
