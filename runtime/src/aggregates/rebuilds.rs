//! Rebuilds that take more than a moment: so many at a time, the others in the order in which they came, and no more than
//! half of the shard's time while other lanes have work. One that finds no cell waits until there may be one; one with an
//! event that takes too long is not tried again for some time.

use std::{
    collections::VecDeque,
    ops::RangeInclusive,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    store::Head,
    vocabulary::{ModuleDigest, Version},
    wasm::Module,
};

use super::{
    decide::fault_report,
    rehydrate::{Progress, Rebuild, RebuildError, Rebuilt, Sources},
    request::CommandError,
    shard::{LaneId, Work},
    work::{Entry, Gated, Worker},
};

/// When those that found no cell ask again, though nothing is known to be free: other shards share the cells of the
/// process, and there is a time after which they give up.
const ASK_AGAIN: Duration = Duration::from_millis(20);

/// Events that took the module too long: the aggregate is not rebuilt again for some time.
#[derive(Debug)]
pub(super) struct Pause {
    module: ModuleDigest,
    events: RangeInclusive<Version>,
    until: Instant,
}

/// Whose turn it is. Lanes with a live object are never in here.
#[derive(Debug)]
pub(crate) struct Rebuilds {
    /// In progress, in turns.
    going: VecDeque<LaneId>,
    waiting: VecDeque<LaneId>,
    /// Without a cell to begin in, since so much was free.
    without_cell: VecDeque<LaneId>,
    freed: u64,
    ask_again: Instant,
    limit: usize,
    /// As long as the last slice took, other lanes come first.
    rest_until: Instant,
    /// Before, no single event may take as long as one may.
    no_slow_event_before: Instant,
}

