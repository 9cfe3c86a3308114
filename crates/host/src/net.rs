//! The data directory's bridge, its subnet, and addresses on it. IPv4 only; no route out of the subnet is created.
//!
//! Every name carries the data directory's mark, and the bridge carries the directory itself as its alias,
//! so that nothing of another data directory is ever touched.

use crate::{command, state_files};
use model::{Fault, InstanceId, Layout};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fmt;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

const WITHIN: Duration = Duration::from_secs(10);
/// 198.18.0.0/15 (RFC 2544) holds this many /24.
const SUBNETS: u32 = 512;

pub use crate::identity::mark;

/// At most 15 bytes, as every interface's name.
pub fn bridge_name(mark: &str) -> String {
    format!("afresh{mark}")
}

pub fn veth_name(mark: &str, id: &InstanceId) -> String {
    format!("v{}{}", &mark[..4], &hex::encode(Sha256::digest(id.as_str()))[..10])
}

/// A /24 by its first address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet(u32);

impl Subnet {
    pub fn host(self, n: u8) -> Ipv4Addr {
        Ipv4Addr::from(self.0 | u32::from(n))
    }

    pub fn gateway(self) -> Ipv4Addr {
        self.host(1)
    }

    fn overlaps(self, other: (u32, u8)) -> bool {
        let bits = other.1.min(24);
        let mask = if bits == 0 { 0 } else { u32::MAX << (32 - u32::from(bits)) };
        bits > 0 && self.0 & mask == other.0 & mask
    }
}

impl FromStr for Subnet {
    type Err = Fault;
    fn from_str(text: &str) -> Result<Self, Fault> {
        let bad =
            || Fault::yours("bad-subnet", format!("{text:?} is not a subnet")).hint("write a /24 by its first address: 198.18.7.0/24");
        let address: Ipv4Addr = text.strip_suffix("/24").ok_or_else(bad)?.parse().map_err(|_| bad())?;
        if address.octets()[3] == 0 { Ok(Self(address.into())) } else { Err(bad()) }
    }
}

impl TryFrom<String> for Subnet {
    type Error = Fault;
    fn try_from(text: String) -> Result<Self, Fault> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> String {
        subnet.to_string()
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/24", Ipv4Addr::from(self.0))
    }
}

/// The first free /24 of 198.18.0.0/15, starting at the place that the mark gives. `taken`: address and prefix length.
fn choose(mark: &str, taken: &[(u32, u8)]) -> Option<Subnet> {
    let first = u32::from_str_radix(mark, 16).unwrap_or(0) % SUBNETS;
    (0..SUBNETS)
        .map(|i| Subnet(u32::from(Ipv4Addr::new(198, 18, 0, 0)) | ((first + i) % SUBNETS) << 8))
        .find(|subnet| !taken.iter().any(|other| subnet.overlaps(*other)))
}

/// The next free address after the last one given: an address stays unused as long as possible before another instance gets it.
pub fn next_address(subnet: Subnet, used: &BTreeSet<Ipv4Addr>, last: u8) -> Option<(Ipv4Addr, u8)> {
    (1..=253u16).map(|i| 2 + u8::try_from((u16::from(last.max(2) - 2) + i) % 253).expect("below 253")).find_map(|n| {
        let address = subnet.host(n);
        (!used.contains(&address)).then_some((address, n))
    })
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
}

#[derive(Serialize, Deserialize)]
struct Remembered {
    subnet: Subnet,
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
    let other = |there: &str| !there.is_empty() && there != alias && crate::identity::is_other(layout, std::path::Path::new(there));
    if there.as_deref().is_some_and(|there| other(there.trim())) {
        return Err(Fault::world("bridge-taken", format!("the bridge {bridge} belongs to {}", there.unwrap_or_default().trim()))
            .hint("use another data directory"));
    }
    let kept = state_files::read_json::<Remembered>(&remembered(layout)).good().map(|r| r.subnet);
    let subnet = match configured.or(kept) {
        Some(subnet) => subnet,
        None => choose(&mark, &taken(&bridge)?).ok_or_else(|| {
            Fault::world("no-subnet", "every /24 of 198.18.0.0/15 is in use on this host").hint("choose one with the host's subnet setting")
        })?,
    };
    if kept != Some(subnet) {
        state_files::write_json(&remembered(layout), &Remembered { subnet })?;
    }
    let gateway = subnet.gateway();
    let hardware = hardware(gateway);
    let create = if there.is_none() {
        format!("link add {bridge} address {hardware} type bridge stp_state 0 forward_delay 0\n")
    } else {
        String::new()
    };
    let batch = format!("{create}link set {bridge} alias {alias}\naddr replace {gateway}/24 dev {bridge}\n");
    command::must(Command::new("ip").args(["-batch", "-"]), &batch, WITHIN)?;
    quiet_ipv6(&bridge);
    command::must(Command::new("ip").args(["link", "set", &bridge, "up"]), "", WITHIN)?;
    Ok(Network { bridge, subnet })
}

