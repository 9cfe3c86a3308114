//! Where the balancer listens for a route: an address of the machine, or inside, for servers that name the service. Pure.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

const INTERNAL: &str = "internal:";

/// As text `0.0.0.0:8080` or `internal:8080`, so that releases of before keep their digests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum RouteAddress {
    Edge(SocketAddr),
    /// A port of the gateway of this host's servers: `NAME.internal:8080`.
    Internal(u16),
}

impl RouteAddress {
    pub fn port(self) -> u16 {
        match self {
            Self::Edge(address) => address.port(),
            Self::Internal(port) => port,
        }
    }

    pub fn edge(self) -> Option<SocketAddr> {
        match self {
            Self::Edge(address) => Some(address),
            Self::Internal(_) => None,
        }
    }

    /// Two listeners cannot have one address; `0.0.0.0` and `[::]` are every address of the machine, the gateway's too.
    pub fn clashes(self, other: Self) -> bool {
        let everywhere = |one: Self| matches!(one, Self::Edge(address) if address.ip().is_unspecified());
        let same = match (self, other) {
            (Self::Edge(a), Self::Edge(b)) => a.ip() == b.ip(),
            (Self::Internal(_), Self::Internal(_)) => true,
            _ => false,
        };
        self.port() == other.port() && (same || everywhere(self) || everywhere(other))
    }
}

impl From<SocketAddr> for RouteAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Edge(address)
    }
}

impl FromStr for RouteAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let internal = text.strip_prefix(INTERNAL).map(|port| port.parse().map(Self::Internal).map_err(|e| format!("{text}: {e}")));
        internal.unwrap_or_else(|| text.parse().map(Self::Edge).map_err(|e| format!("{text}: {e}")))
    }
}

impl fmt::Display for RouteAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edge(address) => write!(f, "{address}"),
            Self::Internal(port) => write!(f, "{INTERNAL}{port}"),
        }
    }
}

impl TryFrom<String> for RouteAddress {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<RouteAddress> for String {
    fn from(address: RouteAddress) -> String {
        address.to_string()
    }
}

/// The addresses of this host within its servers' network, as the keeper tells the balancer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    pub v4: Ipv4Addr,
    /// None: this host has no IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl Gateway {
    pub fn addresses(self) -> Vec<IpAddr> {
        std::iter::once(IpAddr::V4(self.v4)).chain(self.v6.map(IpAddr::V6)).collect()
    }

    /// Whether it lies in the servers' network: a /24, and a /64.
    pub fn is_near(self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => u32::from(address) >> 8 == u32::from(self.v4) >> 8,
            IpAddr::V6(address) => self.v6.is_some_and(|gateway| u128::from(address) >> 64 == u128::from(gateway) >> 64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_text_and_say_whether_they_clash() {
        let of = |text: &str| -> RouteAddress { serde_json::from_value(text.into()).unwrap() };
        for text in ["0.0.0.0:80", "[::1]:80", "internal:80"] {
            assert_eq!(serde_json::to_value(of(text)).unwrap(), text);
        }
        for bad in ["internal:", "internal:70000", "80", "inside:80"] {
            assert!(bad.parse::<RouteAddress>().is_err(), "{bad}");
        }
        for (a, b, clash) in [
            ("0.0.0.0:80", "0.0.0.0:81", false),
            ("0.0.0.0:80", "10.0.0.1:80", true),
            ("10.0.0.2:80", "10.0.0.1:80", false),
            ("internal:80", "internal:80", true),
            ("internal:80", "internal:81", false),
            ("internal:80", "0.0.0.0:80", true),
            ("internal:80", "[::]:80", true),
            ("internal:80", "10.0.0.1:80", false),
        ] {
            assert_eq!((of(a).clashes(of(b)), of(b).clashes(of(a))), (clash, clash), "{a} {b}");
        }
    }

    #[test]
    fn only_servers_are_near() {
        let gateway = Gateway { v4: [198, 18, 7, 1].into(), v6: "fd00:1::1".parse().ok() };
        let near = |text: &str| gateway.is_near(text.parse().unwrap());
        assert!(near("198.18.7.200") && near("fd00:1::c8") && near("::ffff:198.18.7.3"));
        assert!(!near("198.18.8.1") && !near("10.0.0.1") && !near("fd00:1:0:1::2") && !near("::1") && !near("127.0.0.1"));
        assert!(!Gateway { v6: None, ..gateway }.is_near("fd00:1::2".parse().unwrap()));
    }
}
