//! The engine: its configuration, which is the same wherever code is compiled or run, and the clock behind deadlines.

use std::{
    num::NonZeroUsize,
    sync::mpsc::{RecvTimeoutError, Sender, channel},
    thread::JoinHandle,
    time::Duration,
};

use wasmtime::{
    Config, Engine, InstanceAllocationStrategy, OptLevel, PoolingAllocationConfig, WasmBacktraceDetails,
};

use super::scan::Class;
use crate::vocabulary::Limits;

/// How often the epoch advances: the resolution of every deadline.
pub(super) const TICK: Duration = Duration::from_millis(10);
/// Wasm stack of one call, bytes. Threads that run cells need 4 MiB: this, and room for the host beneath and above.
const WASM_STACK_BYTES: usize = 512 << 10;
/// Entries of one table: function pointers of JavaScript and Python engines stay below this.
pub(super) const TABLE_ELEMENTS_MAX: usize = 100_000;
/// Cells for describing uploads, beside those that serve.
pub(super) const SPARE_CELLS: usize = 8;

/// Whether cells come from a pool of prepared memories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Allocation {
    /// Fast, but reserves 4 GiB of address space per cell.
    Pooling,
    /// Slower to instantiate; works where address space is scarce.
    OnDemand,
}

/// The configuration. Everything that WebAssembly leaves open is closed here, so that the same events give the same
/// state on any machine.
pub(super) fn config(limits: &Limits, allocation: Allocation) -> Config {
    let mut config = Config::new();
    config
        .cranelift_nan_canonicalization(true)
        .wasm_relaxed_simd(false)
        .relaxed_simd_deterministic(true)
        .wasm_memory64(false)
        .wasm_multi_memory(false);
    config
        .consume_fuel(true)
        .epoch_interruption(true)
        .max_wasm_stack(WASM_STACK_BYTES);
    // wasmtime's defaults, spelled out: with them no access needs a bounds check.
    config
        .memory_reservation(4 << 30)
        .memory_guard_size(32 << 20)
        .memory_may_move(false);
    // No debug information of an uploaded module is parsed, whatever the environment says.
    config
        .wasm_backtrace_max_frames(NonZeroUsize::new(16))
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .cranelift_opt_level(OptLevel::Speed);
    if allocation == Allocation::Pooling {
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(limits)));
    }
    config
}

fn pool(limits: &Limits) -> PoolingAllocationConfig {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let largest = Class::Large.scan_limits(limits);
    let cells = count(limits.cells.saturating_add(SPARE_CELLS));
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(cells)
        .total_core_instances(cells.saturating_mul(count(largest.instances)))
        .max_core_instances_per_component(count(largest.instances))
        // Far more than any real module's, and only a check: this memory is not reserved.
        .max_component_instance_size(16 << 20)
        .max_core_instance_size(16 << 20)
        .total_memories(cells)
        .max_memories_per_component(1)
        .max_memories_per_module(1)
        .max_memory_size(Class::Large.memory_bytes(limits))
        .total_tables(cells.saturating_mul(4))
        .max_tables_per_component(count(largest.tables))
        .max_tables_per_module(count(largest.tables))
        .table_elements(TABLE_ELEMENTS_MAX)
        .max_unused_warm_slots(16)
        .linear_memory_keep_resident(256 << 10)
        .table_keep_resident(16 << 10);
    pool
}

/// Makes the engine: with a pool where the machine has the address space for it, else on demand.
pub(super) fn engine(limits: &Limits) -> wasmtime::Result<(Engine, Allocation)> {
    match Engine::new(&config(limits, Allocation::Pooling)) {
        Ok(engine) => Ok((engine, Allocation::Pooling)),
        Err(error) => {
            tracing::warn!(
                error = %format!("{error:#}"),
                cells = limits.cells,
                "no pool of cells: cells are allocated on demand, which is slower. Raise the limit on address space \
                 (`ulimit -v`) or lower the number of cells"
            );
            Ok((
                Engine::new(&config(limits, Allocation::OnDemand))?,
                Allocation::OnDemand,
            ))
        }
    }
}

/// Advances the engine's epoch until it is dropped.
#[derive(Debug)]
pub(super) struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    pub(super) fn start(engine: &Engine) -> std::io::Result<Self> {
        let engine = engine.weak();
        let (stop, stopped) = channel::<()>();
        let thread = std::thread::Builder::new()
            .name("annals-epoch".into())
            .spawn(move || {
                while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                    let Some(engine) = engine.upgrade() else { return };
                    engine.increment_epoch();
                }
            })?;
        Ok(Self {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the epoch ticker panicked: deadlines were not enforced");
        }
    }
}

/// A wall time in ticks of the epoch, rounded up: a call gets at least what it was promised.
pub(super) fn ticks(wall: Duration) -> u64 {
    // Asked at every call, and a division of 128 bits is slow.
    const TICK_MILLIS: u64 = TICK.as_millis() as u64;
    u64::try_from(wall.as_millis())
        .map_or(u64::MAX / 2, |millis| millis.div_ceil(TICK_MILLIS))
        .saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_round_up() {
        assert_eq!(ticks(Duration::ZERO), 1);
        assert_eq!(ticks(Duration::from_millis(1)), 2);
        assert_eq!(ticks(Duration::from_secs(1)), 101);
    }

    #[test]
    fn a_machine_without_address_space_still_gets_an_engine() {
        let limits = Limits {
            cells: 1 << 20,
            ..Limits::default()
        };
        let (_, allocation) = engine(&limits).unwrap();
        assert_eq!(allocation, Allocation::OnDemand);
    }
}
