//! A Bloom filter whose bits for one key lie in one cache line: a look-up touches memory once.

use crate::store::format::{Malformed, Reader};

/// Words of 64 bits in a line.
const LINE: usize = 8;
/// Bits that are set for a key, of the 512 of its line.
const PROBES: u32 = 6;

/// Which hashes may have been put in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    lines: Vec<[u64; LINE]>,
}

impl Filter {
    /// For so many keys, with so many bits each, within a number of bytes. It can be halved so many times.
    pub(super) fn new(keys: u64, bits_per_key: usize, bytes_max: usize, halvings: u32) -> Self {
        let bytes = (keys.saturating_mul(bits_per_key as u64) / 8).min(bytes_max as u64);
        let unit = 1_usize << halvings;
        let lines = (bytes as usize).div_ceil(LINE * 8).max(1).next_multiple_of(unit);
        Self {
            lines: vec![[0; LINE]; lines],
        }
    }

    /// Puts a hash in.
    pub(super) fn add(&mut self, hash: u64) {
        let at = self.line(hash);
        if let Some(line) = self.lines.get_mut(at) {
            for (word, bits) in line.iter_mut().zip(pattern(hash)) {
                *word |= bits;
            }
        }
    }

    /// Whether a hash may have been put in. Never false when it was.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        let line = self.lines.get(self.line(hash));
        line.is_some_and(|line| {
            line.iter()
                .zip(pattern(hash))
                .all(|(word, bits)| word & bits == bits)
        })
    }

    /// Half as large, with the same content.
    pub(super) fn halve(&mut self) {
        let (pairs, _) = self.lines.as_chunks::<2>();
        let halved = pairs.iter().map(|[a, b]| {
            let mut line = *a;
            line.iter_mut().zip(b).for_each(|(word, other)| *word |= other);
            line
        });
        self.lines = halved.collect();
    }

    /// Its size in memory and on the disk, bytes.
    pub(super) fn bytes(&self) -> usize {
        self.lines.len() * LINE * 8
    }

    /// Its content in pieces of at most so many bytes.
    pub(super) fn pieces(&self, bytes_max: usize) -> impl Iterator<Item = Vec<u8>> + '_ {
        self.lines.chunks((bytes_max / (LINE * 8)).max(1)).map(|lines| {
            lines
                .iter()
                .flatten()
                .flat_map(|word| word.to_be_bytes())
                .collect()
        })
    }

    /// Adds a piece of what was written.
    pub(super) fn read_piece(&mut self, bytes: &bytes::Bytes) -> Result<(), Malformed> {
        let mut reader = Reader::new(bytes);
        for _ in 0..bytes.len() / (LINE * 8) {
            let mut line = [0; LINE];
            for word in &mut line {
                *word = u64::from_be_bytes(reader.array()?);
            }
            self.lines.push(line);
        }
        reader.end()
    }

    /// Nothing yet, to be filled with pieces.
    pub(super) fn unread() -> Self {
        Self { lines: Vec::new() }
    }

    fn line(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.lines.len() as u128) >> 64) as usize
    }
}

/// The bits of a hash in its line.
fn pattern(hash: u64) -> [u64; LINE] {
    let mut line = [0; LINE];
    let mut bits = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits ^= bits >> 32;
    for _ in 0..PROBES {
        if let Some(word) = line.get_mut((bits >> 6 & 7) as usize) {
            *word |= 1_u64 << (bits & 63);
        }
        bits >>= 9;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        let mut z = number.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 29)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 32)
    }

    #[test]
    fn what_was_put_in_is_there_and_little_else() {
        let mut filter = Filter::new(100_000, 12, 1 << 20, 3);
        (0..100_000).for_each(|number| filter.add(hash(number)));
        assert!((0..100_000).all(|number| filter.may_hold(hash(number))));
        let wrong = (100_000..200_000)
            .filter(|number| filter.may_hold(hash(*number)))
            .count();
        assert!(wrong < 1_000, "{wrong} of 100,000 others seem to be there");
    }

    #[test]
    fn half_a_filter_holds_the_same() {
        let mut filter = Filter::new(100_000, 12, 1 << 20, 3);
        (0..10_000).for_each(|number| filter.add(hash(number)));
        for _ in 0..3 {
            filter.halve();
        }
        assert!((0..10_000).all(|number| filter.may_hold(hash(number))));
        let wrong = (10_000..110_000)
            .filter(|number| filter.may_hold(hash(*number)))
            .count();
        assert!(wrong < 2_000, "{wrong} of 100,000 others seem to be there");
    }

    #[test]
    fn pieces_make_the_whole_again() {
        let mut filter = Filter::new(1_000, 12, 1 << 20, 0);
        (0..1_000).for_each(|number| filter.add(hash(number)));
        let mut again = Filter::unread();
        for piece in filter.pieces(100) {
            again.read_piece(&bytes::Bytes::from(piece)).unwrap();
        }
        assert_eq!(again, filter);
    }

    #[test]
    fn its_size_has_a_limit() {
        assert_eq!(Filter::new(u64::MAX, 12, 4_096, 0).bytes(), 4_096);
        assert_eq!(Filter::new(0, 12, 4_096, 0).bytes(), 64);
    }
}
