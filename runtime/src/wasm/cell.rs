//! A cell: one instance of a module, up to a few hundred live aggregates.

use std::{fmt, marker::PhantomData, sync::Arc, sync::atomic, time::Duration, time::Instant};

use super::{
    applied::{AppliedEvent, ApplyRefusal, batches},
    budget::Budget,
    decision::{Handled, Turn, at_most},
    fault::Fault,
    host::CellPermit,
    live::{Live, Object, Rendered},
    module::Module,
    occupant::Occupant,
};
use crate::vocabulary::{AggregateId, Context, GuestCommand};

/// Events applied in one call during replay.
const REPLAY_BATCH_EVENTS: usize = 512;
/// Payload applied in one call during replay: the guest's memory never shrinks, so batches stay small.
const REPLAY_BATCH_BYTES: usize = 256 << 10;

/// One instance of a module: a wasmtime store of its own, or native objects. It belongs to the thread that made it; that thread needs a stack of 4 MiB.
///
/// Any [`Fault`] retires the cell: its memory is given back at once and every later call answers [`Fault::Retired`].
pub struct Cell {
    module: Arc<Module>,
    serial: u64,
    live: usize,
    engaged: Option<Engaged>,
    /// A store may move between threads but never be used by two; shards rely on the stronger rule.
    _single_thread: PhantomData<std::cell::Cell<()>>,
}

struct Engaged {
    occupant: Box<dyn Occupant>,
    _permit: CellPermit,
}

impl Cell {
    /// Makes a cell and starts the module in it.
    ///
    /// # Errors
    /// [`Fault::CellLimit`] when the process has as many cells as it may have; else whatever the module's start
    /// function did.
    pub fn new(module: &Arc<Module>) -> Result<Self, Fault> {
        static SERIAL: atomic::AtomicU64 = atomic::AtomicU64::new(0);
        let permit = module.host.cell_permit()?;
        let occupant = module.code.occupant(module)?;
        Ok(Self {
            module: Arc::clone(module),
            serial: SERIAL.fetch_add(1, atomic::Ordering::Relaxed),
            live: 0,
            engaged: Some(Engaged {
                occupant,
                _permit: permit,
            }),
            _single_thread: PhantomData,
        })
    }

    /// The module that runs here.
    #[must_use]
    pub fn module(&self) -> &Arc<Module> {
        &self.module
    }

    /// Whether a fault ended the cell.
    #[must_use]
    pub fn is_retired(&self) -> bool {
        self.engaged.is_none()
    }

