//! Where the operator lets webhooks go.

use std::{fmt, net::IpAddr, str::FromStr};

use crate::vocabulary::shown;

use super::{
    address::{Reach, reach},
    target::Target,
};

/// Hosts that webhooks may be sent to: `example.com`, `example.com:8443`, `*.example.com`, `[::1]:9000`. Without a port it is
/// that of the URL's scheme.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPattern {
    /// In lower case; an address has no brackets.
    host: String,
    /// Whether it is every host below that one.
    below: bool,
    port: Option<u16>,
}

/// A text that is not a pattern of hosts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not a host that webhooks may be sent to")]
pub struct NotAPattern {
    /// What was given, with control characters escaped.
    pub found: String,
}

impl FromStr for HostPattern {
    type Err = NotAPattern;

    fn from_str(text: &str) -> Result<Self, NotAPattern> {
        let wrong = || NotAPattern { found: shown(text) };
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => rest.split_once(']').ok_or_else(wrong)?,
            None => text.split_at(text.find(':').unwrap_or(text.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(port) => Some(port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)?),
            None if port.is_empty() => None,
            None => return Err(wrong()),
        };
        let (below, host) = host.strip_prefix("*.").map_or((false, host), |host| (true, host));
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let is_address = host.parse::<IpAddr>().is_ok() && !below;
        let is_name = !host.is_empty() && !text.starts_with('[') && {
            let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            host.split('.')
                .all(|label| !label.is_empty() && label.chars().all(is_plain))
        };
        if !is_address && !is_name {
            return Err(wrong());
        }
        Ok(Self { host, below, port })
    }
}

impl HostPattern {
    fn matches(&self, target: &Target) -> bool {
        let port = self.port.unwrap_or(Target::usual_port(target.is_tls));
        let is_host = if self.below {
            let name = target.host.strip_suffix(&self.host);
            name.is_some_and(|name| name.len() > 1 && name.ends_with('.'))
        } else {
            self.host == target.host
        };
        is_host && port == target.port
    }
}

/// What the operator allows. The default is nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// The hosts; with none, webhooks are off.
    pub hosts: Vec<HostPattern>,
    /// Whether they may be at private addresses, and be spoken to without TLS.
    pub private: bool,
}

/// Why webhooks may not be sent there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a URL that events can be posted to.
    #[error("`{}` is not a URL that events can be posted to: {problem}", shown(url))]
    NotAUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No host is allowed.
    #[error("webhooks are off: this server was started without --webhook-host")]
    Off,
    /// Another host, or another port of it.
    #[error("webhooks may not be sent to `{host}` at port {port}")]
    Host {
        /// The host.
        host: String,
        /// The port.
        port: u16,
    },
    /// Without TLS.
    #[error("`{host}` is to be spoken to without TLS, which takes --webhook-private")]
    Plain {
        /// The host.
        host: String,
    },
    /// A host at an address that nothing may be sent to.
    #[error("`{host}` is at {address}, which is {reach}")]
    Address {
        /// The host.
        host: String,
        /// Its address.
        address: IpAddr,
        /// What kind of address.
        reach: Reach,
    },
}

impl Refused {
    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> String {
        match self {
            Self::NotAUrl { .. } => "correct `webhook.url`".to_owned(),
            Self::Off => {
                "its operator starts it with --webhook-host HOST[:PORT] for each host that events may go to"
                    .to_owned()
            }
            Self::Host { host, port } => {
                format!(
                    "its operator starts the server with --webhook-host {}",
                    Shown(host, *port)
                )
            }
            Self::Plain { .. } => {
                "use https://, or let the operator start the server with --webhook-private".to_owned()
            }
            Self::Address {
                reach: Reach::Never(_),
                ..
            } => "use a host with an address that receivers have".to_owned(),
            Self::Address { .. } => {
                "use a public address, or let the operator start the server with --webhook-private".to_owned()
            }
        }
    }
}

struct Shown<'a>(&'a str, u16);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(host, port) = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

