//! Sets of IP addresses as sorted ranges: unions, differences, and whether what is left is so broad that it is public.
//!
//! IPv4 and IPv6 are kept apart. AWS calls a range public when it is broader than /8 (IPv4, private ranges of RFC 1918 excepted) or
//! /32 (IPv6): <https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html>.

use std::net::IpAddr;

/// An inclusive range of addresses as numbers.
type Range = (u128, u128);

const V4_MAX: u128 = u32::MAX as u128;
/// The longest IPv4 and IPv6 prefixes that AWS calls too broad have one bit less than these.
const V4_PREFIX_MIN: u32 = 8;
const V6_PREFIX_MIN: u32 = 32;
/// Scattered /8 ranges are each narrow enough for AWS. A sixteenth of all addresses is "anyone" all the same, for effective access.
const V4_SCATTERED_MAX: u128 = 1 << 28;
/// 10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16: no request from the internet has such a source address.
const RFC_1918: [Range; 3] = [(0x0a00_0000, 0x0aff_ffff), (0xac10_0000, 0xac1f_ffff), (0xc0a8_0000, 0xc0a8_ffff)];

/// A set of addresses of both families.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AddressSet {
    v4: Vec<Range>,
    v6: Vec<Range>,
}

impl AddressSet {
    pub fn everything() -> AddressSet {
        AddressSet { v4: vec![(0, V4_MAX)], v6: vec![(0, u128::MAX)] }
    }

    /// The union of CIDR blocks. `None` if one of them cannot be read: what it covers is then not known.
    pub fn from_cidrs<'a>(cidrs: impl IntoIterator<Item = &'a str>) -> Option<AddressSet> {
        let mut set = AddressSet::default();
        for cidr in cidrs {
            let (is_v4, range) = parse(cidr)?;
            if is_v4 { set.v4.push(range) } else { set.v6.push(range) }
        }
        set.v4 = merged(set.v4);
        set.v6 = merged(set.v6);
        Some(set)
    }

    pub fn union(&self, other: &AddressSet) -> AddressSet {
        let join = |a: &[Range], b: &[Range]| merged(a.iter().chain(b).copied().collect());
        AddressSet { v4: join(&self.v4, &other.v4), v6: join(&self.v6, &other.v6) }
    }

    pub fn intersection(&self, other: &AddressSet) -> AddressSet {
        AddressSet { v4: common(&self.v4, &other.v4), v6: common(&self.v6, &other.v6) }
    }

    pub fn complement(&self) -> AddressSet {
        AddressSet { v4: gaps(&self.v4, V4_MAX), v6: gaps(&self.v6, u128::MAX) }
    }

    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// AWS's rule on the union: some aligned block of it is broader than /8 or /32.
    pub fn is_broad(&self) -> bool {
        let v4 = common(&self.v4, &gaps(&merged(RFC_1918.to_vec()), V4_MAX));
        // A private block joined to a public neighbour (10.0.0.0/7) is judged whole, as AWS does.
        let whole = self.v4.iter().any(|r| holds_block(*r, 32, V4_PREFIX_MIN) && !within_private(*r));
        whole || v4.iter().any(|r| holds_block(*r, 32, V4_PREFIX_MIN)) || self.v6.iter().any(|r| holds_block(*r, 128, V6_PREFIX_MIN))
    }

    /// Whether "anyone on the internet" fits in: broad by AWS's rule, or narrow ranges that together cover a sixteenth of IPv4.
    pub fn admits_anyone(&self) -> bool {
        let public = common(&self.v4, &gaps(&merged(RFC_1918.to_vec()), V4_MAX));
        self.is_broad() || public.iter().map(|(low, high)| high - low + 1).sum::<u128>() >= V4_SCATTERED_MAX
    }

    /// The share of all addresses, of IPv4 or IPv6, in parts of 2^32: for comparison only.
    pub(crate) fn breadth(&self) -> u128 {
        let sum = |ranges: &[Range], shift: u32| ranges.iter().map(|(low, high)| ((high - low) >> shift) + 1).sum::<u128>();
        sum(&self.v4, 0).max(sum(&self.v6, 96))
    }

    pub fn v4_only(&self) -> AddressSet {
        AddressSet { v4: self.v4.clone(), v6: Vec::new() }
    }

    pub fn v6_only(&self) -> AddressSet {
        AddressSet { v4: Vec::new(), v6: self.v6.clone() }
    }

    pub fn contains(&self, address: IpAddr) -> bool {
        let (ranges, value) = match address {
            IpAddr::V4(a) => (&self.v4, u128::from(a.to_bits())),
            IpAddr::V6(a) => (&self.v6, a.to_bits()),
        };
        ranges.iter().any(|(low, high)| (*low..=*high).contains(&value))
    }
}