    /// Whether the cell should take no more aggregates because its memory, which never shrinks, has reached three
    /// quarters of its limit. What lives here may go on until it is moved.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        let memory = self.engaged.as_ref().map(|engaged| engaged.occupant.memory());
        memory.is_some_and(|memory| memory.resident >= memory.limit / 4 * 3)
    }

    /// Live aggregates here, count.
    #[must_use]
    pub fn live(&self) -> usize {
        self.live
    }

    /// Whether another aggregate may be placed here.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.is_retired() && !self.is_draining() && self.live < self.module.limits().aggregates_per_cell
    }

    /// Linear memory in use, bytes: a high-water mark. 0 once retired.
    #[must_use]
    pub fn resident_bytes(&self) -> usize {
        self.engaged
            .as_ref()
            .map_or(0, |engaged| engaged.occupant.memory().resident)
    }

    /// The aggregate at version 0.
    ///
    /// # Errors
    /// Any [`Fault`]; it retires the cell.
    pub fn create(&mut self, id: &AggregateId) -> Result<Live, Fault> {
        self.require_place()?;
        let object = self.run(|occupant, module| occupant.create(module, id))?;
        Ok(self.settle(object))
    }

    /// The aggregate as it was saved. The inner error is the module's refusal: replay from the log then.
    ///
    /// # Errors
    /// Any [`Fault`]; it retires the cell.
    pub fn restore(&mut self, id: &AggregateId, state: &[u8]) -> Result<Result<Live, String>, Fault> {
        self.require_place()?;
        let answer = self.run(|occupant, module| occupant.restore(module, id, state))?;
        Ok(answer.map(|object| self.settle(object)))
    }

    /// Decides. The state does not change; what was decided is to be given to [`Cell::apply_decided`].
    ///
    /// # Errors
    /// Any [`Fault`]; it retires the cell. An answer over a limit of [`Limits`](crate::vocabulary::Limits) is [`Fault::TooLarge`], one with
    /// undeclared events, bad names or payloads that are not in the declared encoding is [`Fault::BadOutput`].
    pub fn handle(
        &mut self,
        live: &Live,
        context: &Context,
        command: &GuestCommand,
    ) -> Result<Handled, Fault> {
        let object = self.own(live)?;
        self.run(|occupant, module| occupant.handle(module, object, context, command))
    }

    /// Decides, applies what was decided to the live object, and checks what must always hold: in one call into the module
    /// where it can, else one after the other. The inner error is the module's refusal to apply what it decided; release
    /// `live` then, and when something is broken.
    ///
    /// # Errors
    /// As for [`Cell::handle`] and [`Cell::apply_decided`].
    pub fn decide(
        &mut self,
        live: &Live,
        context: &Context,
        command: &GuestCommand,
    ) -> Result<Result<Turn, ApplyRefusal>, Fault> {
        let object = self.own(live)?;
        let turn = self.run(|occupant, module| occupant.turn(module, object, context, command))?;
        if let Some(turn) = turn {
            return Ok(turn);
        }
        let Handled { fuel, outcome } = self.handle(live, context, command)?;
        let mut broken = Vec::new();
        if let Ok(decision) = &outcome
            && !decision.events.is_empty()
        {
            let first = context.version.plus(1);
            let events: Vec<_> = decision
                .events
                .iter()
                .enumerate()
                .map(|(index, event)| AppliedEvent::decided(first.plus(index), context.now, event))
                .collect();
            if let Err(refusal) = self.apply_decided(live, &events)? {
                return Ok(Err(refusal));
            }
            if self.module.has_invariants() {
                broken = self.broken_invariants(live)?;
            }
        }
        Ok(Ok(Turn {
            fuel,
            outcome,
            broken,
        }))
    }

    /// Applies events of the log. There is no fuel verdict: what was once committed must stay readable. The limits are
    /// [`Limits::replay_wall`](crate::vocabulary::Limits::replay_wall), counted over all calls for the same `live`, and `within` for each call into the
    /// module. The inner error is the module's refusal; release `live` then, since the events before may have been
    /// applied.
    ///
    /// # Errors
    /// Any [`Fault`]; it retires the cell.
    pub fn apply(
        &mut self,
        live: &Live,
        events: &[AppliedEvent<'_>],
        within: Duration,
    ) -> Result<Result<(), ApplyRefusal>, Fault> {
        let limit = self.module.limits().replay_wall;
        for batch in batches(events, REPLAY_BATCH_EVENTS, REPLAY_BATCH_BYTES) {
            let Some(left) = limit
                .checked_sub(live.replayed.get())
                .filter(|left| !left.is_zero())
            else {
                self.retire();
                return Err(Fault::Deadline { limit });
            };
            let limit = if within < left { within } else { limit };
            let budget = Budget::replay(left.min(within));
            let started = Instant::now();
            let answer = self
                .apply_batch(live, batch, budget)
                .map_err(|fault| match fault {
                    Fault::Deadline { .. } => Fault::Deadline { limit },
                    other => other,
                })?;
            live.replayed
                .set(live.replayed.get().saturating_add(started.elapsed()));
            if answer.is_err() {
                return Ok(answer);
            }
        }
        Ok(Ok(()))
    }

    /// Applies events that were just decided and are not committed yet, under the budget of a command: events that
    /// take too long to apply must not get into the log.
    ///
    /// # Errors
    /// As for [`Cell::apply`], and [`Fault::OutOfFuel`].
    pub fn apply_decided(
        &mut self,
        live: &Live,
        events: &[AppliedEvent<'_>],
    ) -> Result<Result<(), ApplyRefusal>, Fault> {
        if events.is_empty() {
            return self.own(live).map(|_| Ok(()));
        }
        self.apply_batch(
            live,
            events,
            Budget::command(self.module.class, self.module.limits(), "bytes of the refusal"),
        )
    }

    fn apply_batch(
        &mut self,
        live: &Live,
        events: &[AppliedEvent<'_>],
        budget: Budget,
    ) -> Result<Result<(), ApplyRefusal>, Fault> {
        let object = self.own(live)?;
        self.run(|occupant, _| occupant.apply(object, events, budget))
    }

    /// The state as bytes. The inner error says why there is none: the module has no snapshots or refuses, or the
    /// state is over [`Limits::snapshot_bytes`](crate::vocabulary::Limits::snapshot_bytes).
    ///
    /// # Errors
    /// Any [`Fault`]; it retires the cell. A state over twice the limit is one.
    pub fn save(&mut self, live: &Live) -> Result<Result<Vec<u8>, String>, Fault> {
        let object = self.own(live)?;
        let limit = self.module.limits().snapshot_bytes;
        let answer = self.run(|occupant, module| occupant.save(module, object))?;
        Ok(answer.and_then(|state| match state.len() {
            found if found > limit => Err(format!("the saved state has {found} bytes; the limit is {limit}")),
            _ => Ok(state),
        }))
    }

    /// The state as JSON. The inner error is the module's, in words.
    ///
    /// # Errors
    /// Any [`Fault`]; it retires the cell. A state over [`Limits::view_bytes`](crate::vocabulary::Limits::view_bytes) is one, and one that is not JSON.
    pub fn render(&mut self, live: &Live) -> Result<Result<Rendered, String>, Fault> {
        let object = self.own(live)?;
        let limit = self.module.limits().view_bytes;
        let rendered = match self.run(|occupant, module| occupant.render(module, object))? {
            Ok(rendered) => rendered,
            Err(problem) => return Ok(Err(problem)),
        };
        if let Rendered::State(state) = &rendered {
            at_most("bytes of the rendered state", state.len(), limit).inspect_err(|_| self.retire())?;
            if let Err(error) = crate::vocabulary::check_json(state.as_bytes()) {
                self.retire();
                return Err(Fault::bad_output(format!(
                    "the rendered state is not JSON: {error}"
                )));
            }
        }
        Ok(Ok(rendered))
    }

    /// What should hold and does not, in words; empty when all is well or when the module checks nothing.
    ///
    /// # Errors
    /// Any [`Fault`]; it retires the cell.
    pub fn broken_invariants(&mut self, live: &Live) -> Result<Vec<String>, Fault> {
        let object = self.own(live)?;
        self.run(|occupant, module| occupant.broken_invariants(module, object))
    }

    /// Gives a live aggregate's place free.
    ///
    /// # Errors
    /// Any [`Fault`] of the module's destructor; it retires the cell. [`Fault::Retired`] means that there was nothing
    /// left to do.
    pub fn release(&mut self, live: Live) -> Result<(), Fault> {
        let object = self.own(&live)?;
        self.run(|occupant, module| occupant.release(module, object))?;
        self.live -= 1;
        Ok(())
    }

    fn settle(&mut self, object: Object) -> Live {
        self.live += 1;
        Live {
            object,
            cell: self.serial,
            replayed: std::cell::Cell::new(Duration::ZERO),
        }
    }

    fn require_place(&mut self) -> Result<(), Fault> {
        let limit = self.module.limits().aggregates_per_cell;
        if self.live >= limit && !self.is_retired() {
            self.retire();
            return Err(Fault::HandleLimit { limit });
        }
        Ok(())
    }

    fn own(&mut self, live: &Live) -> Result<Object, Fault> {
        if self.is_retired() {
            return Err(Fault::Retired);
        }
        if live.cell != self.serial {
            self.retire();
            return Err(Fault::host(
                "a live aggregate was used with a cell that it does not live in",
            ));
        }
        Ok(live.object)
    }

    /// Lets the occupant do something; a fault ends the cell.
    fn run<R>(
        &mut self,
        work: impl FnOnce(&mut dyn Occupant, &Module) -> Result<R, Fault>,
    ) -> Result<R, Fault> {
        let engaged = self.engaged.as_mut().ok_or(Fault::Retired)?;
        work(engaged.occupant.as_mut(), &self.module).inspect_err(|_| self.retire())
    }

    /// Ends the cell and gives its memory back.
    fn retire(&mut self) {
        self.engaged = None;
        self.live = 0;
    }
}

impl fmt::Debug for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cell")
            .field("serial", &self.serial)
            .field("module", &self.module)
            .field("live", &self.live)
            .field("retired", &self.is_retired())
            .finish_non_exhaustive()
    }
}
