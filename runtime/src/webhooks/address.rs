//! What kind of place an address is: no request leaves for one before this was asked.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Who can be reached at an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Anybody's.
    Public,
    /// The operator's own; the word says of which kind.
    Private(&'static str),
    /// Nobody's who takes webhooks.
    Never(&'static str),
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Public => f.write_str("public"),
            Self::Private(kind) | Self::Never(kind) => f.write_str(kind),
        }
    }
}

/// Of which kind an address is.
pub(super) fn reach(address: IpAddr) -> Reach {
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

/// At these a cloud's machines are given their credentials or their setup, though they look like anybody's or the operator's.
const METADATA: Reach = Reach::Never("a cloud's metadata service");

/// By the registry of special-purpose IPv4 addresses, and by what clouds say of themselves.
fn reach_v4(address: Ipv4Addr) -> Reach {
    match address.octets() {
        [0, ..] => Reach::Never("unspecified"),
        // Azure, Alibaba.
        [168, 63, 129, 16] | [100, 100, 100, 200] => METADATA,
        [127, ..] => Reach::Private("loopback"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] => Reach::Private("private"),
        [100, 64..=127, ..] => Reach::Private("shared by a carrier's customers"),
        [198, 18..=19, ..] => Reach::Private("for benchmarks"),
        // Most clouds' metadata services are at one of these.
        [169, 254, ..] => Reach::Never("link-local"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Reach::Never("for documentation"),
        [192, 0, 0, _] | [192, 88, 99, _] => Reach::Never("reserved"),
        [224..=239, ..] => Reach::Never("multicast"),
        [240..=255, ..] => Reach::Never("reserved"),
        _ => Reach::Public,
    }
}

/// By the registry of special-purpose IPv6 addresses. One that stands for an IPv4 address is of that one's kind.
fn reach_v6(address: Ipv6Addr) -> Reach {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        reach_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        [0, 0, 0, 0, 0, 0, 0, 0] => Reach::Never("unspecified"),
        [0, 0, 0, 0, 0, 0, 0, 1] => Reach::Private("loopback"),
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x2002, high, low, ..] => embedded(high, low),
        // AWS has several services below this one; Google, Oracle, Scaleway, Akamai, Alibaba.
        [0xfd00, 0xec2, ..]
        | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254]
        | [0xfd00, 0xc1, 0, 0, 0, 0, 0xa9fe, 0xa9fe]
        | [0xfd00, 0x42, 0, 0, 0, 0, 0, 0x42]
        | [0xfd00, 0xa9fe, 0xa9fe, 0, 0, 0, 0, 1]
        | [0xfd00, 0x100, 0, 0, 0, 0, 0x100, 0x200] => METADATA,
        [0x64, 0xff9b, 1, ..] => Reach::Private("translated within a network"),
        [0xfc00..=0xfdff, ..] => Reach::Private("unique-local"),
        [0xfec0..=0xfeff, ..] => Reach::Private("site-local"),
        [0xfe80..=0xfebf, ..] => Reach::Never("link-local"),
        [0xff00..=0xffff, ..] => Reach::Never("multicast"),
        [0x2001, 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Reach::Never("for documentation"),
        [0x2001, 0..=0x1ff, ..] => Reach::Never("reserved"),
        [0x2000..=0x3fff, ..] => Reach::Public,
        _ => Reach::Never("reserved"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_known() {
        for (address, kind) in [
            ("93.184.216.34", "public"),
            ("8.8.8.8", "public"),
            ("100.63.255.255", "public"),
            ("172.15.255.255", "public"),
            ("172.32.0.1", "public"),
            ("2606:2800:220:1::1", "public"),
            ("2a00:1450::1", "public"),
            ("::ffff:8.8.8.8", "public"),
            ("64:ff9b::8.8.8.8", "public"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("::1", "loopback"),
            ("::ffff:127.0.0.1", "loopback"),
            ("2002:7f00:1::", "loopback"),
            ("10.0.0.1", "private"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.168.1.1", "private"),
            ("::ffff:10.1.2.3", "private"),
            ("64:ff9b::192.168.0.1", "private"),
            ("100.64.0.1", "shared by a carrier's customers"),
            ("100.127.255.255", "shared by a carrier's customers"),
            ("198.18.0.1", "for benchmarks"),
            ("64:ff9b:1::1", "translated within a network"),
            ("fc00::1", "unique-local"),
            ("fdff::1", "unique-local"),
            ("fec0::1", "site-local"),
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("::", "unspecified"),
            ("169.254.169.254", "link-local"),
            ("::ffff:169.254.169.254", "link-local"),
            ("168.63.129.16", "a cloud's metadata service"),
            ("::ffff:168.63.129.16", "a cloud's metadata service"),
            ("168.63.129.17", "public"),
            ("100.100.100.200", "a cloud's metadata service"),
            ("64:ff9b::100.100.100.200", "a cloud's metadata service"),
            ("100.100.100.201", "shared by a carrier's customers"),
            ("fd00:ec2::254", "a cloud's metadata service"),
            ("fd00:ec2::23", "a cloud's metadata service"),
            ("fd00:ec3::254", "unique-local"),
            ("fd20:ce::254", "a cloud's metadata service"),
            ("fd20:ce::1", "unique-local"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("192.0.2.1", "for documentation"),
            ("198.51.100.7", "for documentation"),
            ("203.0.113.9", "for documentation"),
            ("2001:db8::1", "for documentation"),
            ("3fff::1", "for documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("ff02::1", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "reserved"),
            ("192.0.0.1", "reserved"),
            ("192.88.99.1", "reserved"),
            ("2001::1", "reserved"),
            ("::7f00:1", "reserved"),
            ("100::1", "reserved"),
            ("4000::1", "reserved"),
        ] {
            assert_eq!(reach(address.parse().unwrap()).to_string(), kind, "{address}");
        }
    }
}
