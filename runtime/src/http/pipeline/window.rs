//! Which lines of a stream are under way, and whose turn it is to be answered. Pure: no I/O, no clock.
//!
//! The window is what bounds a stream: so many lines, so many bytes of payloads, so many commands of one aggregate, and
//! answers only as long as there is room to hold them. What does not fit waits outside, which is what makes the client wait.

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
};

use serde::Deserialize;

/// Counters that the aggregates of a stream share by hash, count: several times the lines of a usual window, so that two
/// aggregates seldom meet in one. When they do, they wait a little earlier than they would have to.
const SHARES: u64 = 4_096;

/// In which order lines are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(in crate::http) enum Order {
    /// That of the lines.
    #[default]
    Lines,
    /// As they finish.
    Any,
}

/// How much may be under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    /// Lines that are taken and not yet answered.
    pub(super) lines: usize,
    /// Payloads of commands that are not yet decided.
    pub(super) payload_bytes: usize,
    /// Commands of one aggregate that are not yet decided.
    pub(super) of_one_aggregate: usize,
    /// Answers that the client has not taken.
    pub(super) answer_bytes: usize,
}

/// Where a line is in the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(u32);

/// What a line takes of the bounds until it is decided.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Weight {
    /// The counter of its aggregate; none for a line that is no command.
    pub(super) share: Option<Share>,
    pub(super) payload_bytes: usize,
}

/// The counter of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share(u16);

impl Share {
    pub(super) fn of(aggregate: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        aggregate.hash(&mut hasher);
        Self(u16::try_from(hasher.finish() % SHARES).unwrap_or(0))
    }
}

/// The lines under way. `Tag` is what the client wants back with the answer.
#[derive(Debug)]
pub(super) struct Window<Tag, Answer> {
    order: Order,
    bounds: Bounds,
    places: Vec<Option<Taken<Tag, Answer>>>,
    free: Vec<u32>,
    /// By order of lines all that are taken, else those whose answer is there.
    queue: VecDeque<u32>,
    shares: Vec<u32>,
    taken: usize,
    undecided: usize,
    payload_bytes: usize,
    /// How large an answer may be expected to be: the largest of late.
    expected_bytes: usize,
}

#[derive(Debug)]
struct Taken<Tag, Answer> {
    line: u64,
    tag: Tag,
    weight: Weight,
    answer: Option<Answer>,
}

impl<Tag, Answer> Window<Tag, Answer> {
    pub(super) fn new(order: Order, bounds: Bounds) -> Self {
        Self {
            order,
            bounds,
            places: Vec::new(),
            free: Vec::new(),
            queue: VecDeque::new(),
            shares: vec![0; usize::try_from(SHARES).unwrap_or(0)],
            taken: 0,
            undecided: 0,
            payload_bytes: 0,
            expected_bytes: 0,
        }
    }

    /// Whether a line can be taken now, while the client has `held_bytes` of answers to read. A line that is alone is
    /// taken whatever its weight.
    pub(super) fn has_room(&self, weight: Weight, held_bytes: usize) -> bool {
        if held_bytes >= self.bounds.answer_bytes {
            return false;
        }
        if self.taken == 0 {
            return true;
        }
        let expected = (self.taken + 1).saturating_mul(self.expected_bytes);
        self.taken < self.bounds.lines
            && held_bytes.saturating_add(expected) <= self.bounds.answer_bytes
            && self.payload_bytes.saturating_add(weight.payload_bytes) <= self.bounds.payload_bytes
            && self.share(weight) < self.bounds.of_one_aggregate
    }

    fn share(&self, weight: Weight) -> usize {
        let count = weight
            .share
            .and_then(|share| self.shares.get(usize::from(share.0)));
        count.map_or(0, |count| *count as usize)
    }

