//! The writer: what is queued becomes one transaction, one fsync, and then replies.

mod heads;
mod repair;

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use self::{
    heads::{HeadCache, Known},
    repair::Repair,
};
use super::{Shared, head_after};
use crate::{
    store::{
        AppendError, Completion, Proposal, ReadError,
        file::{Fault, WriteFault},
        format::{CHUNK_HEADER_BYTES, Mark, record_of},
        listeners::complete,
        log::{Packed, pack},
        queue::{Engine, Item},
        rules::{FailedLives, judge},
    },
    vocabulary::{AggregateKey, Committed, IdempotencyKey, LaneEpoch, Position},
};

/// How long a group waits for the indexer before it is refused.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);
/// What a refused proposal is told.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Between two attempts to begin a new segment.
const ROTATE_AGAIN: Duration = Duration::from_secs(5);

pub(super) struct Writer {
    shared: Arc<Shared>,
    heads: HeadCache,
    /// Groups put together so far.
    groups: u64,
    lives: FailedLives,
    /// The log as this thread has written it.
    end: Mark,
    /// Set while the log cannot be written.
    repair: Option<Repair>,
    rotate_at: Option<Instant>,
}

/// A proposal with its bytes, which the caller's thread has made.
pub(super) struct Prepared {
    proposal: Proposal,
    record: Vec<u8>,
    done: Completion,
}

impl Prepared {
    pub(super) fn new(proposal: Proposal, done: Completion) -> Self {
        Self {
            record: record_of(&proposal.commit),
            proposal,
            done,
        }
    }
}

impl Item for Prepared {
    fn bytes(&self) -> usize {
        self.record.len()
    }

    fn refuse(self, error: AppendError) {
        complete(self.done, Err(error));
    }
}

/// What becomes of one proposal of a group.
enum Verdict {
    /// It is the n-th commit of the group.
    Write(usize),
    /// It repeats the n-th commit of the group.
    Repeats(usize),
    /// It is refused, whatever becomes of the group.
    Refuse(AppendError),
    /// It is refused because of a commit of the group.
    RefuseOn(AppendError),
}

