//! Rebuilding a live object: the newest snapshot of the same module and the tail of the log, or the whole log.
//!
//! A rebuild is kept by its lane and goes on a slice at a time, so that a long history does not keep the other lanes of
//! its shard waiting. A snapshot is one attempt together with its tail: when either fails, the whole history is applied
//! once, and the snapshot is not tried again for this rebuild.

use std::{
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    store::{Direction, EventStore, Head, PageLimit, ReadError, Snapshot},
    vocabulary::{AggregateKey, Limits, Version},
    wasm::{AppliedEvent, Cell, Fault, Module},
};

use super::{
    cells::{CellId, Cells, Placed},
    pace::Pace,
    save::Saved,
};

/// Why a live object could not be built.
#[derive(Debug)]
pub(crate) enum RebuildError {
    Fault(Fault),
    Impossible {
        version: Version,
        problem: String,
    },
    TooSlow {
        limit: Duration,
        reached: Version,
        head: Version,
    },
    /// Events, in the end a single one, that the module does not apply in time.
    Stuck {
        events: RangeInclusive<Version>,
        /// Whether that was as long as one event may take, and not only as long as a slice.
        had_its_time: bool,
    },
    NotRead(ReadError),
}

/// A live object at the head, and what is known of the newest snapshot.
#[derive(Debug)]
pub(crate) struct Rebuilt {
    pub(crate) placed: Placed,
    pub(crate) saved: Saved,
}

/// How far a slice got.
#[derive(Debug)]
pub(crate) enum Progress {
    Built(Rebuilt),
    /// There is more to apply.
    Unfinished,
    /// Every cell holds an object that is being built: it has to wait for one of them.
    NoCell,
}

/// Where a rebuild reads from.
#[derive(Debug)]
pub(crate) struct Sources<'a> {
    pub(crate) store: &'a Arc<dyn EventStore>,
    pub(crate) limits: &'a Limits,
    pub(crate) key: &'a AggregateKey,
    /// Whether an event that is known to be slow gets its time.
    pub(crate) is_patient: bool,
}

/// A live object on its way to the head.
#[derive(Debug)]
pub(crate) struct Rebuild {
    module: Arc<Module>,
    head: Head,
    /// Whether to place it in a cell of its own.
    fresh_cell: bool,
    use_snapshot: bool,
    begun: Instant,
    /// Time of all slices so far; the time in between belongs to other lanes.
    spent: Duration,
    pace: Pace,
    has_no_cell: bool,
    applying: Option<Applying>,
}

/// An object that is not at the head yet.
#[derive(Debug)]
struct Applying {
    placed: Placed,
    next: Version,
    saved: Saved,
}

impl Rebuild {
    /// Of an aggregate whose durable head is `head`.
    pub(crate) fn new(module: &Arc<Module>, head: Head, fresh_cell: bool) -> Self {
        Self {
            module: Arc::clone(module),
            head,
            fresh_cell,
            use_snapshot: head.version > Version(0) && module.has_snapshots(),
            begun: Instant::now(),
            spent: Duration::ZERO,
            pace: Pace::new(),
            has_no_cell: false,
            applying: None,
        }
    }

    /// With events that took too long before. The cell goes with them when they do again, so it is one of its own.
    pub(crate) fn slowly(mut self, slow: RangeInclusive<Version>) -> Self {
        self.pace.slow_down(slow);
        self.fresh_cell = true;
        self
    }

    /// Whether the last slice found no cell to begin in.
    pub(crate) fn has_no_cell(&self) -> bool {
        self.has_no_cell
    }

    pub(crate) fn module(&self) -> &Arc<Module> {
        &self.module
    }

    pub(crate) fn head(&self) -> Head {
        self.head
    }

    pub(crate) fn fresh_cell(&self) -> bool {
        self.fresh_cell
    }

    /// Lets go of what was built so far.
    pub(crate) fn abandon(self, cells: &mut Cells) {
        if let Some(applying) = self.applying {
            applying.let_go(cells);
        }
    }

    /// Does one slice, and says how long it took. Nothing is left behind by an error.
    pub(crate) fn slice(
        &mut self,
        sources: &Sources<'_>,
        cells: &mut Cells,
    ) -> (Result<Progress, RebuildError>, Duration) {
        let started = Instant::now();
        let result = self.advance(sources, cells);
        self.has_no_cell = matches!(result, Ok(Progress::NoCell));
        let took = started.elapsed();
        self.spent += took;
        self.pace.took(took, sources.limits.rebuild_slice_events);
        (result, took)
    }

