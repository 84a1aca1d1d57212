//! Where a server is, and how paths below it are written.

use std::{fmt, str::FromStr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Everything but RFC 3986's unreserved characters, so that any id is one path segment.
const NOT_UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// The address of a server: `http://host[:port][/prefix]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    authority: http::uri::Authority,
    /// Either empty or beginning with `/`; never ends with one.
    prefix: String,
}

/// A text that is not the address of a server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not the address of a server: {problem}")]
pub struct InvalidAddress {
    /// What was given, with control characters escaped.
    pub found: String,
    /// What is wrong with it and what is accepted.
    pub problem: &'static str,
}

impl FromStr for BaseUrl {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let wrong = |problem| InvalidAddress {
            found: text.escape_debug().to_string(),
            problem,
        };
        let shape = "write http://HOST:PORT, for example http://127.0.0.1:7070";
        if text.starts_with("https://") {
            return Err(wrong(
                "this client does not speak TLS; use http:// to a local server or proxy",
            ));
        }
        let uri: http::Uri = text.parse().map_err(|_| wrong(shape))?;
        if uri.scheme_str() != Some("http") {
            return Err(wrong(shape));
        }
        let authority = uri.authority().cloned().ok_or_else(|| wrong(shape))?;
        if uri.query().is_some() || authority.as_str().contains('@') || authority.host().is_empty() {
            return Err(wrong("it takes neither a user nor a query, and it needs a host"));
        }
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { authority, prefix })
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

impl BaseUrl {
    /// The address of a path below the server's, given with its query.
    ///
    /// # Errors
    /// When the path is not one; paths made by [`path`] always are.
    pub(crate) fn join(&self, path_and_query: &str) -> Result<http::Uri, http::Error> {
        http::Uri::builder()
            .scheme("http")
            .authority(self.authority.clone())
            .path_and_query(format!("{}{path_and_query}", self.prefix))
            .build()
    }
}

/// A path of percent-encoded segments.
pub(crate) fn path(segments: &[&str]) -> String {
    let mut path = String::new();
    for segment in segments {
        path.push('/');
        path.extend(utf8_percent_encode(segment, NOT_UNRESERVED));
    }
    path
}

/// A path with a query of those parameters that have a value.
pub(crate) fn with_query(mut path: String, parameters: &[(&str, Option<String>)]) -> String {
    let mut separator = '?';
    for (name, value) in parameters {
        if let Some(value) = value {
            path.push(separator);
            path.push_str(name);
            path.push('=');
            path.extend(utf8_percent_encode(value, NOT_UNRESERVED));
            separator = '&';
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        let cases = [
            ("http://127.0.0.1:7070", "http://127.0.0.1:7070/v1"),
            ("http://127.0.0.1:7070/", "http://127.0.0.1:7070/v1"),
            ("http://[::1]:80/annals/", "http://[::1]:80/annals/v1"),
            ("http://localhost", "http://localhost/v1"),
        ];
        for (text, joined) in cases {
            let url: BaseUrl = text.parse().unwrap();
            assert_eq!(url.join("/v1").unwrap().to_string(), joined, "{text}");
        }
    }

    #[test]
    fn other_addresses_are_refused_with_the_reason() {
        let cases = [
            ("https://localhost", "TLS"),
            ("localhost:7070", "http://HOST:PORT"),
            ("", "http://HOST:PORT"),
            ("ftp://x", "http://HOST:PORT"),
            ("http://me@x", "neither a user"),
            ("http://x/?a=b", "neither a user"),
            ("http://a b", "http://HOST:PORT"),
        ];
        for (text, part) in cases {
            let message = text.parse::<BaseUrl>().unwrap_err().to_string();
            assert!(
                message.contains(part) && message.contains(text),
                "{text}: {message}"
            );
        }
    }

    #[test]
    fn ids_become_one_segment() {
        assert_eq!(
            path(&["v1", "a/b", "ü?#%", "..."]),
            "/v1/a%2Fb/%C3%BC%3F%23%25/..."
        );
        let query = [
            ("after", Some("a&b".to_owned())),
            ("x", None),
            ("limit", Some("3".into())),
        ];
        assert_eq!(with_query("/v1".into(), &query), "/v1?after=a%26b&limit=3");
    }
}
