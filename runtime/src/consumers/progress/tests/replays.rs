//! What is parked and comes again.

use super::*;

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

/// A replayed event is out when a wider filter finds an earlier one of its aggregate, or is about to: however its lease ends,
/// the earlier one comes first.
#[test]
fn what_is_wanted_since_comes_before_a_replayed_event_that_was_out() {
    let ends: [fn(&mut World, usize); 3] = [
        |world, which| world.nack(which, Some(0), false),
        |world, which| world.release(which),
        |world, _| world.pass(DEADLINE),
    ];
    let ends = ends.iter().enumerate();
    for ((index, end), is_found) in ends.flat_map(|end| [(end, true), (end, false)]) {
        let mut world = World::new(Order::Aggregate, 10);
        world.run(&Step::Choose {
            kinds: 0b10,
            saved: true,
        });
        for (aggregate, kind) in [(1, 1), (0, 0), (0, 1)] {
            world.publish(aggregate, kind);
        }
        world.read(6);
        world.fetch("m", 10);
        assert_eq!(positions(&world), [1, 3]);
        world.nack(1, None, true);
        world.replay(0);
        world.read(6);
        world.fetch("m", 10);
        assert_eq!(positions(&world), [1, 3]);
        world.run(&Step::Choose {
            kinds: 0b11,
            saved: true,
        });
        if is_found {
            world.read(6);
        }
        end(&mut world, 1);
        for _ in 0..3 {
            world.fetch("m", 10);
            world.read(6);
        }
        world.fetch("m", 10);
        assert_eq!(positions(&world), [1, 2], "end {index}, {is_found}");
        // The event that was out has kept its attempts.
        let failed = world.progress.failures.get(&Position(3));
        assert_eq!(failed.is_some(), index != 1, "end {index}");
        world.run(&Step::Save);
        world.finish();
    }
}

/// A replay that it is too early for is not walked past by every fetch, and is not forgotten.
#[test]
fn a_replay_that_waits_for_the_feed_is_put_aside_until_then() {
    let mut world = world_with(&[1, 0, 0]);
    world.fetch("m", 10);
    assert_eq!(positions(&world), [1, 2]);
    world.nack(1, None, true);
    world.replay(0);
    world.run(&Step::Choose {
        kinds: 0b11,
        saved: true,
    });
    for _ in 0..2 {
        assert_eq!(world.progress.wanted_for_replays(), []);
        assert!(world.progress.replays.is_empty());
    }
    world.read(6);
    world.read(6);
    world.fetch("m", 10);
    assert_eq!(positions(&world), [1, 2]);
    world.finish();
}