    fn advance(&mut self, sources: &Sources<'_>, cells: &mut Cells) -> Result<Progress, RebuildError> {
        let applying = match self.applying.take() {
            Some(applying) if cells.holds(applying.placed.cell) => applying,
            // A neighbour took the cell with it: from the beginning, which is not this aggregate's doing.
            _ => match self.place(sources, cells) {
                Ok(applying) => applying,
                Err(RebuildError::Fault(Fault::CellLimit { limit })) if cells.has_reserved() => {
                    if self.begun.elapsed() > sources.limits.replay_wall {
                        return Err(RebuildError::Fault(Fault::CellLimit { limit }));
                    }
                    return Ok(Progress::NoCell);
                }
                Err(error) => return self.once_more(error, false),
            },
        };
        if applying.next > self.head.version {
            return Ok(Progress::Built(applying.finish(cells)));
        }
        self.apply_slice(sources, cells, applying)
    }

    fn apply_slice(
        &mut self,
        sources: &Sources<'_>,
        cells: &mut Cells,
        mut applying: Applying,
    ) -> Result<Progress, RebuildError> {
        match self.apply(sources, cells, &applying) {
            Ok(after) if after > self.head.version => Ok(Progress::Built(applying.finish(cells))),
            Ok(after) => {
                applying.next = after;
                self.applying = Some(applying);
                Ok(Progress::Unfinished)
            }
            // To find out which of them it is, and to give it its time, it begins again. No snapshot would help.
            Err(RebuildError::Stuck { events, had_its_time }) => {
                applying.let_go(cells);
                if self.pace.is_slow(*events.start()) {
                    return Err(RebuildError::Stuck { events, had_its_time });
                }
                self.pace.begins_again(events);
                self.fresh_cell = true;
                Ok(Progress::Unfinished)
            }
            Err(error) => {
                let is_from_snapshot = applying.saved.version > Version(0);
                applying.let_go(cells);
                self.once_more(error, is_from_snapshot)
            }
        }
    }

    /// Begins again where there is another way: in a cell of its own after neighbours filled the cell, without the
    /// snapshot when it failed with its tail.
    fn once_more(&mut self, error: RebuildError, is_from_snapshot: bool) -> Result<Progress, RebuildError> {
        match error {
            RebuildError::Fault(Fault::MemoryLimit { .. }) if !self.fresh_cell => {
                self.fresh_cell = true;
                Ok(Progress::Unfinished)
            }
            RebuildError::NotRead(_) => Err(error),
            error if is_from_snapshot && self.use_snapshot => {
                tracing::warn!(?error, "snapshot not usable, applying the whole history");
                self.use_snapshot = false;
                Ok(Progress::Unfinished)
            }
            error => Err(error),
        }
    }

    /// The object as the snapshot has it, or at version 0. Its cell stays until it is finished or let go.
    fn place(&mut self, sources: &Sources<'_>, cells: &mut Cells) -> Result<Applying, RebuildError> {
        // Before anything is read: while there is no cell, this is asked again and again.
        let cell = self.cell(cells)?;
        let restored = match self.snapshot(sources)? {
            Some(snapshot) => self.restore(sources, cells, cell, &snapshot)?,
            None => None,
        };
        let applying = match restored {
            Some(applying) => applying,
            None => {
                let cell = if cells.holds(cell) {
                    cell
                } else {
                    self.cell(cells)?
                };
                let live = on_cell(cells, cell, |cell| cell.create(&sources.key.aggregate_id))?;
                self.applying(cell, live, Saved::default())
            }
        };
        cells.reserve(applying.placed.cell);
        Ok(applying)
    }

    fn applying(&self, cell: CellId, live: crate::wasm::Live, saved: Saved) -> Applying {
        let module = self.module.digest();
        Applying {
            placed: Placed { cell, live, module },
            next: saved.version.plus(1),
            saved,
        }
    }

    fn cell(&self, cells: &mut Cells) -> Result<CellId, RebuildError> {
        cells
            .room_for(&self.module, self.fresh_cell)
            .map_err(RebuildError::Fault)
    }

    fn snapshot(&self, sources: &Sources<'_>) -> Result<Option<Snapshot>, RebuildError> {
        if !self.use_snapshot {
            return Ok(None);
        }
        let digest = self.module.digest();
        let found = sources
            .store
            .snapshot(sources.key, &digest, self.head.version)
            .map_err(RebuildError::NotRead)?;
        Ok(found.filter(|snapshot| snapshot.state_version == self.module.manifest().state_version))
    }

