//! What members and people do in the model, and what they are told.

use super::*;

impl World {
    pub(super) fn pick(&mut self, which: usize) -> Option<Lease> {
        (!self.out.is_empty()).then(|| self.out.swap_remove(which % self.out.len()))
    }

    pub(super) fn ack(&mut self, which: usize) {
        let Some(lease) = self.pick(which) else { return };
        let id = lease.delivered.lease;
        let other = self.progress.ack(id, "somebody else", self.time());
        assert_eq!(
            other,
            Err(LeaseRefused::OtherMember {
                holder: lease.member.clone()
            })
        );
        assert_eq!(self.progress.ack(id, &lease.member, self.time()), Ok(true));
        assert_eq!(self.progress.ack(id, &lease.member, self.time()), Ok(false));
        self.said.acked.insert(id.position);
        self.ended.push((id, lease.member));
    }

    pub(super) fn nack(&mut self, which: usize, delay_ms: Option<Millis>, park: bool) {
        let Some(lease) = self.pick(which) else { return };
        let refusal = Refusal {
            reason: "it does not work".into(),
            delay_ms,
            park,
        };
        let id = lease.delivered.lease;
        let mut nack = |now| self.progress.nack(id, &lease.member, &refusal, now);
        let now = Now {
            steady: self.now,
            wall: self.now,
        };
        assert_eq!(nack(now), Ok(true));
        assert_eq!(nack(now), Ok(false));
        assert_eq!(
            self.progress.extend(id, &lease.member, now),
            Err(LeaseRefused::Refused)
        );
        self.ended.push((id, lease.member));
    }

    pub(super) fn release(&mut self, which: usize) {
        let Some(lease) = self.pick(which) else { return };
        let id = lease.delivered.lease;
        self.progress.release(id, &lease.member, self.time()).unwrap();
        let again = self.progress.release(id, &lease.member, self.time());
        assert!(
            matches!(again, Err(LeaseRefused::NotLeased | LeaseRefused::Expired)),
            "{again:?}"
        );
        // It was no attempt.
        *self.deliveries.get_mut(&id.position).unwrap() -= 1;
        self.ended.push((id, lease.member));
    }

    pub(super) fn extend(&mut self, which: usize) {
        if self.out.is_empty() {
            return;
        }
        let (now, which) = (self.time(), which % self.out.len());
        let lease = &mut self.out[which];
        self.progress
            .extend(lease.delivered.lease, &lease.member, now)
            .unwrap();
        lease.until = now.steady + self.rules.ack_deadline_ms;
    }

    /// A lease that has ended does nothing any more.
    pub(super) fn stale(&mut self, which: usize) {
        let Some((id, member)) = self.ended.get(which).cloned() else {
            return;
        };
        let held = self
            .out
            .iter()
            .any(|lease| lease.delivered.lease == id && lease.member == member);
        if held {
            return;
        }
        let answer = self.progress.ack(id, &member, self.time());
        let said = self.said.acked.contains(&id.position) || self.said.skipped.contains(&id.position);
        match answer {
            Ok(first) => assert!(!first && said, "{id:?}"),
            Err(LeaseRefused::Settled) => panic!("{id:?}"),
            Err(_) => {}
        }
    }

    pub(super) fn pass(&mut self, millis: Millis) {
        self.now += millis;
        let now = self.time();
        self.progress.expire(now);
        let (over, out): (Vec<_>, _) = std::mem::take(&mut self.out)
            .into_iter()
            .partition(|lease| lease.until <= now.steady);
        self.out = out;
        self.ended.extend(
            over.into_iter()
                .map(|lease| (lease.delivered.lease, lease.member)),
        );
    }

    pub(super) fn save(&mut self) {
        let changes = self.progress.take_parked_changes();
        // The first attempt fails.
        self.progress
            .parked_again(changes.into_iter().map(|(lane, _)| lane).collect());
        for (lane, parked) in self.progress.take_parked_changes() {
            match parked {
                Some(parked) => drop(self.saved.1.insert(lane, parked)),
                None => drop(self.saved.1.remove(&lane)),
            }
        }
        self.saved.0 = self.progress.record();
        self.saved.2 = self.said.clone();
        self.saved.3 = self.rules.filter.clone();
    }

