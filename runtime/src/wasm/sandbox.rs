//! One wasmtime store with one instance of a component, and the calls into it.

use std::sync::Arc;

use wasmtime::{
    Store,
    component::{InstancePre, ResourceAny},
};

use super::{
    applied::{AppliedEvent, ApplyRefusal},
    bindings::annals::aggregate::types as wit,
    budget::Budget,
    call::{guarded, instantiate, store_for},
    decision::{Handled, Turn, checked},
    fault::Fault,
    guest::{Guest, wit_context},
    limiter::CellData,
    live::{Object, Rendered},
    module::{Exports, Module},
    occupant::{Memory, Occupant, not_mine},
    turn,
};
use crate::vocabulary::{AggregateId, Context, GuestCommand};

const NO_SNAPSHOTS: &str = "the module has no `snapshots` interface";

/// A component at work.
pub(super) struct Sandbox {
    store: Store<CellData>,
    guest: Guest,
}

impl Sandbox {
    /// Makes an instance and runs its start functions.
    pub(super) fn start(
        module: &Module,
        pre: &InstancePre<CellData>,
        exports: &Exports,
    ) -> Result<Self, Fault> {
        let limits = module.limits();
        let budget = Budget::start(module.class, limits);
        let mut store = store_for(
            &module.host,
            Arc::clone(&module.identity),
            module.class.memory_bytes(limits),
        )?;
        let instance = instantiate(&mut store, budget, pre)?;
        let guest = Guest::load(&mut store, exports, &instance)
            .map_err(|error| Fault::host(format!("finding the module's exports: {error:#}")))?;
        Ok(Self { store, guest })
    }

    fn call<R>(
        &mut self,
        budget: Budget,
        body: impl FnOnce(&mut Store<CellData>, &Guest) -> wasmtime::Result<R>,
    ) -> Result<R, Fault> {
        let guest = &self.guest;
        guarded(&mut self.store, budget, |store| body(store, guest))
    }
}

fn resource(object: Object) -> Result<ResourceAny, Fault> {
    match object {
        Object::Component(resource) => Ok(resource),
        Object::Native(_) => Err(not_mine()),
    }
}

/// For what belongs to a command but answers little.
fn command_budget(module: &Module, lifted: &'static str) -> Budget {
    Budget::command(module.class, module.limits(), lifted)
}

impl Occupant for Sandbox {
    fn memory(&self) -> Memory {
        let limiter = &self.store.data().limiter;
        Memory {
            resident: limiter.resident(),
            limit: limiter.limit(),
        }
    }

    fn create(&mut self, module: &Module, id: &AggregateId) -> Result<Object, Fault> {
        let budget = command_budget(module, "bytes logged by the constructor");
        self.call(budget, |store, guest| {
            guest.aggregate.instance().call_constructor(store, id.as_str())
        })
        .map(Object::Component)
    }

    fn restore(
        &mut self,
        module: &Module,
        id: &AggregateId,
        state: &[u8],
    ) -> Result<Result<Object, String>, Fault> {
        let budget = Budget::restore(module.class, module.limits());
        let answer = self.call(budget, |store, guest| match &guest.snapshots {
            Some(snapshots) => snapshots.call_restore(store, id.as_str(), state),
            None => Ok(Err(NO_SNAPSHOTS.to_owned())),
        })?;
        Ok(answer.map(Object::Component))
    }

    fn handle(
        &mut self,
        module: &Module,
        object: Object,
        context: &Context,
        command: &GuestCommand,
    ) -> Result<Handled, Fault> {
        let resource = resource(object)?;
        let budget = Budget::decision(module.class, module.limits());
        let fuel_given = budget.fuel;
        let (answer, fuel_left) = self.call(budget, |store, guest| {
            let answer = guest.aggregate.instance().call_handle(
                &mut *store,
                resource,
                wit_context(context),
                wit::Command {
                    name: command.name.as_str(),
                    payload: &command.payload,
                },
            )?;
            Ok((answer, store.get_fuel()?))
        })?;
        Ok(Handled {
            fuel: fuel_given.unwrap_or_default().saturating_sub(fuel_left),
            outcome: checked(answer, module)?,
        })
    }

    fn turn(
        &mut self,
        module: &Module,
        object: Object,
        context: &Context,
        command: &GuestCommand,
    ) -> Result<Option<Result<Turn, ApplyRefusal>>, Fault> {
        if self.guest.turn.is_none() {
            return Ok(None);
        }
        let resource = resource(object)?;
        let request = turn::request(context, command)?;
        let budget = Budget::turn(module.class, module.limits());
        let fuel_given = budget.fuel;
        let called = self.call(budget, |store, guest| {
            let Some(turn) = &guest.turn else {
                return Ok(None);
            };
            let answer = turn.call_decide(&mut *store, resource, &request)?;
            Ok(Some((answer, store.get_fuel()?)))
        })?;
        let Some((answer, fuel_left)) = called else {
            return Ok(None);
        };
        let fuel = fuel_given.unwrap_or_default().saturating_sub(fuel_left);
        let answered = turn::answer(answer, module)?;
        Ok(Some(answered.map(|(outcome, broken)| Turn {
            fuel,
            outcome,
            broken,
        })))
    }

    fn apply(
        &mut self,
        object: Object,
        events: &[AppliedEvent<'_>],
        budget: Budget,
    ) -> Result<Result<(), ApplyRefusal>, Fault> {
        let resource = resource(object)?;
        let events: Vec<_> = events.iter().map(AppliedEvent::as_wit).collect();
        let answer = self.call(budget, |store, guest| {
            guest.aggregate.instance().call_apply(store, resource, &events)
        })?;
        Ok(answer.map_err(ApplyRefusal::from))
    }

    fn save(&mut self, module: &Module, object: Object) -> Result<Result<Vec<u8>, String>, Fault> {
        let resource = resource(object)?;
        let budget = Budget::save(module.class, module.limits());
        self.call(budget, |store, guest| match &guest.snapshots {
            Some(snapshots) => snapshots.call_save(store, resource),
            None => Ok(Err(NO_SNAPSHOTS.to_owned())),
        })
    }

    fn render(&mut self, module: &Module, object: Object) -> Result<Result<Rendered, String>, Fault> {
        let resource = resource(object)?;
        let budget = Budget::render(module.class, module.limits());
        self.call(budget, |store, guest| {
            let Some(view) = &guest.view else {
                return Ok(Ok(Rendered::NoView));
            };
            let answer = view.call_render(store, resource)?;
            Ok(answer.map(|state| state.map_or(Rendered::Ended, Rendered::State)))
        })
    }

    fn broken_invariants(&mut self, module: &Module, object: Object) -> Result<Vec<String>, Fault> {
        let resource = resource(object)?;
        let budget = command_budget(module, "bytes of the broken invariants");
        self.call(budget, |store, guest| match &guest.invariants {
            Some(invariants) => invariants.call_check(store, resource),
            None => Ok(Vec::new()),
        })
    }

    fn release(&mut self, module: &Module, object: Object) -> Result<(), Fault> {
        let resource = resource(object)?;
        let budget = command_budget(module, "bytes logged by the destructor");
        self.call(budget, |store, _| resource.resource_drop(store))
    }
}
