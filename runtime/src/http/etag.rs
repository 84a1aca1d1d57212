//! ETags of states, `"7-3fa9c1d2"`: the version and the start of the digest of the module that rendered it; and the
//! preconditions made of them.

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::Bytes;

use crate::{
    aggregates::Preconditions,
    vocabulary::{ModuleDigest, Version, push_hex, shown},
};

use super::{document::number, problem::Problem};

/// Entity tags that one header may list, count: more cannot be meant.
pub(super) const TAGS_MAX: usize = 32;

/// The header that carries the version.
pub(super) const AGGREGATE_VERSION: HeaderName = HeaderName::from_static("aggregate-version");

/// The headers of an answer about an aggregate.
pub(super) fn version_headers(version: Version, module: &ModuleDigest) -> [(HeaderName, HeaderValue); 2] {
    let mut etag = Vec::with_capacity(32);
    etag.push(b'"');
    number(version.0, &mut etag);
    etag.push(b'-');
    push_hex(
        module.0.get(..ModuleDigest::SHORT_LEN / 2).unwrap_or_default(),
        &mut etag,
    );
    etag.push(b'"');
    // Digits, a hyphen and quotes may stand in any header.
    let etag = HeaderValue::from_maybe_shared(Bytes::from(etag));
    [
        (
            header::ETAG,
            etag.unwrap_or_else(|_| HeaderValue::from_static("\"\"")),
        ),
        (AGGREGATE_VERSION, HeaderValue::from(version.0)),
    ]
}

/// One entity tag of a header, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Tag {
    Any,
    State(Version, Option<String>),
    /// Well-formed, but not one of ours: it matches nothing.
    Foreign,
}

/// `If-Match` and `If-None-Match` of a command.
pub(super) fn preconditions(headers: &HeaderMap) -> Result<Preconditions, Problem> {
    let if_match = tags(headers, &header::IF_MATCH)?;
    let if_none_match = tags(headers, &header::IF_NONE_MATCH)?;
    let must_not_exist = match &if_none_match {
        None => false,
        Some(tags) if *tags == [Tag::Any] => true,
        Some(_) => {
            return Err(only_any("If-None-Match"));
        }
    };
    if must_not_exist && if_match.is_some() {
        return Err(contradiction("If-Match", "If-None-Match"));
    }
    let Some(tags) = if_match else {
        return Ok(Preconditions {
            must_not_exist,
            ..Preconditions::default()
        });
    };
    if tags.contains(&Tag::Any) {
        return Ok(Preconditions {
            must_exist: true,
            ..Preconditions::default()
        });
    }
    let version = |tag: Tag| match tag {
        Tag::State(version, _) => Some(version),
        Tag::Any | Tag::Foreign => None,
    };
    let any_of = Some(tags.into_iter().filter_map(version).collect());
    Ok(Preconditions {
        any_of,
        ..Preconditions::default()
    })
}

/// The refusal of a condition that a command does not take, under its name in the request.
pub(super) fn only_any(if_none_match: &str) -> Problem {
    let detail = format!(
        "a command takes `{if_none_match}` only as `*`, which means: only when the aggregate does not exist"
    );
    Problem::malformed(detail, "send `*`, or the other condition with the version")
}

/// The refusal of two conditions that cannot both hold, under their names in the request.
pub(super) fn contradiction(if_match: &str, if_none_match: &str) -> Problem {
    let detail = format!(
        "`{if_match}` and `{if_none_match}: *` contradict each other: one wants the aggregate to exist, the other not"
    );
    Problem::malformed(detail, "send one of them")
}

/// What the caller of a read has already: `If-None-Match`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// `*`: any state, whichever it is.
    pub(super) any: bool,
    /// These versions, each as rendered by the module whose digest begins so.
    pub(super) states: Vec<(Version, String)>,
}

/// `If-None-Match` of a read.
pub(super) fn known_states(headers: &HeaderMap) -> Result<Known, Problem> {
    let tags = tags(headers, &header::IF_NONE_MATCH)?.unwrap_or_default();
    let any = tags == [Tag::Any];
    let known = |tag: Tag| match tag {
        Tag::State(version, Some(digest)) if digest.len() == ModuleDigest::SHORT_LEN => {
            Some((version, digest))
        }
        // A plain version says nothing about the module, nor does a part of a digest that is no ETag of ours.
        Tag::State(..) | Tag::Any | Tag::Foreign => None,
    };
    let states = tags.into_iter().filter_map(known).collect();
    Ok(Known { any, states })
}

