//! A model that only remembers what was said: nothing is lost, an aggregate's events come in order and one at a time, and
//! nothing is delivered more often than attempts, restarts and replays explain.

use super::*;

/// What an answer was given for, and what was left out.
#[derive(Debug, Clone, Default)]
pub(super) struct Said {
    pub(super) acked: BTreeSet<Position>,
    pub(super) skipped: BTreeSet<Position>,
    /// Before the checkpoint when the filter was changed, and not wanted up to then.
    pub(super) passed: BTreeSet<Position>,
    /// What was parked at any time.
    pub(super) parked: BTreeSet<Position>,
}

#[derive(Debug)]
pub(super) struct Lease {
    pub(super) delivered: Delivered,
    pub(super) member: String,
    pub(super) until: Millis,
}

pub(super) struct World {
    pub(super) progress: Progress,
    pub(super) rules: Definition,
    /// How often another filter was chosen.
    pub(super) filter_changes: u64,
    pub(super) log: Vec<RecordedEvent>,
    pub(super) now: Millis,
    pub(super) said: Said,
    pub(super) out: Vec<Lease>,
    pub(super) ended: Vec<(LeaseId, String)>,
    pub(super) deliveries: BTreeMap<Position, u32>,
    /// Tries of what there was no room to park: one more than there were by then.
    pub(super) tried_on: BTreeMap<Position, u32>,
    /// What may have begun the attempts of an event anew.
    pub(super) renewals: u32,
    pub(super) saved: (Record, BTreeMap<LaneKey, Parked>, Said, FeedFilter),
}

impl World {
    pub(super) fn new(ordering: Order, concurrency: u32) -> Self {
        let rules = rules(ordering, concurrency);
        let progress = Progress::new(1, Position(0), rules.clone(), BOUNDS);
        let saved = (
            progress.record(),
            BTreeMap::new(),
            Said::default(),
            rules.filter.clone(),
        );
        Self {
            progress,
            rules,
            filter_changes: 0,
            log: Vec::new(),
            now: 0,
            said: Said::default(),
            out: Vec::new(),
            ended: Vec::new(),
            deliveries: BTreeMap::new(),
            tried_on: BTreeMap::new(),
            renewals: 1,
            saved,
        }
    }

    pub(super) fn time(&self) -> Now {
        Now {
            steady: self.now,
            wall: self.now,
        }
    }

    /// Where the log ends.
    pub(super) fn end(&self) -> Position {
        Position(self.log.len() as u64)
    }

    pub(super) fn run(&mut self, step: &Step) {
        match step {
            Step::Publish { aggregate, kind } => self.publish(*aggregate, *kind),
            Step::Read { events } => self.read(*events),
            Step::Fetch { member, most } => self.fetch(&format!("m{member}"), *most),
            Step::FetchAfter { member, after } => self.fetch_after(&format!("m{member}"), Position(*after)),
            Step::Ack { which } => self.ack(*which),
            Step::Release { which } => self.release(*which),
            Step::Nack { which, delay, park } => self.nack(*which, *delay, *park),
            Step::Extend { which } => self.extend(*which),
            Step::Stale { which } => self.stale(*which),
            Step::Pass { millis } => self.pass(*millis),
            Step::Save => self.save(),
            Step::Restart => self.restart(),
            Step::Replay { which } => self.replay(*which),
            Step::Skip { which } => self.skip(*which),
            Step::Resize {
                concurrency,
                deadline,
            } => self.resize(*concurrency, *deadline),
            Step::Choose { kinds, saved } => self.choose(*kinds, *saved),
        }
        let parked = self.log.iter().filter(|event| self.is_parked(event));
        self.said.parked = parked
            .map(|event| event.position)
            .chain(self.said.parked.iter().copied())
            .collect();
        self.note_what_is_tried_on();
        let last = self.log.len() as u64;
        assert!(self.progress.checkpoint() <= Position(last));
        let held = self.progress.items.len();
        assert!(held <= BOUNDS.events + BOUNDS.events / 4, "{held} are held");
        assert_eq!(self.progress.leased(), self.out.len());
        for position in (1..=self.progress.checkpoint().0).map(Position) {
            assert!(self.is_done(position), "the checkpoint is past {position:?}");
        }
    }

    /// With no room to park more, an event is tried on, and once more when there is room again.
    fn note_what_is_tried_on(&mut self) {
        if self.progress.parked().count() >= BOUNDS.parked {
            let bound = ATTEMPTS * self.renewals;
            let out = self.deliveries.iter().filter(|(_, times)| **times >= bound);
            self.tried_on
                .extend(out.map(|(position, times)| (*position, times + 1)));
        }
    }

    pub(super) fn is_done(&self, position: Position) -> bool {
        let event = &self.log[position.0 as usize - 1];
        !self.is_wanted(event) || self.is_settled(event) || self.is_parked(event)
    }

    /// By the filter that is in force.
    pub(super) fn is_wanted(&self, event: &RecordedEvent) -> bool {
        self.rules.filter.wants(event) && !self.said.passed.contains(&event.position)
    }

    pub(super) fn is_settled(&self, event: &RecordedEvent) -> bool {
        self.said.acked.contains(&event.position) || self.said.skipped.contains(&event.position)
    }

