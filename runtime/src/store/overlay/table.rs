//! A hash table of numbers: eight bytes a slot, open addressing. Whoever uses it keeps what the numbers stand for.

/// Slots to begin with.
const SLOTS_MIN: usize = 64;

/// Numbers under the upper halves of hashes; several may stand under the same one.
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    /// Upper half: that of the hash. Lower half: the number and one, 0 for a slot that is free.
    slots: Vec<u64>,
    len: usize,
}

impl Table {
    /// The numbers that may be what is looked for: those with the same upper half.
    pub(super) fn candidates(&self, hash: u64) -> impl Iterator<Item = u32> + '_ {
        self.occupied(hash).map(|(_, number)| number)
    }

    /// Puts a number in the place of the one that is said to be the same, which is returned, or beside the others.
    pub(super) fn put(&mut self, hash: u64, number: u32, same: impl Fn(u32) -> bool) -> Option<u32> {
        self.grow();
        let found = self.occupied(hash).find(|(_, other)| same(*other));
        if let Some((at, other)) = found {
            self.set(at, slot(hash, number));
            return Some(other);
        }
        self.add(slot(hash, number));
        self.len += 1;
        None
    }

    /// Every number, in no order.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        self.slots
            .iter()
            .filter(|slot| **slot != 0)
            .map(|slot| number_of(*slot))
    }

    fn occupied(&self, hash: u64) -> impl Iterator<Item = (usize, u32)> + '_ {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = (hash >> 32) as usize;
        std::iter::from_fn(move || {
            loop {
                at &= mask;
                let found = *self.slots.get(at)?;
                if found == 0 {
                    return None;
                }
                let here = at;
                at += 1;
                if found >> 32 == hash >> 32 {
                    return Some((here, number_of(found)));
                }
            }
        })
    }

    fn grow(&mut self) {
        if (self.len + 1) * 4 <= self.slots.len() * 3 {
            return;
        }
        let more = (self.slots.len() * 2).max(SLOTS_MIN);
        let old = std::mem::replace(&mut self.slots, vec![0; more]);
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            self.add(slot);
        }
    }

    fn add(&mut self, slot: u64) {
        let mask = self.slots.len() - 1;
        let mut at = (slot >> 32) as usize & mask;
        while self.slots.get(at).is_some_and(|taken| *taken != 0) {
            at = (at + 1) & mask;
        }
        self.set(at, slot);
    }

    fn set(&mut self, at: usize, slot: u64) {
        if let Some(place) = self.slots.get_mut(at) {
            *place = slot;
        }
    }
}

fn slot(hash: u64, number: u32) -> u64 {
    hash >> 32 << 32 | (u64::from(number) + 1)
}

fn number_of(slot: u64) -> u32 {
    (slot as u32).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_was_put_is_found() {
        let mut table = Table::default();
        assert_eq!(table.candidates(7).count(), 0);
        let hash = |number: u32| u64::from(number % 500).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for number in 0..5_000 {
            let replaced = table.put(hash(number), number, |other| {
                other % 500 == number % 500 && number % 2 == 0
            });
            assert_eq!(replaced.is_some(), number >= 500 && number % 2 == 0, "{number}");
        }
        assert_eq!(table.numbers().collect::<BTreeSet<_>>().len(), table.len);
        for number in 4_500..5_000 {
            assert!(
                table.candidates(hash(number)).any(|found| found == number),
                "{number}"
            );
        }
    }
}
