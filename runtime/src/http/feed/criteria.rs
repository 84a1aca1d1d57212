//! Which events are wanted, as a request says it.

use crate::{
    store::FeedFilter,
    vocabulary::{InvalidName, Limits, Millis, ids::ID_BYTES_MAX, shown},
};

use super::super::{
    cloudevent::{parse_rfc3339, rfc3339},
    problem::Problem,
};

/// The parts of a filter as they stand in a query.
#[derive(Debug, Default)]
pub(in crate::http) struct Criteria<'a> {
    /// Names with commas between them.
    pub(in crate::http) types: Option<&'a str>,
    /// Names with commas between them.
    pub(in crate::http) event_types: Option<&'a str>,
    pub(in crate::http) id_prefix: Option<&'a str>,
    pub(in crate::http) actor: Option<&'a str>,
    pub(in crate::http) since: Option<&'a str>,
    pub(in crate::http) until: Option<&'a str>,
    pub(in crate::http) include_system: bool,
}

impl Criteria<'_> {
    /// The filter that they make.
    pub(in crate::http) fn filter(&self, limits: &Limits) -> Result<FeedFilter, Problem> {
        let filter = FeedFilter {
            aggregate_types: names(self.types)?,
            event_types: names(self.event_types)?,
            id_prefix: self.id_prefix.map(str::to_owned),
            actor: self.actor.map(str::to_owned),
            since: time("since", self.since)?,
            until: time("until", self.until)?,
            include_system: self.include_system,
        };
        checked_filter(filter, limits)
    }
}

fn names<T>(list: Option<&str>) -> Result<Vec<T>, Problem>
where
    T: std::str::FromStr<Err = InvalidName>,
{
    parsed(list.into_iter().flat_map(|list| list.split(',')))
}

/// Names, each as it should be.
pub(in crate::http) fn parsed<'a, T>(names: impl Iterator<Item = &'a str>) -> Result<Vec<T>, Problem>
where
    T: std::str::FromStr<Err = InvalidName>,
{
    Ok(names.map(str::parse).collect::<Result<_, InvalidName>>()?)
}

fn time(name: &str, text: Option<&str>) -> Result<Option<Millis>, Problem> {
    let fix = "write it like `2026-11-21T08:30:00Z` or `2026-11-21T09:30:00.250%2B01:00`: in a query, `+` is a space";
    text.map(|text| time_of(name, text, fix)).transpose()
}

/// A time, under its name in the request.
pub(in crate::http) fn time_of(name: &str, text: &str, fix: &str) -> Result<Millis, Problem> {
    parse_rfc3339(text).ok_or_else(|| {
        let found = shown(text);
        let detail = format!("`{name}` is `{found}`, which is not a time of RFC 3339");
        Problem::malformed(detail, fix).with("found", found)
    })
}

/// A filter that is within the limits and can let anything through, with its names as all have them who mean the same: each
/// once, in one order.
pub(in crate::http) fn checked_filter(
    mut filter: FeedFilter,
    limits: &Limits,
) -> Result<FeedFilter, Problem> {
    check_filter(&filter, limits)?;
    filter.aggregate_types.sort_unstable();
    filter.aggregate_types.dedup();
    filter.event_types.sort_unstable();
    filter.event_types.dedup();
    Ok(filter)
}

