//! Whom this host asks for names, as its `resolv.conf` says, and whom its servers can ask.

use std::net::IpAddr;

const SYSTEM: &str = "/etc/resolv.conf";
/// Behind systemd-resolved's own address stand those that it asks.
const BEHIND_RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
/// As the C library has it.
const SERVERS_MAX: usize = 3;
const SEARCH_MAX: usize = 6;
const FILE_BYTES_MAX: u64 = 64 << 10;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolvers {
    /// Whom the host can ask.
    pub all: Vec<IpAddr>,
    /// Whom servers can ask as well.
    pub usable: Vec<IpAddr>,
    pub search: Vec<String>,
}

pub fn of_host() -> Resolvers {
    let read = |path: &str| {
        let mut text = String::new();
        let _ = std::fs::File::open(path)
            .and_then(|file| std::io::Read::read_to_string(&mut std::io::Read::take(file, FILE_BYTES_MAX), &mut text));
        text
    };
    let system = parse(&read(SYSTEM));
    if !system.usable.is_empty() {
        return system;
    }
    let behind = parse(&read(BEHIND_RESOLVED));
    if behind.usable.is_empty() { system } else { behind }
}

/// Pure.
fn parse(text: &str) -> Resolvers {
    let mut found = Resolvers::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            // An address of a link alone (`fe80::1%eth0`) has no meaning elsewhere.
            Some("nameserver") => found.all.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok())),
            Some("search" | "domain") => found.search = words.filter(|word| is_domain(word)).take(SEARCH_MAX).map(str::to_string).collect(),
            _ => {}
        }
    }
    found.all.truncate(SERVERS_MAX);
    let usable = |ip: &&IpAddr| !ip.to_canonical().is_loopback() && !ip.is_unspecified() && !ip.is_multicast() && !is_link_local6(ip);
    found.usable = found.all.iter().filter(usable).copied().collect();
    found
}

fn is_link_local6(ip: &IpAddr) -> bool {
    matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local())
}

fn is_domain(word: &str) -> bool {
    word.len() <= 253 && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_can_ask_is_told_from_what_they_cannot() {
        let text = "# a\nsearch corp.example.org example.org bad;word\nnameserver 127.0.0.53\nnameserver 10.0.0.53\nnameserver fe80::1%eth0\nnameserver ::1\n\
                    nameserver 2001:db8::53\noptions ndots:2\nnameserver nonsense\n";
        let found = parse(text);
        let texts = |all: &[IpAddr]| all.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(texts(&found.all), ["127.0.0.53", "10.0.0.53", "::1"], "as many as the C library takes");
        assert_eq!(texts(&found.usable), ["10.0.0.53"]);
        assert_eq!(found.search, ["corp.example.org", "example.org"]);
        assert_eq!(parse(""), Resolvers::default());
        for unusable in ["127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "fe80::1", "224.0.0.251"] {
            assert!(parse(&format!("nameserver {unusable}")).usable.is_empty(), "{unusable}");
        }
    }
}