impl Rebuilds {
    /// At most `limit` at a time.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            going: VecDeque::new(),
            waiting: VecDeque::new(),
            without_cell: VecDeque::new(),
            freed: 0,
            ask_again: Instant::now(),
            limit: limit.max(1),
            rest_until: Instant::now(),
            no_slow_event_before: Instant::now(),
        }
    }

    /// Whether none can go on at once; those without a cell wait for one.
    pub(crate) fn is_empty(&self) -> bool {
        self.going.is_empty() && self.waiting.is_empty()
    }

    fn are_none(&self) -> bool {
        self.is_empty() && self.without_cell.is_empty()
    }

    /// When to look again, though no message came.
    pub(crate) fn wakes_at(&self) -> Option<Instant> {
        (!self.without_cell.is_empty()).then_some(self.ask_again)
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

    fn waits_for_cell(&mut self, lane: LaneId, freed: u64) {
        if self.without_cell.is_empty() {
            self.freed = freed;
            self.ask_again = Instant::now() + ASK_AGAIN;
        }
        self.without_cell.push_back(lane);
    }

    /// Lets those without a cell ask again when there may be one, before others that wait.
    fn look_for_cells(&mut self, freed: u64, now: Instant) {
        if self.freed != freed || now >= self.ask_again {
            while let Some(lane) = self.without_cell.pop_back() {
                self.waiting.push_front(lane);
            }
        }
    }

    fn rest(&mut self, took: Duration) {
        self.rest_until = Instant::now() + took;
    }

    /// The lane that does the next slice, unless it is the turn of others. It is to be given back with
    /// [`Rebuilds::goes_on`] while it is not finished.
    fn next(&mut self, others_wait: bool, now: Instant) -> Option<LaneId> {
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
        let mut rebuild = Rebuild::new(module, head, fresh_cell || entry.wants_own_cell);
        if let Some(slow) = self.paused(entry, module)? {
            rebuild = rebuild.slowly(slow);
        }
        let is_new = head.version == Version(0);
        let is_quiet = || self.rebuilds.are_none() && self.rebuilds.is_rested(Instant::now());
        if !is_new && !is_quiet() {
            entry.rebuild = Some(Box::new(rebuild));
            self.rebuilds.wait(entry.id);
            return Ok(false);
        }
        match self.slice(entry, Box::new(rebuild)) {
            Ok(None) => Ok(true),
            Ok(Some(rebuild)) => {
                self.goes_on(entry, rebuild, Rebuilds::wait);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Keeps a rebuild for its next turn, or until there is a cell for it.
    fn goes_on(&mut self, entry: &mut Entry, rebuild: Box<Rebuild>, next: fn(&mut Rebuilds, LaneId)) {
        if rebuild.has_no_cell() {
            self.rebuilds.waits_for_cell(entry.id, self.cells.freed());
        } else {
            next(&mut self.rebuilds, entry.id);
        }
        entry.rebuild = Some(rebuild);
    }

    /// The events that took the module too long the last time; an error while it is too early to try again.
    fn paused(
        &self,
        entry: &mut Entry,
        module: &Module,
    ) -> Result<Option<RangeInclusive<Version>>, CommandError> {
        let Some(pause) = &entry.pause else {
            return Ok(None);
        };
        if pause.module != module.digest() {
            entry.pause = None;
            return Ok(None);
        }
        let until = pause.until.max(self.rebuilds.no_slow_event_before);
        match until.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Err(stuck(entry, &pause.events, left)),
            _ => Ok(Some(pause.events.clone())),
        }
    }

    /// The lane whose rebuild goes on, unless it is the turn of others.
    pub(crate) fn next_rebuild(&mut self, others_wait: bool, now: Instant) -> Option<LaneId> {
        self.rebuilds.look_for_cells(self.cells.freed(), now);
        self.rebuilds.next(others_wait, now)
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
            Ok(Some(rebuild)) => self.goes_on(entry, rebuild, Rebuilds::goes_on),
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
            is_patient: Instant::now() >= self.rebuilds.no_slow_event_before,
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
                entry.pause = None;
                Ok(None)
            }
            Ok(Progress::Unfinished | Progress::NoCell) => Ok(Some(rebuild)),
            Err(RebuildError::Stuck { events, had_its_time }) => {
                if had_its_time {
                    self.rebuilds.no_slow_event_before = Instant::now() + self.limits().rebuild_pause;
                }
                Err(self.pause(entry, rebuild.module(), events))
            }
            Err(error) => Err(self.rebuild_failed(entry, error, rebuild.module())),
        }
    }

    /// Leaves the aggregate alone for some time, so that its neighbours are answered.
    fn pause(&self, entry: &mut Entry, module: &Module, events: RangeInclusive<Version>) -> CommandError {
        let pause = self.limits().rebuild_pause;
        let error = stuck(entry, &events, pause);
        tracing::warn!(aggregate = %entry.key, %error, "a rebuild is put off");
        entry.pause = Some(Box::new(Pause {
            module: module.digest(),
            events,
            until: Instant::now() + pause,
        }));
        error
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
            RebuildError::Stuck { events, .. } => stuck(entry, &events, self.limits().rebuild_pause),
            RebuildError::NotRead(error) => CommandError::NotRead(error),
        }
    }
}

/// What is told of an aggregate that is not rebuilt for some time.
fn stuck(entry: &Entry, events: &RangeInclusive<Version>, left: Duration) -> CommandError {
    let (key, first, last) = (&entry.key, events.start(), events.end());
    let which = if first == last {
        format!("event {first}")
    } else {
        format!("one of the events {first} to {last}")
    };
    CommandError::Unavailable {
        reason: format!(
            "`{key}` cannot be rebuilt: the module takes too long to apply {which}; it is tried again in {} s",
            left.as_secs_f32().ceil()
        ),
        retry_after: left,
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
    fn without_a_cell_it_waits_until_one_may_be_free_or_for_a_moment() {
        let mut rebuilds = Rebuilds::new(2);
        let now = Instant::now();
        rebuilds.wait(9);
        rebuilds.waits_for_cell(7, 3);
        rebuilds.waits_for_cell(8, 3);
        rebuilds.look_for_cells(3, now);
        assert_eq!(rebuilds.next(false, now), Some(9));
        assert!(rebuilds.is_empty() && rebuilds.next(false, now).is_none());
        assert!(rebuilds.wakes_at().is_some_and(|at| at > now));
        rebuilds.look_for_cells(4, now);
        assert_eq!(rebuilds.next(false, now), Some(7));
        assert_eq!(rebuilds.next(false, now), Some(8));
        assert_eq!(rebuilds.wakes_at(), None);
        rebuilds.waits_for_cell(7, 4);
        rebuilds.look_for_cells(4, now + Duration::from_secs(60));
        assert_eq!(rebuilds.next(false, now), Some(7));
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
