//! What the servers of a service may reach: `network { egress = ...  allow = [...] }`.

use crate::destination::{Destination, DestinationHost, PortRange, never_by_default};
use crate::{ServiceName, ValidationError};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a service file that says nothing has is [`Network::default`]: out to anywhere. A release that an older version wrote down has
/// [`Network::closed`]: its servers keep what they had.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    #[serde(default)]
    pub egress: Egress,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<Allowed>,
}

impl Network {
    pub const EGRESS_MAX: usize = 64;
    pub const ALLOW_MAX: usize = 32;

    pub fn closed() -> Self {
        Self { egress: Egress::None, allow: Vec::new() }
    }

    pub fn is_closed(&self) -> bool {
        *self == Self::closed()
    }

    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The services whose internal routes it may use.
    pub fn services(&self) -> impl Iterator<Item = &ServiceName> {
        self.allow.iter().filter_map(|allowed| match allowed {
            Allowed::Service(name) => Some(name),
            Allowed::Host(_) => None,
        })
    }

    /// The names that must be looked up.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.egress.list().iter().filter_map(|to| match &to.host {
            DestinationHost::Name(name) => Some(name.as_str()),
            DestinationHost::Net(_) => None,
        })
    }
}

/// Where a server may begin connections to, beyond its host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Egress {
    #[default]
    Any,
    None,
    /// Never empty.
    Only(Vec<Destination>),
}

impl Egress {
    pub fn list(&self) -> &[Destination] {
        match self {
            Egress::Only(list) => list,
            Egress::Any | Egress::None => &[],
        }
    }
}

/// `"any"`, `"none"` or a list.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Written {
    Word(String),
    List(Vec<Destination>),
}

impl TryFrom<Written> for Egress {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        match written {
            Written::List(list) if list.is_empty() => Err("an empty list of destinations: write \"none\"".to_string()),
            Written::List(list) => Ok(Egress::Only(list)),
            Written::Word(word) => egress_word(&word).map_err(|wrong| format!("{}; {}", wrong.message, wrong.expected)),
        }
    }
}

impl From<Egress> for Written {
    fn from(egress: Egress) -> Self {
        match egress {
            Egress::Any => Written::Word("any".to_string()),
            Egress::None => Written::Word("none".to_string()),
            Egress::Only(list) => Written::List(list),
        }
    }
}

pub fn egress_word(word: &str) -> Result<Egress, ValidationError> {
    match word {
        "any" => Ok(Egress::Any),
        "none" => Ok(Egress::None),
        _ => {
            let expected = "expected \"any\", \"none\" or a list of destinations, such as [\"10.0.0.0/8:5432\"]";
            let wrong = ValidationError::new("bad-destination", format!("`{word}` is not known here"), expected);
            Err(if word.parse::<Destination>().is_ok() { wrong.hint(format!("write [\"{word}\"]")) } else { wrong })
        }
    }
}

/// Something near a server that is closed to it otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Allowed {
    /// Ports of the host, at each of its addresses: `host:6379`.
    Host(PortRange),
    /// The internal route of a service: `service.worker`.
    Service(ServiceName),
}

impl FromStr for Allowed {
    type Err = ValidationError;

    fn from_str(text: &str) -> Result<Self, ValidationError> {
        let wrong = || {
            let expected = "expected a port of the host or a service, such as \"host:6379\" or service.worker";
            ValidationError::new("bad-allowed", format!("`{text}` cannot be allowed"), expected)
        };
        if let Some(name) = text.strip_prefix("service.") {
            return ServiceName::new(name).map(Self::Service).map_err(|e| wrong().hint(e.to_string()));
        }
        match text.split_once(':') {
            Some(("host", ports)) => Ok(Self::Host(ports.parse()?)),
            _ if text.parse::<PortRange>().is_ok() => Err(wrong().hint(format!("write \"host:{text}\""))),
            Some(("localhost" | "127.0.0.1" | "host.internal", ports)) if ports.parse::<PortRange>().is_ok() => {
                Err(wrong().hint(format!("this host is called `host` here: write \"host:{ports}\"")))
            }
            _ if text.parse::<Destination>().is_ok() => {
                Err(wrong().hint(format!("what is not on this host is opened by egress = [\"{text}\"]")))
            }
            _ if text.contains('.') && format!("{text}:1").parse::<Destination>().is_ok() => {
                Err(wrong().hint(format!("what is not on this host is opened with its port by egress, such as egress = [\"{text}:443\"]")))
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Allowed::Host(ports) => write!(f, "host:{ports}"),
            Allowed::Service(name) => write!(f, "service.{name}"),
        }
    }
}

impl TryFrom<String> for Allowed {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map_err(|wrong: ValidationError| format!("{}; {}", wrong.message, wrong.expected))
    }
}

impl From<Allowed> for String {
    fn from(allowed: Allowed) -> String {
        allowed.to_string()
    }
}

/// What the host's root lets services open for themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkPolicy {
    #[serde(default)]
    pub egress: Egress,
    #[serde(default)]
    pub host_ports: Vec<PortRange>,
}