fn check_filter(filter: &FeedFilter, limits: &Limits) -> Result<(), Problem> {
    let types = filter.aggregate_types.iter().map(|name| name.as_str());
    let types = types.chain(filter.event_types.iter().map(|name| name.as_str()));
    let names = filter.aggregate_types.len() + filter.event_types.len();
    if names > limits.filter_names {
        return Err(oversized("types", names, limits.filter_names));
    }
    let texts = [&filter.id_prefix, &filter.actor];
    let texts = texts.into_iter().flatten().map(String::as_str);
    let bytes: usize = types.chain(texts).map(str::len).sum();
    if bytes > limits.filter_bytes {
        return Err(oversized("bytes", bytes, limits.filter_bytes));
    }
    if let Some(prefix) = filter
        .id_prefix
        .as_deref()
        .filter(|prefix| prefix.len() > ID_BYTES_MAX)
    {
        let detail = format!(
            "`id_prefix` has {} bytes; an id has at most {ID_BYTES_MAX}, so nothing begins with it",
            prefix.len()
        );
        return Err(Problem::malformed(detail, "send a shorter one"));
    }
    match (filter.since, filter.until) {
        (Some(since), Some(until)) if since >= until => {
            let fix = if since == until {
                "make `until` later: it is the first time that is not wanted"
            } else {
                "exchange them; `until` is the first time that is not wanted"
            };
            let (since, until) = (rfc3339(since), rfc3339(until));
            let detail =
                format!("`since` ({since}) is not before `until` ({until}), so nothing lies between them");
            Err(Problem::malformed(detail, fix))
        }
        _ => Ok(()),
    }
}

fn oversized(what: &str, count: usize, limit: usize) -> Problem {
    Problem::new(
        400,
        "oversized-filter",
        "The filter is too large",
        format!("the filter has {count} {what}; the limit is {limit}"),
    )
    .fix("ask for less at once, or for all and choose yourself")
    .with("count", count)
    .with("limit", limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(criteria: &Criteria<'_>) -> String {
        let problem = criteria.filter(&Limits::default()).unwrap_err();
        problem.document().to_string()
    }

    #[test]
    fn all_parts_are_taken() {
        let criteria = Criteria {
            types: Some("account,order"),
            event_types: Some("opened"),
            id_prefix: Some("a/"),
            actor: Some("anna"),
            since: Some("1970-01-01T00:00:01Z"),
            until: Some("1970-01-01T00:00:02Z"),
            include_system: true,
        };
        let filter = criteria.filter(&Limits::default()).unwrap();
        let types: Vec<_> = filter.aggregate_types.iter().map(|name| name.as_str()).collect();
        assert_eq!(types, ["account", "order"]);
        assert_eq!(filter.event_types[0].as_str(), "opened");
        assert_eq!(
            (
                filter.id_prefix.as_deref(),
                filter.actor.as_deref(),
                filter.include_system
            ),
            (Some("a/"), Some("anna"), true)
        );
        assert_eq!((filter.since, filter.until), (Some(1_000), Some(2_000)));
        let criteria = Criteria {
            types: Some("order,account,order"),
            ..criteria
        };
        assert_eq!(criteria.filter(&Limits::default()).unwrap(), filter);
        let nothing = Criteria::default().filter(&Limits::default()).unwrap();
        assert_eq!(nothing, FeedFilter::default());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let many = vec!["a"; 65].join(",");
        let long = "x".repeat(4_097);
        let too_long = "x".repeat(256);
        for (criteria, parts) in [
            (
                Criteria {
                    types: Some("account,"),
                    ..Criteria::default()
                },
                ["aggregate type", "``"],
            ),
            (
                Criteria {
                    types: Some(&many),
                    ..Criteria::default()
                },
                ["65", "64"],
            ),
            (
                Criteria {
                    actor: Some(&long),
                    ..Criteria::default()
                },
                ["4097", "4096"],
            ),
            (
                Criteria {
                    id_prefix: Some(&too_long),
                    ..Criteria::default()
                },
                ["256", "255"],
            ),
            (
                Criteria {
                    since: Some("yesterday"),
                    ..Criteria::default()
                },
                ["yesterday", "%2B"],
            ),
            (
                Criteria {
                    since: Some("2026-01-01T00:00:00Z"),
                    until: Some("2026-01-01T00:00:00Z"),
                    ..Criteria::default()
                },
                ["make `until` later", "2026-01-01T00:00:00.000Z"],
            ),
            (
                Criteria {
                    since: Some("2026-01-01T00:00:01Z"),
                    until: Some("2026-01-01T00:00:00Z"),
                    ..Criteria::default()
                },
                ["exchange them", "2026-01-01T00:00:01.000Z"],
            ),
        ] {
            let refused = refused(&criteria);
            for part in parts {
                assert!(refused.contains(part), "{part}: {refused}");
            }
        }
    }
}