    pub(super) fn is_parked(&self, event: &RecordedEvent) -> bool {
        let lane = self.progress.lane_of(event);
        let parked = self.progress.parked_lane(&lane);
        parked.is_ok_and(|parked| self.progress.parked_events(parked).have(event))
    }

    pub(super) fn publish(&mut self, aggregate: u8, kind: u8) {
        let id = format!("a{aggregate}");
        let of_aggregate = self
            .log
            .iter()
            .filter(|event| event.key.aggregate_id.as_str() == id);
        let version = of_aggregate.count() as u64 + 1;
        let position = self.log.len() as u64 + 1;
        self.log.push(event_of(kind, aggregate, version, position));
    }

    pub(super) fn read(&mut self, most: usize) {
        for read in self.progress.wanted_for_replays() {
            let history = self
                .log
                .iter()
                .filter(|event| event.key == read.lane.aggregate && event.version >= read.parked.first());
            let mut events: Vec<_> = history.take(most.min(read.most)).cloned().collect();
            let last = events.last().map(|event| event.version);
            let next = last.filter(|last| *last < read.parked.last());
            events.retain(|event| read.parked.have(event));
            self.progress
                .offer_replay(&read, events, next.map(|last| last.plus(1)));
        }
        if let Some((after, room)) = self.progress.wants_more() {
            let stretch: Vec<_> = self
                .log
                .iter()
                .skip(after.0 as usize)
                .take(most.min(room))
                .collect();
            let scanned = stretch.last().map_or(after, |event| event.position);
            let events = stretch
                .into_iter()
                .filter(|event| self.rules.filter.wants(event))
                .cloned();
            let events = events.collect();
            self.progress.offer(after, events, scanned);
        }
    }

    pub(super) fn fetch(&mut self, member: &str, most: usize) {
        let delivered = self.progress.lease(member, most, self.time());
        assert!(delivered.len() <= most);
        let failed = delivered.iter().any(|delivered| delivered.lease.attempt > 1);
        assert!(!failed || delivered.len() == 1, "not by itself: {delivered:?}");
        self.take(member, delivered);
    }

    pub(super) fn fetch_after(&mut self, member: &str, after: Position) {
        let items = self.progress.items.iter();
        let ready = items.filter(|(_, item)| item.state == State::Ready);
        let ready: BTreeSet<Position> = ready.map(|(position, _)| *position).collect();
        let delivered = self.progress.lease_after(member, after, self.time());
        if let Some(delivered) = &delivered {
            let later = ready.iter().find(|position| **position > after);
            assert_eq!(Some(&delivered.lease.position), later.or(ready.first()));
        }
        self.take(member, delivered.into_iter().collect());
    }

    pub(super) fn take(&mut self, member: &str, delivered: Vec<Delivered>) {
        for delivered in delivered {
            let event = &delivered.event;
            let position = event.position;
            assert!(
                !self.said.acked.contains(&position),
                "{position:?} was acknowledged"
            );
            assert!(!self.said.skipped.contains(&position), "{position:?} was skipped");
            let owed = |event: &RecordedEvent| self.is_wanted(event) || self.is_parked(event);
            assert!(owed(event), "{position:?} is not wanted");
            if self.rules.ordering == Order::Aggregate {
                let held = self
                    .out
                    .iter()
                    .any(|lease| lease.delivered.event.key == event.key);
                assert!(!held, "another event of {} is out", event.key);
                for earlier in &self.log {
                    let is_before = earlier.key == event.key && earlier.version < event.version;
                    let is_first = is_before && owed(earlier) && !self.is_settled(earlier);
                    assert!(!is_first, "{earlier:?} comes first");
                }
            }
            let times = self.deliveries.entry(position).or_default();
            *times += 1;
            let bound = ATTEMPTS * self.renewals;
            let tried_on = self.tried_on.get(&position).copied().unwrap_or(0);
            assert!(
                *times <= bound.max(tried_on) || self.progress.parked().count() >= BOUNDS.parked,
                "{position:?} was delivered {times} times"
            );
            self.out.push(Lease {
                delivered,
                member: member.to_owned(),
                until: self.now + self.rules.ack_deadline_ms,
            });
            assert!(self.out.len() <= self.rules.concurrency as usize);
        }
    }

    /// Everything that can be done is done in the end.
    pub(super) fn finish(&mut self) {
        self.pass(LONGEST_DEADLINE);
        for _ in 0..10_000 {
            for which in 0..BOUNDS.parked {
                if let Some(lane) = self.lane(which)
                    && self.progress.replay(&lane).is_ok()
                {
                    self.renewals += 1;
                }
            }
            self.read(2);
            self.fetch("last", 2);
            while !self.out.is_empty() {
                self.ack(0);
            }
            self.pass(50);
            if self.progress.checkpoint().0 == self.log.len() as u64 && self.progress.parked().count() == 0 {
                break;
            }
        }
        for event in &self.log {
            let is_owed = self.is_wanted(event) || self.said.parked.contains(&event.position);
            assert!(!is_owed || self.is_settled(event), "{event:?} was lost");
        }
        assert_eq!(self.progress.undone(), (0, Position(self.log.len() as u64)));
    }
}
