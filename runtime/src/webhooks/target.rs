//! A receiver's URL, taken apart.

use std::net::IpAddr;

use http::{HeaderValue, Uri};

/// Where a request goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) is_tls: bool,
    /// A name in lower case, or an address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// What the `Host` header says.
    pub(super) authority: HeaderValue,
    /// Path and query.
    pub(super) path: Uri,
}

impl Target {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        const SHAPE: &str = "write https://HOST[:PORT]/PATH";
        if url.contains('#') {
            return Err("a fragment is never sent: leave out what comes after `#`");
        }
        let uri: Uri = url.parse().map_err(|_| SHAPE)?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(SHAPE),
        };
        let authority = uri.authority().ok_or(SHAPE)?;
        if authority.as_str().contains('@') {
            return Err("a user or password is not sent: the receiver checks the signature");
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let named_port = authority
            .as_str()
            .strip_prefix(authority.host())
            .unwrap_or_default();
        let port = match (named_port, authority.port_u16()) {
            ("", _) => Self::usual_port(is_tls),
            (_, Some(port)) if port > 0 => port,
            _ => return Err("its port is not a number from 1 to 65535"),
        };
        if host.is_empty() {
            return Err(SHAPE);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            is_tls,
            host,
            port,
            authority: HeaderValue::from_str(authority.as_str()).map_err(|_| SHAPE)?,
            path: path.parse().map_err(|_| SHAPE)?,
        })
    }

    pub(super) fn usual_port(is_tls: bool) -> u16 {
        if is_tls { 443 } else { 80 }
    }

    /// The address, where the host is one.
    pub(super) fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (url, is_tls, host, port, path) in [
            ("https://example.com", true, "example.com", 443, "/"),
            ("https://Example.COM./a?b=c", true, "example.com", 443, "/a?b=c"),
            ("http://localhost:8080/x", false, "localhost", 8080, "/x"),
            ("https://[::1]:9/", true, "::1", 9, "/"),
            ("http://10.0.0.1/", false, "10.0.0.1", 80, "/"),
        ] {
            let target = Target::parse(url).unwrap();
            let found = (
                target.is_tls,
                target.host.as_str(),
                target.port,
                target.path.to_string(),
            );
            assert_eq!(found, (is_tls, host, port, path.to_owned()), "{url}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_reason() {
        for (url, part) in [
            ("", "https://HOST"),
            ("example.com/x", "https://HOST"),
            ("ftp://example.com/", "https://HOST"),
            ("https:///x", "https://HOST"),
            ("https://me:secret@example.com/", "user or password"),
            ("https://example.com/#a", "fragment"),
            ("https://example.com:99999/", "HOST"),
            ("https://exa mple.com/", "https://HOST"),
        ] {
            let problem = Target::parse(url).unwrap_err();
            assert!(
                problem.contains(part) || problem.contains("port"),
                "{url}: {problem}"
            );
        }
    }
}
