//! What a shard does for one lane: bring the live object up, decide, propose. Beside it: what the store's word leads to
//! (`settle.rs`), reads (`read.rs`), and snapshots (`save.rs`).

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Instant,
};

use crate::{
    store::{EventStore, Head, Proposal, Snapshot},
    vocabulary::{
        AggregateKey, AggregateType, Clock, Commit, Committed, IdempotencyKey, LaneEpoch, Limits, Version,
    },
    wasm::Module,
};

use super::{
    cells::{Cells, Placed, Standing},
    decide::{Decide, Decided, Failed},
    lane::Lane,
    rebuilds::{Pause, Rebuilds},
    rehydrate::Rebuild,
    request::{Answer, CommandError, StateView},
    save::Saved,
    shard::{CommandWork, LaneId, NotDurable, StateWork, Word, Work},
    unique::UniqueIds,
    words::Speaker,
};

/// A lane with what the shard knows about it.
pub(crate) struct Entry {
    pub(crate) key: AggregateKey,
    pub(crate) lane: Lane<Placed, Work, Proposed, Gated, Box<NotDurable>>,
    pub(crate) last_used: Instant,
    /// The lane's place.
    pub(super) id: LaneId,
    /// The module that serves the type, as of so many activations.
    serving: Option<(u64, Arc<Serving>)>,
    /// The newest snapshot that this lane took or came from.
    pub(super) saved: Saved,
    /// A live object that is being built, while the lane's work waits for it.
    pub(super) rebuild: Option<Box<Rebuild>>,
    /// Why it is not built for some time.
    pub(super) pause: Option<Box<Pause>>,
    /// The object filled a cell together with others: it is built in one of its own next time.
    pub(super) wants_own_cell: bool,
    /// Whether the shard has it among the lanes with work to do.
    pub(crate) is_ready: bool,
}

/// A module that serves its type, with what its manifest says that every command asks for.
#[derive(Debug)]
pub(crate) struct Serving {
    pub(super) module: Arc<Module>,
    /// Events after which a state is saved; 0 for never.
    pub(super) snapshot_every: u64,
    /// Whether commands are kept beside the events that they led to.
    pub(super) keeps_commands: bool,
}

impl Serving {
    fn new(module: Arc<Module>, limits: &Limits) -> Self {
        let attribute = |name| module.manifest().attribute(name);
        let asked = attribute("snapshot-every").and_then(|every| every.parse().ok());
        Self {
            snapshot_every: asked.unwrap_or(limits.snapshot_every),
            keeps_commands: attribute("keep-commands") != Some("false"),
            module,
        }
    }
}

/// What is kept of a decision until it is settled.
#[derive(Debug)]
pub(crate) struct Proposed {
    pub(super) idempotency: Option<IdempotencyKey>,
    /// The state after it, to be kept once it is durable.
    pub(super) snapshot: Option<Snapshot>,
}

/// An answer that waits until what it was decided on is durable.
pub(crate) enum Gated {
    /// A decision with nothing to record.
    Unrecorded(Box<CommandWork>, Box<Commit>),
    /// No decision, because of the state.
    Refused(Box<CommandWork>, CommandError),
    /// A command whose key is that of the decision in flight: it gets the same answer.
    Repeat(Box<CommandWork>),
    /// A read.
    State(Box<StateWork>, Result<StateView, CommandError>),
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
    /// This worker's own: what is in it all shards share, and counting references to that costs each of them.
    pub(super) equipment: Arc<Equipment>,
    speaker: Speaker,
    pub(super) cells: Cells,
    pub(crate) rebuilds: Rebuilds,
    active: HashMap<AggregateType, Arc<Serving>>,
    /// How often a module was activated here.
    activations: u64,
    epochs: u64,
    /// Decisions in flight, in all lanes.
    pub(super) in_flight: usize,
    /// Whether something may wait for one of them: an answer, or the next decision of a lane.
    pub(super) is_waited_for: bool,
    /// Nothing else waits for the shard, and for a while nothing has: it may spend its time on a commit.
    pub(super) has_time: bool,
}