impl Allowed {
    /// Checks a URL, all but the addresses that its host's name will lead to.
    pub(super) fn check(&self, url: &str) -> Result<Target, Refused> {
        let target = Target::parse(url).map_err(|problem| Refused::NotAUrl {
            url: url.chars().take(200).collect(),
            problem,
        })?;
        if self.hosts.is_empty() {
            return Err(Refused::Off);
        }
        if !self.hosts.iter().any(|pattern| pattern.matches(&target)) {
            return Err(Refused::Host {
                host: target.host,
                port: target.port,
            });
        }
        if !target.is_tls && !self.private {
            return Err(Refused::Plain { host: target.host });
        }
        if let Some(address) = target.address() {
            self.check_address(&target, address)?;
        }
        Ok(target)
    }

    /// Checks the very address that is about to be connected to.
    pub(super) fn check_address(&self, target: &Target, address: IpAddr) -> Result<(), Refused> {
        match reach(address) {
            Reach::Public => Ok(()),
            Reach::Private(_) if self.private => Ok(()),
            reach => Err(Refused::Address {
                host: target.host.clone(),
                address,
                reach,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(hosts: &[&str], private: bool) -> Allowed {
        Allowed {
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            private,
        }
    }

    #[test]
    fn only_what_is_named_is_allowed() {
        let hosts = [
            "example.com",
            "hooks.example.org:8443",
            "*.example.net",
            "[::1]:9000",
            "127.0.0.1:9000",
            "8.8.8.8",
        ];
        let public = allowed(&hosts, false);
        let private = allowed(&hosts, true);
        for (url, by_public, by_private) in [
            ("https://example.com/x", true, true),
            ("https://EXAMPLE.com./x", true, true),
            ("https://example.com:443/x", true, true),
            ("https://example.com:444/x", false, false),
            ("http://example.com/x", false, true),
            ("http://example.com:443/x", false, false),
            ("https://www.example.com/", false, false),
            ("https://hooks.example.org:8443/", true, true),
            ("https://hooks.example.org/", false, false),
            ("https://a.example.net/", true, true),
            ("https://a.b.example.net/", true, true),
            ("https://example.net/", false, false),
            ("https://badexample.net/", false, false),
            ("https://.example.net/", false, false),
            ("https://8.8.8.8/", true, true),
            ("http://[::1]:9000/", false, true),
            ("https://[::1]:9000/", false, true),
            ("https://127.0.0.1:9000/", false, true),
        ] {
            assert_eq!(public.check(url).is_ok(), by_public, "{url}");
            assert_eq!(private.check(url).is_ok(), by_private, "{url}, private");
        }
    }

    #[test]
    fn a_refusal_says_what_the_operator_can_do() {
        let nothing = Allowed::default();
        let local = allowed(&["169.254.169.254", "[::1]:7"], false);
        for (refused, says, fix) in [
            (
                nothing.check("https://example.com/"),
                "webhooks are off",
                "--webhook-host",
            ),
            (
                local.check("https://x.example/"),
                "`x.example` at port 443",
                "--webhook-host x.example:443",
            ),
            (local.check("https://[::2]/"), "`::2`", "--webhook-host [::2]:443"),
            (local.check("http://[::1]:7/"), "without TLS", "--webhook-private"),
            (local.check("https://[::1]:7/"), "loopback", "--webhook-private"),
            (
                local.check("https://169.254.169.254/"),
                "link-local",
                "address that receivers have",
            ),
            (local.check("nothing"), "`nothing` is not a URL", "webhook.url"),
        ] {
            let refused = refused.unwrap_err();
            assert!(refused.to_string().contains(says), "{refused}");
            assert!(refused.fix().contains(fix), "{refused}: {}", refused.fix());
        }
    }

    #[test]
    fn other_texts_are_no_patterns() {
        let wrong = [
            "",
            "*",
            "*.",
            "a..b",
            "a b",
            "a:0",
            "a:x",
            "a:70000",
            "::1",
            "[::1",
            "[a]",
            "[::1]x",
            "*.127.0.0.1:",
            "https://a",
        ];
        for text in wrong {
            assert!(text.parse::<HostPattern>().is_err(), "{text}");
        }
    }
}