/// Disables duplicate address detection and router solicitation of IPv6: our links do not use them.
pub fn quiet_ipv6(interface: &str) {
    let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1");
}

/// Addresses and routes of this host, except those of our own bridge.
fn taken(bridge: &str) -> Result<Vec<(u32, u8)>, Fault> {
    let json = |args: &[&str]| -> Result<Vec<serde_json::Value>, Fault> {
        let text = command::must(Command::new("ip").args(args), "", WITHIN)?;
        Ok(serde_json::from_str(&text).unwrap_or_default())
    };
    let mut taken = Vec::new();
    for link in json(&["-j", "-4", "addr"])? {
        if link["ifname"] == bridge {
            continue;
        }
        for address in link["addr_info"].as_array().into_iter().flatten() {
            let ip = address["local"].as_str().and_then(|a| a.parse::<Ipv4Addr>().ok());
            let bits = address["prefixlen"].as_u64().and_then(|b| u8::try_from(b).ok());
            taken.extend(ip.zip(bits).map(|(ip, bits)| (ip.into(), bits)));
        }
    }
    for route in json(&["-j", "-4", "route"])? {
        let Some(to) = route["dst"].as_str().filter(|_| route["dev"] != bridge) else { continue };
        let (ip, bits) = to.split_once('/').unwrap_or((to, "32"));
        taken.extend(ip.parse::<Ipv4Addr>().ok().zip(bits.parse().ok()).map(|(ip, bits)| (ip.into(), bits)));
    }
    Ok(taken)
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

    fn ip(a: u8, b: u8, c: u8, d: u8) -> u32 {
        Ipv4Addr::new(a, b, c, d).into()
    }

    #[test]
    fn a_subnet_is_chosen_by_mark_and_around_what_is_taken() {
        let free = choose("00000007", &[]).unwrap();
        assert_eq!(free.to_string(), "198.18.7.0/24");
        assert_eq!(choose("00000007", &[(ip(198, 18, 7, 33), 32)]).unwrap().to_string(), "198.18.8.0/24");
        assert_eq!(choose("00000007", &[(ip(198, 18, 7, 0), 23)]).unwrap().to_string(), "198.18.8.0/24");
        assert_eq!(choose("00000007", &[(ip(198, 18, 0, 0), 16)]).unwrap().to_string(), "198.19.0.0/24");
        assert_eq!(choose("00000007", &[(ip(10, 0, 0, 0), 8), (0, 0)]).unwrap(), free, "a default route is no conflict");
        assert_eq!(choose("000001ff", &[(ip(198, 19, 255, 1), 24)]).unwrap().to_string(), "198.18.0.0/24");
        assert_eq!(choose("00000007", &[(ip(198, 18, 0, 0), 15)]), None);
    }

    #[test]
    fn addresses_go_round_and_are_never_given_twice() {
        let subnet: Subnet = "198.18.7.0/24".parse().unwrap();
        let (mut used, mut last) = (BTreeSet::new(), 0);
        for _ in 0..253 {
            let (address, n) = next_address(subnet, &used, last).unwrap();
            assert!(used.insert(address) && (2..=254).contains(&n));
            last = n;
        }
        assert_eq!(next_address(subnet, &used, last), None);
        used.remove(&subnet.host(5));
        used.remove(&subnet.host(9));
        assert_eq!(next_address(subnet, &used, 5).unwrap().1, 9, "not the one that was just freed");
    }

    #[test]
    fn names_fit_an_interface() {
        let mark = mark(&Layout::new("/no/such/place"));
        let id = InstanceId::new(format!("a{}", "b".repeat(60))).unwrap();
        assert!(bridge_name(&mark).len() <= 15 && veth_name(&mark, &id).len() <= 15);
        for bad in ["198.18.7.1/24", "198.18.7.0/25", "198.18.7.0", "x/24", ""] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
    }
}
