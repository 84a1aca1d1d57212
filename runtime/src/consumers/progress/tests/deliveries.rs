//! Order, leases and attempts.

use super::*;

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
        (parked.summary().first, parked.count, parked.through),
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

/// Attempts are counted anew once an aggregate is replayed, or its event was let go by another filter. A lease of before is
/// one that is over, and not one that never was.
#[test]
fn a_lease_from_before_attempts_are_counted_anew_has_run_out() {
    let mut world = world_with(&[0]);
    world.fetch("m", 1);
    let lease = world.out[0].delivered.lease;
    world.nack(0, None, false);
    world.pass(DEADLINE);
    world.fetch("m", 1);
    world.nack(0, None, true);
    world.replay(0);
    world.read(6);
    world.progress.refused = Recent::default();
    let told = |world: &mut World| world.progress.ack(lease, "m", world.time());
    assert_eq!(told(&mut world), Err(LeaseRefused::Expired));

    let mut world = world_with(&[0]);
    world.fetch("m", 1);
    world.pass(DEADLINE);
    for kinds in [0b10, 0b01] {
        world.run(&Step::Choose { kinds, saved: true });
    }
    world.read(6);
    assert!(world.progress.is_ready());
    assert_eq!(told(&mut world), Err(LeaseRefused::Expired));
}
