//! Reads what callgrind writes: the instructions within calls of the functions that are counted.
//!
//! Functions are named `(7) a::path::of::it` where they are mentioned first, and `(7)` from then on. A call is three lines:
//! `cfn=(7)`, `calls=COUNT WHERE`, and `WHERE INSTRUCTIONS`, the last with everything that the callee called.

use std::collections::{BTreeMap, HashMap};

/// How the names of functions begin that are counted, in modules called `counts`.
const PREFIX: &str = "::counts::count_";

/// Instructions of an operation, by its name: `count_head_in_the_index` is `head in the index`, and
/// `count_commit_into_the_overlay_x16` is 16 of `commit into the overlay` in each call.
pub(super) fn read(profile: &str) -> BTreeMap<String, u64> {
    let mut names: HashMap<&str, &str> = HashMap::new();
    let mut totals: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    let mut callee = None;
    let mut under_way: Option<(String, u64)> = None;
    for line in profile.lines() {
        if let Some((name, times)) = under_way.take() {
            let (done, instructions) = totals.entry(name).or_default();
            *done += times;
            *instructions += last_number(line);
        } else if let Some(function) = line.strip_prefix("fn=").or_else(|| line.strip_prefix("cfn=")) {
            let (id, name) = function.split_once(' ').unwrap_or((function, ""));
            if !name.is_empty() {
                names.insert(id, name);
            }
            callee = line.starts_with("cfn=").then_some(id);
        } else if let Some(calls) = line.strip_prefix("calls=") {
            let calls = calls.split(' ').next().and_then(|calls| calls.parse().ok());
            under_way = callee
                .and_then(|id| operation(names.get(id)?))
                .zip(calls)
                .map(|((name, times), calls): (_, u64)| (name, times * calls));
        }
    }
    let mean = |(name, (done, instructions)): (String, (u64, u64))| (name, instructions / done.max(1));
    totals.into_iter().map(mean).collect()
}

/// The operation that a function is, and how many of it are in one call.
fn operation(function: &str) -> Option<(String, u64)> {
    let (_, name) = function.split_once(PREFIX)?;
    // A closure within it, or the hash of some mangled name, is not the function.
    if !name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return None;
    }
    let many = name
        .rsplit_once("_x")
        .and_then(|(name, times)| Some((name, times.parse().ok()?)));
    let (name, times) = many.unwrap_or((name, 1));
    Some((name.replace('_', " "), times))
}

fn last_number(line: &str) -> u64 {
    let last = line.rsplit(' ').next();
    last.and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_counted_functions_are_added_up() {
        let profile = "\
version: 1
events: Ir
fl=(1) src/x.rs
fn=(10) annals::store::tests::counts::the_test
12 100
cfn=(11) annals::store::tests::counts::count_head_in_the_index
calls=3 40
+2 3000
cfi=(2)
cfn=(12) annals::store::index::Index::head
calls=3 80
+1 77
cfn=(13) annals::http::counts::count_packing_a_commit_x16
calls=2 1
* 3200

fn=(14) annals::other
1 5
cfn=(11)
calls=1 40
-3 1400

fn=(11)
40 200
cfn=(15) annals::store::tests::counts::count_head_in_the_index::{{closure}}
calls=9 40
+2 999999

totals: 1234
";
        let found = read(profile);
        let expected = [("head in the index", 1100), ("packing a commit", 100)];
        assert_eq!(
            found,
            expected.map(|(name, count)| (name.to_owned(), count)).into()
        );
        assert!(read("").is_empty());
    }
}
