//! Aggregates of which so many single events are parked that not each gap can be kept.

use super::*;

/// Versions of the aggregate: more gaps than are kept.
const VERSIONS: u64 = 9_999;

/// Another aggregate's first event, which is out and holds the checkpoint, and then one aggregate whose sorts of events take
/// turns, the last one of a sort of its own.
fn world_of_gaps() -> World {
    let mut world = World::new(Order::Aggregate, 10);
    world.choose(0b100, true);
    world.log.push(event_of(2, 1, 1, 1));
    let kind = |version: u64| {
        if version == VERSIONS {
            2
        } else {
            (version % 2) as u8
        }
    };
    let events = (1..=VERSIONS).map(|version| event_of(kind(version), 0, version, version + 1));
    world.log.extend(events);
    world
}

fn read_all(world: &mut World) {
    while world.progress.scanned < world.end() {
        world.read(6);
    }
}

/// The last event is replayed and out when a wider filter finds thousands before it: acknowledging it hides none of them.
#[test]
fn what_is_acknowledged_behind_thousands_of_gaps_hides_none_of_them() {
    let mut world = world_of_gaps();
    read_all(&mut world);
    world.fetch("m", 10);
    let last = VERSIONS + 1;
    assert_eq!(positions(&world), [1, last]);
    world.nack(1, None, true);
    world.replay(0);
    world.read(6);
    world.fetch("m", 10);
    assert_eq!(positions(&world), [1, last]);
    world.choose(0b110, true);
    read_all(&mut world);
    world.ack(1);
    let lane = world.lane(0).unwrap();
    let parked = world.progress.parked_lane(&lane).unwrap();
    assert_eq!(parked.count, VERSIONS / 2);
    let which = world.progress.parked_events(parked);
    for event in &world.log[1..] {
        let is_wanted = event.event_type.as_str() == KINDS[1];
        assert!(
            !is_wanted || which.have(event),
            "version {} is lost",
            event.version
        );
    }
}

/// Where gaps are taken together, a replay brings what no filter wanted. When another one wants it while it is out, it holds
/// nothing up once it is acknowledged.
#[test]
fn what_is_replayed_and_wanted_only_then_does_not_hold_up_the_checkpoint() {
    let mut world = world_of_gaps();
    read_all(&mut world);
    world.fetch("m", 1);
    assert_eq!(positions(&world), [1]);
    // Odd versions are wanted now; the first one is parked, and the others follow it.
    world.choose(0b110, true);
    world.read(6);
    world.fetch("m", 1);
    assert_eq!(positions(&world), [1, 2]);
    world.nack(1, None, true);
    read_all(&mut world);
    let lane = world.lane(0).unwrap();
    let parked = world.progress.parked_lane(&lane).unwrap();
    let which = world.progress.parked_events(parked);
    // The first version that no filter wanted and a replay brings.
    let unwanted = (2..VERSIONS).step_by(2).map(|version| version + 1);
    let unwanted = unwanted.map(|position| &world.log[position as usize - 1]);
    let unwanted = unwanted
        .into_iter()
        .find(|event| which.have(event))
        .unwrap()
        .clone();
    let through = Version(unwanted.version.0 - 2);
    let skip = Skip {
        which,
        through,
        events: through.0.div_ceil(2),
    };
    world.progress.skip(&lane, &skip).unwrap();
    world.said.skipped = (1..=through.0)
        .step_by(2)
        .map(|version| Position(version + 1))
        .collect();
    world.replay(0);
    for _ in 0..2 {
        world.read(6);
        world.fetch("m", 10);
        if positions(&world).last() != Some(&unwanted.position.0) {
            world.ack(1);
        }
    }
    assert_eq!(positions(&world), [1, unwanted.position.0]);
    world.choose(0, true);
    read_all(&mut world);
    world.ack(1);
    assert!(!world.progress.undone.contains(&unwanted.position));
}
