//! The addresses of a data directory: an IPv4 /24 of 198.18.0.0/15 and an IPv6 /64 of its own, both chosen by its mark and around what
//! this host uses already. A server has the same last byte in both. Pure.

use model::Fault;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// 198.18.0.0/15 (RFC 2544) holds this many /24.
const SUBNETS: u32 = 512;
/// Unique local addresses (RFC 4193) are many: a second one is hardly ever needed.
const PREFIXES: u32 = 64;

/// A /24 by its first address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet(u32);

impl Subnet {
    /// The one that this address lies in.
    pub fn of(address: Ipv4Addr) -> Self {
        Self(u32::from(address) & 0xffff_ff00)
    }

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
pub fn choose(mark: &str, taken: &[(u32, u8)]) -> Option<Subnet> {
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

/// A /64 by its first address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(u128);

impl Prefix {
    pub fn host(self, n: u8) -> Ipv6Addr {
        Ipv6Addr::from(self.0 | u128::from(n))
    }

    pub fn gateway(self) -> Ipv6Addr {
        self.host(1)
    }

    pub fn holds(self, address: Ipv6Addr) -> bool {
        self.overlaps((address.into(), 128))
    }

    fn overlaps(self, other: (u128, u8)) -> bool {
        let bits = u32::from(other.1.min(64));
        bits > 0 && (self.0 ^ other.0) >> (128 - bits) == 0
    }
}

impl TryFrom<String> for Prefix {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        let address = text.strip_suffix("/64").and_then(|text| text.parse::<Ipv6Addr>().ok()).map(u128::from);
        address.filter(|address| address << 64 == 0).map(Self).ok_or_else(|| format!("{text:?} is no /64"))
    }
}

impl From<Prefix> for String {
    fn from(prefix: Prefix) -> String {
        prefix.to_string()
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/64", Ipv6Addr::from(self.0))
    }
}

/// A free /64. RFC 4193 asks for 40 bits that nobody else is likely to have: they are a hash of the mark.
pub fn choose_prefix(mark: &str, taken: &[(u128, u8)]) -> Option<Prefix> {
    let prefix = |n: u32| {
        let hash = Sha256::digest(format!("addresses of {mark} {n}"));
        Prefix(hash[..5].iter().fold(0xfdu128, |all, byte| all << 8 | u128::from(*byte)) << 80)
    };
    (0..PREFIXES).map(prefix).find(|prefix| !taken.iter().any(|other| prefix.overlaps(*other)))
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
    fn texts_that_are_no_subnet_are_refused() {
        for bad in ["198.18.7.1/24", "198.18.7.0/25", "198.18.7.0", "x/24", ""] {
            assert!(bad.parse::<Subnet>().is_err(), "{bad}");
        }
        for bad in ["fd00::1/64", "fd00::/48", "fd00::", "x/64", ""] {
            assert!(Prefix::try_from(bad.to_string()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prefix_is_local_unique_and_around_what_is_taken() {
        let first = choose_prefix("0123abcd", &[]).unwrap();
        assert_eq!(first.to_string().parse::<ipnet::Ipv6Net>().unwrap().trunc().prefix_len(), 64);
        assert!("fd00::/8".parse::<ipnet::Ipv6Net>().unwrap().contains(&first.host(254)), "{first}");
        assert_ne!(choose_prefix("0123abce", &[]).unwrap(), first);
        let at = u128::from(first.gateway());
        assert_ne!(choose_prefix("0123abcd", &[(at, 128)]).unwrap(), first);
        assert_eq!(choose_prefix("0123abcd", &[(at, 0)]).unwrap(), first, "a default route is no conflict");
        assert_eq!(choose_prefix("0123abcd", &[(0xfd << 120, 8)]), None);
        assert_eq!(Prefix::try_from(first.to_string()), Ok(first));
    }
}
