//! Pushers over a store in memory, while the writer writes, with outlets that are full again and again.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use tokio::{sync::broadcast, time::timeout};

use super::*;
use crate::{
    bus::{
        Bus, Delivery, Event, Subscription,
        tests::{PATIENCE, alice, append, bus, next, positions},
    },
    store::FeedFilter,
};

/// Keeps what it is given, as far as there is room: beyond that, until it is emptied, frames are kept aside.
#[derive(Debug, Default)]
struct Sink {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    text: String,
    /// Frames until it is full; none for no end.
    room: Option<usize>,
    aside: String,
    frames: usize,
    is_gone: bool,
}

impl Sink {
    fn with_room(room: usize) -> Arc<Self> {
        let sink = Self::default();
        sink.state.lock().unwrap().room = Some(room);
        Arc::new(sink)
    }

    /// Passes on what is aside, and has room for so many more.
    fn empty(&self, room: usize) {
        let mut state = self.state.lock().unwrap();
        let aside = std::mem::take(&mut state.aside);
        state.text.push_str(&aside);
        state.room = Some(room);
    }

    fn positions(&self) -> Vec<u64> {
        let state = self.state.lock().unwrap();
        assert!(state.aside.is_empty(), "asked too early");
        state.text.lines().map(|line| line.parse().unwrap()).collect()
    }

    fn frames(&self) -> usize {
        self.state.lock().unwrap().frames
    }
}

impl Outlet for Sink {
    fn put(&self, frame: &Bytes) -> Put {
        let mut state = self.state.lock().unwrap();
        if state.is_gone {
            return Put::Gone;
        }
        assert!(state.aside.is_empty(), "it was full, and is given more");
        state.frames += 1;
        let text = std::str::from_utf8(frame).unwrap();
        match &mut state.room {
            Some(0) => {
                // Half of it fits.
                let (now, later) = text.split_at(text.len() / 2);
                state.text.push_str(now);
                state.aside.push_str(later);
                return Put::Kept;
            }
            Some(room) => *room -= 1,
            None => {}
        }
        state.text.push_str(text);
        Put::Passed
    }
}

fn follow(bus: &Bus, after: u64) -> Subscription {
    bus.subscribe_written(Position(after), FeedFilter::default(), positions())
        .unwrap()
}

/// Puts what it is given into the sink, as whoever is asked for the next piece does.
async fn step(subscription: &mut Subscription, sink: &Sink) -> Delivery {
    let delivery = next(subscription).await;
    let text = match &delivery {
        Delivery::Event(Event::Written(written)) => String::from_utf8(written.bytes().to_vec()).unwrap(),
        Delivery::Event(event) => format!("{}\n", event.position().0),
        _ => String::new(),
    };
    sink.state.lock().unwrap().text.push_str(&text);
    delivery
}

async fn until_live(subscription: &mut Subscription, sink: &Sink) {
    while !matches!(step(subscription, sink).await, Delivery::CaughtUp(_)) {}
}

/// Small frames, a short memory, large events that are never broadcast, outlets that fill up, silences, and few to a pusher;
/// with a time to gather that is too short for pauses, and with a longer one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_pushed_to_gets_every_event_once_and_in_order() {
    for gather in [300, 3_000] {
        many_are_pushed_to(Duration::from_micros(gather)).await;
    }
}

