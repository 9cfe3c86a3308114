//! Sockets of a host that listen, from `/proc/net/tcp` and its like, and which of them strangers should not reach.

use super::reach::Reach;
use crate::ec2::{SENSITIVE_TCP, SENSITIVE_UDP};
use crate::finding::{Finding, Severity, fingerprint};
use crate::judgement::{CrossAccount, Verdict};
use crate::ternary::Tri;
use serde_json::json;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// A socket that takes packets of whoever reaches it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listener {
    pub protocol: Protocol,
    pub ip: IpAddr,
    pub port: u16,
    /// Of the socket, by which its process is known.
    pub inode: u64,
}

/// The sockets that listen: `/proc/net/tcp`, `tcp6`, `udp` or `udp6`. `None`: not in that form.
pub fn listeners(protocol: Protocol, text: &str) -> Option<Vec<Listener>> {
    // Of UDP: not connected.
    let state = if protocol == Protocol::Tcp { "0A" } else { "07" };
    let mut found = Vec::new();
    let mut rows = text.lines();
    rows.next()?.trim_start().starts_with("sl").then_some(())?;
    for row in rows {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let (address, port) = fields.get(1)?.split_once(':')?;
        if *fields.get(3)? != state {
            continue;
        }
        let words = (0..address.len()).step_by(8).map(|at| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.swap_bytes()));
        let words: Vec<u32> = words.collect::<Option<_>>()?;
        let ip = match words.as_slice() {
            [v4] => Ipv4Addr::from_bits(*v4).into(),
            [a, b, c, d] => Ipv6Addr::from_bits([a, b, c, d].iter().fold(0, |sum, word| sum << 32 | u128::from(**word))).into(),
            _ => return None,
        };
        let inode = fields.get(9).and_then(|inode| inode.parse().ok()).unwrap_or_default();
        found.push(Listener { protocol, ip, port: u16::from_str_radix(port, 16).ok()?, inode });
    }
    found.sort();
    found.dedup();
    Some(found)
}

/// What a stranger would reach there. `None`: nothing that only known machines should reach.
pub fn sensitive(listener: &Listener) -> Option<&'static str> {
    let is_wide = Reach::of([listener.ip.to_string().as_str()]).is_wide() == Tri::Yes;
    let table = if listener.protocol == Protocol::Tcp { SENSITIVE_TCP } else { SENSITIVE_UDP };
    // Whoever has a server reaches it by SSH; how it lets in is judged by its configuration.
    let is_ssh = listener.protocol == Protocol::Tcp && listener.port == 22;
    let service = table.iter().find(|(port, _)| *port == listener.port).map(|(_, service)| *service);
    service.filter(|_| is_wide && !is_ssh)
}

/// The line of a scan for a socket of a [`sensitive`] service. `process`: "redis-server (pid 812)". `is_reached`: whether the firewall lets
/// strangers through, and `unknown` says why that is not known.
pub fn exposed(listener: &Listener, service: &str, process: Option<&str>, is_reached: Tri, unknown: &str) -> Finding {
    let address = SocketAddr::new(listener.ip, listener.port);
    let protocol = if listener.protocol == Protocol::Tcp { "tcp" } else { "udp" };
    let who = process.unwrap_or("a process that is not known");
    let reach = Reach::of([listener.ip.to_string().as_str()]);
    let verdict = Verdict::from(is_reached);
    let (why, severity) = match verdict {
        Verdict::Public => (
            format!(
                "{} can connect to the port of {service}: {who} listens on {protocol} {address}, and no rule of nftables stops it",
                reach.phrase()
            ),
            reach.soften(Severity::High),
        ),
        Verdict::Unknown => (
            format!("cannot tell whether strangers reach the port of {service}, on which {who} listens ({protocol} {address}): {unknown}"),
            Severity::Medium,
        ),
        Verdict::NotPublic => {
            (format!("the firewall stops strangers before the port of {service} ({protocol} {address}, {who})"), Severity::None)
        }
    };
    let port = listener.port;
    let fix = format!(
        "make it listen on 127.0.0.1 or a named address, or stop it at the firewall: \
         nft insert rule inet filter input {protocol} dport {port} ip saddr != 10.0.0.0/8 drop"
    );
    let id = format!("{protocol}/{address}");
    Finding {
        kind: "listener".into(),
        verdict,
        via: "network".into(),
        documented: verdict,
        effective: verdict,
        cross_account: CrossAccount::None,
        region: None,
        severity,
        why,
        fix,
        fingerprint: fingerprint("listener", &id, &json!({ "service": service })),
        id,
    }
}
