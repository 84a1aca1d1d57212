//! Counts that were found beside those that are expected.

use super::table::{Table, grouped};

/// A count may be so much above or below what is expected, percent. By themselves they moved by 1.2 % at most in four runs,
/// one of them beside two busy processes: tables of hashes are seeded at random.
const TOLERANCE: u64 = 5;

/// What there is to say.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// What was found beside what is expected, a line for each operation.
    pub(super) report: String,
    /// For which the check fails; each says what to do.
    pub(super) breaches: Vec<String>,
    /// Which leave it to the reader.
    pub(super) warnings: Vec<String>,
}

/// Compares. Counts of another compiler or kind of processor are others by themselves: they only lead to warnings.
pub(super) fn compare(expected: &Table, found: &Table) -> Verdict {
    let mut verdict = Verdict::default();
    let mut complaints = Vec::new();
    for (operation, count) in &found.counts {
        let complaint = match expected.counts.get(operation) {
            Some(before) => {
                verdict.report += &line(operation, *before, *count);
                judge(operation, *before, *count)
            }
            None => Some(format!(
                "`{operation}` is new: {} instructions, and docs/profile.md has no number for it. Run \
                 `cargo xtask counts --bless`, and say in the table what it is.",
                grouped(*count)
            )),
        };
        complaints.extend(complaint);
    }
    for operation in expected
        .counts
        .keys()
        .filter(|operation| !found.counts.contains_key(*operation))
    {
        complaints.push(format!(
            "`{operation}` is in docs/profile.md but was not counted. Where its function `count_{}` was removed or renamed on \
             purpose, run `cargo xtask counts --bless`.",
            operation.replace(' ', "_")
        ));
    }
    if expected.compiler == found.compiler {
        verdict.breaches = complaints;
    } else {
        verdict.warnings.push(format!(
            "the numbers in docs/profile.md are of `{}`, these of `{}`: differences may be theirs, so that nothing fails \
             because of them. Run `cargo xtask counts --bless` on an unchanged checkout to have numbers that can be compared.",
            expected.compiler, found.compiler
        ));
        verdict.warnings.extend(complaints);
    }
    verdict
}

fn judge(operation: &str, expected: u64, found: u64) -> Option<String> {
    let (least, most) = bounds(expected);
    let change = || format!("{} instructions instead of {}", grouped(found), grouped(expected));
    if found > most {
        Some(format!(
            "`{operation}` has grown: {}, which is {}; the limit is {}, {TOLERANCE} % more than expected. Find what the change \
             added to this path (docs/profile.md says how). Where it is worth its price, run `cargo xtask counts --bless` and say \
             why in the commit.",
            change(),
            percent(expected, found),
            grouped(most)
        ))
    } else if found < least {
        Some(format!(
            "`{operation}` has shrunk: {}, which is {}. Run `cargo xtask counts --bless`, so that what was gained cannot be lost \
             again unseen.",
            change(),
            percent(expected, found)
        ))
    } else {
        None
    }
}

/// The least and the most that pass. A few instructions of a small count are less than a percent.
fn bounds(expected: u64) -> (u64, u64) {
    let slack = expected.saturating_mul(TOLERANCE) / 100;
    (expected.saturating_sub(slack), expected.saturating_add(slack))
}

fn line(operation: &str, expected: u64, found: u64) -> String {
    let (expected_text, found_text) = (grouped(expected), grouped(found));
    format!(
        "  {operation:<32} {expected_text:>12} {found_text:>12}  {}\n",
        percent(expected, found)
    )
}

/// The change, with a sign.
fn percent(expected: u64, found: u64) -> String {
    let change = (found as f64 / expected.max(1) as f64 - 1.0) * 100.0;
    format!("{change:+.1} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(compiler: &str, counts: &[(&str, u64)]) -> Table {
        Table {
            compiler: compiler.to_owned(),
            counts: counts
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect(),
        }
    }

    fn breaches(expected: &[(&str, u64)], found: &[(&str, u64)]) -> Vec<String> {
        let verdict = compare(&table("rustc 1", expected), &table("rustc 1", found));
        assert!(verdict.warnings.is_empty(), "{:?}", verdict.warnings);
        verdict.breaches
    }

    #[test]
    fn what_is_within_the_tolerance_passes() {
        assert!(breaches(&[("a", 1_000)], &[("a", 1_050)]).is_empty());
        assert!(breaches(&[("a", 1_000)], &[("a", 950)]).is_empty());
        assert!(breaches(&[("a", 0)], &[("a", 0)]).is_empty());
    }

    #[test]
    fn what_has_grown_fails_with_all_that_is_needed() {
        let found = breaches(
            &[("a look-up", 10_000), ("b", 5)],
            &[("a look-up", 10_501), ("b", 5)],
        );
        let [breach] = found.as_slice() else {
            panic!("{found:?}");
        };
        for part in [
            "`a look-up` has grown",
            "10,501",
            "10,000",
            "+5.0 %",
            "10,500",
            "--bless",
        ] {
            assert!(breach.contains(part), "{part} in {breach}");
        }
    }

    #[test]
    fn what_has_shrunk_is_to_be_written_anew() {
        let found = breaches(&[("a", 1_000)], &[("a", 949)]);
        assert!(
            found
                .concat()
                .contains("`a` has shrunk: 949 instructions instead of 1,000, which is -5.1 %")
        );
    }

    #[test]
    fn what_is_new_or_missing_fails() {
        let found = breaches(&[("gone away", 7)], &[("a", 1_000)]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found.concat().contains("`a` is new: 1,000 instructions"));
        assert!(found.concat().contains("count_gone_away"));
        assert!(
            !breaches(&[("a", 7)], &[]).is_empty(),
            "nothing counted is not success"
        );
    }

    #[test]
    fn with_another_compiler_nothing_fails_but_all_is_said() {
        let verdict = compare(
            &table("rustc 1", &[("a", 1_000), ("b", 1)]),
            &table("rustc 2", &[("a", 2_000)]),
        );
        assert!(verdict.breaches.is_empty());
        let warnings = verdict.warnings.concat();
        for part in [
            "`rustc 1`",
            "`rustc 2`",
            "`a` has grown",
            "`b` is in docs/profile.md",
        ] {
            assert!(warnings.contains(part), "{part} in {warnings}");
        }
        assert!(
            verdict.report.contains("1,000") && verdict.report.contains("+100.0 %"),
            "{}",
            verdict.report
        );
    }
}
