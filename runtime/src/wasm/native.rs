//! Aggregates that are Rust of this program: for measuring what the sandbox costs, and for tests. They pass through the
//! same lanes, cells and checks of the host as a component does, but for what guards against the component itself.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use sha2::{Digest, Sha256};

use super::{
    applied::{AppliedEvent, ApplyProblem, ApplyRefusal},
    budget::Budget,
    call::panic_text,
    decision::{Handled, Refusal},
    fault::Fault,
    live::{Object, Rendered},
    module::Module,
    occupant::{Memory, Occupant, not_mine},
};
use crate::vocabulary::{AggregateId, Context, Decision, GuestCommand, Manifest, ModuleDigest};

/// One live aggregate.
pub trait NativeAggregate: Send {
    /// Decides, without changing anything.
    ///
    /// # Errors
    /// [`Refusal`]: the domain's no, an unknown command, a payload that does not decode.
    fn handle(&self, context: &Context, command: &GuestCommand) -> Result<Decision, Refusal>;

    /// The only way that the state changes.
    ///
    /// # Errors
    /// [`ApplyProblem`]; the object is dropped then.
    fn apply(&mut self, event: &AppliedEvent<'_>) -> Result<(), ApplyProblem>;

    /// The state as bytes, for [`NativeFactory::restore`].
    fn save(&self) -> Vec<u8>;

    /// The state as JSON; none when the aggregate has ended.
    fn render(&self) -> Option<String>;
}

/// Makes live aggregates.
pub trait NativeFactory: Send + Sync {
    /// At version 0.
    fn create(&self, id: &AggregateId) -> Box<dyn NativeAggregate>;

    /// As it was saved.
    ///
    /// # Errors
    /// In words; the log is replayed then.
    fn restore(&self, id: &AggregateId, state: &[u8]) -> Result<Box<dyn NativeAggregate>, String>;
}

/// What stands for the digest of an upload: native code has none, so it is named by type and version.
pub(super) fn native_digest(manifest: &Manifest) -> ModuleDigest {
    let name = format!("native {} {}", manifest.aggregate_type, manifest.module_version);
    ModuleDigest(Sha256::digest(name.as_bytes()).into())
}

/// The native objects of one cell.
pub(super) struct Natives {
    factory: Arc<dyn NativeFactory>,
    objects: Vec<Option<Box<dyn NativeAggregate>>>,
    free: Vec<usize>,
}

impl Natives {
    pub(super) fn new(factory: &Arc<dyn NativeFactory>) -> Self {
        Self {
            factory: Arc::clone(factory),
            objects: Vec::new(),
            free: Vec::new(),
        }
    }

    fn settle(&mut self, object: Box<dyn NativeAggregate>) -> Object {
        let slot = self.free.pop().unwrap_or(self.objects.len());
        match self.objects.get_mut(slot) {
            Some(place) => *place = Some(object),
            None => self.objects.push(Some(object)),
        }
        Object::Native(slot)
    }

    fn object(&mut self, object: Object) -> Result<&mut Box<dyn NativeAggregate>, Fault> {
        let Object::Native(slot) = object else {
            return Err(not_mine());
        };
        let place = self.objects.get_mut(slot).and_then(Option::as_mut);
        place.ok_or_else(|| Fault::host("a native aggregate was used after it was released"))
    }
}

/// A panic ends the cell, as it does in a component.
fn caught<R>(call: impl FnOnce() -> R) -> Result<R, Fault> {
    catch_unwind(AssertUnwindSafe(call)).map_err(|panic| {
        Fault::host(format!(
            "panic of a native aggregate: {}",
            panic_text(panic.as_ref())
        ))
    })
}

impl Occupant for Natives {
    fn memory(&self) -> Memory {
        // Its objects are on the process's heap; nobody counts them.
        Memory {
            resident: 0,
            limit: usize::MAX,
        }
    }

    fn create(&mut self, _: &Module, id: &AggregateId) -> Result<Object, Fault> {
        let object = caught(|| self.factory.create(id))?;
        Ok(self.settle(object))
    }

    fn restore(
        &mut self,
        _: &Module,
        id: &AggregateId,
        state: &[u8],
    ) -> Result<Result<Object, String>, Fault> {
        let restored = caught(|| self.factory.restore(id, state))?;
        Ok(restored.map(|object| self.settle(object)))
    }

    fn handle(
        &mut self,
        _: &Module,
        object: Object,
        context: &Context,
        command: &GuestCommand,
    ) -> Result<Handled, Fault> {
        let object = self.object(object)?;
        Ok(Handled {
            fuel: 0,
            outcome: caught(|| object.handle(context, command))?,
        })
    }

    fn apply(
        &mut self,
        object: Object,
        events: &[AppliedEvent<'_>],
        _: Budget,
    ) -> Result<Result<(), ApplyRefusal>, Fault> {
        let object = self.object(object)?;
        for event in events {
            if let Err(problem) = caught(|| object.apply(event))? {
                let version = event.version;
                return Ok(Err(ApplyRefusal { version, problem }));
            }
        }
        Ok(Ok(()))
    }

    fn save(&mut self, _: &Module, object: Object) -> Result<Result<Vec<u8>, String>, Fault> {
        let object = self.object(object)?;
        caught(|| object.save()).map(Ok)
    }

    fn render(&mut self, _: &Module, object: Object) -> Result<Result<Rendered, String>, Fault> {
        let object = self.object(object)?;
        let state = caught(|| object.render())?;
        Ok(Ok(state.map_or(Rendered::Ended, Rendered::State)))
    }

    fn broken_invariants(&mut self, _: &Module, _: Object) -> Result<Vec<String>, Fault> {
        Ok(Vec::new())
    }

    fn release(&mut self, _: &Module, object: Object) -> Result<(), Fault> {
        self.object(object)?;
        if let Object::Native(slot) = object
            && let Some(place) = self.objects.get_mut(slot)
        {
            *place = None;
            self.free.push(slot);
        }
        Ok(())
    }
}
