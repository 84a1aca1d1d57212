//! How a delivery ends: acknowledged, refused by its member, or run out.

use super::{Failures, Item, LaneKey, Now, Progress, State};
use crate::{
    consumers::lease::{LeaseId, LeaseRefused},
    vocabulary::{Millis, Position},
};

/// What is kept of a reason, bytes.
const ERROR_BYTES: usize = 1_024;

/// What a member says of an event that it could not handle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Why, for people.
    pub reason: String,
    /// When to try again; none for the consumer's own pause.
    pub delay_ms: Option<Millis>,
    /// Whether there is no use in trying again.
    pub park: bool,
}

impl Progress {
    /// Ends a lease well. False when it was acknowledged before, of which the member may not have heard.
    pub(in crate::consumers) fn ack(
        &mut self,
        lease: LeaseId,
        member: &str,
        now: Now,
    ) -> Result<bool, LeaseRefused> {
        self.expire(now);
        match self.check(lease, member) {
            Err(LeaseRefused::Settled) => Ok(false),
            Err(refused) => Err(refused),
            Ok(()) => {
                self.settle(lease.position);
                Ok(true)
            }
        }
    }

    /// Ends a lease badly: the event is delivered again after a pause, or parked. False when that was done before, of which
    /// the member may not have heard.
    pub(in crate::consumers) fn nack(
        &mut self,
        lease: LeaseId,
        member: &str,
        refusal: &Refusal,
        now: Now,
    ) -> Result<bool, LeaseRefused> {
        self.expire(now);
        match self.check(lease, member) {
            Err(LeaseRefused::Refused | LeaseRefused::Settled) if self.was_refused(lease) => {
                return Ok(false);
            }
            checked => checked?,
        }
        let remembered = self.rules.concurrency as usize;
        self.refused.push((lease.position, lease.attempt), remembered);
        self.unlease(lease.position);
        self.fail(lease.position, refusal, now);
        Ok(true)
    }

    /// Gives a lease the whole time again, from now on.
    pub(in crate::consumers) fn extend(
        &mut self,
        lease: LeaseId,
        member: &str,
        now: Now,
    ) -> Result<(), LeaseRefused> {
        self.expire(now);
        self.check(lease, member)?;
        let later = now.steady + self.rules.ack_deadline_ms;
        let item = self.items.get_mut(&lease.position);
        if let Some(State::Leased { until, .. }) = item.map(|item| &mut item.state) {
            self.due.remove(&(*until, lease.position));
            *until = later;
            self.due.insert((later, lease.position));
        }
        Ok(())
    }

    /// Takes a lease back as if it had not been given out: no attempt is counted.
    pub(in crate::consumers) fn release(
        &mut self,
        lease: LeaseId,
        member: &str,
        now: Now,
    ) -> Result<(), LeaseRefused> {
        self.expire(now);
        self.check(lease, member)?;
        self.unlease(lease.position);
        self.give_back(lease.position, None);
        Ok(())
    }

    fn check(&mut self, lease: LeaseId, member: &str) -> Result<(), LeaseRefused> {
        if lease.owner != self.owner {
            return Err(LeaseRefused::OtherConsumer);
        }
        if lease.generation != self.generation {
            return Err(LeaseRefused::OtherGeneration);
        }
        let item = self.items.get(&lease.position);
        match item.map(|item| &item.state) {
            Some(State::Leased {
                member: holder,
                attempt,
                ..
            }) if *attempt == lease.attempt => {
                if holder == member {
                    return Ok(());
                }
                Err(LeaseRefused::OtherMember {
                    holder: holder.clone(),
                })
            }
            None if self.acked.contains(&lease.position) => Err(LeaseRefused::Settled),
            _ if self.was_refused(lease) => Err(LeaseRefused::Refused),
            _ => Err(match item {
                Some(item) => self.never_or_no_more(lease, item),
                None => self.gone(lease.position),
            }),
        }
    }

    /// As far back as is remembered.
    fn was_refused(&self, lease: LeaseId) -> bool {
        self.refused.contains(&(lease.position, lease.attempt))
    }

    /// What is to be said of an event that is not in memory, and was not acknowledged of late.
    fn gone(&mut self, position: Position) -> LeaseRefused {
        if self.undone.contains(&position) {
            // Given out by an earlier life of the process, and not read again yet.
            LeaseRefused::Expired
        } else if self.places().have_failed(position) {
            LeaseRefused::Parked
        } else if self.places().may_have(position) {
            // Perhaps that one too, and replaying brings it again. Rather that than `already` for what comes again.
            LeaseRefused::Expired
        } else if position <= self.filter_since {
            // Perhaps it was let go when the filter was changed.
            LeaseRefused::Expired
        } else if position <= self.read_once() {
            LeaseRefused::Settled
        } else {
            LeaseRefused::NotLeased
        }
    }

