//! Random numbers from a seed that every failure prints (SplitMix64, <https://prng.di.unimi.it/splitmix64.c>).

/// A stream of numbers.
pub(crate) struct Random(u64);

impl Random {
    /// The seed of this run: `ANNALS_TEST_SEED`, else from the process's own address space layout and id.
    pub(crate) fn seed() -> u64 {
        let given = std::env::var("ANNALS_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok());
        given.unwrap_or_else(|| {
            use std::hash::{BuildHasher, RandomState};
            RandomState::new().hash_one(std::process::id())
        })
    }

    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }
}
