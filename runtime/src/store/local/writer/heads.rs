//! The heads of aggregates that were written lately: bounded, in two generations.

use std::collections::HashMap;

use crate::{store::Head, vocabulary::AggregateKey};

/// Where an aggregate stands for the writer: on the disk, or once the group that is being put together is on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) head: Head,
    /// The group that brought it there; 0 when it was read.
    pub(super) group: u64,
}

/// A cache that forgets what was not used for a while: when the young generation is full, it becomes the old one.
#[derive(Debug)]
pub(super) struct HeadCache {
    young: HashMap<AggregateKey, Known>,
    old: HashMap<AggregateKey, Known>,
    generation_max: usize,
}

impl HeadCache {
    pub(super) fn new(heads: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            generation_max: (heads / 2).max(1),
        }
    }

    /// What is known of an aggregate, to be read and gone on with.
    pub(super) fn get(&mut self, key: &AggregateKey) -> Option<&mut Known> {
        if !self.young.contains_key(key) {
            let known = self.old.remove(key)?;
            self.put(key, known);
        }
        self.young.get_mut(key)
    }

    pub(super) fn put(&mut self, key: &AggregateKey, known: Known) {
        if self.young.len() >= self.generation_max && !self.young.contains_key(key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.old.remove(key);
        self.young.insert(key.clone(), known);
    }

    /// Forgets everything: a group was lost, or the log was opened again.
    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::{AggregateId, AggregateType, Version};

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let key = |number: u64| {
            AggregateKey::new(
                AggregateType::parse("account").unwrap(),
                AggregateId::parse(&number.to_string()).unwrap(),
            )
        };
        let head = |number| Known {
            head: Head {
                version: Version(number),
                ..Head::default()
            },
            group: 0,
        };
        let mut cache = HeadCache::new(100);
        for number in 1..10_000 {
            cache.put(&key(number), head(number));
            cache.put(&key(0), head(number));
            assert_eq!(cache.get(&key(0)), Some(&mut head(number)));
            assert!(cache.young.len() + cache.old.len() <= 100);
        }
        assert_eq!(cache.get(&key(1)), None);
        assert_eq!(cache.get(&key(9_999)), Some(&mut head(9_999)));
    }
}
