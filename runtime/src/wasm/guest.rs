//! The exports of one instance, and what is passed to them.

use wasmtime::{Store, component::Instance};

use super::{
    bindings::{annals::aggregate::types as wit, exports::annals::aggregate as exports},
    limiter::CellData,
    module::Exports,
};
use crate::vocabulary::Context;

/// The exports of one instance: the optional ones are there when the module has them.
pub(super) struct Guest {
    pub(super) aggregate: exports::aggregate::Guest,
    pub(super) snapshots: Option<exports::snapshots::Guest>,
    pub(super) view: Option<exports::view::Guest>,
    pub(super) invariants: Option<exports::invariants::Guest>,
    pub(super) turn: Option<exports::turn::Guest>,
}

impl Guest {
    pub(super) fn load(
        store: &mut Store<CellData>,
        found: &Exports,
        instance: &Instance,
    ) -> wasmtime::Result<Self> {
        Ok(Self {
            aggregate: found.aggregate.load(&mut *store, instance)?,
            snapshots: optional(&found.snapshots, |it| it.load(&mut *store, instance))?,
            view: optional(&found.view, |it| it.load(&mut *store, instance))?,
            invariants: optional(&found.invariants, |it| it.load(&mut *store, instance))?,
            turn: optional(&found.turn, |it| it.load(&mut *store, instance))?,
        })
    }
}

fn optional<I, G>(
    found: &Option<I>,
    load: impl FnOnce(&I) -> wasmtime::Result<G>,
) -> wasmtime::Result<Option<G>> {
    found.as_ref().map(load).transpose()
}

/// The context as the contract has it.
pub(super) fn wit_context(context: &Context) -> wit::Context<'_> {
    let [high, low] = context.seed;
    wit::Context {
        aggregate_id: context.aggregate_id.as_str(),
        version: context.version.0,
        now: context.now,
        seed: (high, low),
        actor: context.actor.as_deref(),
        command_id: &context.command_id,
        correlation_id: &context.correlation_id,
        causation_id: context.causation_id.as_deref(),
        attributes: &[],
    }
}
