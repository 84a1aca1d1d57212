//! When a proposal may be written: the same rules for every engine, without I/O.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{AppendError, Proposal};
use crate::vocabulary::{AggregateKey, Committed, LaneEpoch, Version};

/// How many failed lives are remembered. A forgotten one is caught by the expected head all the same, unless the
/// failed commit had no events, in which case nothing that follows was decided on it.
const LIVES_MAX: usize = 65_536;

/// The lives of lanes whose ground is gone: one of their proposals was not committed.
#[derive(Debug, Default)]
pub(super) struct FailedLives {
    by_key: HashMap<AggregateKey, LaneEpoch>,
    oldest_first: VecDeque<AggregateKey>,
}

impl FailedLives {
    /// Remembers that a proposal of this life was not committed.
    pub(super) fn failed(&mut self, key: &AggregateKey, life: LaneEpoch) {
        if self.by_key.insert(key.clone(), life).is_none() {
            self.oldest_first.push_back(key.clone());
        }
        while self.oldest_first.len() > LIVES_MAX {
            if let Some(oldest) = self.oldest_first.pop_front() {
                self.by_key.remove(&oldest);
            }
        }
    }

    /// Whether the life has lost its ground.
    pub(super) fn has_failed(&self, key: &AggregateKey, life: LaneEpoch) -> bool {
        self.by_key.get(key) == Some(&life)
    }
}

/// Judges a proposal.
///
/// The idempotency key comes first: whoever repeats a command wants its first answer, wherever the aggregate is by
/// now.
///
/// # Errors
/// Why it must not be written.
pub(super) fn judge(
    proposal: &Proposal,
    head: Version,
    recorded: Option<Arc<Committed>>,
    lives: &FailedLives,
) -> Result<(), AppendError> {
    if let Some(first) = recorded {
        return Err(AppendError::Duplicate(first));
    }
    if lives.has_failed(&proposal.commit.key, proposal.lane_epoch) {
        return Err(AppendError::Superseded);
    }
    let consistent = proposal.commit.first_version == proposal.expected.plus(1);
    if proposal.expected != head || !consistent {
        return Err(AppendError::Conflict { head });
    }
    Ok(())
}
