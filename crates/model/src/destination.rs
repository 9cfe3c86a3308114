//! Where a server may connect to, in the form of the service file: `10.0.0.0/8:5432`, `db.example.org:443`, `[2001:db8::/32]:8000-8010/udp`.
//! JSON, messages and the host policy have the same form. Pure.

use crate::ValidationError;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// RFC 1035, without the dot at the end.
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;
/// Names with one label before it are Afresh's own: the host, and services. Longer ones are some clouds'.
const OWN_DOMAIN: &str = ".internal";

const EXPECTED: &str = "expected an address, a network or a name with a port, such as \"10.0.0.0/8:5432\" or \"db.example.org:443\"";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    #[default]
    Tcp,
    Udp,
}

impl Transport {
    pub fn name(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        }
    }
}

/// `5432`, `8000-8010`, `514/udp`. TCP where nothing is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortRange {
    pub from: u16,
    pub to: u16,
    pub transport: Transport,
}

impl PortRange {
    pub fn covers(self, other: PortRange) -> bool {
        self.transport == other.transport && self.from <= other.from && other.to <= self.to
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DestinationHost {
    Net(IpNet),
    /// In lower case. Its addresses are what the host's resolvers say.
    Name(String),
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Destination {
    pub host: DestinationHost,
    pub ports: PortRange,
}

impl Destination {
    /// Whether everything that `other` names is named by this as well.
    pub fn covers(&self, other: &Destination) -> bool {
        let host = match (&self.host, &other.host) {
            (DestinationHost::Net(all), DestinationHost::Net(some)) => all.contains(some),
            (all, some) => all == some,
        };
        host && self.ports.covers(other.ports)
    }
}

fn wrong(text: &str) -> ValidationError {
    ValidationError::new("bad-destination", format!("`{text}` is no destination"), EXPECTED)
}

fn bad_port(text: &str) -> ValidationError {
    ValidationError::new(
        "bad-port",
        format!("`{text}` is no port"),
        "expected 1 to 65535, or a range of them, with /udp where it is not TCP: \"443\", \"8000-8010\", \"514/udp\"",
    )
}

impl FromStr for PortRange {
    type Err = ValidationError;

    fn from_str(text: &str) -> Result<Self, ValidationError> {
        let (ports, transport) = match text.split_once('/') {
            None => (text, Transport::Tcp),
            Some((ports, "tcp")) => (ports, Transport::Tcp),
            Some((ports, "udp")) => (ports, Transport::Udp),
            Some(_) => return Err(bad_port(text)),
        };
        let (from, to) = ports.split_once('-').unwrap_or((ports, ports));
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0 && text.bytes().all(|b| b.is_ascii_digit()));
        match port(from).zip(port(to)) {
            Some((from, to)) if from <= to => Ok(Self { from, to, transport }),
            _ => Err(bad_port(text)),
        }
    }
}

impl FromStr for Destination {
    type Err = ValidationError;

    fn from_str(text: &str) -> Result<Self, ValidationError> {
        let wrong = || wrong(text);
        if text.contains("://") {
            return Err(wrong().hint("leave the scheme and the path out, and say the port"));
        }
        if text.starts_with("service.") && !text.contains(':') {
            return Err(wrong().hint(format!("a service on this host is opened by allow = [{text}]")));
        }
        let (host, ports) = match text.strip_prefix('[').map(|rest| rest.split_once(']')) {
            Some(Some((host, rest))) => (host, rest.strip_prefix(':')),
            Some(None) => return Err(wrong().hint("the bracket is not closed")),
            None => text.rsplit_once(':').map_or((text, None), |(host, ports)| (host, Some(ports))),
        };
        let Some(ports) = ports else {
            return Err(wrong().hint(format!("say the port: \"{text}:443\"; every port is \"{text}:1-65535\"")));
        };
        let host = host_of(text, host)?;
        Ok(Self { host, ports: ports.parse()? })
    }
}

fn host_of(text: &str, host: &str) -> Result<DestinationHost, ValidationError> {
    let bracketed = text.starts_with('[');
    let net = host.parse::<IpNet>().or_else(|_| host.parse::<IpAddr>().map(IpNet::from));
    match net {
        Ok(net) => net_of(text, host, net, bracketed).map(DestinationHost::Net),
        Err(_) if bracketed => Err(wrong(text).hint("in brackets stands an IPv6 address or network: \"[2001:db8::/32]:443\"")),
        Err(_) if host.contains(':') => Err(wrong(text).hint(format!("an IPv6 address stands in brackets: \"[{host}]:443\""))),
        Err(_) => name_of(text, host).map(DestinationHost::Name),
    }
}

fn net_of(text: &str, host: &str, net: IpNet, bracketed: bool) -> Result<IpNet, ValidationError> {
    let address = net.addr();
    if bracketed == address.is_ipv4() {
        let form = if bracketed { format!("\"{host}:443\"") } else { format!("\"[{host}]:443\"") };
        return Err(wrong(text).hint(format!("only an IPv6 address stands in brackets: {form}")));
    }
    if net.trunc() != net {
        let message = format!("`{host}` is no network: it has bits behind its prefix");
        return Err(ValidationError::new("bad-destination", message, EXPECTED).hint(format!("write \"{}\"", net.trunc())));
    }
    if net.prefix_len() > 0 && address.to_canonical().is_loopback() {
        let message = format!("`{host}` is the server itself, not the host");
        let hint = "a port of the host is opened by allow = [\"host:6379\"]; programs reach it by the name host.internal";
        return Err(ValidationError::new("bad-destination", message, EXPECTED).hint(hint));
    }
    if matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some()) {
        return Err(wrong(text).hint("write it as an IPv4 address"));
    }
    Ok(net)
}

fn name_of(text: &str, host: &str) -> Result<String, ValidationError> {
    let name = host.to_lowercase();
    let own = name.strip_suffix(OWN_DOMAIN).is_some_and(|label| !label.contains('.'));
    if name == "localhost" || name == "host" || own {
        let wrong = wrong(text);
        return Err(match name.strip_suffix(OWN_DOMAIN).unwrap_or(&name) {
            "host" | "localhost" => wrong.hint("a port of the host is opened by allow = [\"host:6379\"]"),
            _ => wrong.hint("a name with one word before .internal is Afresh's own"),
        });
    }
    if name.contains('*') {
        return Err(wrong(text).hint("each name is looked up, so it must be a whole one"));
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= LABEL_BYTES_MAX
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_'))
    };
    let labels: Vec<&str> = name.split('.').collect();
    // A last label of digits would be an IPv4 address to some programs.
    let numeric = labels.last().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if name.len() > NAME_BYTES_MAX || numeric || !labels.iter().all(|text| label(text)) {
        return Err(wrong(text));
    }
    if labels.len() < 2 {
        return Err(wrong(text).hint(format!("say the whole name, with its domain: \"{name}.example.org\"")));
    }
    Ok(name)
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.from)?;
        if self.to != self.from {
            write!(f, "-{}", self.to)?;
        }
        if self.transport == Transport::Udp { write!(f, "/udp") } else { Ok(()) }
    }
}

