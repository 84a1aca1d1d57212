//! Reading the state of an aggregate, in order with its commands.

use crate::{
    vocabulary::Version,
    wasm::{Fault, Rendered},
};

use super::{
    decide::fault_report,
    request::{CommandError, RenderedState, StateView},
    shard::{StateWork, Work},
    work::{Entry, Gated, Worker},
};

impl Worker {
    pub(super) fn state(&mut self, entry: &mut Entry, work: Box<StateWork>) {
        let span = work.span.clone();
        let _in_span = tracing::debug_span!(parent: &span, "lane", aggregate = %entry.key).entered();
        match self.render(entry, &work) {
            Ok(None) => entry.lane.push_back_first(Work::State(work)),
            Ok(Some(view)) => self.answer(entry, Gated::State(work, Ok(view))),
            Err(error) => self.answer(entry, Gated::State(work, Err(error))),
        }
    }

    /// None while the live object is being built.
    fn render(&mut self, entry: &mut Entry, work: &StateWork) -> Result<Option<StateView>, CommandError> {
        let serving = self.serving(entry)?;
        let module = &serving.module;
        let head = self.tip(entry)?;
        let view = |state| {
            Some(StateView {
                version: head.version,
                module: module.digest(),
                state,
            })
        };
        if head.version == Version(0) {
            return Ok(view(RenderedState::Missing));
        }
        if !self.bring_up(entry, module, head, false)? {
            return Ok(None);
        }
        let rendered = match entry.lane.live() {
            Some(placed) => match self.cells.get(placed.cell) {
                Some(cell) => cell.render(&placed.live),
                None => Err(Fault::Retired),
            },
            None => Err(Fault::Retired),
        };
        let fault = match rendered {
            Ok(Ok(Rendered::State(json))) => {
                // Only now: the ETag of the command that ended an aggregate must not make its end look unmodified.
                let digest = module.digest().to_string();
                let known = |(version, start): &(Version, String)| {
                    *version == head.version && digest.starts_with(start)
                };
                let is_known = work.request.known.iter().any(known);
                return Ok(view(if is_known {
                    RenderedState::NotModified
                } else {
                    RenderedState::Json(json)
                }));
            }
            Ok(Ok(Rendered::Ended)) => return Ok(view(RenderedState::Ended)),
            Ok(Ok(Rendered::NoView)) => return Ok(view(RenderedState::NoView)),
            Ok(Err(problem)) => {
                let what = format!("the module cannot render the state: {problem}");
                return Err(fault_report(
                    &self.equipment.ids,
                    &entry.key,
                    Fault::BadOutput { what },
                ));
            }
            Err(fault) => fault,
        };
        if let Some(cell) = entry.lane.live().map(|placed| placed.cell) {
            self.cells.retire(cell);
        }
        self.drop_live(entry);
        Err(fault_report(&self.equipment.ids, &entry.key, fault))
    }
}
