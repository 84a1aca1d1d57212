//! What a shard does for one lane: bring the live object up, decide, propose, settle, snapshot, evict.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use crossbeam_channel::Sender;

use crate::{
    store::{AppendError, EventStore, Head, Proposal, Snapshot},
    vocabulary::{AggregateKey, AggregateType, Clock, Commit, Committed, LaneEpoch, Limits, Version},
    wasm::{Module, Rendered},
};

use super::{
    cells::{Cells, Placed},
    decide::{Decide, Decided, Failed, fault_report, replay},
    lane::{Lane, Settled},
    rehydrate::{Rebuild, Rebuilt},
    request::{Answer, CommandError, RenderedState, StateView},
    shard::{CommandWork, Message, StateWork, Work},
    unique::UniqueIds,
};

/// How often a command is decided again after a conflict before the caller is asked to.
const DECIDE_AGAIN_MAX: u8 = 3;

/// A lane with what the shard knows about it.
pub(crate) struct Entry {
    pub(crate) key: AggregateKey,
    pub(crate) lane: Lane<Placed, Work, CommandWork>,
    pub(crate) last_used: Instant,
    /// Version of the newest snapshot that this lane took or came from.
    snapshot: Version,
    /// Whether the shard has it among the lanes with work to do.
    pub(crate) is_ready: bool,
}

impl Entry {
    /// Puts the lane among those with work to do, once.
    pub(crate) fn schedule(&mut self, ready: &mut VecDeque<AggregateKey>) {
        if !self.is_ready && self.lane.has_ready() {
            self.is_ready = true;
            ready.push_back(self.key.clone());
        }
    }
}

/// What the worker is made of.
pub(crate) struct Equipment {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) ids: Arc<UniqueIds>,
}

/// Does the work of a shard's lanes, with the cells of the shard.
pub(crate) struct Worker {
    equipment: Equipment,
    inbox: Sender<Message>,
    cells: Cells,
    active: HashMap<AggregateType, Arc<Module>>,
    epochs: u64,
}

impl Worker {
    pub(crate) fn new(equipment: Equipment, inbox: Sender<Message>, cells: usize) -> Self {
        Self {
            equipment,
            inbox,
            cells: Cells::new(cells),
            active: HashMap::new(),
            epochs: 0,
        }
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.equipment.limits
    }

    pub(crate) fn serves(&self, aggregate_type: &AggregateType) -> bool {
        self.active.contains_key(aggregate_type)
    }

    /// Lanes notice by themselves that their object is of another module.
    pub(crate) fn activate(&mut self, aggregate_type: AggregateType, module: Arc<Module>) {
        self.active.insert(aggregate_type, module);
    }

    pub(crate) fn open(&mut self, key: AggregateKey) -> Entry {
        let lane = Lane::new(self.next_epoch());
        Entry {
            key,
            lane,
            last_used: Instant::now(),
            snapshot: Version(0),
            is_ready: false,
        }
    }

    fn next_epoch(&mut self) -> LaneEpoch {
        self.epochs += 1;
        LaneEpoch(self.epochs)
    }

    /// Does the next thing that the lane has to do, unless it waits for a commit.
    pub(crate) fn run_one(&mut self, entry: &mut Entry) {
        entry.last_used = Instant::now();
        match entry.lane.take_ready() {
            Some(Work::Command(work)) => self.command(entry, work),
            Some(Work::State(work)) => self.state(entry, work),
            None => {}
        }
    }

    fn command(&mut self, entry: &mut Entry, work: CommandWork) {
        let span = work.span.clone();
        let _in_span = tracing::debug_span!(parent: &span, "lane", aggregate = %entry.key).entered();
        match self.decide(entry, &work) {
            Ok(Decided::Answer(answer)) => {
                debug_assert!(
                    answer.replayed || entry.lane.is_durable(answer.committed.commit.last_version()),
                    "nothing leaves before it is durable"
                );
                work.answer(Ok(answer));
            }
            Ok(Decided::Propose(commit)) => self.propose(entry, work, *commit),
            Err(error) => work.answer(Err(error)),
        }
    }

