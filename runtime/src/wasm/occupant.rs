//! What runs in a cell: the instance of a component, or native objects. Calls go to it one at a time.

use super::{
    applied::{AppliedEvent, ApplyRefusal},
    budget::Budget,
    decision::{Handled, Turn},
    fault::Fault,
    live::{Object, Rendered},
    module::Module,
};
use crate::vocabulary::{AggregateId, Context, GuestCommand};

/// Memory of a cell, bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Memory {
    /// In use: a high-water mark.
    pub(super) resident: usize,
    pub(super) limit: usize,
}

/// The live aggregates of one cell, and the code that they run. After a [`Fault`] it is not called again. Inner errors
/// are the module's own words.
pub(super) trait Occupant: Send {
    fn memory(&self) -> Memory;

    fn create(&mut self, module: &Module, id: &AggregateId) -> Result<Object, Fault>;

    fn restore(
        &mut self,
        module: &Module,
        id: &AggregateId,
        state: &[u8],
    ) -> Result<Result<Object, String>, Fault>;

    fn handle(
        &mut self,
        module: &Module,
        object: Object,
        context: &Context,
        command: &GuestCommand,
    ) -> Result<Handled, Fault>;

    /// [`handle`](Self::handle), [`apply`](Self::apply) and [`broken_invariants`](Self::broken_invariants) in one; none where
    /// it cannot be done in one.
    fn turn(
        &mut self,
        _module: &Module,
        _object: Object,
        _context: &Context,
        _command: &GuestCommand,
    ) -> Result<Option<Result<Turn, ApplyRefusal>>, Fault> {
        Ok(None)
    }

    fn apply(
        &mut self,
        object: Object,
        events: &[AppliedEvent<'_>],
        budget: Budget,
    ) -> Result<Result<(), ApplyRefusal>, Fault>;

    fn save(&mut self, module: &Module, object: Object) -> Result<Result<Vec<u8>, String>, Fault>;

    fn render(&mut self, module: &Module, object: Object) -> Result<Result<Rendered, String>, Fault>;

    fn broken_invariants(&mut self, module: &Module, object: Object) -> Result<Vec<String>, Fault>;

    fn release(&mut self, module: &Module, object: Object) -> Result<(), Fault>;
}

/// An object was used with an occupant of the other kind.
pub(super) fn not_mine() -> Fault {
    Fault::host("a live aggregate was used with a cell of another kind")
}
