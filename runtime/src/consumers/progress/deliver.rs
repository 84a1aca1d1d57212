//! What goes out: which events are leased next, and until when.

use super::{Delivered, Kind, Now, Progress, State};
use crate::{
    consumers::lease::LeaseId,
    vocabulary::{Millis, Position},
};

impl Progress {
    /// It is the first of its lane, and can be delivered.
    pub(super) fn make_ready(&mut self, position: Position) {
        let has_failed = self.failures.contains_key(&position);
        if let Some(item) = self.items.get_mut(&position) {
            item.state = State::Ready;
            let kind = match item.replayed {
                _ if has_failed => Kind::Failed,
                true => Kind::Replayed,
                false => Kind::Fed,
            };
            self.ready.insert(kind, position);
        }
    }

    /// It is the first of its lane, and not to be delivered before a time.
    pub(super) fn wait(&mut self, position: Position, until: Millis) {
        if let Some(item) = self.items.get_mut(&position) {
            item.state = State::Waiting(until);
            self.due.insert((until, position));
        }
    }

    /// Leases what is ready, oldest first; what has failed before by itself.
    pub(in crate::consumers) fn lease(&mut self, member: &str, most: usize, now: Now) -> Vec<Delivered> {
        self.expire(now);
        let together = self.ready.take(most.min(self.room()));
        let delivered = together
            .into_iter()
            .filter_map(|position| self.deliver(position, member, now));
        delivered.collect()
    }

    /// Leases one: the first that is ready after a position, or else the first of all. Whoever goes on where it was comes
    /// past all lanes, whatever the older ones do.
    pub(in crate::consumers) fn lease_after(
        &mut self,
        member: &str,
        after: Position,
        now: Now,
    ) -> Option<Delivered> {
        self.expire(now);
        if self.room() == 0 {
            return None;
        }
        let position = self.ready.after(after)?;
        self.ready.remove(position);
        self.deliver(position, member, now)
    }

    fn deliver(&mut self, position: Position, member: &str, now: Now) -> Option<Delivered> {
        let item = self.items.get_mut(&position)?;
        let failures = self.failures.get(&position);
        let attempt = failures.map_or(0, |failures| failures.attempts) + 1;
        let until = now.steady + self.rules.ack_deadline_ms;
        item.state = State::Leased {
            member: member.to_owned(),
            attempt,
            until,
        };
        self.due.insert((until, position));
        self.leased += 1;
        if attempt == 1 {
            // Counted anew after a replay, or after a filter that did not want it: refusals of before were of other leases.
            self.refused.forget(&((position, 0)..=(position, u32::MAX)));
        }
        Some(Delivered {
            lease: LeaseId {
                owner: self.owner,
                generation: self.generation,
                position,
                attempt,
            },
            last_error: failures.map(|failures| failures.error.clone()),
            event: item.event.clone(),
        })
    }

    /// When the next lease ends, or the next pause, by the steady clock.
    pub(in crate::consumers) fn next_due(&self) -> Option<Millis> {
        self.due.first().map(|(at, _)| *at)
    }
}
