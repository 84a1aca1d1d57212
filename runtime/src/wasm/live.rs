//! A live aggregate, and what can be seen of it.

use std::time::Duration;

use wasmtime::component::ResourceAny;

/// One live aggregate inside a [`Cell`](super::Cell). It is a cache of the log and nothing else.
///
/// Give it back with [`Cell::release`](super::Cell::release); one that is just dropped occupies its place until the cell ends.
#[derive(Debug)]
#[must_use = "a live aggregate that is not released occupies its cell until the cell ends"]
pub struct Live {
    pub(super) object: Object,
    pub(super) cell: u64,
    pub(super) replayed: std::cell::Cell<Duration>,
}

/// What a cell calls one of its live aggregates.
#[derive(Debug, Clone, Copy)]
pub(super) enum Object {
    /// A resource of the component's instance.
    Component(ResourceAny),
    /// A place among the native objects.
    Native(usize),
}

/// A state as the module shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rendered {
    /// JSON.
    State(String),
    /// The aggregate has ended: deleted, or closed for good.
    Ended,
    /// The module has no view: its states cannot be read.
    NoView,
}
