//! A call into a module: the store that it runs in, and what catches it when it falls.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use wasmtime::{
    Store,
    component::{Instance, InstancePre},
};

use super::{
    budget::Budget,
    engine::ticks,
    fault::{Fault, classify},
    guest_log::CallLog,
    host::Host,
    limiter::{CellData, Limiter},
    module::Identity,
};

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

/// Makes an instance; its start functions run under the budget.
pub(super) fn instantiate(
    store: &mut Store<CellData>,
    budget: Budget,
    pre: &InstancePre<CellData>,
) -> Result<Instance, Fault> {
    guarded(store, budget, |store| pre.instantiate(store)).map_err(|fault| match fault {
        // There was no answer yet that could be bad: the machine or the pool had no room.
        Fault::BadOutput { what } => Fault::host(format!("no instance could be made: {what}")),
        other => other,
    })
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