fn tags(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Vec<Tag>>, Problem> {
    let mut tags = Vec::new();
    for value in headers.get_all(name) {
        let text = value
            .to_str()
            .map_err(|_| wrong(name, &String::from_utf8_lossy(value.as_bytes())))?;
        // Empty elements of a list mean nothing, but a list of nothing else is a mistake.
        let parts = text.split(',').map(str::trim);
        let before = tags.len();
        for part in parts.filter(|part| !part.is_empty()) {
            tags.push(tag(name, part)?);
        }
        if tags.len() == before {
            return Err(wrong(name, text));
        }
    }
    if tags.len() > 1 && tags.contains(&Tag::Any) {
        let detail = format!("`{name}` lists `*` beside other entity tags: `*` stands alone");
        return Err(Problem::malformed(detail, "send `*`, or the entity tags"));
    }
    if tags.len() > TAGS_MAX {
        let detail = format!(
            "`{name}` lists {} entity tags; the limit is {TAGS_MAX}",
            tags.len()
        );
        return Err(Problem::malformed(detail, "list fewer"));
    }
    Ok(if headers.contains_key(name) {
        Some(tags)
    } else {
        None
    })
}

fn tag(name: &HeaderName, text: &str) -> Result<Tag, Problem> {
    if text == "*" {
        return Ok(Tag::Any);
    }
    // The weak form is what caches make of a strong one; for `If-Match` only the version counts anyway.
    let quoted = text.strip_prefix("W/").unwrap_or(text);
    let inner = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .ok_or_else(|| wrong(name, text))?;
    if inner.contains('"') {
        return Err(wrong(name, text));
    }
    let (version, digest) = match inner.split_once('-') {
        Some((version, digest)) => (version, Some(digest.to_owned())),
        None => (inner, None),
    };
    let digits = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
    match version.parse() {
        Ok(version) if digits => Ok(Tag::State(Version(version), digest)),
        _ => Ok(Tag::Foreign),
    }
}

fn wrong(name: &HeaderName, found: &str) -> Problem {
    let found = shown(found);
    Problem::malformed(
        format!("`{name}: {found}` is not an entity tag"),
        "send the version in quotes, `\"7\"`, or the ETag as it was received, `\"7-3fa9c1d2\"`",
    )
    .with("found", found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn if_match_takes_versions_and_etags() {
        for (value, versions) in [
            ("\"7\"", vec![7]),
            ("\"7-3fa9c1d2\"", vec![7]),
            ("W/\"7-3fa9c1d2\"", vec![7]),
            ("\"7\", \"8-abc\"", vec![7, 8]),
            ("\"other\"", vec![]),
        ] {
            let preconditions = preconditions(&headers(&[(header::IF_MATCH, value)])).unwrap();
            let versions = versions.into_iter().map(Version).collect();
            assert_eq!(
                preconditions,
                Preconditions {
                    any_of: Some(versions),
                    ..Preconditions::default()
                },
                "{value}"
            );
        }
        let any = preconditions(&headers(&[(header::IF_MATCH, "*")])).unwrap();
        assert!(any.must_exist && any.any_of.is_none());
    }

    #[test]
    fn what_contradicts_or_is_not_a_tag_is_refused() {
        for pairs in [
            vec![(header::IF_MATCH, "7")],
            vec![(header::IF_MATCH, "\"7")],
            vec![(header::IF_MATCH, " , ")],
            vec![(header::IF_MATCH, "*, \"7\"")],
            vec![(header::IF_NONE_MATCH, "\"7\"")],
            vec![(header::IF_MATCH, "\"7\""), (header::IF_NONE_MATCH, "*")],
        ] {
            assert!(preconditions(&headers(&pairs)).is_err(), "{pairs:?}");
        }
    }

    #[test]
    fn reads_know_states_by_version_and_module() {
        let known = |value| known_states(&headers(&[(header::IF_NONE_MATCH, value)])).unwrap();
        let states = vec![(Version(7), "3fa9c1d2".to_owned())];
        assert_eq!(
            known("\"7-3fa9c1d2\", \"8\", \"9-\", \"9-3f\""),
            Known { any: false, states }
        );
        assert_eq!(
            known("*"),
            Known {
                any: true,
                states: Vec::new()
            }
        );
    }
}
