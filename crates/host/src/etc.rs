//! The files by which a server knows who it is, who its host is, and whom it asks for names. Pure.

use crate::record::Record;
use model::Egress;
use std::fmt::Write;
use std::net::IpAddr;

/// The host, to programs in a server.
const HOST_NAME: &str = "host.internal";

/// Names below `/etc`, and what is in them.
pub fn files(record: &Record) -> [(&'static str, String); 3] {
    [("hostname", format!("{}\n", record.id)), ("hosts", hosts(record)), ("resolv.conf", resolv_conf(record))]
}

fn hosts(record: &Record) -> String {
    let placement = &record.placement;
    let mut text = "127.0.0.1 localhost\n".to_string();
    let mut line = |address: IpAddr, name: &str| writeln!(text, "{address} {name}").expect("a String takes all");
    if let Some(six) = &placement.six {
        line([0u16, 0, 0, 0, 0, 0, 0, 1].into(), "localhost ip6-localhost");
        line(six.address.into(), record.id.as_str());
        line(six.gateway.into(), HOST_NAME);
    }
    line(placement.address.into(), record.id.as_str());
    line(placement.gateway.into(), HOST_NAME);
    text
}

/// The resolver on the gateway. The C library asks again while a keeper is replaced, and musl, which divides the time among its attempts, too.
fn resolv_conf(record: &Record) -> String {
    let placement = &record.placement;
    let mut text = String::new();
    let mut line = |key: &str, value: String| writeln!(text, "{key} {value}").expect("a String takes all");
    // Whoever may not ask for these names is not sent to ask.
    if record.release.network.egress == Egress::Any && !placement.search.is_empty() {
        line("search", placement.search.join(" "));
    }
    line("nameserver", placement.gateway.to_string());
    if let Some(six) = &placement.six {
        line("nameserver", six.gateway.to_string());
    }
    line("options", "timeout:4 attempts:4".to_string());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Six;
    use crate::testing::instance;

    #[test]
    fn a_server_knows_itself_and_its_host() {
        let mut record = instance(1).record;
        record.placement.six = Some(Six { address: "fd00:1::2".parse().unwrap(), gateway: "fd00:1::1".parse().unwrap() });
        record.placement.search = vec!["example.org".to_string()];
        let text = |record: &Record, name: &str| files(record).into_iter().find(|(n, _)| *n == name).unwrap().1;
        assert_eq!(text(&record, "hostname"), "web-r1-1-1\n");
        assert_eq!(
            text(&record, "hosts"),
            "127.0.0.1 localhost\n::1 localhost ip6-localhost\nfd00:1::2 web-r1-1-1\nfd00:1::1 host.internal\n198.18.7.2 web-r1-1-1\n198.18.7.1 host.internal\n"
        );
        let gateways = "nameserver 198.18.7.1\nnameserver fd00:1::1\noptions timeout:4 attempts:4\n";
        assert_eq!(text(&record, "resolv.conf"), gateways, "it may not ask for the host's names");
        record.release.network = model::Network::default();
        assert_eq!(text(&record, "resolv.conf"), format!("search example.org\n{gateways}"));
        record.placement.six = None;
        assert!(!text(&record, "hosts").contains(':'));
    }
}
