//! Where an instance's processes listen, as the kernel lists it: the reason why a connection to its port is refused.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

/// A list with thousands of connections is cut: it is read only to explain.
const LIST_BYTES_MAX: u64 = 64 << 10;
/// The state of a listening socket in `/proc/net/tcp`.
const LISTEN: &str = "0A";
/// How many are named in a message.
const NAMED_MAX: usize = 5;
/// The kernel takes milliseconds to make the list, in which it keeps requests waiting, and a starting instance refuses twenty probes a second.
const READ_EVERY: Duration = Duration::from_secs(1);

/// Explains the refusals of one instance. Between two reads of the list its last explanation stands. The first second is not explained:
/// most instances listen before it is over.
pub struct Explainer {
    /// Any process of the instance.
    pid: i32,
    /// When it was last read, or first asked for.
    at: Option<Instant>,
    last: String,
}

impl Explainer {
    pub fn new(pid: i32) -> Self {
        Self { pid, at: None, last: String::new() }
    }

    /// As text: `the process listens on nothing`. Empty: not known yet, or it does listen on this port by now.
    pub fn explain(&mut self, port: u16) -> &str {
        let pid = self.pid;
        self.explain_at(Instant::now(), || explain(pid, port))
    }

    fn explain_at(&mut self, now: Instant, read: impl FnOnce() -> String) -> &str {
        let at = *self.at.get_or_insert(now);
        if now.saturating_duration_since(at) >= READ_EVERY {
            self.at = Some(now);
            self.last = read();
        }
        &self.last
    }
}

fn explain(pid: i32, port: u16) -> String {
    let read = |name: &str| {
        let mut text = String::new();
        // What cannot be read explains nothing.
        let _ = std::fs::File::open(format!("/proc/{pid}/net/{name}")).and_then(|f| f.take(LIST_BYTES_MAX).read_to_string(&mut text));
        text
    };
    in_words(&[listed(&read("tcp")), listed(&read("tcp6"))].concat(), port)
}

fn listed(text: &str) -> Vec<SocketAddr> {
    let address = |line: &str| {
        let mut words = line.split_ascii_whitespace().skip(1);
        let (local, _, state) = (words.next()?, words.next()?, words.next()?);
        let (ip, port) = local.split_once(':')?;
        Some(SocketAddr::new(ip_of(ip)?, u16::from_str_radix(port, 16).ok()?)).filter(|_| state == LISTEN)
    };
    text.lines().skip(1).filter_map(address).collect()
}

/// Words of 32 bits in the byte order of the machine.
fn ip_of(hex: &str) -> Option<IpAddr> {
    let words: Vec<[u8; 4]> = (0..hex.len() / 8)
        .map(|n| u32::from_str_radix(hex.get(n * 8..n * 8 + 8)?, 16).ok().map(u32::to_ne_bytes))
        .collect::<Option<_>>()?;
    match words[..] {
        [v4] => Some(Ipv4Addr::from(v4).into()),
        [a, b, c, d] => <[u8; 16]>::try_from([a, b, c, d].concat()).ok().map(|bytes| Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

fn in_words(listens: &[SocketAddr], port: u16) -> String {
    if listens.is_empty() {
        return "the process listens on nothing".to_string();
    }
    let here: Vec<&SocketAddr> = listens.iter().filter(|address| address.port() == port).collect();
    if here.iter().any(|address| !address.ip().to_canonical().is_loopback()) {
        return String::new();
    }
    if let Some(loopback) = here.first() {
        return format!("the process listens on {loopback} only; requests come from outside, so it must listen on 0.0.0.0:{port}");
    }
    let mut names: Vec<String> = listens.iter().map(ToString::to_string).collect();
    names.dedup();
    let more = if names.len() > NAMED_MAX { ", ..." } else { "" };
    names.truncate(NAMED_MAX);
    format!("the process listens on {}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_list_is_read() {
        let text = "  sl  local_address rem_address   st tx_queue\n   0: 0100007F:1F90 00000000:0000 0A 00000000\n   1: 00000000:0BB8 00000000:0000 0A 0\n   2: 0100007F:1F90 0100007F:9999 01 0\nnonsense\n";
        let addresses: Vec<String> = listed(text).iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["127.0.0.1:8080", "0.0.0.0:3000"]);
        let six = "head\n   0: 00000000000000000000000001000000:0050 0:0 0A 0\n";
        assert_eq!(listed(six)[0].to_string(), "[::1]:80");
        // This test's own list has what it listens on.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let pid = i32::try_from(std::process::id()).unwrap();
        let words = explain(pid, port);
        assert!(words.starts_with(&format!("the process listens on 127.0.0.1:{port} only")), "{words}");
    }

    #[test]
    fn the_list_is_read_once_a_second_however_often_a_probe_is_refused_and_not_in_the_first() {
        let (begin, mut explainer, mut reads) = (Instant::now(), Explainer::new(0), Vec::new());
        for tick in 0..60 {
            let now = begin + tick * Duration::from_millis(50);
            let said = explainer.explain_at(now, || {
                reads.push(tick);
                format!("read at {tick}")
            });
            assert_eq!(said, if tick < 20 { String::new() } else { format!("read at {}", tick / 20 * 20) });
        }
        assert_eq!(reads, [20, 40]);
    }

    #[test]
    fn a_refusal_is_explained() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(in_words(&[], 80), "the process listens on nothing");
        assert_eq!(in_words(&[at("0.0.0.0:3000")], 80), "the process listens on 0.0.0.0:3000");
        assert_eq!(in_words(&[at("[::]:80")], 80), "", "it has begun to listen");
        assert_eq!(
            in_words(&[at("127.0.0.1:80")], 80),
            "the process listens on 127.0.0.1:80 only; requests come from outside, so it must listen on 0.0.0.0:80"
        );
        let many: Vec<SocketAddr> = (1..20).map(|port| SocketAddr::from(([0, 0, 0, 0], port))).collect();
        assert!(in_words(&many, 80).ends_with("0.0.0.0:5, ..."));
    }
}
