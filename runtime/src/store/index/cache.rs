//! Blocks that were checked lately, so that a history read page by page is not checked again for every page.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;

/// A fixed number of places, each with the block that was there last.
#[derive(Debug)]
pub(super) struct BlockCache {
    places: Vec<Mutex<Option<(u64, Bytes)>>>,
    /// Larger ones are not kept.
    bytes_max: usize,
}

impl BlockCache {
    /// So many places, for blocks of at most this size.
    pub(super) fn new(places: usize, bytes_max: usize) -> Self {
        Self {
            places: (0..places.max(1)).map(|_| Mutex::default()).collect(),
            bytes_max,
        }
    }

    /// The block under a key.
    pub(super) fn get(&self, key: u64) -> Option<Bytes> {
        let place = self.place(key)?.lock().unwrap_or_else(PoisonError::into_inner);
        place
            .as_ref()
            .filter(|(found, _)| *found == key)
            .map(|(_, bytes)| bytes.clone())
    }

    /// Keeps a block, in the place of another one.
    pub(super) fn put(&self, key: u64, bytes: &Bytes) {
        if bytes.len() <= self.bytes_max
            && let Some(place) = self.place(key)
        {
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some((key, bytes.clone()));
        }
    }

    fn place(&self, key: u64) -> Option<&Mutex<Option<(u64, Bytes)>>> {
        let spread = (key ^ key >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let place = (u128::from(spread) * self.places.len() as u128) >> 64;
        self.places.get(place as usize)
    }
}
