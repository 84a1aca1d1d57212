//! Rebuilding a live object: the newest snapshot of the same module and the tail of the log, or the whole log.
//!
//! A snapshot is one attempt together with its tail: when either fails, the whole history is applied once, and the
//! snapshot is not tried again for this rebuild.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    store::{Direction, EventStore, Head, PageLimit, ReadError, Snapshot},
    vocabulary::{AggregateKey, Limits, Version},
    wasm::{AppliedEvent, Fault, Module},
};

use super::{
    cells::{Cells, Placed},
    request::CommandError,
    unique::UniqueIds,
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
    NotRead(ReadError),
}

/// A live object, and the version of the snapshot that it came from (0 for none).
#[derive(Debug)]
pub(crate) struct Rebuilt {
    pub(crate) placed: Placed,
    pub(crate) snapshot: Version,
}

/// What a rebuild needs.
#[derive(Debug)]
pub(crate) struct Rebuild<'a> {
    pub(crate) store: &'a Arc<dyn EventStore>,
    pub(crate) limits: &'a Limits,
    pub(crate) module: &'a Arc<Module>,
    pub(crate) key: &'a AggregateKey,
    pub(crate) head: Head,
    /// Whether to place it in a cell of its own.
    pub(crate) fresh_cell: bool,
}

impl Rebuild<'_> {
    /// Builds the object at `head`.
    pub(crate) fn run(&self, cells: &mut Cells) -> Result<Rebuilt, RebuildError> {
        let started = Instant::now();
        if let Some(snapshot) = self.snapshot()? {
            let version = snapshot.version;
            match self.restore(cells, &snapshot, started) {
                Ok(Some(placed)) => {
                    return Ok(Rebuilt {
                        placed,
                        snapshot: version,
                    });
                }
                Ok(None) => {}
                Err(RebuildError::NotRead(error)) => return Err(RebuildError::NotRead(error)),
                Err(error) => {
                    tracing::warn!(aggregate = %self.key, %version, ?error, "snapshot not usable, applying the whole history");
                }
            }
        }
        let cell_id = cells
            .room_for(self.module, self.fresh_cell)
            .map_err(RebuildError::Fault)?;
        let live = on_cell(cells, cell_id, |cell| cell.create(&self.key.aggregate_id))?;
        let placed = Placed {
            cell: cell_id,
            live,
            module: self.module.digest(),
        };
        self.apply_from(cells, placed, Version(1), started)
            .map(|placed| Rebuilt {
                placed,
                snapshot: Version(0),
            })
    }

    fn snapshot(&self) -> Result<Option<Snapshot>, RebuildError> {
        if self.head.version == Version(0) || !self.module.has_snapshots() {
            return Ok(None);
        }
        let digest = self.module.digest();
        let found = self
            .store
            .snapshot(self.key, &digest, self.head.version)
            .map_err(RebuildError::NotRead)?;
        Ok(found.filter(|snapshot| snapshot.state_version == self.module.manifest().state_version))
    }

    fn restore(
        &self,
        cells: &mut Cells,
        snapshot: &Snapshot,
        started: Instant,
    ) -> Result<Option<Placed>, RebuildError> {
        let cell_id = cells
            .room_for(self.module, self.fresh_cell)
            .map_err(RebuildError::Fault)?;
        let restored = on_cell(cells, cell_id, |cell| {
            cell.restore(&self.key.aggregate_id, &snapshot.state)
        })?;
        let live = match restored {
            Ok(live) => live,
            Err(reason) => {
                tracing::warn!(aggregate = %self.key, version = %snapshot.version, reason, "snapshot refused");
                return Ok(None);
            }
        };
        let placed = Placed {
            cell: cell_id,
            live,
            module: self.module.digest(),
        };
        self.apply_from(cells, placed, snapshot.version.plus(1), started)
            .map(Some)
    }

    /// Applies the log from a version to the head, page by page.
    fn apply_from(
        &self,
        cells: &mut Cells,
        placed: Placed,
        mut next: Version,
        started: Instant,
    ) -> Result<Placed, RebuildError> {
        while next <= self.head.version {
            match self.apply_page(cells, &placed, next, started) {
                Ok(after) => next = after,
                Err(error) => {
                    cells.release(placed);
                    return Err(error);
                }
            }
        }
        Ok(placed)
    }

    fn apply_page(
        &self,
        cells: &mut Cells,
        placed: &Placed,
        next: Version,
        started: Instant,
    ) -> Result<Version, RebuildError> {
        if started.elapsed() > self.limits.replay_wall {
            return Err(RebuildError::TooSlow {
                limit: self.limits.replay_wall,
                reached: Version(next.0 - 1),
                head: self.head.version,
            });
        }
        let limit = PageLimit {
            events: self.limits.page_events,
            bytes: self.limits.page_bytes,
        };
        let page = self
            .store
            .history(self.key, next, Direction::Forward, limit)
            .map_err(RebuildError::NotRead)?;
        let events: Vec<AppliedEvent<'_>> = page
            .iter()
            .take_while(|event| event.version <= self.head.version)
            .map(AppliedEvent::from)
            .collect();
        let Some(last) = events.last().map(|event| event.version) else {
            let what = format!(
                "`{}` ends before version {}, its head is {}",
                self.key, next, self.head.version
            );
            return Err(RebuildError::NotRead(ReadError::Damaged { what }));
        };
        match on_cell(cells, placed.cell, |cell| cell.apply(&placed.live, &events))? {
            Ok(()) => Ok(last.plus(1)),
            Err(refusal) => Err(RebuildError::Impossible {
                version: refusal.version,
                problem: refusal.to_string(),
            }),
        }
    }
}

/// Calls a cell; any fault retires it.
fn on_cell<T>(
    cells: &mut Cells,
    id: super::cells::CellId,
    call: impl FnOnce(&mut crate::wasm::Cell) -> Result<T, Fault>,
) -> Result<T, RebuildError> {
    let Some(cell) = cells.get(id) else {
        return Err(RebuildError::Fault(Fault::Retired));
    };
    call(cell).map_err(|fault| {
        cells.retire(id);
        RebuildError::Fault(fault)
    })
}

impl RebuildError {
    /// As the caller of a command or a read is told.
    pub(crate) fn for_caller(self, ids: &UniqueIds, key: &AggregateKey, module: &Module) -> CommandError {
        match self {
            Self::Fault(Fault::Deadline { limit }) => CommandError::Unavailable {
                reason: format!("rebuilding `{key}` took longer than {} s", limit.as_secs_f32()),
                retry_after: limit,
            },
            Self::Fault(fault) => super::decide::fault_report(ids, key, fault),
            Self::Impossible { version, problem } => CommandError::Broken {
                key: key.clone(),
                version,
                problem,
                module: module.digest(),
            },
            Self::TooSlow { limit, reached, head } => CommandError::Unavailable {
                reason: format!(
                    "rebuilding `{key}` from the log reached version {reached} of {head} in {} s, the limit",
                    limit.as_secs()
                ),
                retry_after: limit,
            },
            Self::NotRead(error) => CommandError::NotRead(error),
        }
    }
}
