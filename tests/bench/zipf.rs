//! Zipf's law: the k-th most wanted of `count` things is wanted in proportion to 1 / k^skew.

use crate::numbers::Random;

/// Draws ranks, 0 the most wanted. A skew of 0 is uniform.
#[derive(Debug)]
pub(crate) struct Zipf {
    /// The share of all draws that this rank and those before it have.
    cumulative: Vec<f64>,
}

impl Zipf {
    pub(crate) fn new(count: u32, skew: f64) -> Self {
        let mut sum = 0.0;
        let mut cumulative: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += f64::from(rank).powf(-skew);
                sum
            })
            .collect();
        for share in &mut cumulative {
            *share /= sum;
        }
        Self { cumulative }
    }

    pub(crate) fn draw(&self, random: &mut Random) -> u32 {
        let share = random.share();
        let rank = self.cumulative.partition_point(|upper| *upper <= share);
        // Rounding may leave the last share a little below 1.
        rank.min(self.cumulative.len().saturating_sub(1)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each rank came in `draws`.
    fn counts(count: u32, skew: f64, draws: u32) -> Vec<f64> {
        let zipf = Zipf::new(count, skew);
        let mut random = Random::new(7);
        let mut counts = vec![0.0; count as usize];
        for _ in 0..draws {
            counts[zipf.draw(&mut random) as usize] += 1.0;
        }
        counts
    }

    #[test]
    fn ranks_come_as_often_as_the_law_says() {
        const DRAWS: u32 = 400_000;
        for skew in [0.0_f64, 0.5, 0.9, 1.0, 1.2, 1.5] {
            let counts = counts(1_000, skew, DRAWS);
            let all: f64 = (1..=1_000).map(|rank| f64::from(rank).powf(-skew)).sum();
            for rank in [1_usize, 2, 3, 10, 100] {
                let expected = f64::from(DRAWS) * (rank as f64).powf(-skew) / all;
                let found = counts[rank - 1];
                // Five standard deviations of a count.
                let tolerance = 5.0 * expected.sqrt();
                assert!(
                    (found - expected).abs() < tolerance,
                    "skew {skew}, rank {rank}: {found}, expected {expected} ± {tolerance}"
                );
            }
            assert_eq!(counts.iter().sum::<f64>(), f64::from(DRAWS));
        }
    }

    #[test]
    fn a_skew_of_one_and_a_half_is_hot() {
        let counts = counts(100_000, 1.5, 100_000);
        let share = counts[0] / 100_000.0;
        assert!((0.37..0.40).contains(&share), "{share}");
    }

    #[test]
    fn one_thing_is_always_drawn() {
        assert_eq!(counts(1, 1.5, 10), [10.0]);
    }
}