async fn many_are_pushed_to(gather: Duration) {
    const ROUNDS: u64 = 300;
    let (store, bus) = bus(Limits {
        bus_commit_bytes: 700,
        relay_frames: 4,
        relay_frame_bytes: 40,
        pushed_streams: 2,
        stream_gather: gather,
        ..Limits::default()
    });
    let last = 3 * ROUNDS;
    let followers = (0..7_usize).map(|number| {
        let bus = bus.clone();
        tokio::spawn(async move {
            let mut subscription = follow(&bus, 0);
            let room = |turn: usize| (number * 7 + turn * 3) % 5 + number;
            let (sink, mut turn) = (Sink::with_room(room(0)), 0);
            let is_all = |sink: &Sink| sink.positions().last() == Some(&last);
            while !is_all(&sink) {
                step(&mut subscription, &sink).await;
                turn += 1;
                let outlet: Arc<dyn Outlet> = Arc::clone(&sink) as _;
                if !is_all(&sink) {
                    assert!(timeout(PATIENCE, subscription.push(outlet)).await.unwrap());
                }
                sink.empty(room(turn));
            }
            (sink.positions(), sink.frames())
        })
    });
    let followers: Vec<_> = followers.collect();
    let writing = Arc::clone(&store);
    let writer = std::thread::spawn(move || {
        for round in 0..ROUNDS {
            let large = if round % 40 == 39 { 1_000 } else { 8 };
            append(&writing, &alice(), &[8, large, 8]);
            let pause = if round % 50 == 49 { 10_000 } else { 200 };
            std::thread::sleep(Duration::from_micros(pause));
        }
    });
    let expected: Vec<u64> = (1..=last).collect();
    let mut pushed = 0;
    for follower in followers {
        let (found, frames) = follower.await.unwrap();
        assert_eq!(found, expected);
        pushed += frames;
    }
    writer.join().unwrap();
    assert!(pushed > 0, "nothing was pushed");
}

#[tokio::test]
async fn a_silence_gives_everybody_back_where_they_are() {
    let (store, bus) = bus(Limits::default());
    let sink = Arc::new(Sink::default());
    let mut subscription = follow(&bus, 0);
    until_live(&mut subscription, &sink).await;
    let writing = Arc::clone(&store);
    let begun = Instant::now();
    let pushing = subscription.push(Arc::clone(&sink) as _);
    let (goes_on, ()) = tokio::join!(pushing, async {
        tokio::task::yield_now().await;
        append(&writing, &alice(), &[8, 8]);
    });
    assert!(goes_on && begun.elapsed() >= Limits::default().stream_gather * QUIET_GATHERS);
    assert_eq!((sink.positions(), sink.frames()), (vec![1, 2], 1));
    // From here on it is asked for, and nothing comes again.
    append(&store, &alice(), &[8]);
    step(&mut subscription, &sink).await;
    assert_eq!(sink.positions(), [1, 2, 3]);
}

#[tokio::test]
async fn whoever_reads_from_the_store_is_not_pushed_to() {
    let (store, bus) = bus(Limits {
        relays: 1,
        ..Limits::default()
    });
    append(&store, &alice(), &[8]);
    let sink = Arc::new(Sink::default());
    let mut subscription = follow(&bus, 0);
    assert!(subscription.push(Arc::clone(&sink) as _).await, "not live yet");
    until_live(&mut subscription, &sink).await;
    // One without a relay.
    let mut other = bus.subscribe(Position(0), FeedFilter::default()).unwrap();
    let others = Arc::new(Sink::default());
    until_live(&mut other, &others).await;
    append(&store, &alice(), &[8]);
    assert!(other.push(Arc::clone(&others) as _).await);
    // Something waits to be received already.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(subscription.push(Arc::clone(&sink) as _).await);
    assert_eq!((sink.frames(), others.frames()), (0, 0));
    step(&mut subscription, &sink).await;
    assert_eq!(sink.positions(), [1, 2]);
}

/// A pusher ends between the moment when a subscriber got its place there and the one when it took it.
#[tokio::test]
async fn whoever_joins_when_a_pusher_ends_is_given_back() {
    let (sender, receiver) = broadcast::channel::<Signal>(4);
    let join = |receiver| {
        let (back, given_back) = oneshot::channel();
        let join = Join {
            reached: Position(0),
            receiver,
            outlet: Arc::new(Sink::default()),
            back,
        };
        (join, given_back)
    };
    let manner = Pushers::new(&Limits::default()).manner;
    let ((first, _first), (second, given_back)) = (join(receiver), join(sender.subscribe()));
    let pusher = Pusher::start(first, manner);
    let place = pusher.joins.reserve().await.unwrap();
    drop(sender);
    while !pusher.joins.is_closed() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    place.send(second);
    let back = timeout(PATIENCE, given_back).await.unwrap().unwrap();
    assert_eq!((back.last, back.through), (None, Position(0)));
}