/// `203.0.113.0/24`, or an address alone. Bits beyond the prefix are ignored, as AWS ignores them.
fn parse(text: &str) -> Option<(bool, Range)> {
    let (address, prefix) = match text.trim().split_once('/') {
        Some((address, prefix)) => (address, Some(prefix.parse::<u32>().ok()?)),
        None => (text.trim(), None),
    };
    let (is_v4, bits, value) = match address.parse::<IpAddr>().ok()? {
        IpAddr::V4(a) => (true, 32, u128::from(a.to_bits())),
        IpAddr::V6(a) => (false, 128, a.to_bits()),
    };
    let prefix = prefix.unwrap_or(bits);
    if prefix > bits {
        return None;
    }
    let size = if bits - prefix == 128 { u128::MAX } else { (1_u128 << (bits - prefix)) - 1 };
    let low = value & !size;
    Some((is_v4, (low, low + size)))
}

fn merged(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut out: Vec<Range> = Vec::with_capacity(ranges.len());
    for (low, high) in ranges {
        match out.last_mut() {
            Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
            _ => out.push((low, high)),
        }
    }
    out
}

fn common(a: &[Range], b: &[Range]) -> Vec<Range> {
    let overlap = |x: &Range, y: &Range| (x.0.max(y.0), x.1.min(y.1));
    merged(a.iter().flat_map(|x| b.iter().map(move |y| overlap(x, y))).filter(|(low, high)| low <= high).collect())
}

/// What sorted, merged ranges leave out.
fn gaps(ranges: &[Range], max: u128) -> Vec<Range> {
    let mut out = Vec::new();
    let mut next = Some(0);
    for (low, high) in ranges {
        if let Some(start) = next
            && start < *low
        {
            out.push((start, low - 1));
        }
        next = high.checked_add(1).filter(|n| *n <= max);
    }
    if let Some(start) = next {
        out.push((start, max));
    }
    out
}

fn within_private(range: Range) -> bool {
    RFC_1918.iter().any(|(low, high)| *low <= range.0 && range.1 <= *high)
}

/// Whether the range holds a whole aligned block whose prefix is shorter than `prefix_min`.
fn holds_block(range: Range, bits: u32, prefix_min: u32) -> bool {
    let size = 1_u128 << (bits - prefix_min + 1);
    // The first aligned block at or after the start.
    let Some(start) = range.0.checked_add(size - 1).map(|v| v & !(size - 1)) else { return false };
    start.checked_add(size - 1).is_some_and(|end| end <= range.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broad(cidrs: &[&str]) -> bool {
        AddressSet::from_cidrs(cidrs.iter().copied()).unwrap().is_broad()
    }

    #[test]
    fn breadth_follows_the_table_of_the_user_guide() {
        // https://docs.aws.amazon.com/AmazonS3/latest/userguide/access-control-block-public-access.html
        for cidrs in [
            &["0.0.0.0/0"][..],
            &["0.0.0.0/1"],
            &["0.0.0.0/1", "128.0.0.0/1"],
            &["52.0.0.0/7"],
            &["52.0.0.0/8", "53.0.0.0/8"],
            &["10.0.0.0/7"],
            &["::/0"],
            &["2001::/31"],
            &["203.0.113.0/24", "::/1"],
        ] {
            assert!(broad(cidrs), "{cidrs:?}");
        }
        for cidrs in [
            &["52.0.0.0/8"][..],
            &["203.0.113.7"],
            &["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"],
            &["3.0.0.0/8", "52.0.0.0/8"],
            &["53.0.0.0/8", "54.0.0.0/8"],
            &["2001:db8::/32"],
            &[],
        ] {
            assert!(!broad(cidrs), "{cidrs:?}");
        }
    }

    #[test]
    fn scattered_blocks_admit_anyone_though_none_is_broad() {
        let odd: Vec<String> = (1..256).step_by(2).map(|n| format!("{n}.0.0.0/8")).collect();
        let set = AddressSet::from_cidrs(odd.iter().map(String::as_str)).unwrap();
        assert!(!set.is_broad() && set.admits_anyone());
    }

    #[test]
    fn a_complement_of_both_halves_is_empty() {
        let set = AddressSet::from_cidrs(["0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1"]).unwrap();
        assert!(set.complement().is_empty());
        assert_eq!(set.complement().complement(), AddressSet::everything());
    }

    #[test]
    fn an_unreadable_block_is_no_set() {
        assert_eq!(AddressSet::from_cidrs(["10.0.0.0/33"]), None);
        assert_eq!(AddressSet::from_cidrs(["${aws:SourceIp}"]), None);
    }
}
