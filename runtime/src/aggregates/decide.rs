//! Deciding one command, in the exact order of the design:
//! idempotency key → preconditions → the module's turn → proposal. A turn is `handle` → size and manifest checks → `apply`
//! to the live object → invariants; where the module does it in one call, the host checks when it is over. A failure
//! after `apply` drops the live object: nothing was appended, the next command rebuilds it.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::{
    store::{EventStore, Head},
    vocabulary::{
        AggregateKey, Clock, CommandRecord, Commit, Committed, Context, ContextRecord, Decision,
        GuestCommand, IdempotencyRecord, NewEvent, Outcome, Rejection,
    },
    wasm::{ApplyRefusal, Fault, Refusal, Turn},
};

use super::{
    cells::{CellId, Cells, Placed},
    request::{Answer, CommandError, CommandRequest},
    unique::UniqueIds,
    work::Serving,
};

/// What a decision needs to know beside the command.
#[derive(Debug)]
pub(crate) struct Decide<'a> {
    pub(crate) store: &'a Arc<dyn EventStore>,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) ids: &'a UniqueIds,
    pub(crate) serving: &'a Serving,
    pub(crate) request: &'a CommandRequest,
}

/// What came of it.
#[derive(Debug)]
pub(crate) enum Decided {
    /// The key's first answer, which is durable.
    Replay(Answer),
    /// Nothing to record: the answer may leave once what it was decided on is durable.
    Unrecorded(Box<Commit>),
    /// To be committed; the live object is already there.
    Propose(Box<Commit>),
    /// Not yet: the live object has to be built first, in a cell of its own where the neighbours filled the last one.
    NotYet { alone: bool },
}

/// A failure, and whether the live object can no longer be used.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) error: CommandError,
    pub(crate) drop_live: bool,
    /// The cell ran out of memory: perhaps because of its neighbours.
    pub(crate) retry_alone: bool,
}

impl Failed {
    fn harmless(error: CommandError) -> Self {
        Self {
            error,
            drop_live: false,
            retry_alone: false,
        }
    }
}

impl Decide<'_> {
    /// The first answer to the command's idempotency key, when there is one.
    pub(crate) fn first_answer(&self) -> Result<Option<Answer>, CommandError> {
        let Some(key) = &self.request.idempotency else {
            return Ok(None);
        };
        let Some(committed) = self.store.outcome(&self.request.key, key)? else {
            return Ok(None);
        };
        replay(committed, self.request).map(Some)
    }

    /// Checks what can be checked before the module is asked.
    pub(crate) fn check_before(&self, head: Head) -> Result<(), CommandError> {
        let manifest = self.serving.module.manifest();
        if !manifest.takes(&self.request.command) {
            return Err(self.unknown_command());
        }
        self.request.preconditions.check(head.version)
    }

    fn unknown_command(&self) -> CommandError {
        let manifest = self.serving.module.manifest();
        CommandError::UnknownCommand {
            aggregate_type: manifest.aggregate_type.clone(),
            command: self.request.command.clone(),
            known: manifest
                .commands
                .iter()
                .map(|command| command.name.clone())
                .collect(),
        }
    }

    /// Asks the module, and applies what it decided to the live object.
    pub(crate) fn decide(&self, cells: &mut Cells, placed: &Placed, head: Head) -> Result<Decided, Failed> {
        let context = self.context(head);
        let command = GuestCommand {
            name: self.request.command.clone(),
            payload: self.request.payload.clone(),
        };
        let turn = self.call(cells, placed.cell, |cell| {
            cell.decide(&placed.live, &context, &command)
        })?;
        let Turn {
            fuel,
            outcome,
            broken,
        } = turn.map_err(|refusal| self.bad_decision(unapplied(&refusal)))?;
        if !broken.is_empty() {
            return Err(Failed {
                error: CommandError::InvariantBroken { broken },
                drop_live: true,
                retry_alone: false,
            });
        }
        let (outcome, events) = match outcome {
            Ok(Decision { events, reply }) => (Outcome::Accepted { reply, fuel }, events),
            Err(Refusal::Rejected(rejection)) => {
                let Rejection {
                    code,
                    message,
                    details,
                } = rejection;
                let rejected = Outcome::Rejected {
                    code,
                    message,
                    details,
                    fuel,
                };
                (rejected, Vec::new())
            }
            Err(Refusal::UnknownCommand) => return Err(Failed::harmless(self.unknown_command())),
            Err(Refusal::Malformed { pointer, problem }) => {
                return Err(Failed::harmless(CommandError::Malformed {
                    command: command.name,
                    pointer,
                    problem,
                }));
            }
        };
        Ok(self.record_or_answer(self.commit(head, context, command, outcome, events)))
    }

    /// Calls the cell; any fault retires it.
    fn call<T>(
        &self,
        cells: &mut Cells,
        id: CellId,
        call: impl FnOnce(&mut crate::wasm::Cell) -> Result<T, Fault>,
    ) -> Result<T, Failed> {
        let Some(cell) = cells.get(id) else {
            return Err(self.bad_decision(Fault::Retired));
        };
        let neighbours = cell.live() > 1;
        let fault = match call(cell) {
            Ok(value) => return Ok(value),
            Err(fault) => fault,
        };
        cells.retire(id);
        let retry_alone = neighbours && matches!(fault, Fault::MemoryLimit { .. });
        Err(Failed {
            error: fault_report(self.ids, &self.request.key, fault),
            drop_live: true,
            retry_alone,
        })
    }

    fn bad_decision(&self, fault: Fault) -> Failed {
        Failed {
            error: fault_report(self.ids, &self.request.key, fault),
            drop_live: true,
            retry_alone: false,
        }
    }

    /// A decision without events is recorded only when a key asks for it.
    fn record_or_answer(&self, commit: Commit) -> Decided {
        if !commit.events.is_empty() || commit.idempotency.is_some() {
            return Decided::Propose(Box::new(commit));
        }
        Decided::Unrecorded(Box::new(commit))
    }

    fn context(&self, head: Head) -> Context {
        let request = self.request;
        let command_id = request
            .idempotency
            .as_ref()
            .map_or_else(|| self.ids.draw(), |key| key.as_str().to_owned());
        Context {
            aggregate_id: request.key.aggregate_id.clone(),
            version: head.version,
            now: self.clock.now().max(head.recorded_at),
            seed: seed(&request.key, &command_id),
            actor: request.actor.clone(),
            correlation_id: request
                .correlation_id
                .clone()
                .unwrap_or_else(|| command_id.clone()),
            causation_id: request.causation_id.clone(),
            command_id,
        }
    }

    fn commit(
        &self,
        head: Head,
        context: Context,
        command: GuestCommand,
        outcome: Outcome,
        events: Vec<NewEvent>,
    ) -> Commit {
        let request = self.request;
        let keeps = self.serving.keeps_commands;
        Commit {
            key: request.key.clone(),
            first_version: head.version.plus(1),
            command: CommandRecord {
                name: command.name,
                payload: keeps.then_some(command.payload),
            },
            context: ContextRecord {
                now: context.now,
                seed: None,
                actor: context.actor,
                command_id: context.command_id,
                correlation_id: context.correlation_id,
                causation_id: context.causation_id,
                traceparent: request.traceparent.clone(),
            },
            idempotency: request.idempotency.clone().map(|key| IdempotencyRecord {
                key,
                request: request.hash(),
            }),
            outcome,
            module: self.serving.module.digest(),
            events,
        }
    }
}

