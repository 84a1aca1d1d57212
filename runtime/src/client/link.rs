//! The `Link` header of RFC 8288, as far as paging needs it.

use http::{HeaderMap, header};

/// The target of the link with relation `next`: a path with its query.
pub(crate) fn next(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(header::LINK)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .find_map(next_in)
}

fn next_in(header: &str) -> Option<String> {
    let mut rest = header;
    while let Some((_, after)) = rest.split_once('<') {
        let (target, after) = after.split_once('>')?;
        let parameters = after.split_once('<').map_or(after, |(mine, _)| mine);
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let parameter = parameter.trim();
            parameter.eq_ignore_ascii_case("rel=next") || parameter.eq_ignore_ascii_case("rel=\"next\"")
        });
        if is_next {
            return Some(target.to_owned());
        }
        rest = after;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_link_is_found() {
        let cases = [
            ("</v1/events?after=1>; rel=\"next\"", Some("/v1/events?after=1")),
            ("</a>; rel=\"prev\", </b?x=1,2>; rel=\"next\"", Some("/b?x=1,2")),
            ("</a>; title=\"x\"; rel=next", Some("/a")),
            ("</a>; rel=\"prev\"", None),
            ("nonsense", None),
            ("<unfinished", None),
        ];
        for (header, target) in cases {
            assert_eq!(next_in(header).as_deref(), target, "{header}");
        }
    }
}
