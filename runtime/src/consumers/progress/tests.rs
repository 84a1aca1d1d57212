//! Random schedules of events, deliveries, answers, time, restarts, changed rules and filters, and replays against a model that only
//! remembers what was said: nothing is lost, an aggregate's events come in order and one at a time, and nothing is delivered more often than
//! attempts, restarts and replays explain.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    consumers::{
        definition::Retry,
        lease::LeaseRefused,
        progress::{parked::ParkedRefused, settle::Refusal},
    },
    store::FeedFilter,
    vocabulary::{AggregateId, AggregateType, CommandName, EventType, ModuleDigest, Origin},
};

const ATTEMPTS: u32 = 3;
const DEADLINE: Millis = 100;
/// The longest of all that rules are changed to.
const LONGEST_DEADLINE: Millis = 150;

/// What sorts of events there are.
const KINDS: [&str; 3] = ["opened", "deposited", "closed"];

/// A filter for all sorts, or for those in the bits.
fn filter(kinds: u8) -> FeedFilter {
    let named = KINDS.iter().enumerate();
    let named = named.filter(|(index, _)| kinds & (1 << index) != 0);
    FeedFilter {
        event_types: named.map(|(_, kind)| EventType::parse(kind).unwrap()).collect(),
        ..FeedFilter::default()
    }
}

fn event(aggregate: u8, version: u64, position: u64) -> RecordedEvent {
    event_of(0, aggregate, version, position)
}

fn event_of(kind: u8, aggregate: u8, version: u64, position: u64) -> RecordedEvent {
    RecordedEvent {
        key: AggregateKey::new(
            AggregateType::parse("account").unwrap(),
            AggregateId::parse(&format!("a{aggregate}")).unwrap(),
        ),
        version: Version(version),
        position: Position(position),
        event_type: EventType::parse(KINDS[usize::from(kind)]).unwrap(),
        schema: 1,
        recorded_at: position,
        payload: Bytes::from_static(b"{}"),
        origin: Arc::new(Origin {
            command: CommandName::parse("do").unwrap(),
            command_id: "c".into(),
            correlation_id: "c".into(),
            causation_id: None,
            actor: None,
            traceparent: None,
            module: ModuleDigest([0; 32]),
        }),
    }
}

fn rules(ordering: Order, concurrency: u32) -> Definition {
    Definition {
        ack_deadline_ms: DEADLINE,
        retry: Retry {
            attempts: ATTEMPTS,
            first_pause_ms: 10,
            longest_pause_ms: 40,
        },
        concurrency,
        ordering,
        ..Definition::default()
    }
}

const BOUNDS: Bounds = Bounds {
    events: 6,
    bytes: 1_000,
    parked: 2,
};

#[derive(Debug, Clone)]
enum Step {
    Publish {
        aggregate: u8,
        kind: u8,
    },
    Read {
        events: usize,
    },
    Fetch {
        member: u8,
        most: usize,
    },
    FetchAfter {
        member: u8,
        after: u64,
    },
    Ack {
        which: usize,
    },
    Release {
        which: usize,
    },
    Nack {
        which: usize,
        delay: Option<Millis>,
        park: bool,
    },
    Extend {
        which: usize,
    },
    Stale {
        which: usize,
    },
    Pass {
        millis: Millis,
    },
    Save,
    Restart,
    Replay {
        which: usize,
    },
    Skip {
        which: usize,
    },
    Resize {
        concurrency: u32,
        deadline: Millis,
    },
    /// Other events are wanted from now on.
    Choose {
        kinds: u8,
        /// Whether it is written down before the next step.
        saved: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..3_u8, 0..3_u8).prop_map(|(aggregate, kind)| Step::Publish { aggregate, kind }),
        6 => (1..4_usize).prop_map(|events| Step::Read { events }),
        6 => (0..3_u8, 1..4_usize).prop_map(|(member, most)| Step::Fetch { member, most }),
        2 => (0..3_u8, 0..20_u64).prop_map(|(member, after)| Step::FetchAfter { member, after }),
        6 => (0..8_usize).prop_map(|which| Step::Ack { which }),
        2 => (0..8_usize).prop_map(|which| Step::Release { which }),
        4 => (0..8_usize, prop::option::of(0..30_u64), prop::bool::weighted(0.2))
            .prop_map(|(which, delay, park)| Step::Nack { which, delay, park }),
        1 => (0..8_usize).prop_map(|which| Step::Extend { which }),
        1 => (0..8_usize).prop_map(|which| Step::Stale { which }),
        3 => (1..120_u64).prop_map(|millis| Step::Pass { millis }),
        3 => Just(Step::Save),
        1 => Just(Step::Restart),
        2 => (0..3_usize).prop_map(|which| Step::Replay { which }),
        1 => (0..3_usize).prop_map(|which| Step::Skip { which }),
        1 => (1..5_u32, 20..=LONGEST_DEADLINE)
            .prop_map(|(concurrency, deadline)| Step::Resize { concurrency, deadline }),
        2 => (0..8_u8, prop::bool::weighted(0.8)).prop_map(|(kinds, saved)| Step::Choose { kinds, saved }),
    ]
}