    pub(super) fn restart(&mut self) {
        let (record, parked, said, filter) = self.saved.clone();
        let encoded = postcard::to_stdvec(&record).unwrap();
        let record: Record = postcard::from_bytes(&encoded).unwrap();
        // The filter was changed, and nothing of it written down: it judges from where the process begins again.
        let now = std::mem::replace(&mut self.rules.filter, filter);
        self.progress = Progress::restore(
            record.clone(),
            parked.clone(),
            self.rules.clone(),
            BOUNDS,
            self.end(),
        );
        self.said = said;
        if now != self.rules.filter {
            self.pass_by();
            self.rules.filter = now;
            self.progress = Progress::restore(record, parked, self.rules.clone(), BOUNDS, self.end());
        }
        let empty = Progress::new(0, Position(0), self.rules.clone(), BOUNDS);
        let progress = std::mem::replace(&mut self.progress, empty);
        self.progress = progress.after_filter_changes(self.filter_changes, self.end());
        self.ended.extend(
            self.out
                .drain(..)
                .map(|lease| (lease.delivered.lease, lease.member)),
        );
        self.renewals += 1;
    }

    pub(super) fn lane(&self, which: usize) -> Option<LaneKey> {
        let lanes: Vec<_> = self.progress.parked().map(|(lane, _)| lane.clone()).collect();
        (!lanes.is_empty()).then(|| lanes[which % lanes.len()].clone())
    }

    pub(super) fn replay(&mut self, which: usize) {
        let Some(lane) = self.lane(which) else { return };
        let was = self
            .progress
            .parked_lane(&lane)
            .is_ok_and(|parked| parked.replaying);
        let answer = self.progress.replay(&lane);
        assert_eq!(
            answer,
            if was {
                Err(ParkedRefused::Replaying)
            } else {
                Ok(())
            }
        );
        self.renewals += 1;
    }

    pub(super) fn skip(&mut self, which: usize) {
        let Some(lane) = self.lane(which) else { return };
        let parked = self.progress.parked_lane(&lane).cloned().unwrap();
        let events = self.progress.parked_events(&parked);
        let all = Skip {
            through: events.last(),
            events: parked.count,
            which: events,
        };
        if parked.replaying {
            assert_eq!(self.progress.skip(&lane, &all), Err(ParkedRefused::Replaying));
            return;
        }
        let of_lane: Vec<Position> = self
            .log
            .iter()
            .filter(|event| self.progress.lane_of(event) == lane && self.is_parked(event))
            .map(|event| event.position)
            .collect();
        assert_eq!(of_lane.len() as u64, parked.count);
        let upto = of_lane
            .first()
            .filter(|_| which == 0 && of_lane.len() > 1)
            .copied();
        let version = upto.map(|position| self.log[position.0 as usize - 1].version);
        let skip = match version {
            Some(through) => Skip {
                through,
                events: 1,
                ..all
            },
            None => all,
        };
        self.progress.skip(&lane, &skip).unwrap();
        match upto {
            Some(first) => drop(self.said.skipped.insert(first)),
            None => self.said.skipped.extend(of_lane),
        }
    }

    /// Members come and go, and the definition is changed. What is out stays as it is.
    pub(super) fn resize(&mut self, concurrency: u32, deadline: Millis) {
        self.rules.concurrency = concurrency;
        self.rules.ack_deadline_ms = deadline;
        self.progress.set_rules(self.rules.clone(), self.end());
    }

    /// Other events are wanted. What lies before the checkpoint, and was not, is passed for good.
    pub(super) fn choose(&mut self, kinds: u8, saved: bool) {
        self.pass_by();
        let filter = filter(kinds);
        self.filter_changes += u64::from(self.rules.filter != filter);
        self.rules.filter = filter;
        self.progress.set_rules(self.rules.clone(), self.end());
        self.renewals += 1;
        if saved {
            self.save();
        }
    }

    pub(super) fn pass_by(&mut self) {
        let before = self.log.iter().take(self.progress.checkpoint().0 as usize);
        let passed = before.filter(|event| !self.is_settled(event) && !self.is_parked(event));
        let passed: Vec<Position> = passed.map(|event| event.position).collect();
        self.said.passed.extend(passed);
    }
}