#[test]
fn outlets_are_spread_over_most_of_the_time_to_gather() {
    let spread = |gather, outlets| at_once(outlets, pauses(Duration::from_micros(gather)));
    for (gather, outlets, expected) in [
        (10_000, 16, 2),
        (10_000, 1, 1),
        (10_000, 100, 13),
        (1_000_000, 16, 1),
        (1_300, 16, 16),
        (0, 16, 16),
        (0, 0, 1),
    ] {
        assert_eq!(spread(gather, outlets), expected, "{gather} {outlets}");
    }
}

#[test]
fn a_silence_is_shorter_than_the_pause_between_frames_without_events() {
    for (gather, heartbeat, expected) in [(10, 15_000, 100), (1_000, 15_000, 3_750), (10, 100, 25)] {
        let limits = Limits {
            stream_gather: Duration::from_millis(gather),
            heartbeat: Duration::from_millis(heartbeat),
            ..Limits::default()
        };
        assert_eq!(silence(&limits), Duration::from_millis(expected));
    }
}

#[tokio::test]
async fn an_end_of_the_bus_ends_pushing() {
    let (store, bus) = bus(Limits::default());
    append(&store, &alice(), &[8]);
    let sink = Arc::new(Sink::default());
    let mut subscription = follow(&bus, 0);
    until_live(&mut subscription, &sink).await;
    let closing = bus.clone();
    let pushing = timeout(PATIENCE, subscription.push(Arc::clone(&sink) as _));
    let (pushed, ()) = tokio::join!(pushing, async {
        tokio::task::yield_now().await;
        closing.close();
    });
    assert_eq!(pushed, Ok(true));
    assert!(matches!(next(&mut subscription).await, Delivery::Closed));
}

/// What a relay can say, and what subscribers can do.
#[derive(Debug, Clone)]
enum Act {
    /// A frame with so many events, and so many positions behind them that are not wanted.
    Frame { events: u64, passed: u64 },
    /// Something that is only in the store.
    Stored,
    /// A subscriber begins to listen, having read so many positions that are still to be broadcast.
    Listen { ahead: u64 },
    /// The one of this number takes so many frames by itself, and is then pushed to while there is room for so many.
    Join {
        number: usize,
        takes: usize,
        room: usize,
    },
    /// It has gone.
    Leave(usize),
    /// The pushers have their turn.
    Turn,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0..4_u64, 0..3_u64).prop_map(|(events, passed)| Act::Frame { events, passed }),
        1 => Just(Act::Stored),
        3 => (0..3_u64).prop_map(|ahead| Act::Listen { ahead }),
        6 => (0..6_usize, 0..4_usize, 0..5_usize)
            .prop_map(|(number, takes, room)| Act::Join { number, takes, room }),
        1 => (0..6_usize).prop_map(Act::Leave),
        6 => Just(Act::Turn),
    ];
    proptest::collection::vec(act, 1..60)
}

fn frame(after: u64, events: u64, passed: u64) -> Frame {
    let (mut text, mut ends) = (String::new(), Vec::new());
    for position in after + 1..=after + events {
        text.push_str(&format!("{position}\n"));
        ends.push((Position(position), text.len()));
    }
    Frame::new(text.into(), ends.into(), Position(after + events + passed))
}

/// A subscriber of the model.
struct Listener {
    began: u64,
    reached: Position,
    given: Vec<u64>,
    /// None while it is pushed to, and once it has to read from the store.
    receiver: Option<Receiver<Signal>>,
    pushed: Option<(Arc<Sink>, oneshot::Receiver<Back>)>,
}

