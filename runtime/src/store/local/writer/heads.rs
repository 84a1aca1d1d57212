//! The heads of aggregates that were written lately: bounded, in two generations.

use std::collections::HashMap;

use crate::{store::Head, vocabulary::AggregateKey};

/// A cache that forgets what was not used for a while: when the young generation is full, it becomes the old one.
#[derive(Debug)]
pub(super) struct HeadCache {
    young: HashMap<AggregateKey, Head>,
    old: HashMap<AggregateKey, Head>,
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

    pub(super) fn get(&mut self, key: &AggregateKey) -> Option<Head> {
        if let Some(head) = self.young.get(key) {
            return Some(*head);
        }
        let head = self.old.remove(key)?;
        self.put(key, head);
        Some(head)
    }

    pub(super) fn put(&mut self, key: &AggregateKey, head: Head) {
        if let Some(known) = self.young.get_mut(key) {
            *known = head;
            return;
        }
        self.old.remove(key);
        if self.young.len() >= self.generation_max {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key.clone(), head);
    }

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
        let head = |number| Head {
            version: Version(number),
            ..Head::default()
        };
        let mut cache = HeadCache::new(100);
        for number in 1..10_000 {
            cache.put(&key(number), head(number));
            cache.put(&key(0), head(number));
            assert_eq!(cache.get(&key(0)), Some(head(number)));
            assert!(cache.young.len() + cache.old.len() <= 100);
        }
        assert_eq!(cache.get(&key(1)), None);
        assert_eq!(cache.get(&key(9_999)), Some(head(9_999)));
    }
}
