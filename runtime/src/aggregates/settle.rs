//! What the store's word on a decision leads to: answers that waited leave, or everything that was decided on what is lost
//! is decided again.

use std::sync::Arc;

use crate::{
    store::AppendError,
    vocabulary::{Commit, Committed, IdempotencyKey, Position},
};

use super::{
    decide::replay,
    lane::Settled,
    request::{Answer, CommandError},
    shard::{CommandWork, NotDurable, Work},
    work::{Entry, Gated, Proposed, Worker},
};

/// How often a command is decided again after a conflict before the caller is asked to.
const DECIDE_AGAIN_MAX: u8 = 3;

impl Worker {
    /// Answers, once everything that it was decided on is durable.
    pub(super) fn answer(&mut self, entry: &mut Entry, answer: Gated) {
        match entry.lane.gate(answer) {
            Some(answer) => self.release(answer, None),
            None => self.is_waited_for = true,
        }
    }

    /// Takes the store's word on a decision in flight.
    pub(crate) fn settle(&mut self, entry: &mut Entry, number: u64, result: Result<(), Box<NotDurable>>) {
        if !entry.lane.settle(number, result) {
            tracing::error!(aggregate = %entry.key, number, "the store settled a commit that was not in flight");
            return;
        }
        self.in_flight -= 1;
        self.is_waited_for &= self.in_flight > 0;
        loop {
            let next = self.next_epoch();
            match entry.lane.next_settled(next) {
                Some(Settled::Durable { pending, behind }) => self.durable(pending, behind),
                Some(Settled::Lost {
                    failure,
                    behind,
                    live,
                }) => {
                    if let Some(placed) = live {
                        self.cells.release(placed);
                    }
                    self.lost(entry, *failure, behind);
                }
                None => break,
            }
        }
        entry.lane.resume();
    }

    fn durable(&self, proposed: Proposed, behind: Vec<Gated>) {
        let Proposed {
            idempotency,
            snapshot,
        } = proposed;
        if let Some(snapshot) = snapshot {
            self.equipment.store.save_snapshot(snapshot);
        }
        for answer in behind {
            self.release(answer, idempotency.as_ref());
        }
    }

    /// Lets an answer leave: nothing that it was decided on can be lost any more.
    fn release(&self, answer: Gated, first: Option<&IdempotencyKey>) {
        match answer {
            Gated::Unrecorded(work, commit) => work.answer(Ok(self.unrecorded(*commit))),
            Gated::Refused(work, error) => work.answer(Err(error)),
            Gated::State(work, view) => work.answer(view),
            Gated::Repeat(work) => {
                let answer = self.first_answer(&work, first);
                work.answer(answer);
            }
        }
    }

    /// A decision without a place in the log. Its position is where the log has got to, so that a reader who waits for
    /// it sees all that the decision was made on.
    fn unrecorded(&self, commit: Commit) -> Answer {
        let first_position = Position(self.equipment.store.last_position().0 + 1);
        Answer {
            committed: Arc::new(Committed {
                commit,
                first_position,
            }),
            replayed: false,
        }
    }

    /// The answer that the key of a command leads to, which is durable by now.
    fn first_answer(
        &self,
        work: &CommandWork,
        first: Option<&IdempotencyKey>,
    ) -> Result<Answer, CommandError> {
        let key = first.or(work.request.idempotency.as_ref());
        let found = match key {
            Some(key) => self.equipment.store.outcome(&work.request.key, key)?,
            None => None,
        };
        let Some(committed) = found else {
            return Err(CommandError::Unavailable {
                reason: "the first answer to the idempotency key is not readable yet".into(),
                retry_after: std::time::Duration::from_secs(1),
            });
        };
        replay(committed, &work.request)
    }

    fn lost(&self, entry: &mut Entry, failure: NotDurable, behind: Vec<Gated>) {
        let NotDurable { work, error } = failure;
        match error {
            AppendError::Duplicate(committed) => {
                let answer = replay(committed, &work.request);
                work.answer(answer);
            }
            AppendError::Conflict { .. } | AppendError::Superseded => decide_again(entry, work, error),
            error => work.answer(Err(CommandError::NotWritten(error))),
        }
        for answer in behind {
            match answer {
                Gated::Unrecorded(work, _) | Gated::Refused(work, _) | Gated::Repeat(work) => {
                    decide_again(entry, work, AppendError::Superseded);
                }
                Gated::State(work, _) => entry.lane.decide_again(Work::State(work)),
            }
        }
    }
}

/// The command was decided on what is lost, or is in conflict: once more, a few times.
fn decide_again(entry: &mut Entry, mut work: Box<CommandWork>, error: AppendError) {
    if work.decided_again >= DECIDE_AGAIN_MAX {
        return work.answer(Err(CommandError::NotWritten(error)));
    }
    work.decided_again += 1;
    entry.lane.decide_again(Work::Command(work));
}