impl Worker {
    pub(crate) fn new(equipment: Equipment, speaker: Speaker, cells: Cells) -> Self {
        Self {
            rebuilds: Rebuilds::new(equipment.limits.rebuilds_per_shard),
            equipment: Arc::new(equipment),
            speaker,
            cells,
            active: HashMap::new(),
            activations: 0,
            epochs: 0,
            in_flight: 0,
            is_waited_for: false,
            has_time: false,
        }
    }

    /// Whether the store's next word is to wake the shard.
    pub(crate) fn awaits_words(&self) -> bool {
        self.is_waited_for && self.in_flight > 0
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.equipment.limits
    }

    pub(crate) fn serves(&self, aggregate_type: &AggregateType) -> bool {
        self.active.contains_key(aggregate_type)
    }

    /// Lanes notice by themselves that their object is of another module.
    pub(crate) fn activate(&mut self, aggregate_type: AggregateType, module: Arc<Module>) {
        let serving = Arc::new(Serving::new(module, self.limits()));
        self.active.insert(aggregate_type, serving);
        self.activations += 1;
    }

    pub(crate) fn open(&mut self, id: LaneId, key: AggregateKey) -> Entry {
        let lane = Lane::new(self.next_epoch(), self.limits().lane_in_flight);
        Entry {
            key,
            lane,
            last_used: Instant::now(),
            id,
            serving: None,
            saved: Saved::default(),
            rebuild: None,
            pause: None,
            wants_own_cell: false,
            is_ready: false,
        }
    }

    pub(super) fn next_epoch(&mut self) -> LaneEpoch {
        self.epochs += 1;
        LaneEpoch(self.epochs)
    }

    /// Does the next thing that the lane has to do, unless it has to wait for the store.
    pub(crate) fn run_one(&mut self, entry: &mut Entry) {
        self.drop_unusable(entry);
        match entry.lane.take_ready() {
            Some(Work::Command(work)) => self.command(entry, work),
            Some(Work::State(work)) => self.state(entry, work),
            None => {}
        }
        if let Some(placed) = entry.lane.live() {
            self.cells.count(placed.cell);
        }
    }

    /// Puts the lane among those with work to do, or takes note that it waits for the store.
    pub(crate) fn schedule(&mut self, entry: &mut Entry, ready: &mut VecDeque<LaneId>) {
        if !entry.is_ready && entry.rebuild.is_none() && entry.lane.has_ready() {
            entry.is_ready = true;
            ready.push_back(entry.id);
        }
        self.is_waited_for |= entry.lane.is_blocked();
        if entry.lane.is_idle() {
            entry.lane.shrink();
        }
    }

    fn command(&mut self, entry: &mut Entry, mut work: Box<CommandWork>) {
        let span = work.span.clone();
        let _in_span = tracing::debug_span!(parent: &span, "lane", aggregate = %entry.key).entered();
        if let Some(key) = work.request.idempotency.clone() {
            // Its first answer is on the way: it is not asked again, and not decided again.
            let is_first = |proposed: &Proposed| proposed.idempotency.as_ref() == Some(&key);
            match entry.lane.gate_behind(Gated::Repeat(work), is_first) {
                Some(Gated::Repeat(back)) => work = back,
                _ => {
                    self.is_waited_for = true;
                    return;
                }
            }
        }
        match self.decide(entry, &work) {
            Ok(Decided::Replay(answer)) => work.answer(Ok(answer)),
            Ok(Decided::Propose(commit)) => self.propose(entry, work, *commit),
            Ok(Decided::Unrecorded(commit)) => self.answer(entry, Gated::Unrecorded(work, commit)),
            Ok(Decided::NotYet { alone }) => {
                work.alone = alone;
                entry.lane.push_back_first(Work::Command(work));
            }
            Err(error) => self.answer(entry, Gated::Refused(work, error)),
        }
    }