impl fmt::Display for DestinationHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DestinationHost::Name(name) => write!(f, "{name}"),
            DestinationHost::Net(net) => {
                let text = if net.prefix_len() == net.max_prefix_len() { net.addr().to_string() } else { net.to_string() };
                if net.addr().is_ipv4() { write!(f, "{text}") } else { write!(f, "[{text}]") }
            }
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.ports)
    }
}

macro_rules! text_form {
    ($type:ty) => {
        impl TryFrom<String> for $type {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                text.parse().map_err(|wrong: ValidationError| format!("{}; {}", wrong.message, wrong.expected))
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    };
}

text_form!(PortRange);
text_form!(Destination);

/// What no server reaches unless its file names it by itself: link-local addresses, where clouds keep the credentials of a machine, and
/// such addresses of clouds that lie elsewhere. A wider network does not open them.
pub fn never_by_default() -> Vec<IpNet> {
    let v4 = |a, b, c, d, len| IpNet::new_assert(Ipv4Addr::new(a, b, c, d).into(), len);
    let v6 = |text: &str, len| IpNet::new_assert(text.parse::<Ipv6Addr>().unwrap_or(Ipv6Addr::UNSPECIFIED).into(), len);
    vec![
        v4(169, 254, 0, 0, 16),
        // Azure, Alibaba, Oracle.
        v4(168, 63, 129, 16, 32),
        v4(100, 100, 100, 200, 32),
        v4(192, 0, 0, 192, 32),
        v6("fe80::", 10),
        // AWS, Google, Oracle, and IPv4's link-local addresses behind NAT64.
        v6("fd00:ec2::", 32),
        v6("fd20:ce::254", 128),
        v6("fd00:c1::a9fe:a9fe", 128),
        v6("64:ff9b::a9fe:0", 112),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_read_and_written_in_one_form() {
        for (text, form) in [
            ("10.0.0.0/8:5432", "10.0.0.0/8:5432"),
            ("10.0.0.5:5432/tcp", "10.0.0.5:5432"),
            ("10.0.0.5/32:5432", "10.0.0.5:5432"),
            ("0.0.0.0/0:443", "0.0.0.0/0:443"),
            ("[2001:DB8::/32]:443", "[2001:db8::/32]:443"),
            ("[::/0]:1-65535/udp", "[::/0]:1-65535/udp"),
            ("[2001:db8::7/128]:8000-8010", "[2001:db8::7]:8000-8010"),
            ("DB.Example.org:443", "db.example.org:443"),
            ("_srv.db-1.example.org:53/udp", "_srv.db-1.example.org:53/udp"),
            ("169.254.169.254:80", "169.254.169.254:80"),
        ] {
            let read: Destination = text.parse().unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
            assert_eq!((read.to_string().as_str(), form.parse::<Destination>().unwrap()), (form, read.clone()));
            let json = serde_json::to_string(&read).unwrap();
            assert_eq!((json.as_str(), serde_json::from_str::<Destination>(&json).unwrap()), (format!("\"{form}\"").as_str(), read));
        }
    }

    #[test]
    fn what_is_no_destination_is_refused() {
        let name = "a".repeat(64);
        for text in [
            "",
            ":443",
            "10.0.0.0/8",
            "10.0.0.5/8:1",
            "10.0.0.0/33:1",
            "10.0.0.1:0",
            "10.0.0.1:65536",
            "10.0.0.1:2-1",
            "10.0.0.1:+1",
            "10.0.0.1:80/sctp",
            "[10.0.0.1]:80",
            "2001:db8::1:80",
            "[2001:db8::1:80",
            "[2001:db8::1]80",
            "[fe80::1%eth0]:80",
            "[::ffff:10.0.0.1]:80",
            "127.0.0.1:80",
            "[::1]:80",
            "localhost:80",
            "host.internal:80",
            "worker.internal:80",
            "*.example.org:443",
            "db:5432",
            "db..org:1",
            "-a.org:1",
            "a_.-:1",
            "1.2.3:80",
            "https://example.org",
            "example.org:443/path",
            "exa mple.org:1",
            "\u{e4}.org:1",
            &format!("{name}.org:1"),
            &format!("{}org:1", "a.".repeat(130)),
        ] {
            let wrong = text.parse::<Destination>().expect_err(text);
            assert!(["bad-destination", "bad-port"].contains(&wrong.code), "{text}: {wrong:?}");
        }
    }

    #[test]
    fn a_wide_one_covers_a_narrow_one() {
        let of = |text: &str| text.parse::<Destination>().unwrap();
        for (wide, narrow, want) in [
            ("10.0.0.0/8:1-9000", "10.1.0.0/16:80", true),
            ("10.1.0.0/16:80", "10.0.0.0/8:80", false),
            ("10.0.0.0/8:80", "10.0.0.1:80-81", false),
            ("10.0.0.0/8:80", "10.0.0.1:80/udp", false),
            ("0.0.0.0/0:80", "[2001:db8::1]:80", false),
            ("a.example.org:80", "a.example.org:80", true),
            ("0.0.0.0/0:80", "a.example.org:80", false),
        ] {
            assert_eq!(of(wide).covers(&of(narrow)), want, "{wide} {narrow}");
        }
    }

    #[test]
    fn what_is_closed_is_closed() {
        let closed = |text: &str| never_by_default().iter().any(|net| net.contains(&text.parse::<IpAddr>().unwrap()));
        for text in
            ["169.254.169.254", "169.254.0.1", "fd00:ec2::254", "fe80::1", "64:ff9b::169.254.169.254", "168.63.129.16", "fd20:ce::254"]
        {
            assert!(closed(text), "{text}");
        }
        for text in ["10.0.0.1", "1.1.1.1", "fd00:ec3::1", "2001:db8::1"] {
            assert!(!closed(text), "{text}");
        }
        assert_eq!(never_by_default().len(), 9);
    }
}
