//! Relays over a store in memory, while the writer writes.

use std::time::Duration;

use tokio::time::timeout;

use super::*;
use crate::{
    bus::{
        TooManySubscribers,
        tests::{PATIENCE, alice, append, bus, next, positions},
    },
    store::conformance::key,
    vocabulary::{AggregateType, Limits},
};

fn of_type(name: &str) -> FeedFilter {
    FeedFilter {
        aggregate_types: vec![AggregateType::parse(name).unwrap()],
        ..FeedFilter::default()
    }
}

fn follow(bus: &Bus, after: u64, filter: FeedFilter) -> Result<Subscription, TooManySubscribers> {
    bus.subscribe_written(Position(after), filter, positions())
}

/// What a delivery has, written or not.
fn given(delivery: Delivery) -> Vec<u64> {
    match delivery {
        Delivery::Event(Event::Written(written)) => {
            let text = String::from_utf8(written.bytes().to_vec()).unwrap();
            let given: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
            assert_eq!(given.last(), Some(&written.position().0));
            given
        }
        Delivery::Event(event) => vec![event.position().0],
        _ => Vec::new(),
    }
}

async fn until_live(subscription: &mut Subscription) {
    while !matches!(next(subscription).await, Delivery::CaughtUp(_)) {}
}

#[test]
fn a_frame_gives_what_comes_after_a_place() {
    let frame = Frame {
        bytes: Bytes::from_static(b"aabccc"),
        ends: [(3, 2), (4, 3), (7, 6)]
            .map(|(at, end)| (Position(at), end))
            .into(),
        through: Position(9),
    };
    for (after, expected) in [
        (0, Some("aabccc")),
        (2, Some("aabccc")),
        (3, Some("bccc")),
        (4, Some("ccc")),
        (6, Some("ccc")),
        (7, None),
        (9, None),
    ] {
        let rest = frame.after(Position(after));
        assert!(rest.iter().all(|rest| rest.position() == Position(7)));
        let text = rest.map(|rest| String::from_utf8(rest.bytes().to_vec()).unwrap());
        assert_eq!(text.as_deref(), expected, "{after}");
    }
    let empty = Frame {
        bytes: Bytes::new(),
        ends: Box::default(),
        through: Position(9),
    };
    assert!(empty.after(Position(0)).is_none());
}

/// Small frames and a short memory, so that subscribers fall behind again and again; some events are too large to be kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_comes_and_goes_gets_every_event_once_and_in_order() {
    const ROUNDS: u64 = 400;
    let (store, bus) = bus(Limits {
        bus_commits: 8,
        bus_commit_bytes: 700,
        stream_page_events: 5,
        relay_frames: 4,
        relay_frame_bytes: 40,
        stream_gather: Duration::from_micros(200),
        ..Limits::default()
    });
    // One is at the head before anything is written, however little of the processor the others get.
    let mut first = follow(&bus, 0, FeedFilter::default()).unwrap();
    until_live(&mut first).await;
    let writing = Arc::clone(&store);
    let writer = std::thread::spawn(move || {
        for round in 0..ROUNDS {
            append(&writing, &alice(), &[8, 8]);
            let large = if round % 20 == 0 { 1_000 } else { 8 };
            append(&writing, &key("order", "alice"), &[8, large, 8]);
            std::thread::sleep(Duration::from_micros(100));
        }
    });
    // Each comes back where it was, again and again: all that it was given is the log.
    let followers = (0..6_u64).map(|number| {
        let bus = bus.clone();
        tokio::spawn(async move {
            let is_filtered = number % 2 == 1;
            let filter = || {
                if is_filtered {
                    of_type("order")
                } else {
                    FeedFilter::default()
                }
            };
            let expected: Vec<u64> = (1..=5 * ROUNDS)
                .filter(|at| !is_filtered || (at - 1) % 5 >= 2)
                .collect();
            let (mut found, mut written) = (Vec::new(), 0_usize);
            while found.len() < expected.len() {
                let after = found.last().copied().unwrap_or(0);
                let mut subscription = follow(&bus, after, filter()).unwrap();
                let enough = found.len() + 50 + 100 * number as usize;
                while found.len() < enough.min(expected.len()) {
                    let delivery = next(&mut subscription).await;
                    written += usize::from(matches!(delivery, Delivery::Event(Event::Written(_))));
                    found.extend(given(delivery));
                }
            }
            assert_eq!(found, expected);
            written
        })
    });
    let mut written = 0;
    while written == 0 {
        written += usize::from(matches!(
            next(&mut first).await,
            Delivery::Event(Event::Written(_))
        ));
    }
    for follower in followers.collect::<Vec<_>>() {
        written += follower.await.unwrap();
    }
    writer.join().unwrap();
    assert!(written > 0, "nobody was given anything by a relay");
}

#[tokio::test]
async fn those_who_follow_alike_share_and_others_have_their_own() {
    let (store, bus) = bus(Limits {
        relays: 1,
        ..Limits::default()
    });
    append(&store, &alice(), &[8]);
    let mut alike = [0; 2].map(|_| follow(&bus, 0, FeedFilter::default()).unwrap());
    // There is no room for a second relay, so this one is given commits.
    let mut other = follow(&bus, 0, of_type("account")).unwrap();
    for subscription in alike.iter_mut().chain([&mut other]) {
        until_live(subscription).await;
    }
    append(&store, &alice(), &[8, 8]);
    let mut shared = Vec::new();
    for subscription in &mut alike {
        let Delivery::Event(Event::Written(written)) = next(subscription).await else {
            panic!("not written");
        };
        assert_eq!(written.bytes(), "2\n3\n");
        shared.push(written.bytes().as_ptr());
    }
    assert_eq!(shared[0], shared[1], "the bytes are the same ones");
    assert!(matches!(next(&mut other).await, Delivery::Event(Event::Live(_))));
    drop(alike);
    // The relay has gone with the last of its subscribers, and makes room.
    let mut later = follow(&bus, 3, of_type("account")).unwrap();
    until_live(&mut later).await;
    append(&store, &alice(), &[8]);
    assert!(matches!(
        next(&mut later).await,
        Delivery::Event(Event::Written(_))
    ));
}

#[tokio::test]
async fn a_relay_tells_how_far_it_has_got_past_what_nobody_wants() {
    let (store, bus) = bus(Limits {
        heartbeat: Duration::from_millis(20),
        ..Limits::default()
    });
    let mut subscription = follow(&bus, 0, of_type("order")).unwrap();
    until_live(&mut subscription).await;
    append(&store, &alice(), &[8; 3]);
    let told = timeout(PATIENCE, async {
        loop {
            let silence = timeout(Duration::from_millis(20), subscription.next()).await;
            assert!(silence.is_err(), "{silence:?}");
            if let Some(place) = subscription.checkpoint() {
                return place;
            }
        }
    });
    assert_eq!(told.await, Ok(Position(3)));
}

#[tokio::test]
async fn a_relay_ends_with_the_bus() {
    let (store, bus) = bus(Limits::default());
    append(&store, &alice(), &[8]);
    let mut subscription = follow(&bus, 0, FeedFilter::default()).unwrap();
    until_live(&mut subscription).await;
    bus.close();
    assert!(matches!(next(&mut subscription).await, Delivery::Closed));
}
