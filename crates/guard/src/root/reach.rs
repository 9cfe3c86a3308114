//! From where an address that a service listens on can be reached.

use crate::finding::Severity;
use crate::ternary::Tri;
use std::net::IpAddr;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    Loopback,
    /// A private network.
    Network,
    Anyone,
    /// A name, an interface, a variable.
    Unknown,
}

impl Reach {
    pub fn is_wide(self) -> Tri {
        match self {
            Reach::Loopback => Tri::No,
            Reach::Unknown => Tri::Unknown,
            Reach::Network | Reach::Anyone => Tri::Yes,
        }
    }

    pub fn phrase(self) -> &'static str {
        match self {
            Reach::Loopback => "this host",
            Reach::Network => "everybody in its network",
            Reach::Anyone | Reach::Unknown => "everybody who reaches the host",
        }
    }

    /// In a private network there are fewer strangers.
    pub fn soften(self, severity: Severity) -> Severity {
        if self == Reach::Network { severity.min(Severity::High) } else { severity }
    }

    /// The widest of all addresses. An empty list reaches nobody.
    pub fn of<'a>(addresses: impl IntoIterator<Item = &'a str>) -> Reach {
        let rank = |r: &Reach| match r {
            Reach::Loopback => 0,
            Reach::Unknown => 1,
            Reach::Network => 2,
            Reach::Anyone => 3,
        };
        addresses.into_iter().map(one).max_by_key(rank).unwrap_or(Reach::Loopback)
    }
}

fn one(address: &str) -> Reach {
    let address = address.trim().trim_matches(['[', ']', '"', '\'']);
    if address.starts_with('/') || address.starts_with("unix:") || address.eq_ignore_ascii_case("localhost") {
        return Reach::Loopback;
    }
    if matches!(address, "*" | "" | "any" | "all" | "0") {
        return Reach::Anyone;
    }
    match address.parse::<IpAddr>() {
        Ok(ip) if ip.to_canonical().is_loopback() => Reach::Loopback,
        Ok(ip) => match ip.to_canonical() {
            IpAddr::V4(v4) if v4.is_private() || v4.is_link_local() => Reach::Network,
            IpAddr::V6(v6) if v6.is_unique_local() || v6.is_unicast_link_local() => Reach::Network,
            _ => Reach::Anyone,
        },
        Err(_) => Reach::Unknown,
    }
}

/// The host of `scheme://host:port`, `host:port`, `:port` or `host`.
pub(super) fn host_of(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split(['/', '?']).next().unwrap_or(rest);
    if let Some(bracketed) = rest.strip_prefix('[') {
        return bracketed.split(']').next().unwrap_or(bracketed);
    }
    match rest.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => rest,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_reach_as_far_as_they_say() {
        for (addresses, expected) in [
            (&["127.0.0.1", "::1"][..], Reach::Loopback),
            (&["127.8.9.1", "localhost", "/run/x.sock"], Reach::Loopback),
            (&["::ffff:127.0.0.1"], Reach::Loopback),
            (&["127.0.0.1", "10.1.2.3"], Reach::Network),
            (&["fd00::1"], Reach::Network),
            (&["0.0.0.0"], Reach::Anyone),
            (&["::"], Reach::Anyone),
            (&["*"], Reach::Anyone),
            (&["203.0.113.9"], Reach::Anyone),
            (&["127.0.0.1", "db.internal"], Reach::Unknown),
            (&["${ADDRESS}"], Reach::Unknown),
            (&[], Reach::Loopback),
        ] {
            assert_eq!(Reach::of(addresses.iter().copied()), expected, "{addresses:?}");
        }
        for (url, host) in [("http://0.0.0.0:2379", "0.0.0.0"), ("https://[::]:1/x", "::"), (":9000", ""), ("a.b", "a.b"), ("::1", "::1")] {
            assert_eq!(host_of(url), host, "{url}");
        }
    }
}