    fn decide(&mut self, entry: &mut Entry, work: &CommandWork) -> Result<Decided, CommandError> {
        let module = self.module(&entry.key)?;
        let store = Arc::clone(&self.equipment.store);
        let clock = Arc::clone(&self.equipment.clock);
        let ids = Arc::clone(&self.equipment.ids);
        let decide = Decide {
            store: &store,
            clock: &*clock,
            ids: &ids,
            module: &module,
            request: &work.request,
        };
        if let Some(answer) = decide.first_answer()? {
            return Ok(Decided::Answer(answer));
        }
        let head = self.head(entry)?;
        decide.check_before(head)?;
        let mut alone = false;
        loop {
            self.bring_up(entry, &module, head, alone)?;
            let Some(placed) = entry.lane.live() else {
                return Err(CommandError::Unavailable {
                    reason: "the live object went away".into(),
                    retry_after: std::time::Duration::from_secs(1),
                });
            };
            let _in_span = tracing::debug_span!("guest", command = %work.request.command).entered();
            match decide.decide(&mut self.cells, placed, head) {
                Ok(decided) => return Ok(decided),
                Err(Failed {
                    error,
                    drop_live,
                    retry_alone,
                }) => {
                    if drop_live {
                        self.drop_live(entry);
                    }
                    if alone || !retry_alone {
                        return Err(error);
                    }
                    // The neighbours may have filled the cell: once more in a cell of its own.
                    alone = true;
                }
            }
        }
    }

    fn module(&self, key: &AggregateKey) -> Result<Arc<Module>, CommandError> {
        let found = self.active.get(&key.aggregate_type);
        found
            .cloned()
            .ok_or_else(|| CommandError::UnknownType(key.aggregate_type.clone()))
    }

    fn head(&self, entry: &mut Entry) -> Result<Head, CommandError> {
        if let Some(head) = entry.lane.head() {
            return Ok(head);
        }
        let head = self.equipment.store.head(&entry.key)?;
        entry.lane.learn_head(head);
        Ok(head)
    }

    /// Makes sure that there is a live object of the active module, in a cell that is alive.
    fn bring_up(
        &mut self,
        entry: &mut Entry,
        module: &Arc<Module>,
        head: Head,
        fresh_cell: bool,
    ) -> Result<(), CommandError> {
        if let Some(placed) = entry.lane.live() {
            let cells = &self.cells;
            let usable = placed.module == module.digest()
                && cells.is_alive(placed.cell)
                && !cells.is_draining(placed.cell);
            if usable {
                return Ok(());
            }
            self.drop_live(entry);
        }
        let _in_span = tracing::debug_span!("rehydrate", version = %head.version).entered();
        let rebuild = Rebuild {
            store: &self.equipment.store,
            limits: &self.equipment.limits,
            module,
            key: &entry.key,
            head,
            fresh_cell,
        };
        let ids = &self.equipment.ids;
        let rebuilt = rebuild
            .run(&mut self.cells)
            .map_err(|error| error.for_caller(ids, &entry.key, module))?;
        let Rebuilt { placed, snapshot } = rebuilt;
        entry.lane.went_live(placed);
        entry.snapshot = snapshot;
        Ok(())
    }

    fn drop_live(&mut self, entry: &mut Entry) {
        let epoch = self.next_epoch();
        if let Some(placed) = entry.lane.lose_live(epoch) {
            self.cells.release(placed);
        }
    }

    fn propose(&self, entry: &mut Entry, work: CommandWork, commit: Commit) {
        let head = self.head_after(entry, &commit);
        let epoch = entry.lane.epoch();
        let expected = Version(commit.first_version.0 - 1);
        let proposal = Proposal {
            lane_epoch: epoch,
            expected,
            commit,
        };
        let commit_span = tracing::debug_span!(parent: &work.span, "commit", version = %head.version);
        entry.lane.propose(head, work);
        let (inbox, key) = (self.inbox.clone(), entry.key.clone());
        let done = move |result| {
            drop(commit_span);
            // The shard outlives its proposals, so that this only fails when the process is ending.
            drop(inbox.send(Message::Settled { key, epoch, result }));
        };
        self.equipment.store.append(proposal, Box::new(done));
    }

    fn head_after(&self, entry: &Entry, commit: &Commit) -> Head {
        let before = entry.lane.head().unwrap_or_default();
        if commit.events.is_empty() {
            return before;
        }
        Head {
            version: commit.last_version(),
            recorded_at: commit.context.now,
            position: before.position,
        }
    }