    /// None when the snapshot is of no use.
    fn restore(
        &mut self,
        sources: &Sources<'_>,
        cells: &mut Cells,
        cell_id: CellId,
        snapshot: &Snapshot,
    ) -> Result<Option<Applying>, RebuildError> {
        let restored = on_cell(cells, cell_id, |cell| {
            cell.restore(&sources.key.aggregate_id, &snapshot.state)
        });
        let (aggregate, version) = (sources.key, snapshot.version);
        let live = match restored {
            Ok(Ok(live)) => live,
            Ok(Err(reason)) => {
                tracing::warn!(%aggregate, %version, reason, "snapshot refused");
                self.use_snapshot = false;
                return Ok(None);
            }
            // Perhaps because of the neighbours: the snapshot is tried in a cell of its own.
            Err(error @ RebuildError::Fault(Fault::MemoryLimit { .. })) if !self.fresh_cell => {
                return Err(error);
            }
            Err(error) => {
                tracing::warn!(%aggregate, %version, ?error, "snapshot not usable, applying the whole history");
                self.use_snapshot = false;
                return Ok(None);
            }
        };
        let bytes = snapshot.state.len();
        Ok(Some(self.applying(cell_id, live, Saved { version, bytes })))
    }

    /// Applies one page of the log, and says which version comes next.
    fn apply(
        &self,
        sources: &Sources<'_>,
        cells: &mut Cells,
        applying: &Applying,
    ) -> Result<Version, RebuildError> {
        let Sources {
            store, limits, key, ..
        } = sources;
        let next = applying.next;
        if self.spent > limits.replay_wall {
            return Err(RebuildError::TooSlow {
                limit: limits.replay_wall,
                reached: Version(next.0 - 1),
                head: self.head.version,
            });
        }
        let limit = PageLimit {
            events: self.pace.events(next).min(limits.rebuild_slice_events),
            bytes: limits.rebuild_slice_bytes,
        };
        let page = store
            .history(key, next, Direction::Forward, limit)
            .map_err(RebuildError::NotRead)?;
        let events: Vec<AppliedEvent<'_>> = page
            .iter()
            .take_while(|event| event.version <= self.head.version)
            .map(AppliedEvent::from)
            .collect();
        let Some(last) = events.last().map(|event| event.version) else {
            let what = format!(
                "`{key}` ends before version {next}, its head is {}",
                self.head.version
            );
            return Err(RebuildError::NotRead(ReadError::Damaged { what }));
        };
        let had_its_time = sources.is_patient && self.pace.is_slow(next);
        let (of_slice, of_event) = (limits.rebuild_slice_wall, limits.rebuild_event_wall);
        let within = match (had_its_time, self.pace.is_slow(next)) {
            (true, _) => of_event,
            (false, true) => of_slice,
            (false, false) => self.pace.slice_wall(of_slice, of_event),
        };
        let Placed { cell, live, .. } = &applying.placed;
        match on_cell(cells, *cell, |cell| cell.apply(live, &events, within)) {
            Ok(Ok(())) => Ok(last.plus(1)),
            Ok(Err(refusal)) => Err(RebuildError::Impossible {
                version: refusal.version,
                problem: refusal.to_string(),
            }),
            Err(RebuildError::Fault(Fault::Deadline { limit })) if limit < limits.replay_wall => {
                Err(RebuildError::Stuck {
                    events: next..=last,
                    had_its_time,
                })
            }
            Err(error) => Err(error),
        }
    }
}

impl Applying {
    fn finish(self, cells: &mut Cells) -> Rebuilt {
        cells.unreserve(self.placed.cell);
        Rebuilt {
            placed: self.placed,
            saved: self.saved,
        }
    }

    fn let_go(self, cells: &mut Cells) {
        cells.unreserve(self.placed.cell);
        cells.release(self.placed);
    }
}

/// Calls a cell; any fault retires it.
fn on_cell<T>(
    cells: &mut Cells,
    id: CellId,
    call: impl FnOnce(&mut Cell) -> Result<T, Fault>,
) -> Result<T, RebuildError> {
    let Some(cell) = cells.get(id) else {
        return Err(RebuildError::Fault(Fault::Retired));
    };
    call(cell).map_err(|fault| {
        cells.retire(id);
        RebuildError::Fault(fault)
    })
}
