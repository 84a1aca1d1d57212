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
