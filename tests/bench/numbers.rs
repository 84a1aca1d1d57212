//! Percentiles, medians, and random numbers that are the same in every run.

use std::time::Duration;

/// The shortest, middle and longest of many durations.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    #[serde(rename = "p99.9_us")]
    pub(crate) p999_us: f64,
    pub(crate) max_us: f64,
}

impl Latency {
    /// Of durations in nanoseconds, in any order. All zero when there are none.
    pub(crate) fn of(mut nanos: Vec<u64>) -> Self {
        nanos.sort_unstable();
        // The smallest value that at least this share of all values does not exceed.
        let at = |per_mille: usize| {
            let rank = (nanos.len() * per_mille).div_ceil(1_000).max(1);
            nanos.get(rank - 1).copied().unwrap_or_default() as f64 / 1e3
        };
        Self {
            p50_us: at(500),
            p99_us: at(990),
            p999_us: at(999),
            max_us: at(1_000),
        }
    }
}

/// Nanoseconds; more than 584 years do not occur.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Events by time.
pub(crate) fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(f64::MIN_POSITIVE)
}

/// The value in the middle; of an even number the mean of the two. Zero when there are none.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let half = sorted.len() / 2;
    let upper = sorted.get(half).copied().unwrap_or_default();
    if sorted.len().is_multiple_of(2) {
        let lower = half.checked_sub(1).and_then(|at| sorted.get(at)).copied();
        f64::midpoint(lower.unwrap_or_default(), upper)
    } else {
        upper
    }
}

/// Mean and standard deviation of a sample. Zero when there is nothing to say.
pub(crate) fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let number = values.len() as f64;
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let mean = values.iter().sum::<f64>() / number;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let deviation = if values.len() < 2 {
        0.0
    } else {
        (squares / (number - 1.0)).sqrt()
    };
    (mean, deviation)
}

/// Random numbers, the same for the same seed (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in `0..bound`, but for a bias far below what a benchmark can see.
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u32
    }

    /// Uniform in `0.0..1.0`.
    pub(crate) fn share(&mut self) -> f64 {
        // The 53 bits that a float has.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// `0..count` in random order.
    pub(crate) fn order(&mut self, count: u32) -> Vec<u32> {
        let mut order: Vec<u32> = (0..count).collect();
        for at in (1..count).rev() {
            order.swap(at as usize, self.below(at + 1) as usize);
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_occurred() {
        let latency = Latency::of((1..=1_000).rev().map(|us| us * 1_000).collect());
        let all = [latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us];
        assert_eq!(all, [500.0, 990.0, 999.0, 1_000.0]);
        let one = Latency::of(vec![7_000]);
        assert_eq!([one.p50_us, one.p99_us, one.p999_us, one.max_us], [7.0; 4]);
        assert_eq!(Latency::of(Vec::new()), Latency::default());
    }

    #[test]
    fn medians_and_deviations() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
        assert_eq!(median(&[]), 0.0);
        assert_eq!(mean_and_deviation(&[2.0, 4.0, 6.0]), (4.0, 2.0));
        assert_eq!(mean_and_deviation(&[5.0]), (5.0, 0.0));
    }

    #[test]
    fn an_order_has_each_number_once_and_is_no_order() {
        let order = Random::new(7).order(1_000);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert!(sorted.into_iter().eq(0..1_000));
        assert!(order.iter().zip(0_u32..).filter(|(a, b)| **a == *b).count() < 20);
        assert_eq!(order, Random::new(7).order(1_000));
    }
}
