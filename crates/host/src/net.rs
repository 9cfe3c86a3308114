//! The data directory's bridge: its addresses, its neighbours, its ports.
//!
//! Every name carries the data directory's mark, and the bridge carries the directory itself as its alias,
//! so that nothing of another data directory is ever touched.

use crate::subnet::{Prefix, Subnet, choose, choose_prefix};
use crate::{command, state_files};
use model::{Fault, InstanceId, Layout};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(10);

pub use crate::identity::mark;

/// At most 15 bytes, as every interface's name.
pub fn bridge_name(mark: &str) -> String {
    format!("afresh{mark}")
}

pub fn veth_name(mark: &str, id: &InstanceId) -> String {
    format!("v{}{}", &mark[..4], &hex::encode(Sha256::digest(id.as_str()))[..10])
}

/// The number by which the ports of a data directory's bridge are known to the firewall, whatever their names. 0 is everybody's, and
/// `ip` takes 31 bits.
pub fn port_group(mark: &str) -> u32 {
    (u32::from_str_radix(mark, 16).unwrap_or(0) & (u32::MAX >> 1)).max(1)
}

/// An IP address always has the same hardware address, so that no neighbour table gets stale.
pub fn hardware(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("02:af:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

#[derive(Clone, Debug)]
pub struct Network {
    pub bridge: String,
    pub subnet: Subnet,
    /// None: this host has no IPv6.
    pub prefix: Option<Prefix>,
}

impl Network {
    /// Where servers reach this host, and its resolver.
    pub fn gateways(&self) -> Vec<IpAddr> {
        std::iter::once(self.subnet.gateway().into()).chain(self.prefix.map(|prefix| prefix.gateway().into())).collect()
    }

    /// As they are written: `198.18.7.0/24`.
    pub fn ranges(&self) -> Vec<String> {
        std::iter::once(self.subnet.to_string()).chain(self.prefix.map(String::from)).collect()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Remembered {
    subnet: Subnet,
    #[serde(default)]
    prefix: Option<Prefix>,
}

fn remembered(layout: &Layout) -> PathBuf {
    layout.host().join("network.json")
}

/// Creates the bridge if it does not exist. The subnet: as configured, as remembered, or chosen now and remembered.
pub fn ensure(layout: &Layout, configured: Option<Subnet>) -> Result<Network, Fault> {
    let mark = mark(layout);
    let bridge = bridge_name(&mark);
    let alias = layout.root().canonicalize().unwrap_or_else(|_| layout.root().to_path_buf()).display().to_string();
    let there = std::fs::read_to_string(format!("/sys/class/net/{bridge}/ifalias")).ok();
    let other = |there: &str| !there.is_empty() && there != alias && crate::identity::is_other(layout, Path::new(there));
    if there.as_deref().is_some_and(|there| other(there.trim())) {
        return Err(Fault::world("bridge-taken", format!("the bridge {bridge} belongs to {}", there.unwrap_or_default().trim()))
            .hint("use another data directory"));
    }
    let Remembered { subnet, prefix } = remember(layout, &bridge, configured)?;
    let network = Network { bridge, subnet, prefix: prefix.filter(|_| has_ipv6()) };
    make(&network, &mark, &alias, there.is_none())?;
    Ok(network)
}

/// The addresses that servers of this data directory have, or will have: a program of the host that they are to reach can be told to listen at the
/// gateway's before there is a server.
pub fn reserve(layout: &Layout) -> Result<Network, Fault> {
    let bridge = bridge_name(&mark(layout));
    let Remembered { subnet, prefix } = remember(layout, &bridge, None)?;
    Ok(Network { bridge, subnet, prefix: prefix.filter(|_| has_ipv6()) })
}

fn remember(layout: &Layout, bridge: &str, configured: Option<Subnet>) -> Result<Remembered, Fault> {
    let mark = mark(layout);
    let kept = state_files::read_json::<Remembered>(&remembered(layout)).good();
    let subnet = match configured.or(kept.map(|kept| kept.subnet)) {
        Some(subnet) => subnet,
        None => choose(&mark, &taken4(bridge)?).ok_or_else(|| {
            Fault::world("no-subnet", "every /24 of 198.18.0.0/15 is in use on this host").hint("choose one with the host's subnet setting")
        })?,
    };
    let prefix = match kept.and_then(|kept| kept.prefix) {
        Some(prefix) => Some(prefix),
        None if has_ipv6() => choose_prefix(&mark, &taken6(bridge)?),
        None => None,
    };
    let remember = Remembered { subnet, prefix };
    if kept != Some(remember) {
        state_files::write_json(&remembered(layout), &remember)?;
    }
    Ok(remember)
}

fn make(network: &Network, mark: &str, alias: &str, new: bool) -> Result<(), Fault> {
    let Network { bridge, subnet, prefix } = network;
    let mut batch = String::new();
    if new {
        let hardware = hardware(subnet.gateway());
        let create = format!("link add {bridge} address {hardware} type bridge stp_state 0 forward_delay 0\n");
        command::must(Command::new("ip").args(["-batch", "-"]), &create, WITHIN)?;
    }
    match prefix {
        Some(_) => plain_ipv6(bridge),
        None => without_ipv6(bridge),
    }
    // Nothing that a server sends changes where this host sends packets.
    for (setting, value) in [("rp_filter", "1"), ("accept_redirects", "0"), ("accept_source_route", "0"), ("send_redirects", "0")] {
        let _ = std::fs::write(format!("/proc/sys/net/ipv4/conf/{bridge}/{setting}"), value);
    }
    let mut line = |line: String| writeln!(batch, "{line}").expect("a String takes all");
    line(format!("link set {bridge} alias {alias}"));
    line(format!("addr replace {}/24 dev {bridge}", subnet.gateway()));
    if let Some(prefix) = prefix {
        line(format!("addr replace {}/64 dev {bridge} nodad", prefix.gateway()));
    }
    line(format!("link set {bridge} up"));
    // Every server there can be, so that none is ever asked for: what is written down cannot be forged.
    for n in 2..=254 {
        let hardware = hardware(subnet.host(n));
        line(format!("neigh replace {} lladdr {hardware} dev {bridge} nud permanent", subnet.host(n)));
        if let Some(prefix) = prefix {
            line(format!("neigh replace {} lladdr {hardware} dev {bridge} nud permanent", prefix.host(n)));
        }
    }
    command::must(Command::new("ip").args(["-batch", "-"]), &batch, WITHIN)?;
    // Ports that an older version made. Any of them may vanish meanwhile.
    let ports: String = on_bridge(bridge).iter().map(|port| format!("link set {port} group {}\n", port_group(mark))).collect();
    command::run(Command::new("ip").args(["-force", "-batch", "-"]), &ports, WITHIN).map(drop)
}

/// Whether the bridge has lost something, such as its addresses when somebody set it down.
pub fn is_whole(network: &Network) -> bool {
    let listed = command::run(Command::new("ip").args(["-j", "addr", "show", "dev", &network.bridge, "up"]), "", WITHIN);
    let listed = listed.map(|ran| ran.out).unwrap_or_default();
    let has = |address: IpAddr| listed.contains(&format!("\"{address}\""));
    has(network.subnet.gateway().into()) && network.prefix.is_none_or(|prefix| has(prefix.gateway().into()))
}

/// Makes again what is missing.
pub fn repair(layout: &Layout, network: &Network) -> Result<(), Fault> {
    let alias = layout.root().canonicalize().unwrap_or_else(|_| layout.root().to_path_buf()).display().to_string();
    let new = !Path::new("/sys/class/net").join(&network.bridge).exists();
    make(network, &mark(layout), &alias, new)
}

fn has_ipv6() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/disable_ipv6").is_ok_and(|text| text.trim() == "0")
}

/// No IPv6 on this interface.
pub fn without_ipv6(interface: &str) {
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1");
}

/// IPv6 with the addresses that it is given and no other: no router's announcement is believed, no address is made up, and none is
/// looked for twice, which would take a second.
pub fn plain_ipv6(interface: &str) {
    let settings = [
        ("accept_ra", "0"),
        ("autoconf", "0"),
        ("accept_dad", "0"),
        ("accept_redirects", "0"),
        ("addr_gen_mode", "1"),
        ("disable_ipv6", "0"),
    ];
    for (setting, value) in settings {
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/{setting}"), value);
    }
}

/// Addresses and routes of this host, except those of our own bridge.
fn taken(bridge: &str, family: &str) -> Result<Vec<(IpAddr, u8)>, Fault> {
    let json = |args: &[&str]| -> Result<Vec<serde_json::Value>, Fault> {
        let text = command::must(Command::new("ip").args(args), "", WITHIN)?;
        Ok(serde_json::from_str(&text).unwrap_or_default())
    };
    let mut taken = Vec::new();
    for link in json(&["-j", family, "addr"])? {
        if link["ifname"] == bridge {
            continue;
        }
        for address in link["addr_info"].as_array().into_iter().flatten() {
            let ip = address["local"].as_str().and_then(|a| a.parse::<IpAddr>().ok());
            let bits = address["prefixlen"].as_u64().and_then(|b| u8::try_from(b).ok());
            taken.extend(ip.zip(bits));
        }
    }
    for route in json(&["-j", family, "route"])? {
        let Some(to) = route["dst"].as_str().filter(|_| route["dev"] != bridge) else { continue };
        let (ip, bits) = to.split_once('/').unwrap_or((to, if family == "-4" { "32" } else { "128" }));
        taken.extend(ip.parse::<IpAddr>().ok().zip(bits.parse().ok()));
    }
    Ok(taken)
}

fn taken4(bridge: &str) -> Result<Vec<(u32, u8)>, Fault> {
    let v4 = |(ip, bits)| if let IpAddr::V4(ip) = ip { Some((ip.into(), bits)) } else { None };
    Ok(taken(bridge, "-4")?.into_iter().filter_map(v4).collect())
}

fn taken6(bridge: &str) -> Result<Vec<(u128, u8)>, Fault> {
    let v6 = |(ip, bits)| if let IpAddr::V6(ip) = ip { Some((ip.into(), bits)) } else { None };
    Ok(taken(bridge, "-6")?.into_iter().filter_map(v6).collect())
}

/// Interfaces on the bridge.
pub fn on_bridge(bridge: &str) -> Vec<String> {
    state_files::names(&PathBuf::from(format!("/sys/class/net/{bridge}/brif")))
}

pub fn delete(interface: &str) -> Result<(), Fault> {
    command::must(Command::new("ip").args(["link", "del", interface]), "", WITHIN).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_an_interface() {
        let mark = mark(&Layout::new("/no/such/place"));
        let id = InstanceId::new(format!("a{}", "b".repeat(60))).unwrap();
        assert!(bridge_name(&mark).len() <= 15 && veth_name(&mark, &id).len() <= 15);
        assert_eq!(["0123abcd", "fedcba98", "00000000"].map(port_group), [0x0123_abcd, 0x7edc_ba98, 1]);
    }
}