/// What an answer was given for, and what was left out.
#[derive(Debug, Clone, Default)]
struct Said {
    acked: BTreeSet<Position>,
    skipped: BTreeSet<Position>,
    /// Before the checkpoint when the filter was changed, and not wanted up to then.
    passed: BTreeSet<Position>,
    /// What was parked at any time.
    parked: BTreeSet<Position>,
}

#[derive(Debug)]
struct Lease {
    delivered: Delivered,
    member: String,
    until: Millis,
}

struct World {
    progress: Progress,
    rules: Definition,
    log: Vec<RecordedEvent>,
    now: Millis,
    said: Said,
    out: Vec<Lease>,
    ended: Vec<(LeaseId, String)>,
    deliveries: BTreeMap<Position, u32>,
    /// What may have begun the attempts of an event anew.
    renewals: u32,
    saved: (Record, BTreeMap<LaneKey, Parked>, Said, FeedFilter),
}

impl World {
    fn new(ordering: Order, concurrency: u32) -> Self {
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
            log: Vec::new(),
            now: 0,
            said: Said::default(),
            out: Vec::new(),
            ended: Vec::new(),
            deliveries: BTreeMap::new(),
            renewals: 1,
            saved,
        }
    }

    fn time(&self) -> Now {
        Now {
            steady: self.now,
            wall: self.now,
        }
    }

    /// Where the log ends.
    fn end(&self) -> Position {
        Position(self.log.len() as u64)
    }

    fn run(&mut self, step: &Step) {
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
        let last = self.log.len() as u64;
        assert!(self.progress.checkpoint() <= Position(last));
        let held = self.progress.items.len();
        assert!(held <= BOUNDS.events + BOUNDS.events / 4, "{held} are held");
        assert_eq!(self.progress.leased(), self.out.len());
        for position in (1..=self.progress.checkpoint().0).map(Position) {
            assert!(self.is_done(position), "the checkpoint is past {position:?}");
        }
    }

    fn is_done(&self, position: Position) -> bool {
        let event = &self.log[position.0 as usize - 1];
        !self.is_wanted(event) || self.is_settled(event) || self.is_parked(event)
    }

    /// By the filter that is in force.
    fn is_wanted(&self, event: &RecordedEvent) -> bool {
        self.rules.filter.wants(event) && !self.said.passed.contains(&event.position)
    }

    fn is_settled(&self, event: &RecordedEvent) -> bool {
        self.said.acked.contains(&event.position) || self.said.skipped.contains(&event.position)
    }

    fn is_parked(&self, event: &RecordedEvent) -> bool {
        let lane = self.progress.lane_of(event);
        let parked = self.progress.parked_lane(&lane);
        parked.is_ok_and(|parked| self.progress.parked_events(parked).have(event))
    }

    fn publish(&mut self, aggregate: u8, kind: u8) {
        let id = format!("a{aggregate}");
        let of_aggregate = self
            .log
            .iter()
            .filter(|event| event.key.aggregate_id.as_str() == id);
        let version = of_aggregate.count() as u64 + 1;
        let position = self.log.len() as u64 + 1;
        self.log.push(event_of(kind, aggregate, version, position));
    }

    fn read(&mut self, most: usize) {
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

    fn fetch(&mut self, member: &str, most: usize) {
        let delivered = self.progress.lease(member, most, self.time());
        assert!(delivered.len() <= most);
        let failed = delivered.iter().any(|delivered| delivered.lease.attempt > 1);
        assert!(!failed || delivered.len() == 1, "not by itself: {delivered:?}");
        self.take(member, delivered);
    }

    fn fetch_after(&mut self, member: &str, after: Position) {
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

    fn take(&mut self, member: &str, delivered: Vec<Delivered>) {
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
            // With no room to park more, an event is tried on.
            let bound = ATTEMPTS * self.renewals;
            let crowded = self.progress.parked().count() >= BOUNDS.parked;
            assert!(
                *times <= bound || crowded,
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

    fn pick(&mut self, which: usize) -> Option<Lease> {
        (!self.out.is_empty()).then(|| self.out.swap_remove(which % self.out.len()))
    }

    fn ack(&mut self, which: usize) {
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

    fn nack(&mut self, which: usize, delay_ms: Option<Millis>, park: bool) {
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

    fn release(&mut self, which: usize) {
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

    fn extend(&mut self, which: usize) {
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
    fn stale(&mut self, which: usize) {
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

    fn pass(&mut self, millis: Millis) {
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

    fn save(&mut self) {
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

    fn restart(&mut self) {
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
        self.ended.extend(
            self.out
                .drain(..)
                .map(|lease| (lease.delivered.lease, lease.member)),
        );
        self.renewals += 1;
    }

    fn lane(&self, which: usize) -> Option<LaneKey> {
        let lanes: Vec<_> = self.progress.parked().map(|(lane, _)| lane.clone()).collect();
        (!lanes.is_empty()).then(|| lanes[which % lanes.len()].clone())
    }

    fn replay(&mut self, which: usize) {
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

    fn skip(&mut self, which: usize) {
        let Some(lane) = self.lane(which) else { return };
        let parked = self.progress.parked_lane(&lane).cloned().unwrap();
        if parked.replaying {
            assert_eq!(self.progress.skip(&lane, None), Err(ParkedRefused::Replaying));
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
        let skipped = version.map(|version| Upto { version, events: 1 });
        self.progress.skip(&lane, skipped).unwrap();
        match upto {
            Some(first) => drop(self.said.skipped.insert(first)),
            None => self.said.skipped.extend(of_lane),
        }
    }

    /// Members come and go, and the definition is changed. What is out stays as it is.
    fn resize(&mut self, concurrency: u32, deadline: Millis) {
        self.rules.concurrency = concurrency;
        self.rules.ack_deadline_ms = deadline;
        self.progress.set_rules(self.rules.clone(), self.end());
    }

    /// Other events are wanted. What lies before the checkpoint, and was not, is passed for good.
    fn choose(&mut self, kinds: u8, saved: bool) {
        self.pass_by();
        self.rules.filter = filter(kinds);
        self.progress.set_rules(self.rules.clone(), self.end());
        self.renewals += 1;
        if saved {
            self.save();
        }
    }

    fn pass_by(&mut self) {
        let before = self.log.iter().take(self.progress.checkpoint().0 as usize);
        let passed = before.filter(|event| !self.is_settled(event) && !self.is_parked(event));
        let passed: Vec<Position> = passed.map(|event| event.position).collect();
        self.said.passed.extend(passed);
    }

    /// Everything that can be done is done in the end.
    fn finish(&mut self) {
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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn nothing_is_lost_and_aggregates_are_in_order(
        ordered in prop::bool::weighted(0.8),
        concurrency in 1..5_u32,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let ordering = if ordered { Order::Aggregate } else { Order::None };
        let mut world = World::new(ordering, concurrency);
        for step in &steps {
            world.run(step);
        }
        world.finish();
    }
}

fn world_with(events: &[u8]) -> World {
    let mut world = World::new(Order::Aggregate, 10);
    for aggregate in events {
        world.publish(*aggregate, 0);
    }
    world.read(6);
    world
}

fn positions(world: &World) -> Vec<u64> {
    world
        .out
        .iter()
        .map(|lease| lease.delivered.event.position.0)
        .collect()
}

#[test]
fn a_poison_event_stops_only_its_aggregate() {
    let mut world = world_with(&[0, 0, 1, 0, 1]);
    world.fetch("m", 10);
    assert_eq!(positions(&world), [1, 3]);
    world.nack(0, None, true);
    world.ack(0);
    world.fetch("m", 10);
    assert_eq!(positions(&world), [5]);
    world.ack(0);
    let lane = world.lane(0).unwrap();
    let parked = world.progress.parked_lane(&lane).unwrap();
    assert_eq!(
        (parked.first(), parked.count, parked.through),
        (Version(1), 3, Position(4))
    );
    assert_eq!(world.progress.checkpoint(), Position(5));

    // What comes later waits behind it, and all of it comes back in order.
    world.publish(0, 0);
    world.read(6);
    world.fetch("m", 10);
    assert!(world.out.is_empty());
    world.replay(0);
    for expected in [1, 2, 4, 6] {
        world.read(6);
        world.fetch("m", 10);
        assert_eq!(positions(&world), [expected]);
        world.ack(0);
    }
    assert_eq!(world.progress.parked().count(), 0);
}

#[test]
fn what_is_acknowledged_out_of_order_is_not_delivered_again() {
    let mut world = world_with(&[0, 1, 2]);
    world.fetch("m", 10);
    world.ack(2);
    world.ack(0);
    world.save();
    assert_eq!(world.progress.checkpoint(), Position(1));
    world.restart();
    assert_eq!(world.progress.checkpoint(), Position(1));
    world.read(6);
    world.fetch("n", 10);
    assert_eq!(positions(&world), [2]);
}

#[test]
fn leases_that_have_run_out_are_named() {
    let mut world = world_with(&[0]);
    world.fetch("m", 1);
    let lease = world.out[0].delivered.lease;
    let never = LeaseId { attempt: 2, ..lease };
    let beyond = LeaseId {
        position: Position(9),
        ..lease
    };
    let elsewhere = LeaseId {
        generation: 9,
        ..lease
    };
    let others = LeaseId {
        owner: Owner::of(&"billing".parse().unwrap()),
        ..lease
    };
    for (lease, refused) in [
        (never, LeaseRefused::NotLeased),
        (beyond, LeaseRefused::NotLeased),
        (elsewhere, LeaseRefused::OtherGeneration),
        (others, LeaseRefused::OtherConsumer),
    ] {
        assert_eq!(world.progress.ack(lease, "m", world.time()), Err(refused));
    }
    world.pass(DEADLINE);
    assert_eq!(
        world.progress.ack(lease, "m", world.time()),
        Err(LeaseRefused::Expired)
    );
    world.fetch("n", 1);
    assert_eq!(world.out[0].delivered.lease.attempt, 2);
    let error = world.out[0].delivered.last_error.clone().unwrap();
    assert_eq!(error, "member `m` did not acknowledge it within 100 ms");
    assert_eq!(
        world.progress.ack(lease, "m", world.time()),
        Err(LeaseRefused::Expired)
    );
}

#[test]
fn what_a_changed_filter_leaves_out_holds_nothing_up() {
    let mut world = World::new(Order::Aggregate, 10);
    for (aggregate, kind) in [(0, 0), (1, 1), (2, 0)] {
        world.publish(aggregate, kind);
    }
    world.read(6);
    world.fetch("m", 10);
    world.ack(2);
    world.save();
    world.restart();
    world.run(&Step::Choose {
        kinds: 0b10,
        saved: false,
    });
    world.read(6);
    assert_eq!(world.progress.checkpoint(), Position(1));
    world.fetch("m", 10);
    assert_eq!(positions(&world), [2]);
    assert_eq!(world.progress.undone(), (1, Position(3)));
}

/// What one filter wanted and is acknowledged does not come again, what another did not want does, and what is leased
/// stays so; whichever filters come in between.
#[test]
fn a_wider_filter_brings_what_lies_behind_the_checkpoint() {
    let mut world = World::new(Order::Aggregate, 10);
    world.run(&Step::Choose {
        kinds: 1,
        saved: true,
    });
    for (aggregate, kind) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0)] {
        world.publish(aggregate, kind);
    }
    world.read(6);
    world.fetch("m", 10);
    assert_eq!(positions(&world), [1, 3, 5]);
    world.ack(1);
    assert_eq!(world.progress.checkpoint(), Position(0));
    for kinds in [0b100, 0b10, 0] {
        world.run(&Step::Choose { kinds, saved: true });
    }
    world.read(6);
    world.fetch("m", 10);
    assert_eq!(positions(&world), [1, 5, 4]);
    world.ack(0);
    world.fetch("m", 10);
    assert_eq!(positions(&world), [4, 5, 2]);
    for _ in 0..3 {
        world.ack(0);
    }
    world.read(6);
    assert_eq!(world.progress.undone(), (0, Position(5)));
    assert_eq!(world.progress.checkpoint(), Position(5));
}

#[test]
fn so_many_filters_are_remembered_and_no_more() {
    let mut world = world_with(&[0, 0]);
    world.fetch("m", 1);
    let of_type = |number: usize| {
        let name = AggregateType::parse(&format!("t{number}")).unwrap();
        let mut filter = FeedFilter::of_type(AggregateType::parse("account").unwrap());
        filter.aggregate_types.push(name);
        filter
    };
    for number in 0..EARLIER_FILTERS {
        let filter = of_type(number);
        assert!(world.progress.takes_filter(&filter), "{number}");
        world.rules.filter = filter;
        world.progress.set_rules(world.rules.clone(), world.end());
        world.read(6);
    }
    assert!(!world.progress.takes_filter(&of_type(EARLIER_FILTERS)));
    assert!(world.progress.takes_filter(&of_type(3)));
    // Once the checkpoint has passed, nothing has to be remembered.
    world.ack(0);
    world.fetch("m", 1);
    world.ack(0);
    assert_eq!(world.progress.checkpoint(), Position(2));
    assert!(world.progress.takes_filter(&of_type(EARLIER_FILTERS)));
}

/// What its member dies of comes by itself from then on: what was in its batch is not parked with it.
#[test]
fn a_member_that_dies_of_one_event_parks_no_other() {
    let bounds = Bounds {
        events: 100,
        bytes: 10_000,
        parked: 20,
    };
    let mut progress = Progress::new(1, Position(0), rules(Order::Aggregate, 100), bounds);
    let batch = (0..20).map(|aggregate| event(aggregate, 1, u64::from(aggregate) + 1));
    progress.offer(Position(0), batch.collect(), Position(20));
    let poison = Position(7);
    let mut now = Now { steady: 0, wall: 0 };
    let (mut deaths, mut acked) = (0, 0);
    for _ in 0..100 {
        let delivered = progress.lease("m", 100, now);
        if delivered
            .iter()
            .any(|delivered| delivered.lease.position == poison)
        {
            deaths += 1;
            now.steady += DEADLINE;
            continue;
        }
        for delivered in delivered {
            assert_eq!(progress.ack(delivered.lease, "m", now), Ok(true));
            acked += 1;
        }
    }
    assert_eq!((deaths, acked), (ATTEMPTS, 19));
    let parked: Vec<Position> = progress.parked().map(|(_, parked)| parked.position).collect();
    assert_eq!(parked, [poison]);
}

/// A lease of an earlier life whose event a replay brings again was not acknowledged, whatever has been read by then.
#[test]
fn what_a_replay_brings_again_was_not_acknowledged() {
    for skipped in [false, true] {
        let mut world = world_with(&[0, 0, 0]);
        world.fetch("m", 1);
        world.nack(0, None, true);
        if skipped {
            world.skip(0);
        }
        world.replay(0);
        world.read(6);
        if !skipped {
            world.fetch("m", 1);
            world.ack(0);
            world.read(6);
        }
        world.fetch("m", 1);
        assert_eq!(positions(&world), [2]);
        world.save();
        let lease = world.out[0].delivered.lease;
        world.restart();
        let refused = world.progress.ack(lease, "m", world.time());
        assert_eq!(refused, Err(LeaseRefused::Expired), "skipped: {skipped}");
        world.read(6);
        world.fetch("n", 1);
        assert_eq!(positions(&world), [2]);
        world.ack(0);
    }
}