/// A group while it is put together.
#[derive(Default)]
struct Group {
    commits: Vec<(Vec<u8>, Arc<Committed>)>,
    outcomes: HashMap<(AggregateKey, IdempotencyKey), usize>,
    answers: Vec<(Completion, AggregateKey, LaneEpoch, Verdict)>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            heads: HeadCache::new(shared.options.heads),
            groups: 0,
            lives: FailedLives::default(),
            end: shared.log.end(),
            repair: None,
            rotate_at: None,
            shared,
        }
    }

    fn gather(&mut self, batch: Vec<Prepared>) -> Group {
        self.groups += 1;
        let mut group = Group {
            commits: Vec::with_capacity(batch.len()),
            answers: Vec::with_capacity(batch.len()),
            ..Group::default()
        };
        let mut position = self.end.position;
        for prepared in batch {
            let Prepared {
                proposal,
                record,
                done,
            } = prepared;
            let key = proposal.commit.key.clone();
            let life = proposal.lane_epoch;
            let verdict = self.judge(&proposal, &group);
            if let Verdict::Write(index) = verdict {
                let committed = Arc::new(Committed {
                    first_position: Position(position),
                    commit: proposal.commit,
                });
                position += committed.commit.events.len() as u64;
                if let Some(record) = &committed.commit.idempotency {
                    group.outcomes.insert((key.clone(), record.key.clone()), index);
                }
                if !committed.commit.events.is_empty() {
                    let (head, group) = (head_after(&committed), self.groups);
                    match self.heads.get(&key) {
                        Some(known) => *known = Known { head, group },
                        None => self.heads.put(&key, Known { head, group }),
                    }
                }
                group.commits.push((record, committed));
            } else {
                self.lives.failed(&key, life);
            }
            group.answers.push((done, key, life, verdict));
        }
        group
    }

    fn judge(&mut self, proposal: &Proposal, group: &Group) -> Verdict {
        let key = &proposal.commit.key;
        let idempotency = proposal.commit.idempotency.as_ref().map(|record| &record.key);
        if let Some(idempotency) = idempotency {
            let slot = (key.clone(), idempotency.clone());
            if let Some(index) = group.outcomes.get(&slot) {
                return Verdict::Repeats(*index);
            }
        }
        let known = self.known(key);
        let in_group = matches!(&known, Ok(known) if known.group == self.groups);
        let recorded = match idempotency {
            Some(idempotency) => self.shared.outcome(key, idempotency),
            None => Ok(None),
        };
        match known.and_then(|known| Ok((known.head, recorded?))) {
            Ok((head, recorded)) => match judge(proposal, head.version, recorded, &self.lives) {
                Ok(()) => Verdict::Write(group.commits.len()),
                Err(error) if in_group => Verdict::RefuseOn(error),
                Err(error) => Verdict::Refuse(error),
            },
            Err(error) => Verdict::Refuse(unavailable(&error.to_string())),
        }
    }

    /// Where an aggregate stands, also by what the group so far has in store for it.
    fn known(&mut self, key: &AggregateKey) -> Result<Known, ReadError> {
        if let Some(known) = self.heads.get(key) {
            return Ok(*known);
        }
        let head = self.shared.head(key)?;
        let known = Known { head, group: 0 };
        self.heads.put(key, known);
        Ok(known)
    }

    /// Makes a group durable and then visible.
    fn commit(&mut self, group: Group) {
        let Group { commits, answers, .. } = group;
        let written: Vec<_> = commits
            .iter()
            .map(|(_, committed)| Arc::clone(committed))
            .collect();
        if !commits.is_empty() {
            let packed = pack(
                self.shared.identity,
                self.end,
                commits,
                self.shared.options.chunk_bytes,
            );
            if let Err(failed) = self.write(packed) {
                return self.fail(answers, &failed);
            }
            self.shared.listeners.publish(&written);
        }
        let commit = |index: usize| written.get(index).map(Arc::clone);
        for (done, _, _, verdict) in answers {
            let result = match verdict {
                Verdict::Write(index) => commit(index).ok_or_else(|| unavailable("the group lacks a commit")),
                Verdict::Repeats(index) => Err(commit(index)
                    .map_or_else(|| unavailable("the group lacks a commit"), AppendError::Duplicate)),
                Verdict::Refuse(error) | Verdict::RefuseOn(error) => Err(error),
            };
            complete(done, result);
        }
    }

    fn write(&mut self, packed: Vec<Packed>) -> Result<(), WriteFault> {
        let Some(end) = packed.last().map(|last| last.after) else {
            return Ok(());
        };
        let mut chunks = Vec::with_capacity(packed.len());
        let mut fresh = Vec::with_capacity(packed.len());
        for chunk in packed {
            let bytes = Bytes::from(chunk.bytes.into_boxed_slice());
            chunks.push((chunk.before.chunk, bytes.clone()));
            let body = bytes.slice(CHUNK_HEADER_BYTES..);
            let made = self.shared.overlay.fresh(chunk.before, chunk.after, body);
            fresh.push(made.map_err(|error| WriteFault {
                fault: Fault::Damaged(format!("chunk {}: {error}", chunk.before.chunk)),
                maybe_written: false,
            })?);
        }
        self.shared.log.append(&chunks)?;
        self.end = end;
        self.shared.overlay.add(fresh);
        self.shared.log.set_end(end);
        Ok(())
    }

    /// Answers a group that failed, and sees to it that the log is opened again.
    fn fail(&mut self, answers: Vec<(Completion, AggregateKey, LaneEpoch, Verdict)>, failed: &WriteFault) {
        let reason = failed.fault.to_string();
        tracing::error!(
            reason,
            maybe_written = failed.maybe_written,
            "a group commit failed"
        );
        self.repair = Some(Repair::begin(&failed.fault));
        self.heads.clear();
        if failed.maybe_written {
            self.shared
                .undecided
                .wait_for(answers.iter().map(|(_, key, _, _)| key.clone()));
        }
        let of_group = |error: &WriteFault| match (&error.fault, error.maybe_written) {
            (_, true) => AppendError::Unknown {
                reason: reason.clone(),
            },
            (Fault::Full(_), false) => AppendError::Full {
                reason: reason.clone(),
            },
            (_, false) => unavailable(&reason),
        };
        for (done, key, life, verdict) in answers {
            self.lives.failed(&key, life);
            let error = match verdict {
                Verdict::Write(_) | Verdict::Repeats(_) => of_group(failed),
                Verdict::Refuse(error) => error,
                Verdict::RefuseOn(_) => unavailable(&reason),
            };
            complete(done, Err(error));
        }
    }

    fn refuse_all(&mut self, batch: Vec<Prepared>, error: &AppendError) {
        for prepared in batch {
            let proposal = &prepared.proposal;
            self.lives.failed(&proposal.commit.key, proposal.lane_epoch);
            prepared.refuse(error.clone());
        }
    }

    fn rotate(&mut self) {
        if self.rotate_at.is_some_and(|at| Instant::now() < at) {
            return;
        }
        self.rotate_at = None;
        if let Err(fault) = self.shared.log.rotate_if_full() {
            tracing::error!(%fault, "a new log segment could not be begun; the old one is used on");
            self.rotate_at = Some(Instant::now() + ROTATE_AGAIN);
        }
    }
}

impl Engine for Writer {
    type Item = Prepared;

    fn write(&mut self, batch: Vec<Prepared>) {
        if let Some(error) = self.repair.as_ref().map(Repair::answer) {
            return self.refuse_all(batch, &error);
        }
        let room = self
            .shared
            .overlay
            .wait_for_room(self.shared.options.overlay_bytes, ROOM_PATIENCE);
        if !room {
            let error = unavailable("the index is too far behind the log");
            return self.refuse_all(batch, &error);
        }
        let group = self.gather(batch);
        self.commit(group);
        if self.repair.is_none() {
            self.rotate();
        }
    }

    fn is_at_ease(&self) -> bool {
        let room = self.shared.options.overlay_bytes;
        self.repair.is_none() && self.shared.overlay.wait_for_room(room, Duration::ZERO)
    }

    fn wake_in(&self) -> Option<Duration> {
        self.repair.as_ref().map(Repair::due_in)
    }

    fn wake(&mut self) {
        self.try_repair();
    }
}

fn unavailable(reason: &str) -> AppendError {
    AppendError::Unavailable {
        reason: reason.to_owned(),
        retry_after: RETRY_AFTER,
    }
}
