//! Whom this host asks for names, as its `resolv.conf` says.

use std::net::{IpAddr, Ipv4Addr};

const SYSTEM: &str = "/etc/resolv.conf";
/// systemd-resolved's own addresses, and where it writes down whom it asks.
const RESOLVED: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54))];
const BEHIND_RESOLVED: &str = "/run/systemd/resolve/resolv.conf";
/// As the C library has it.
const SERVERS_MAX: usize = 3;
const SEARCH_MAX: usize = 6;
const FILE_BYTES_MAX: u64 = 64 << 10;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolvers {
    pub all: Vec<IpAddr>,
    pub search: Vec<String>,
}

pub fn of_host() -> Resolvers {
    let read = |path: &str| {
        let mut text = String::new();
        let _ = std::fs::File::open(path)
            .and_then(|file| std::io::Read::read_to_string(&mut std::io::Read::take(file, FILE_BYTES_MAX), &mut text));
        text
    };
    whom(parse(&read(SYSTEM)), || parse(&read(BEHIND_RESOLVED)))
}

/// systemd-resolved drops what it takes for its own, such as names of one label, so those behind it are asked.
fn whom(system: Resolvers, behind: impl FnOnce() -> Resolvers) -> Resolvers {
    if !system.all.iter().any(|ip| RESOLVED.contains(ip)) {
        return system;
    }
    let behind = behind();
    if behind.all.is_empty() { system } else { Resolvers { all: behind.all, ..system } }
}

/// Pure.
fn parse(text: &str) -> Resolvers {
    let mut found = Resolvers::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            // An address of a link alone (`fe80::1%eth0`) is left out.
            Some("nameserver") => found.all.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok())),
            Some("search" | "domain") => found.search = words.filter(|word| is_domain(word)).take(SEARCH_MAX).map(str::to_string).collect(),
            _ => {}
        }
    }
    found.all.retain(|ip| !ip.is_unspecified() && !ip.is_multicast());
    found.all.truncate(SERVERS_MAX);
    found
}

fn is_domain(word: &str) -> bool {
    word.len() <= 253 && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whom_the_host_asks_is_read_as_the_c_library_does() {
        let text = "# a\nsearch corp.example.org example.org bad;word\nnameserver 127.0.0.1\nnameserver 0.0.0.0\nnameserver 10.0.0.53\nnameserver fe80::1%eth0\n\
                    nameserver 2001:db8::53\nnameserver 10.0.0.54\noptions ndots:2\nnameserver nonsense\n";
        let found = parse(text);
        assert_eq!(found.all.iter().map(ToString::to_string).collect::<Vec<_>>(), ["127.0.0.1", "10.0.0.53", "2001:db8::53"]);
        assert_eq!(found.search, ["corp.example.org", "example.org"]);
        assert_eq!(parse(""), Resolvers::default());
    }

    #[test]
    fn those_behind_resolved_are_asked() {
        let resolved = parse("search example.org\nnameserver 127.0.0.53\n");
        let found = whom(resolved.clone(), || parse("nameserver 10.0.0.53\nsearch other.example\n"));
        assert_eq!((found.all, found.search), (vec!["10.0.0.53".parse().unwrap()], vec!["example.org".to_string()]));
        assert_eq!(whom(resolved.clone(), Resolvers::default), resolved, "it can be asked itself");
        let own = parse("nameserver 127.0.0.1\n");
        assert_eq!(whom(own.clone(), || unreachable!()), own, "a name server of this host");
    }
}
