//! Another filter.

use super::*;

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
