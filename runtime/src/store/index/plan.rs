//! Which runs are merged next. Pure.
//!
//! Runs are in the order of the log and stay so: only neighbours are merged. Each has a level by its size, and when
//! there are enough of one level, they become one of the next. So an event is written once more for every level, and
//! there are fewer runs of a level than are merged at a time.

use std::ops::Range;

/// The largest run of the lowest level, bytes. Runs below it come from quiet times, and cost little to merge again.
const LOWEST_BYTES: u64 = 2 << 20;
/// The longest stretch of the log in one run, positions or chunks: pointers into it have 32 bits.
const STRETCH_MAX: u64 = u32::MAX as u64;

/// What counts of a run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) bytes: u64,
    /// Positions or chunks, whichever are more.
    pub(super) stretch: u64,
}

/// The runs to merge, if any, when so many make one.
pub(super) fn next(sizes: &[Size], merge_runs: usize) -> Option<Range<usize>> {
    let levels: Vec<u32> = sizes
        .iter()
        .map(|size| level(size.bytes, merge_runs as u64))
        .collect();
    for wanted in 0..=levels.iter().copied().max()? {
        let start = levels
            .iter()
            .rposition(|level| *level > wanted)
            .map_or(0, |above| above + 1);
        let group = levels.get(start..).unwrap_or_default();
        let found = group.iter().filter(|level| **level == wanted).count();
        let last = group.iter().rposition(|level| *level == wanted);
        if let Some(last) = last.filter(|_| found >= merge_runs) {
            let range = start..start + last + 1;
            let stretch = sizes
                .get(range.clone())
                .unwrap_or_default()
                .iter()
                .map(|size| size.stretch);
            if stretch.sum::<u64>() <= STRETCH_MAX {
                return Some(range);
            }
        }
    }
    None
}

fn level(bytes: u64, merge_runs: u64) -> u32 {
    let mut level = 0;
    let mut most = LOWEST_BYTES;
    while bytes > most {
        level += 1;
        most = most.saturating_mul(merge_runs);
    }
    level
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes runs of a size one after the other, merges whenever something is to be merged, and says how many runs
    /// there were at most and how often a byte was written.
    fn simulate(run_bytes: u64, runs: u64, merge_runs: usize) -> (usize, f64) {
        let mut sizes: Vec<Size> = Vec::new();
        let (mut most, mut written) = (0, 0);
        for _ in 0..runs {
            sizes.push(Size {
                bytes: run_bytes,
                stretch: 256_000,
            });
            written += run_bytes;
            while let Some(range) = next(&sizes, merge_runs) {
                let bytes = sizes[range.clone()].iter().map(|size| size.bytes).sum();
                let stretch = sizes[range.clone()].iter().map(|size| size.stretch).sum();
                written += bytes;
                sizes.splice(range, [Size { bytes, stretch }]);
            }
            most = most.max(sizes.len());
        }
        (most, written as f64 / (run_bytes * runs) as f64)
    }

    #[test]
    fn there_are_few_runs_and_few_rewrites() {
        let (runs, times) = simulate(40 << 20, 40, 4);
        assert!(
            runs <= 9 && times <= 3.7,
            "10 million events: {runs} runs, written {times} times"
        );
        let (runs, times) = simulate(40 << 20, 400, 4);
        assert!(
            runs <= 15 && times <= 5.5,
            "100 million events: {runs} runs, written {times} times"
        );
        let (runs, _) = simulate(10_000, 100_000, 4);
        assert!(runs <= 18, "a long quiet time: {runs} runs");
    }

    #[test]
    fn neighbours_are_merged_and_a_stretch_has_a_limit() {
        let sizes = |all: &[(u64, u64)]| -> Vec<Size> {
            let sizes = all.iter().map(|(mib, stretch)| Size {
                bytes: mib << 20,
                stretch: *stretch,
            });
            sizes.collect()
        };
        assert_eq!(next(&[], 4), None);
        assert_eq!(next(&sizes(&[(1, 1), (1, 1), (1, 1)]), 4), None);
        assert_eq!(
            next(&sizes(&[(900, 1), (1, 1), (1, 1), (1, 1), (1, 1)]), 4),
            Some(1..5)
        );
        assert_eq!(
            next(&sizes(&[(30, 1), (1, 1), (30, 1), (30, 1), (30, 1), (1, 1)]), 4),
            Some(0..5)
        );
        let half = u64::from(u32::MAX) / 2;
        assert_eq!(
            next(&sizes(&[(1, half), (1, half), (1, half), (1, half)]), 4),
            None
        );
    }
}
