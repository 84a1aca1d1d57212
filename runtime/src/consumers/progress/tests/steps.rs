//! What may happen to a consumer.

use super::*;

#[derive(Debug, Clone)]
pub(super) enum Step {
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

pub(super) fn step() -> impl Strategy<Value = Step> {
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