    /// Takes a line. Each is settled once.
    pub(super) fn take(&mut self, line: u64, tag: Tag, weight: Weight) -> Place {
        let taken = Taken {
            line,
            tag,
            weight,
            answer: None,
        };
        self.taken += 1;
        self.undecided += 1;
        self.payload_bytes += weight.payload_bytes;
        self.count(weight, 1);
        let place = match self.free.pop() {
            Some(place) => {
                if let Some(free) = self.places.get_mut(place as usize) {
                    *free = Some(taken);
                }
                place
            }
            None => {
                self.places.push(Some(taken));
                u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if self.order == Order::Lines {
            self.queue.push_back(place);
        }
        Place(place)
    }

    fn count(&mut self, weight: Weight, change: i32) {
        if let Some(share) = weight.share
            && let Some(count) = self.shares.get_mut(usize::from(share.0))
        {
            *count = count.saturating_add_signed(change);
        }
    }

    /// The answer to the line at a place is there.
    pub(super) fn settle(&mut self, place: Place, answer: Answer) {
        let Some(Some(taken)) = self.places.get_mut(place.0 as usize) else {
            debug_assert!(false, "{place:?} is not taken");
            return;
        };
        debug_assert!(taken.answer.is_none(), "{place:?} is settled already");
        taken.answer = Some(answer);
        let weight = taken.weight;
        self.undecided -= 1;
        self.payload_bytes -= weight.payload_bytes;
        self.count(weight, -1);
        if self.order == Order::Any {
            self.queue.push_back(place.0);
        }
    }

    /// The next line to answer, if its answer is there. It is no longer under way.
    pub(super) fn next(&mut self) -> Option<(u64, Tag, Answer)> {
        let place = *self.queue.front()?;
        let slot = self.places.get_mut(place as usize)?;
        slot.as_ref()?.answer.as_ref()?;
        let Taken {
            line, tag, answer, ..
        } = slot.take()?;
        self.queue.pop_front();
        self.free.push(place);
        self.taken -= 1;
        Some((line, tag, answer?))
    }

    /// Whether [`Window::next`] would give something.
    pub(super) fn has_next(&self) -> bool {
        let next = self
            .queue
            .front()
            .and_then(|place| self.places.get(*place as usize));
        next.is_some_and(|next| next.as_ref().is_some_and(|taken| taken.answer.is_some()))
    }

    /// Takes note of how large an answer was.
    pub(super) fn answered(&mut self, bytes: usize) {
        let fading = self.expected_bytes - self.expected_bytes / 64;
        self.expected_bytes = fading.max(bytes);
    }

    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Whether nothing waits for a decision.
    pub(super) fn is_decided(&self) -> bool {
        self.undecided == 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds {
        lines: 4,
        payload_bytes: 100,
        of_one_aggregate: 2,
        answer_bytes: 1_000,
    };

    fn weight(aggregate: u16, payload_bytes: usize) -> Weight {
        Weight {
            share: Some(Share(aggregate)),
            payload_bytes,
        }
    }

    #[test]
    fn answers_leave_in_the_order_of_lines_or_as_they_finish() {
        for (order, expected) in [(Order::Lines, [1, 2, 3]), (Order::Any, [3, 1, 2])] {
            let mut window = Window::new(order, BOUNDS);
            let places: Vec<Place> = (1..=3)
                .map(|line| window.take(line, (), Weight::default()))
                .collect();
            let mut left = Vec::new();
            for place in [2, 0, 1] {
                window.settle(places[place], ());
                left.extend(std::iter::from_fn(|| window.next()).map(|(line, ..)| line));
            }
            assert_eq!(left, expected, "{order:?}");
            assert!(window.is_empty());
        }
    }

    #[test]
    fn every_bound_makes_the_next_line_wait() {
        let taken = |weights: &[Weight]| {
            let mut window: Window<(), ()> = Window::new(Order::Lines, BOUNDS);
            for (line, weight) in weights.iter().enumerate() {
                window.take(line as u64, (), *weight);
            }
            window
        };
        let none = Weight::default();
        assert!(taken(&[none; 3]).has_room(none, 0));
        assert!(!taken(&[none; 4]).has_room(none, 0), "lines");
        assert!(taken(&[weight(1, 50)]).has_room(weight(2, 50), 0));
        assert!(!taken(&[weight(1, 50)]).has_room(weight(2, 51), 0), "bytes");
        assert!(taken(&[]).has_room(weight(1, 5_000), 0), "alone it is taken");
        assert!(
            !taken(&[weight(1, 0); 2]).has_room(weight(1, 0), 0),
            "one aggregate"
        );
        assert!(taken(&[weight(1, 0); 2]).has_room(weight(2, 0), 0));
        assert!(taken(&[]).has_room(none, 999));
        assert!(!taken(&[]).has_room(none, 1_000), "answers that are not read");
        let mut window = taken(&[none]);
        window.answered(400);
        assert!(window.has_room(none, 200));
        assert!(!window.has_room(none, 201), "answers that are to be expected");
    }

    #[test]
    fn large_answers_are_forgotten_in_time() {
        let mut window: Window<(), ()> = Window::new(Order::Lines, BOUNDS);
        window.answered(1_000_000);
        for _ in 0..10_000 {
            window.answered(100);
        }
        assert!(
            (100..200).contains(&window.expected_bytes),
            "{}",
            window.expected_bytes
        );
    }

    #[derive(Debug, Clone)]
    enum Step {
        Take(u16, usize),
        Settle(prop::sample::Index),
        Emit,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0_u16..3, 0_usize..60).prop_map(|(aggregate, bytes)| Step::Take(aggregate, bytes)),
            3 => any::<prop::sample::Index>().prop_map(Step::Settle),
            2 => Just(Step::Emit),
        ];
        prop::collection::vec(step, 0..300)
    }

    proptest! {
        /// Against a plain model: each line is answered once with its own answer, in order where that is asked for; no
        /// bound is ever passed; and when all is settled, nothing is left.
        #[test]
        fn every_line_is_answered_once_and_within_bounds(any_order: bool, steps in steps()) {
            let order = if any_order { Order::Any } else { Order::Lines };
            let mut window: Window<u64, u64> = Window::new(order, BOUNDS);
            let mut waiting: Vec<(Place, u64, u16, usize)> = Vec::new();
            let (mut taken, mut settled, mut answered) = (0_u64, Vec::new(), Vec::new());
            for step in steps {
                match step {
                    Step::Take(aggregate, bytes) => {
                        let weight = weight(aggregate, bytes);
                        if window.has_room(weight, 0) {
                            taken += 1;
                            waiting.push((window.take(taken, taken * 10, weight), taken, aggregate, bytes));
                        }
                    }
                    Step::Settle(index) => if !waiting.is_empty() {
                        let (place, line, ..) = waiting.remove(index.index(waiting.len()));
                        window.settle(place, line * 100);
                        settled.push(line);
                    },
                    Step::Emit => {
                        let has_next = window.has_next();
                        let next = window.next();
                        prop_assert_eq!(has_next, next.is_some());
                        answered.extend(next);
                    }
                }
                let bytes: usize = waiting.iter().map(|(.., bytes)| bytes).sum();
                prop_assert!(bytes <= BOUNDS.payload_bytes);
                for aggregate in 0..3 {
                    let of_one = waiting.iter().filter(|(_, _, of, _)| *of == aggregate).count();
                    prop_assert!(of_one <= BOUNDS.of_one_aggregate);
                }
                prop_assert!(taken - answered.len() as u64 <= BOUNDS.lines as u64);
                prop_assert_eq!(window.is_decided(), waiting.is_empty());
            }
            for (place, line, ..) in waiting {
                window.settle(place, line * 100);
                settled.push(line);
            }
            answered.extend(std::iter::from_fn(|| window.next()));
            prop_assert!(window.is_empty() && window.places.len() <= BOUNDS.lines);
            let expected: Vec<u64> = if any_order { settled } else { (1..=taken).collect() };
            let lines: Vec<u64> = answered.iter().map(|(line, ..)| *line).collect();
            prop_assert_eq!(lines, expected);
            for (line, tag, answer) in answered {
                prop_assert_eq!((tag, answer), (line * 10, line * 100));
            }
        }
    }
}