    fn decide(&mut self, entry: &mut Entry, work: &CommandWork) -> Result<Decided, CommandError> {
        let serving = self.serving(entry)?;
        let equipment = Arc::clone(&self.equipment);
        let decide = Decide {
            store: &equipment.store,
            clock: &*equipment.clock,
            ids: &equipment.ids,
            serving: &serving,
            request: &work.request,
        };
        if let Some(answer) = decide.first_answer()? {
            return Ok(Decided::Replay(answer));
        }
        let head = self.tip(entry)?;
        decide.check_before(head)?;
        let mut alone = work.alone;
        loop {
            if !self.bring_up(entry, &serving.module, head, alone)? {
                return Ok(Decided::NotYet { alone });
            }
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
                    if !entry.lane.is_settled() {
                        return Ok(Decided::NotYet { alone });
                    }
                }
            }
        }
    }

    /// The module that serves the aggregate's type.
    pub(super) fn serving(&self, entry: &mut Entry) -> Result<Arc<Serving>, CommandError> {
        if let Some((activations, serving)) = &entry.serving
            && *activations == self.activations
        {
            return Ok(Arc::clone(serving));
        }
        let aggregate_type = &entry.key.aggregate_type;
        let found = self.active.get(aggregate_type).cloned();
        let serving = found.ok_or_else(|| CommandError::UnknownType(aggregate_type.clone()))?;
        entry.serving = Some((self.activations, Arc::clone(&serving)));
        Ok(serving)
    }

    /// What the next decision is made on.
    pub(super) fn tip(&self, entry: &mut Entry) -> Result<Head, CommandError> {
        if let Some(head) = entry.lane.tip() {
            return Ok(head);
        }
        let head = self.equipment.store.head(&entry.key)?;
        entry.lane.learn_head(head);
        Ok(head)
    }

    /// Lets go of a live object that may decide no more: its cell is gone, or another module serves its type now. It moves
    /// where its cell is full.
    fn drop_unusable(&mut self, entry: &mut Entry) {
        let Some(placed) = entry.lane.live() else { return };
        let (cell, digest) = (placed.cell, placed.module);
        let serves = self
            .serving(entry)
            .is_ok_and(|serving| serving.module.digest() == digest);
        match self.cells.standing(cell) {
            Standing::Good if serves => {}
            Standing::Draining if serves && self.move_away(entry) => {}
            _ => self.drop_live(entry),
        }
    }

    pub(super) fn drop_live(&mut self, entry: &mut Entry) {
        let epoch = self.next_epoch();
        if let Some(placed) = entry.lane.lose_live(epoch) {
            self.cells.release(placed);
        }
    }

    /// Hands a decision to the writer. Its answer leaves from the writer's thread, the moment it is durable.
    fn propose(&mut self, entry: &mut Entry, work: Box<CommandWork>, commit: Commit) {
        let head = head_after(entry, &commit);
        let proposed = Proposed {
            idempotency: commit.idempotency.as_ref().map(|record| record.key.clone()),
            snapshot: self.snapshot_when_due(entry, head),
        };
        let proposal = Proposal {
            lane_epoch: entry.lane.epoch(),
            expected: Version(commit.first_version.0 - 1),
            commit,
        };
        let commit_span = tracing::debug_span!(parent: &work.span, "commit", version = %head.version);
        let (lane, number) = (entry.id, entry.lane.propose(head, proposed));
        self.in_flight += 1;
        let speaker = self.speaker.clone();
        let done = move |result: Result<Arc<Committed>, _>| {
            drop(commit_span);
            match result {
                Ok(committed) => {
                    let result = Ok(());
                    speaker.say(Word { lane, number, result });
                    let replayed = false;
                    work.answer(Ok(Answer { committed, replayed }));
                }
                Err(error) => {
                    let result = Err(Box::new(NotDurable { work, error }));
                    speaker.say(Word { lane, number, result });
                }
            }
        };
        if self.has_time {
            self.equipment.store.append_here(proposal, Box::new(done));
        } else {
            self.equipment.store.append(proposal, Box::new(done));
        }
    }
}

/// Where the aggregate stands after a decision.
fn head_after(entry: &Entry, commit: &Commit) -> Head {
    let before = entry.lane.tip().unwrap_or_default();
    if commit.events.is_empty() {
        return before;
    }
    Head {
        version: commit.last_version(),
        recorded_at: commit.context.now,
        position: before.position,
    }
}