    /// An attempt up to the last one that failed has run out; another one was never made, unless attempts are counted anew:
    /// what is replayed, and what another filter may have let go, was tried before.
    fn never_or_no_more(&self, lease: LeaseId, item: &Item) -> LeaseRefused {
        let failed = self.failures.get(&lease.position);
        let attempts = failed.map_or(0, |failures| failures.attempts);
        let is_counted_anew = item.replayed || lease.position <= self.filter_since;
        if lease.attempt <= attempts || is_counted_anew {
            LeaseRefused::Expired
        } else {
            LeaseRefused::NotLeased
        }
    }

    /// Takes back what is leased for too long, and wakes what has waited. True when anything changed that is kept.
    pub(in crate::consumers) fn expire(&mut self, now: Now) -> bool {
        let mut changed = false;
        while let Some((at, position)) = self.due.first().copied().filter(|(at, _)| *at <= now.steady) {
            self.due.remove(&(at, position));
            let Some(item) = self.items.get_mut(&position) else {
                continue;
            };
            let state = std::mem::replace(&mut item.state, State::Queued);
            if let State::Leased { member, .. } = state {
                self.leased = self.leased.saturating_sub(1);
                let within = self.rules.ack_deadline_ms;
                let refusal = Refusal {
                    reason: format!("member `{member}` did not acknowledge it within {within} ms"),
                    delay_ms: Some(0),
                    park: false,
                };
                self.fail(position, &refusal, now);
                changed = true;
            } else {
                self.make_ready(position);
            }
        }
        changed
    }

    fn unlease(&mut self, position: Position) {
        let item = self.items.get_mut(&position);
        if let Some(Item { state, .. }) = item
            && let State::Leased { until, .. } = std::mem::replace(state, State::Queued)
        {
            self.due.remove(&(until, position));
            self.leased = self.leased.saturating_sub(1);
        }
    }

    /// One more attempt has failed.
    fn fail(&mut self, position: Position, refusal: &Refusal, now: Now) {
        let failures = self.failures.entry(position).or_insert_with(|| Failures {
            attempts: 0,
            error: String::new(),
        });
        failures.attempts = failures.attempts.saturating_add(1);
        failures.error = shortened(&refusal.reason);
        let failures = failures.clone();
        let attempts = failures.attempts;
        let last = refusal.park || attempts >= self.rules.retry.attempts;
        let Some(item) = self.items.get(&position) else {
            return;
        };
        let lane = self.lane_of(&item.event);
        let room = self.parked.contains_key(&lane) || self.parked.len() < self.bounds.parked;
        if last && room && self.is_owed(item) {
            self.park(&lane, position, failures, now.wall);
            return;
        }
        // Without room to park it, it is tried for ever, as seldom as may be.
        let own = self.rules.retry.pause_ms(attempts);
        let delay = if last {
            self.rules.retry.longest_pause_ms
        } else {
            refusal.delay_ms.unwrap_or(own)
        };
        let not_before = (delay > 0).then(|| now.steady.saturating_add(delay));
        self.give_back(position, not_before);
    }

    /// An event is acknowledged: its lane goes on.
    fn settle(&mut self, position: Position) {
        self.unlease(position);
        let Some(item) = self.take(position) else { return };
        self.acked.push(position, self.rules.concurrency as usize);
        let lane = self.lane_of(&item.event);
        if item.replayed {
            self.replayed(&lane, &item.event);
        }
        self.done(position);
        self.advance(&lane, position);
        self.forget_passed();
    }

    /// Takes an event out of memory.
    pub(super) fn take(&mut self, position: Position) -> Option<Item> {
        let item = self.items.remove(&position)?;
        let held = self.held(item.replayed);
        held.events = held.events.saturating_sub(1);
        held.bytes = held.bytes.saturating_sub(item.event.payload.len());
        self.ready.remove(position);
        if let State::Waiting(at) | State::Leased { until: at, .. } = item.state {
            self.due.remove(&(at, position));
        }
        Some(item)
    }

    /// An event that was out, or could be, is gone from its lane: the first one is next.
    pub(super) fn advance(&mut self, lane: &LaneKey, gone: Position) {
        let Some(places) = self.lanes.get_mut(lane) else {
            return;
        };
        if let Ok(place) = places.binary_search(&gone) {
            places.remove(place);
        }
        match places.front().copied() {
            Some(next) => self.make_ready(next),
            None => {
                self.lanes.remove(lane);
                self.end_replay_if_drained(lane);
            }
        }
    }
}

pub(super) fn shortened(reason: &str) -> String {
    if reason.len() <= ERROR_BYTES {
        return reason.to_owned();
    }
    let mut end = ERROR_BYTES;
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", reason.get(..end).unwrap_or_default())
}
