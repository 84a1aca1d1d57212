//! Rebuilds that take more than a moment: so many at a time, the others in the order in which they came, and no more than
//! half of the shard's time while other lanes have work.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{store::Head, vocabulary::Version, wasm::Module};

use super::{
    decide::fault_report,
    rehydrate::{Progress, Rebuild, RebuildError, Rebuilt, Sources},
    request::CommandError,
    shard::{LaneId, Work},
    work::{Entry, Gated, Worker},
};

/// Whose turn it is. Lanes with a live object are never in here.
#[derive(Debug)]
pub(crate) struct Rebuilds {
    /// In progress, in turns.
    going: VecDeque<LaneId>,
    waiting: VecDeque<LaneId>,
    limit: usize,
    /// As long as the last slice took, other lanes come first.
    rest_until: Instant,
}

impl Rebuilds {
    /// At most `limit` at a time.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            going: VecDeque::new(),
            waiting: VecDeque::new(),
            limit: limit.max(1),
            rest_until: Instant::now(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.going.is_empty() && self.waiting.is_empty()
    }

    fn is_rested(&self, now: Instant) -> bool {
        now >= self.rest_until
    }

    fn wait(&mut self, lane: LaneId) {
        self.waiting.push_back(lane);
    }

    fn goes_on(&mut self, lane: LaneId) {
        self.going.push_back(lane);
    }

    fn rest(&mut self, took: Duration) {
        self.rest_until = Instant::now() + took;
    }

    /// The lane that does the next slice, unless it is the turn of others. It is to be given back with
    /// [`Rebuilds::goes_on`] while it is not finished.
    pub(crate) fn next(&mut self, others_wait: bool, now: Instant) -> Option<LaneId> {
        if others_wait && !self.is_rested(now) {
            return None;
        }
        while self.going.len() < self.limit
            && let Some(lane) = self.waiting.pop_front()
        {
            self.going.push_back(lane);
        }
        self.going.pop_front()
    }
}

impl Worker {
    /// Whether there is a live object. Where it takes longer to build one, the lane waits for [`Worker::rebuild`]. Only
    /// a lane with nothing in flight may be without one here.
    pub(super) fn bring_up(
        &mut self,
        entry: &mut Entry,
        module: &Arc<Module>,
        head: Head,
        fresh_cell: bool,
    ) -> Result<bool, CommandError> {
        if entry.lane.live().is_some() {
            return Ok(true);
        }
        let rebuild = Rebuild::new(module, head, fresh_cell || entry.wants_own_cell);
        let is_new = head.version == Version(0);
        let is_quiet = || self.rebuilds.is_empty() && self.rebuilds.is_rested(Instant::now());
        if !is_new && !is_quiet() {
            entry.rebuild = Some(Box::new(rebuild));
            self.rebuilds.wait(entry.id);
            return Ok(false);
        }
        match self.slice(entry, Box::new(rebuild)) {
            Ok(None) => Ok(true),
            Ok(Some(rebuild)) => {
                entry.rebuild = Some(rebuild);
                self.rebuilds.wait(entry.id);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Does the next slice of a lane's rebuild. When it fails, whoever asked for it first is told; the next in the lane
    /// tries again.
    pub(crate) fn rebuild(&mut self, entry: &mut Entry) {
        let Some(mut rebuild) = entry.rebuild.take() else {
            return;
        };
        let result = self.serving(entry).and_then(|serving| {
            if serving.module.digest() != rebuild.module().digest() {
                let again = Rebuild::new(&serving.module, rebuild.head(), rebuild.fresh_cell());
                std::mem::replace(&mut *rebuild, again).abandon(&mut self.cells);
            }
            self.slice(entry, rebuild)
        });
        match result {
            Ok(None) => {}
            Ok(Some(rebuild)) => {
                entry.rebuild = Some(rebuild);
                self.rebuilds.goes_on(entry.id);
            }
            Err(error) => match entry.lane.take_ready() {
                Some(Work::Command(work)) => self.answer(entry, Gated::Refused(work, error)),
                Some(Work::State(work)) => self.answer(entry, Gated::State(work, Err(error))),
                None => {}
            },
        }
    }

    /// One slice; gives the rebuild back when it is not finished.
    fn slice(
        &mut self,
        entry: &mut Entry,
        mut rebuild: Box<Rebuild>,
    ) -> Result<Option<Box<Rebuild>>, CommandError> {
        let _in_span = tracing::debug_span!("rehydrate", version = %rebuild.head().version).entered();
        let sources = Sources {
            store: &self.equipment.store,
            limits: &self.equipment.limits,
            key: &entry.key,
        };
        let (progress, took) = rebuild.slice(&sources, &mut self.cells);
        if rebuild.head().version > Version(0) {
            self.rebuilds.rest(took);
        }
        match progress {
            Ok(Progress::Built(Rebuilt { placed, saved })) => {
                self.cells.count(placed.cell);
                entry.wants_own_cell = !self.cells.settles_in(placed.cell);
                entry.lane.went_live(placed);
                entry.saved = saved;
                Ok(None)
            }
            Ok(Progress::Unfinished | Progress::NoCell) => Ok(Some(rebuild)),
            Err(error) => Err(self.rebuild_failed(entry, error, rebuild.module())),
        }
    }

    fn rebuild_failed(&self, entry: &Entry, error: RebuildError, module: &Module) -> CommandError {
        let key = &entry.key;
        match error {
            RebuildError::Fault(crate::wasm::Fault::Deadline { limit }) => CommandError::Unavailable {
                reason: format!("rebuilding `{key}` took longer than {} s", limit.as_secs_f32()),
                retry_after: limit,
            },
            RebuildError::Fault(fault) => fault_report(&self.equipment.ids, key, fault),
            RebuildError::Impossible { version, problem } => CommandError::Broken {
                key: key.clone(),
                version,
                problem,
                module: module.digest(),
            },
            RebuildError::TooSlow { limit, reached, head } => CommandError::Unavailable {
                reason: format!(
                    "rebuilding `{key}` from the log reached version {reached} of {head} in {} s, the limit",
                    limit.as_secs()
                ),
                retry_after: limit,
            },
            RebuildError::NotRead(error) => CommandError::NotRead(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_go_on_in_turns_and_the_others_wait_in_order() {
        let mut rebuilds = Rebuilds::new(2);
        assert!(rebuilds.is_empty());
        for lane in 0..4 {
            rebuilds.wait(lane);
        }
        let mut turns = Vec::new();
        // Each takes three slices.
        let mut left = [3; 4];
        while let Some(lane) = rebuilds.next(false, Instant::now()) {
            turns.push(lane);
            left[lane] -= 1;
            if left[lane] > 0 {
                rebuilds.goes_on(lane);
            }
        }
        assert_eq!(turns, [0, 1, 0, 1, 0, 1, 2, 3, 2, 3, 2, 3]);
        assert!(rebuilds.is_empty());
    }

    #[test]
    fn others_come_first_for_as_long_as_a_slice_took() {
        let mut rebuilds = Rebuilds::new(1);
        rebuilds.wait(7);
        rebuilds.rest(Duration::from_secs(60));
        let now = Instant::now();
        assert_eq!(rebuilds.next(true, now), None);
        assert_eq!(rebuilds.next(true, now + Duration::from_secs(61)), Some(7));
        rebuilds.goes_on(7);
        assert_eq!(rebuilds.next(false, now), Some(7), "nobody else has work");
    }
}
