//! Who is at the other end of a connection.

use std::net::IpAddr;

/// The other end of a connection, as the kernel names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Peer {
    Uid(u32),
    Ip(IpAddr),
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Peer::Uid(uid) => write!(f, "unix uid {uid}"),
            Peer::Ip(ip) => write!(f, "tcp {ip}"),
        }
    }
}