impl NetworkPolicy {
    /// The sentence that says what is not permitted, and its code.
    pub fn permits(&self, network: &Network) -> Result<(), (&'static str, String)> {
        let no = |what: String| Err(("policy-egress", what));
        match (&self.egress, &network.egress) {
            (_, Egress::None) => {}
            (Egress::Any, Egress::Any) => {}
            (Egress::Any, Egress::Only(list)) => {
                if let Some(to) = list.iter().find(|to| is_never_by_default(to)) {
                    return no(format!("the host policy allows no connections to {to}"));
                }
            }
            (Egress::None, _) => return no("the host policy allows no connections out, egress = \"none\"".to_string()),
            (Egress::Only(_), Egress::Any) => return no("the host policy allows no egress = \"any\", only a list".to_string()),
            (Egress::Only(may), Egress::Only(list)) => {
                if let Some(to) = list.iter().find(|to| !may.iter().any(|may| may.covers(to))) {
                    return no(format!("the host policy allows no connections to {to}"));
                }
            }
        }
        let closed = |allowed: &&Allowed| match allowed {
            Allowed::Host(ports) => !self.host_ports.iter().any(|may| may.covers(*ports)),
            // It is another service's who offers it inside.
            Allowed::Service(_) => false,
        };
        match network.allow.iter().find(closed) {
            Some(allowed) => Err(("policy-host-port", format!("the host policy opens no {allowed}"))),
            None => Ok(()),
        }
    }
}

/// Whether it lies in what is closed unless somebody names it.
pub fn is_never_by_default(to: &Destination) -> bool {
    match &to.host {
        DestinationHost::Net(net) => never_by_default().iter().any(|never| never.contains(net)),
        DestinationHost::Name(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(json: &str) -> Network {
        serde_json::from_str(json).unwrap_or_else(|e| panic!("{json}: {e}"))
    }

    #[test]
    fn json_has_the_form_of_the_file() {
        for text in [
            r#"{"egress":"any"}"#,
            r#"{"egress":"none","allow":["host:6379","host:514/udp","service.worker"]}"#,
            r#"{"egress":["10.0.0.0/8:5432","db.example.org:443"],"allow":["host:8000-8010"]}"#,
        ] {
            assert_eq!(serde_json::to_string(&network(text)).unwrap(), text);
        }
        assert_eq!(network("{}"), Network::default());
        assert_eq!(
            network(r#"{"egress":["a.example.org:1","b.example.org:2","10.0.0.1:3"]}"#).names().collect::<Vec<_>>(),
            ["a.example.org", "b.example.org"]
        );
        for bad in [r#"{"egress":"some"}"#, r#"{"egress":[]}"#, r#"{"allow":["service.Worker"]}"#, r#"{"allow":["127.0.0.1:80"]}"#] {
            assert!(serde_json::from_str::<Network>(bad).is_err(), "{bad}");
        }
    }

    /// Egress of the policy, host ports of the policy, the service's network, and the code of the refusal.
    #[test]
    fn the_host_policy_bounds_it() {
        let table = [
            (r#""any""#, "[]", r#"{"egress":"any"}"#, ""),
            (r#""any""#, "[]", r#"{"egress":["10.0.0.0/8:1"]}"#, ""),
            (r#""any""#, "[]", r#"{"egress":["169.254.169.254:80"]}"#, "policy-egress"),
            (r#"["169.254.169.254:80"]"#, "[]", r#"{"egress":["169.254.169.254:80"]}"#, ""),
            (r#""none""#, "[]", r#"{"egress":"any"}"#, "policy-egress"),
            (r#""none""#, "[]", r#"{"egress":"none"}"#, ""),
            (r#"["10.0.0.0/8:5432"]"#, "[]", r#"{"egress":"any"}"#, "policy-egress"),
            (r#"["10.0.0.0/8:5432"]"#, "[]", r#"{"egress":["10.1.0.0/16:5432"]}"#, ""),
            (r#"["10.0.0.0/8:5432"]"#, "[]", r#"{"egress":["10.1.0.0/16:5433"]}"#, "policy-egress"),
            (r#""any""#, "[]", r#"{"egress":"none","allow":["host:6379"]}"#, "policy-host-port"),
            (r#""any""#, r#"["6000-7000"]"#, r#"{"egress":"none","allow":["host:6379"]}"#, ""),
            (r#""none""#, "[]", r#"{"egress":"none","allow":["service.worker"]}"#, ""),
            (r#""any""#, r#"["6000-7000"]"#, r#"{"egress":"none","allow":["host:6379","host:6379/udp"]}"#, "policy-host-port"),
        ];
        for (egress, host_ports, asked, want) in table {
            let policy: NetworkPolicy = serde_json::from_str(&format!(r#"{{"egress":{egress},"host_ports":{host_ports}}}"#)).unwrap();
            let code = policy.permits(&network(asked)).err().map_or("", |(code, _)| code);
            assert_eq!(code, want, "{egress} {host_ports} {asked}");
        }
    }
}
