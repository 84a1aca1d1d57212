//! What a cell's store carries beside the module: who it is, how much memory it took, what it logged.

use std::sync::Arc;

use wasmtime::ResourceLimiter;

use super::{engine::TABLE_ELEMENTS_MAX, guest_log::CallLog, module::Identity};

/// The data of one cell's store.
#[derive(Debug)]
pub(super) struct CellData {
    pub(super) limiter: Limiter,
    pub(super) log: CallLog,
    pub(super) identity: Arc<Identity>,
    /// Live aggregates that the cell may hold, for reports.
    pub(super) aggregates_max: usize,
}

impl CellData {
    /// Forgets what belongs to the call before.
    pub(super) fn begin_call(&mut self) {
        self.limiter.denied = false;
        self.log.begin();
    }
}

/// Refuses memory beyond the cell's limit, and remembers that it did, so that the trap which follows can be
/// reported as what it is.
#[derive(Debug)]
pub(super) struct Limiter {
    limit: usize,
    resident: usize,
    denied: bool,
}

impl Limiter {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            resident: 0,
            denied: false,
        }
    }

    /// Bytes of linear memory that the cell may have, all memories together.
    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Bytes of linear memory that the cell has. It never shrinks.
    pub(super) fn resident(&self) -> usize {
        self.resident
    }

    /// Whether memory was refused during the current call.
    pub(super) fn was_denied(&self) -> bool {
        self.denied
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let resident = self.resident.saturating_add(desired.saturating_sub(current));
        if resident > self.limit {
            self.denied = true;
            return Ok(false);
        }
        self.resident = resident;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.denied = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= TABLE_ELEMENTS_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_counted_over_all_memories_and_refused_beyond_the_limit() {
        let mut limiter = Limiter::new(100);
        assert!(limiter.memory_growing(0, 60, None).unwrap());
        assert!(limiter.memory_growing(0, 40, None).unwrap());
        assert!(!limiter.was_denied());
        assert!(!limiter.memory_growing(60, 61, None).unwrap());
        assert!(limiter.was_denied());
        assert_eq!(limiter.resident(), 100);
    }
}
