//! What a server may ask for, and what is answered without asking anybody. Pure.
//!
//! A look-up is a way out: a name can carry anything to whoever owns its domain. So a server without `egress = "any"` gets names of ours, and
//! those that its file names.

use crate::subnet::{Prefix, Subnet};
use hickory_proto::rr::{Name, RecordType};
use model::{Egress, Network, ServiceName};
use std::net::{IpAddr, Ipv4Addr};

/// Names with one label before it are ours: the host, and services.
const OWN_DOMAIN: &str = ".internal";
pub const HOST_NAME: &str = "host.internal";

/// A server that asks.
#[derive(Clone, Debug)]
pub struct Asker {
    /// Its look-ups are counted by this, over both families.
    pub server: Ipv4Addr,
    pub network: Network,
    /// Every name of the services that its file names, and whose it is.
    pub services: Vec<(ServiceName, ServiceName)>,
}

#[derive(Clone, Copy, Debug)]
pub struct Own {
    pub subnet: Subnet,
    pub prefix: Option<Prefix>,
}

impl Own {
    pub fn gateways(self) -> Vec<IpAddr> {
        std::iter::once(self.subnet.gateway().into()).chain(self.prefix.map(|prefix| prefix.gateway().into())).collect()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The gateway's addresses.
    Gateway,
    Loopback,
    /// The name of the gateway's address.
    GatewayName,
    /// There is no such name, for this server at least. Not `REFUSED`: programs would try again, and some (musl) wait for somebody else.
    Unknown,
    /// The name is there, without records of this type.
    NoData,
    /// Whoever the host asks knows.
    Forward,
}

/// `name` is in lower case. `is_offered` is asked only for a service that the server's file names: what all services offer takes time to see.
pub fn judge(asker: &Asker, own: Own, is_offered: impl Fn(&ServiceName) -> bool, name: &Name, kind: RecordType) -> Verdict {
    let text = name.to_ascii();
    let text = text.trim_end_matches('.');
    let if_address = |verdict| if kind.is_ip_addr() { verdict } else { Verdict::NoData };
    if text == HOST_NAME {
        return if_address(Verdict::Gateway);
    }
    if text == "localhost" || text.ends_with(".localhost") {
        return if_address(Verdict::Loopback);
    }
    if let Some(label) = text.strip_suffix(OWN_DOMAIN).or((text == &OWN_DOMAIN[1..]).then_some("")).filter(|label| !label.contains('.')) {
        let is_open = asker.services.iter().any(|(name, service)| name.as_str() == label && is_offered(service));
        return if is_open { if_address(Verdict::Gateway) } else { Verdict::Unknown };
    }
    if let Some(verdict) = of_address(own, name, kind) {
        return verdict;
    }
    match &asker.network.egress {
        Egress::Any => Verdict::Forward,
        Egress::Only(_) if asker.network.names().any(|named| named == text) => if_address(Verdict::Forward),
        Egress::Only(_) | Egress::None => Verdict::Unknown,
    }
}

/// Which names our own addresses have: nobody beyond this host knows, and nobody is to learn who asks.
fn of_address(own: Own, name: &Name, kind: RecordType) -> Option<Verdict> {
    let net = name.parse_arpa_name().ok()?;
    let ours = match net.addr() {
        IpAddr::V4(address) => Subnet::of(address) == own.subnet,
        IpAddr::V6(address) => own.prefix.is_some_and(|prefix| prefix.holds(address)),
    };
    if !ours {
        return None;
    }
    let is_gateway =
        net.addr() == IpAddr::from(own.subnet.gateway()) || own.prefix.is_some_and(|p| net.addr() == IpAddr::from(p.gateway()));
    let whole = net.prefix_len() == net.max_prefix_len();
    Some(if is_gateway && whole && kind == RecordType::PTR { Verdict::GatewayName } else { Verdict::Unknown })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_asks_only_for_what_its_egress_allows() {
        let own = Own { subnet: Subnet::of([198, 18, 7, 0].into()), prefix: Prefix::try_from("fd00:1::/64".to_string()).ok() };
        let (a, aaaa, txt, ptr) = (RecordType::A, RecordType::AAAA, RecordType::TXT, RecordType::PTR);
        let [any, none, name, net] = [
            r#"{"egress":"any"}"#,
            r#"{"egress":"none","allow":["service.worker","service.parked"]}"#,
            r#"{"egress":["db.example.org:5432"]}"#,
            r#"{"egress":["0.0.0.0/0:1-65535"]}"#,
        ]
        .map(|json| {
            let network: Network = serde_json::from_str(json).unwrap();
            let mut services: Vec<_> = network.services().map(|service| (service.clone(), service.clone())).collect();
            // Another name of the first.
            let renamed =
                services.iter().find(|(name, _)| name.as_str() == "worker").map(|(_, id)| (ServiceName::new("queue").unwrap(), id.clone()));
            services.extend(renamed);
            Asker { server: [198, 18, 7, 2].into(), network, services }
        });
        let is_offered = |service: &ServiceName| {
            assert!(["worker", "parked"].contains(&service.as_str()), "{service}: no file names it");
            service.as_str() == "worker"
        };
        use Verdict::*;
        let gateway6 = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa";
        let table: &[(&str, RecordType, [Verdict; 4])] = &[
            ("db.example.org", a, [Forward, Unknown, Forward, Unknown]),
            ("db.example.org", aaaa, [Forward, Unknown, Forward, Unknown]),
            ("db.example.org", txt, [Forward, Unknown, NoData, Unknown]),
            ("x.db.example.org", a, [Forward, Unknown, Unknown, Unknown]),
            ("example.org", a, [Forward, Unknown, Unknown, Unknown]),
            ("other.example.net", a, [Forward, Unknown, Unknown, Unknown]),
            ("host.internal", a, [Gateway; 4]),
            ("host.internal", aaaa, [Gateway; 4]),
            ("host.internal", txt, [NoData; 4]),
            ("worker.internal", a, [Unknown, Gateway, Unknown, Unknown]),
            ("queue.internal", a, [Unknown, Gateway, Unknown, Unknown]),
            ("worker.internal", txt, [Unknown, NoData, Unknown, Unknown]),
            ("other.internal", a, [Unknown; 4]),
            ("parked.internal", a, [Unknown; 4]),
            ("x.worker.internal", a, [Forward, Unknown, Unknown, Unknown]),
            ("internal", RecordType::NS, [Unknown; 4]),
            // A company's own names, as in some clouds.
            ("ip-10-0-0-1.ec2.internal", a, [Forward, Unknown, Unknown, Unknown]),
            ("localhost", a, [Loopback; 4]),
            ("1.7.18.198.in-addr.arpa", ptr, [GatewayName; 4]),
            (gateway6, ptr, [GatewayName; 4]),
            ("9.7.18.198.in-addr.arpa", ptr, [Unknown; 4]),
            ("7.18.198.in-addr.arpa", ptr, [Unknown; 4]),
            ("4.3.2.10.in-addr.arpa", ptr, [Forward, Unknown, Unknown, Unknown]),
        ];
        for (text, kind, want) in table {
            let asked = Name::from_ascii(format!("{text}.")).unwrap();
            let looked = std::cell::Cell::new(0);
            let is_offered = |service: &ServiceName| {
                looked.set(looked.get() + 1);
                is_offered(service)
            };
            let saw = [&any, &none, &name, &net].map(|asker| judge(asker, own, is_offered, &asked, *kind));
            assert_eq!(saw, *want, "{text} {kind}");
            assert_eq!(
                looked.get(),
                usize::from(["worker.internal", "queue.internal", "parked.internal"].contains(text)),
                "{text}: what services offer is looked at"
            );
        }
    }
}