    /// Takes the store's word on the commit in flight.
    pub(crate) fn settle(
        &mut self,
        entry: &mut Entry,
        epoch: LaneEpoch,
        result: Result<Arc<Committed>, AppendError>,
    ) {
        let next = self.next_epoch();
        let settled = entry.lane.settle(epoch, result.is_ok(), next);
        match (settled, result) {
            (Settled::Durable(work), Ok(committed)) => {
                work.answer(Ok(Answer {
                    committed,
                    replayed: false,
                }));
                self.snapshot_when_due(entry);
            }
            (Settled::Lost(work, live), Err(error)) => {
                if let Some(placed) = live {
                    self.cells.release(placed);
                }
                self.decide_again_or_tell(entry, work, error);
            }
            _ => {
                tracing::error!(aggregate = %entry.key, %epoch, "the store settled a commit that was not in flight")
            }
        }
    }

    fn decide_again_or_tell(&self, entry: &mut Entry, mut work: CommandWork, error: AppendError) {
        match error {
            AppendError::Duplicate(committed) => {
                let answer = replay(committed, &work.request);
                work.answer(answer);
            }
            AppendError::Conflict { .. } | AppendError::Superseded
                if work.decided_again < DECIDE_AGAIN_MAX =>
            {
                work.decided_again += 1;
                entry.lane.push_again(Work::Command(work));
            }
            error => work.answer(Err(CommandError::NotWritten(error))),
        }
    }

    fn state(&mut self, entry: &mut Entry, work: StateWork) {
        let span = work.span.clone();
        let _in_span = tracing::debug_span!(parent: &span, "lane", aggregate = %entry.key).entered();
        let view = self.render(entry, &work);
        work.answer(view);
    }

    fn render(&mut self, entry: &mut Entry, work: &StateWork) -> Result<StateView, CommandError> {
        let module = self.module(&entry.key)?;
        let head = self.head(entry)?;
        let view = |state| StateView {
            version: head.version,
            module: module.digest(),
            state,
        };
        if head.version == Version(0) {
            return Ok(view(RenderedState::Missing));
        }
        self.bring_up(entry, &module, head, false)?;
        let rendered = match entry.lane.live() {
            Some(placed) => match self.cells.get(placed.cell) {
                Some(cell) => cell.render(&placed.live),
                None => Err(crate::wasm::Fault::Retired),
            },
            None => Err(crate::wasm::Fault::Retired),
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
                    crate::wasm::Fault::BadOutput { what },
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

    fn snapshot_when_due(&mut self, entry: &mut Entry) {
        let Some(head) = entry.lane.head() else { return };
        let Some(module) = self.active.get(&entry.key.aggregate_type) else {
            return;
        };
        let asked = module
            .manifest()
            .attribute("snapshot-every")
            .and_then(|every| every.parse().ok());
        let every = asked.unwrap_or(self.equipment.limits.snapshot_every);
        if every > 0 && head.version.0 - entry.snapshot.0 >= every {
            self.snapshot(entry);
        }
    }

    /// Saves the state as a snapshot. Failing to costs only time later, unless the guest faults: then its cell goes.
    fn snapshot(&mut self, entry: &mut Entry) {
        let (Some(head), Some(placed)) = (entry.lane.head(), entry.lane.live()) else {
            return;
        };
        let Some(module) = self.active.get(&entry.key.aggregate_type) else {
            return;
        };
        if placed.module != module.digest() || !module.has_snapshots() || head.version == Version(0) {
            return;
        }
        let cell_id = placed.cell;
        let Some(cell) = self.cells.get(cell_id) else {
            return;
        };
        match cell.save(&placed.live) {
            Ok(Ok(state)) => {
                let snapshot = Snapshot {
                    key: entry.key.clone(),
                    version: head.version,
                    recorded_at: head.recorded_at,
                    module: module.digest(),
                    state_version: module.manifest().state_version,
                    state: state.into(),
                };
                self.equipment.store.save_snapshot(snapshot);
            }
            Ok(Err(reason)) => {
                tracing::warn!(aggregate = %entry.key, version = %head.version, reason, "the module saved no snapshot");
            }
            Err(fault) => {
                tracing::warn!(aggregate = %entry.key, version = %head.version, %fault, "no snapshot");
                self.cells.retire(cell_id);
                self.drop_live(entry);
            }
        }
        // Also after a failure: the next attempt comes after as many events again.
        entry.snapshot = head.version;
    }

    /// Lets an idle lane go, with a snapshot when enough has happened since the last one.
    pub(crate) fn evict(&mut self, mut entry: Entry) {
        let since = entry
            .lane
            .head()
            .map_or(0, |head| head.version.0 - entry.snapshot.0);
        if entry.lane.live().is_some() && since >= self.equipment.limits.snapshot_on_eviction {
            self.snapshot(&mut entry);
        }
        self.drop_live(&mut entry);
    }
}
