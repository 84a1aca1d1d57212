//! Random schedules against a model, and the sequences that once went wrong.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::{
    consumers::{definition::Retry, lease::LeaseRefused},
    store::FeedFilter,
    vocabulary::{AggregateId, AggregateType, CommandName, EventType, ModuleDigest, Origin},
};

mod answers;
mod deliveries;
mod filters;
mod gaps;
mod replays;
mod steps;
mod world;

use steps::{Step, step};
use world::{Lease, World};

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
