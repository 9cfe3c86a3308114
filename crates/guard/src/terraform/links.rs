//! Which resource of the plan an argument of another one names.

use super::address::{bare, module_and_index, words};
use super::planned::Planned;
use crate::ternary::Fact;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

pub enum Link {
    /// Any of these. More than one: it depends on what is known later.
    To(Vec<usize>),
    /// Something that the plan does not have.
    Elsewhere,
    Unknown,
}

/// Kinds that others name, and by what.
const NAMED: [(&str, &[&str]); 4] = [
    ("aws_s3_bucket", &["bucket", "id", "arn"]),
    ("aws_s3_access_point", &["arn", "id", "name"]),
    ("aws_security_group", &["id"]),
    ("aws_default_security_group", &["id"]),
];

pub struct Links<'a> {
    of_address: BTreeMap<&'a str, usize>,
    /// By the address without the index of the resource.
    instances: BTreeMap<&'a str, Vec<usize>>,
    /// By a value that names it.
    of_name: BTreeMap<&'a str, BTreeSet<usize>>,
}

impl<'a> Links<'a> {
    pub fn of(all: &[Planned<'a>]) -> Links<'a> {
        let mut links = Links { of_address: BTreeMap::new(), instances: BTreeMap::new(), of_name: BTreeMap::new() };
        for (place, planned) in all.iter().enumerate() {
            let (_, index) = module_and_index(planned.address);
            links.of_address.insert(planned.address, place);
            links.instances.entry(&planned.address[..planned.address.len() - index.len()]).or_default().push(place);
            for name in NAMED.iter().filter(|(kind, _)| *kind == planned.kind).flat_map(|(_, names)| *names) {
                if let Some(text) = planned.text(name) {
                    links.of_name.entry(text).or_default().insert(place);
                }
            }
        }
        links
    }

    /// What an argument that names one thing of these kinds is about.
    pub fn link(&self, all: &[Planned], planned: &Planned, argument: &str, kinds: &[&str]) -> Link {
        match planned.value(argument) {
            Fact::Known(Some(Value::String(name))) => self.named(all, name, kinds).map_or(Link::Elsewhere, Link::To),
            _ => self.referred(all, planned, argument, kinds).map_or(Link::Unknown, Link::To),
        }
    }

    pub fn named(&self, all: &[Planned], name: &str, kinds: &[&str]) -> Option<Vec<usize>> {
        let found = self.of_name.get(name).into_iter().flatten().copied().filter(|place| kinds.contains(&all[*place].kind));
        Some(found.collect()).filter(|places: &Vec<usize>| !places.is_empty())
    }

    /// By reference. `None`: something that it refers to is not a resource of the plan, or it is not clear which.
    fn referred(&self, all: &[Planned], planned: &Planned, argument: &str, kinds: &[&str]) -> Option<Vec<usize>> {
        let references = planned.references(argument);
        let (module, index) = module_and_index(planned.address);
        let is_of_own_index = references.iter().any(|r| match *r {
            "each.key" => index.starts_with("[\""),
            "count.index" => !index.is_empty() && !index.starts_with("[\""),
            _ => false,
        });
        let mut places = BTreeSet::new();
        let mut before = "";
        for reference in references {
            let is_step = is_longer(before, reference);
            before = reference;
            let words = words(reference);
            let [kind, name, rest @ ..] = words.as_slice() else { return None };
            if is_step || matches!((*kind, *name), ("each", "key") | ("count", "index")) {
                continue;
            }
            let address = format!("{module}{kind}.{name}");
            let is_whole = bare(name) == *name && rest.is_empty();
            let place = match self.instances.get(address.as_str()).map(Vec::as_slice) {
                // All instances, or one whose index is not a constant: there is one, or it is of the same index.
                Some([one]) if is_whole => one,
                Some(_) if is_whole && is_of_own_index => self.of_address.get(format!("{address}{index}").as_str())?,
                _ => self.of_address.get(address.as_str())?,
            };
            if !kinds.contains(&all[*place].kind) {
                return None;
            }
            places.insert(*place);
        }
        Some(places.into_iter().collect()).filter(|places: &Vec<usize>| !places.is_empty())
    }
}

/// Terraform unwraps `b["y"].id` into itself, `b["y"]` and `b`: the later ones say nothing new.
fn is_longer(before: &str, reference: &str) -> bool {
    before.strip_prefix(reference).is_some_and(|rest| rest.starts_with(['.', '[']))
}
