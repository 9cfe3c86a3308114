//! `network { ... }`: what a service's servers may reach.

use super::context::Context;
use super::read::{self, Read, at};
use super::section::Section;
use crate::schema;
use crate::sink::Sink;
use crate::syntax::value::{Value, What};
use crate::units::ValidationError;
use model::destination::{Destination, PortRange};
use model::network::egress_word;
use model::{Egress, Network};
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;

const EGRESS: &str = "\"any\", \"none\" or a list of destinations, such as [\"10.0.0.0/8:5432\"]";

pub(crate) fn network(context: &Context, service: &Section, sink: &mut Sink) -> Option<Network> {
    let default = Network::default();
    let Some(block) = service.block("network") else { return Some(default) };
    let section = Section::of(context, &schema::NETWORK, block, sink);
    let egress = section.or("egress", default.egress, sink, egress);
    let allow = section.or("allow", default.allow, sink, |v| {
        texts(
            v,
            "a list of what is allowed, such as [\"host:6379\", service.worker]",
            Network::ALLOW_MAX,
            "a port of the host in quotes or a service, such as \"host:6379\" or service.worker",
        )
    });
    Some(Network { egress: egress?, allow: allow? })
}

/// Also the host policy's.
pub(crate) fn egress(value: &Value) -> Read<Egress> {
    if let What::Text(word) = &value.what {
        return at(value, egress_word(word));
    }
    let list: Vec<Destination> = texts(value, EGRESS, Network::EGRESS_MAX, "a destination in quotes, such as \"10.0.0.0/8:5432\"")?;
    if list.is_empty() {
        let wrong = ValidationError::new("bad-destination", "this list is empty", format!("expected {EGRESS}"));
        return at(value, Err(wrong.hint("write \"none\"")));
    }
    Ok(Egress::Only(list))
}

/// Ports of the host that services may open, of the host policy.
pub(crate) fn host_ports(value: &Value) -> Read<Vec<PortRange>> {
    texts(value, "a list of ports, such as [\"6379\", \"8000-8010\"]", Network::ALLOW_MAX, "a port in quotes, such as \"6379\"")
}

/// Each in the one form that it is written in, none twice.
fn texts<T>(value: &Value, expected: &str, most: usize, item: &str) -> Read<Vec<T>>
where
    T: FromStr<Err = ValidationError> + Display,
{
    let one = |v: &Value| match &v.what {
        What::Reference(root, name) if root == "service" => Ok((v.span.clone(), at(v, format!("service.{name}").parse::<T>())?)),
        _ => Ok((v.span.clone(), read::unit(v, item, str::parse)?)),
    };
    let all: Vec<(Range<usize>, T)> = read::list(value, expected, most, one)?;
    read::no_doubles(all.iter().map(|(span, value)| (span.clone(), value.to_string())).collect())?;
    Ok(all.into_iter().map(|(_, value)| value).collect())
}
