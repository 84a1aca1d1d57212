//! What readers see of the runs: each as a whole, or the parts of those that are being merged.

use std::sync::Arc;

use super::{kinds::Kinds, manifest::Frontier, names::Names, run::Run};

/// Which part of a run is to be read.
#[derive(Debug, Clone)]
pub(super) enum Scope {
    /// All of it.
    Whole,
    /// What a merge has written so far; its inputs' filters hold for it.
    Output(Vec<Arc<Run>>, Arc<Frontier>),
    /// What a merge has still to take, and the first blocks that hold some of it.
    Input(Arc<Frontier>, [u32; 2]),
}

/// A run, or a part of one. The layers of a view are in the order of the log, for every single aggregate.
#[derive(Debug, Clone)]
pub(super) struct Layer {
    pub(super) run: Arc<Run>,
    pub(super) scope: Scope,
}

impl Layer {
    /// Whether it may have events of an aggregate of this hash.
    pub(super) fn may_hold(&self, hash: u64) -> bool {
        match &self.scope {
            Scope::Whole | Scope::Input(..) => self.run.aggregates.may_hold(hash),
            Scope::Output(inputs, _) => inputs.iter().any(|input| input.aggregates.may_hold(hash)),
        }
    }

    /// Whether it may have an outcome of this hash.
    pub(super) fn may_bind(&self, hash: u64) -> bool {
        match &self.scope {
            Scope::Whole => self.run.keys.may_hold(hash),
            Scope::Input(frontier, _) => {
                frontier.hash().is_some_and(|from| from <= hash) && self.run.keys.may_hold(hash)
            }
            Scope::Output(inputs, frontier) => {
                frontier.hash().is_none_or(|from| hash < from)
                    && inputs.iter().any(|input| input.keys.may_hold(hash))
            }
        }
    }

    /// The first blocks of events and of outcomes that are looked at.
    pub(super) fn live(&self) -> [u32; 2] {
        match &self.scope {
            Scope::Whole | Scope::Output(..) => [0; 2],
            Scope::Input(_, live) => *live,
        }
    }

    /// Whether a segment is to be read here.
    pub(super) fn shows(&self, name: &[u8], version: u64) -> bool {
        match &self.scope {
            Scope::Whole => true,
            Scope::Output(_, frontier) => !frontier.is_before(name, version),
            Scope::Input(frontier, _) => frontier.is_before(name, version),
        }
    }
}

/// What readers read.
#[derive(Debug)]
pub(super) struct View {
    pub(super) layers: Vec<Layer>,
    pub(super) names: Arc<Names>,
    pub(super) kinds: Arc<Kinds>,
}
