//! A call into a module: its budget, its store, and what catches it when it falls.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use wasmtime::Store;

use super::{
    engine::ticks,
    fault::{Fault, classify},
    guest_log::CallLog,
    host::Host,
    limiter::{CellData, Limiter},
    module::Identity,
};

/// What one call into a module may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Budget {
    /// Units of fuel; none where a verdict by fuel is not allowed.
    pub(super) fuel: Option<u64>,
    /// Wall time: the net under the fuel.
    pub(super) wall: Duration,
    /// Bytes that the host copies out of the module, for the answer and for each import call.
    pub(super) lift_bytes: usize,
    /// What is copied, for the report.
    pub(super) lifted: &'static str,
}

/// A store under the host's limits.
pub(super) fn store_for(
    host: &Host,
    identity: Arc<Identity>,
    memory_bytes: usize,
) -> Result<Store<CellData>, Fault> {
    let limits = host.limits();
    let data = CellData {
        limiter: Limiter::new(memory_bytes),
        log: CallLog::new(limits),
        identity,
        aggregates_max: limits.aggregates_per_cell,
    };
    let mut store = Store::new(host.engine(), data);
    store.limiter(|data| &mut data.limiter);
    store.set_max_component_handles(limits.aggregates_per_cell.saturating_mul(2).saturating_add(64));
    store.epoch_deadline_trap();
    Ok(store)
}

/// Runs `body` under a budget. An `Err` means that the store must not be used again.
pub(super) fn guarded<R>(
    store: &mut Store<CellData>,
    budget: Budget,
    body: impl FnOnce(&mut Store<CellData>) -> wasmtime::Result<R>,
) -> Result<R, Fault> {
    store.data_mut().begin_call();
    store
        .set_fuel(budget.fuel.unwrap_or(u64::MAX))
        .map_err(|error| Fault::host(format!("setting fuel: {error:#}")))?;
    store.set_epoch_deadline(ticks(budget.wall));
    store.set_hostcall_fuel(budget.lift_bytes);
    let answer = catch_unwind(AssertUnwindSafe(|| body(store)));
    let data = store.data();
    data.log.end(&data.identity);
    match answer {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(classify(&error, data, budget)),
        Err(panic) => Err(Fault::host(format!("panic: {}", panic_text(panic.as_ref())))),
    }
}

/// The message of a caught panic.
pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        return (*text).to_owned();
    }
    panic
        .downcast_ref::<String>()
        .cloned()
        .unwrap_or_else(|| "no message".to_owned())
}
