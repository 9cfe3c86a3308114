//! Sockets of a host that listen, from `/proc/net/tcp` and `/proc/net/tcp6`.

use super::reach::Reach;
use crate::ternary::Tri;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The addresses that sockets of this host listen on: `/proc/net/tcp` and `tcp6`. `None`: not in that form.
pub fn listeners(text: &str) -> Option<Vec<(IpAddr, u16)>> {
    let mut found = Vec::new();
    let mut rows = text.lines();
    rows.next()?.trim_start().starts_with("sl").then_some(())?;
    for row in rows {
        let fields: Vec<&str> = row.split_whitespace().collect();
        let (address, port) = fields.get(1)?.split_once(':')?;
        if *fields.get(3)? != "0A" {
            continue;
        }
        let words = (0..address.len()).step_by(8).map(|at| Some(u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?.swap_bytes()));
        let words: Vec<u32> = words.collect::<Option<_>>()?;
        let ip = match words.as_slice() {
            [v4] => Ipv4Addr::from_bits(*v4).into(),
            [a, b, c, d] => Ipv6Addr::from_bits([a, b, c, d].iter().fold(0, |sum, word| sum << 32 | u128::from(**word))).into(),
            _ => return None,
        };
        found.push((ip, u16::from_str_radix(port, 16).ok()?));
    }
    found.sort();
    found.dedup();
    Some(found)
}

/// Sockets that strangers should not reach, from [`listeners`]. A firewall may still stop them, so this is not a verdict on the host.
pub fn wide_listeners(table: &[(IpAddr, u16)]) -> Vec<(IpAddr, u16, &'static str)> {
    let is_wide = |ip: &IpAddr| Reach::of([ip.to_string().as_str()]).is_wide() == Tri::Yes;
    let sensitive = |port: u16| crate::ec2::SENSITIVE_TCP.iter().find(|(p, _)| *p == port).map(|(_, service)| *service);
    table.iter().filter(|(ip, port)| is_wide(ip) && *port != 22).filter_map(|(ip, port)| Some((*ip, *port, sensitive(*port)?))).collect()
}