fn unapplied(refusal: &ApplyRefusal) -> Fault {
    Fault::BadOutput {
        what: format!("the module cannot apply the event that it has just decided: {refusal}"),
    }
}

/// The first answer for a retry, provided that it is the same request.
pub(crate) fn replay(committed: Arc<Committed>, request: &CommandRequest) -> Result<Answer, CommandError> {
    match &committed.commit.idempotency {
        Some(record) if record.request == request.hash() => Ok(Answer {
            committed,
            replayed: true,
        }),
        Some(record) => Err(CommandError::KeyReused {
            key: record.key.clone(),
            first_command: committed.commit.command.name.clone(),
        }),
        None => Ok(Answer {
            committed,
            replayed: true,
        }),
    }
}

/// A fault as the caller is told, with an id under which the server's log tells more.
pub(crate) fn fault_report(ids: &UniqueIds, key: &AggregateKey, fault: Fault) -> CommandError {
    let diagnosis = ids.draw();
    tracing::error!(aggregate = %key, diagnosis, code = fault.code(), %fault, "the module failed");
    CommandError::Fault { fault, diagnosis }
}

/// The guest's only randomness: the same for the same command to the same aggregate, different for any other. Commits
/// do not hold it, since they hold what it is made of. Were it made otherwise one day, they would have to say so.
fn seed(key: &AggregateKey, command_id: &str) -> [u64; 2] {
    let mut hasher = Sha256::new();
    for part in [
        "annals seed 1",
        key.aggregate_type.as_str(),
        key.aggregate_id.as_str(),
        command_id,
    ] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let word = |at: usize| {
        digest
            .iter()
            .skip(at)
            .take(8)
            .fold(0_u64, |word, byte| (word << 8) | u64::from(*byte))
    };
    [word(0), word(8)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_differ_between_commands_and_aggregates() {
        let key = |id: &str| AggregateKey::new("account".parse().unwrap(), id.parse().unwrap());
        assert_eq!(seed(&key("a"), "k"), seed(&key("a"), "k"));
        assert_ne!(seed(&key("a"), "k"), seed(&key("b"), "k"));
        assert_ne!(seed(&key("a"), "k"), seed(&key("a"), "l"));
        assert_ne!(seed(&key("a"), "bk"), seed(&key("ab"), "k"));
    }
}
