//! What was refused of a server's connections, for people.

use crate::destination::Transport;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::SocketAddr;

/// Within the last day, and since the server began.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// None: the server had too many open at a time.
    #[serde(default)]
    pub to: Option<SocketAddr>,
    pub transport: Transport,
    /// Attempts over TCP, packets otherwise.
    pub count: u64,
}

impl Refused {
    /// That are shown of one server.
    pub const MAX: usize = 20;

    fn what(&self) -> &'static str {
        match (self.transport, self.count) {
            (Transport::Tcp, 1) => "connection",
            (Transport::Tcp, _) => "connections",
            (Transport::Udp, 1) => "packet",
            (Transport::Udp, _) => "packets",
        }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, what) = (self.count, self.what());
        let udp = if self.transport == Transport::Udp { "/udp" } else { "" };
        match self.to {
            Some(to) => write!(f, "{count} {what} to {to}{udp} refused"),
            None => write!(f, "{count} {what} refused: too many open at a time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_in_words() {
        let said = |to: Option<&str>, transport, count| Refused { to: to.map(|to| to.parse().unwrap()), transport, count }.to_string();
        assert_eq!(said(Some("10.1.2.3:22"), Transport::Tcp, 12), "12 connections to 10.1.2.3:22 refused");
        assert_eq!(said(Some("[fd00::1]:53"), Transport::Udp, 1), "1 packet to [fd00::1]:53/udp refused");
        assert_eq!(said(None, Transport::Tcp, 3), "3 connections refused: too many open at a time");
    }
}