impl Listener {
    fn take(&mut self, received: Received) {
        let Ok(Signal::Frame(frame)) = received else {
            self.receiver = None;
            return;
        };
        if let Some(written) = frame.after(self.reached) {
            let text = String::from_utf8(written.bytes().to_vec()).unwrap();
            self.given
                .extend(text.lines().map(|line| line.parse::<u64>().unwrap()));
        }
        self.reached = self.reached.max(frame.through);
    }

    /// Takes at most so many signals by itself.
    fn receive(&mut self, most: usize) {
        for _ in 0..most {
            match self.receiver.as_mut().map(Receiver::try_recv) {
                Some(Ok(signal)) => self.take(Ok(signal)),
                _ => return,
            }
        }
    }

    fn given_back(&mut self, back: Back, sink: &Sink) {
        sink.empty(0);
        self.given.extend(sink.positions());
        assert!(back.through >= self.reached && back.last.is_none_or(|last| last <= back.through));
        (self.reached, self.receiver) = (back.through, Some(back.receiver));
        for received in back.next {
            if self.receiver.is_some() {
                self.take(received);
            }
        }
    }
}

proptest! {
    #[test]
    fn no_event_is_missed_or_given_twice_however_they_come_and_go(acts in acts(), has_pauses: bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let gather = Duration::from_micros(if has_pauses { 2_500 } else { 200 });
        runtime.unwrap().block_on(model(acts, gather));
    }
}

async fn model(acts: Vec<Act>, gather: Duration) {
    // Longer than any run: what is lost to a short one is known as lost.
    let (sender, _keep) = broadcast::channel::<Signal>(64);
    let mut pushers = Pushers::new(&Limits {
        pushed_streams: 3,
        stream_gather: gather,
        ..Limits::default()
    });
    let (mut head, mut wanted, mut all) = (0_u64, Vec::<u64>::new(), Vec::<Listener>::new());
    for act in acts {
        match act {
            Act::Frame { events, passed } => {
                wanted.extend(head + 1..=head + events);
                let frame = frame(head, events, passed);
                head += events + passed;
                drop(sender.send(Signal::Frame(Arc::new(frame))));
            }
            Act::Stored => {
                head += 1;
                wanted.push(head);
                let (key, last) = (alice(), Position(head));
                drop(sender.send(Signal::Stored { key, last }));
            }
            Act::Listen { ahead } => all.push(Listener {
                began: head + ahead,
                reached: Position(head + ahead),
                given: Vec::new(),
                receiver: Some(sender.subscribe()),
                pushed: None,
            }),
            Act::Join { number, takes, room } => {
                let Some(listener) = all.get_mut(number) else {
                    continue;
                };
                listener.receive(takes);
                if let Some(receiver) = listener.receiver.take() {
                    let (sink, (back, given_back)) = (Sink::with_room(room), oneshot::channel());
                    pushers.join(Join {
                        reached: listener.reached,
                        receiver,
                        outlet: Arc::clone(&sink) as _,
                        back,
                    });
                    listener.pushed = Some((sink, given_back));
                }
            }
            Act::Leave(number) => {
                if number < all.len() {
                    all.swap_remove(number);
                }
            }
            Act::Turn => {
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
                for listener in &mut all {
                    if let Some((sink, mut back)) = listener.pushed.take() {
                        match back.try_recv() {
                            Ok(back) => listener.given_back(back, &sink),
                            Err(_) => listener.pushed = Some((sink, back)),
                        }
                    }
                }
            }
        }
    }
    // A silence gives back everybody, and what is left is taken.
    for mut listener in all {
        if let Some((sink, back)) = listener.pushed.take() {
            listener.given_back(timeout(PATIENCE, back).await.unwrap().unwrap(), &sink);
        }
        listener.receive(usize::MAX);
        let reads_on = listener.receiver.is_none();
        let upto = if reads_on { listener.reached.0 } else { head };
        let is_its = |position: &&u64| **position > listener.began && **position <= upto;
        let expected: Vec<u64> = wanted.iter().filter(is_its).copied().collect();
        assert_eq!(listener.given, expected, "after {} of {head}", listener.began);
    }
}
