//! Who is at the other end of a connection.

use std::net::{IpAddr, Ipv6Addr};

/// The other end of a connection, as the kernel names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    Uid(u32),
    Ip(IpAddr),
}

impl Peer {
    /// Who shares a limit: whoever has one IPv6 address has all of its /64. An IPv4 address that a socket of both reports as an IPv6 one
    /// is itself.
    pub(crate) fn network(self) -> Peer {
        match self {
            Peer::Ip(ip) => Peer::Ip(match ip.to_canonical() {
                IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)),
                v4 => v4,
            }),
            uid => uid,
        }
    }
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Peer::Uid(uid) => write!(f, "unix uid {uid}"),
            Peer::Ip(ip) => write!(f, "tcp {ip}"),
        }
    }
}
