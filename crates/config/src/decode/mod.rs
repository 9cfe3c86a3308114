//! The file's blocks to `model::ServiceFile`. Reads everything it can, so that every error is reported at once.

mod base;
pub(crate) mod context;
mod custom;
mod image;
pub(crate) mod job;
pub(crate) mod labels;
mod moved;
pub(crate) mod network;
mod pairs;
mod parts;
pub(crate) mod read;
mod rollout;
mod secret;
pub(crate) mod section;
mod service;
mod volume;

use crate::schema;
use crate::sink::{Draft, Sink};
use crate::syntax::{lex, tree};
use context::Context;
use model::{ImageName, RouteAddress, ServiceFile, ServiceSpec, TierName};
use section::Section;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// None: the sink says why. A value is given also when the sink has errors; it is not whole then.
pub(crate) fn decode(text: &str, sink: &mut Sink) -> Option<ServiceFile> {
    let tokens = lex::lex(text, sink)?;
    let body = tree::parse(text, &tokens, sink);
    if body.unclosed {
        return None;
    }
    let named = |word| named(text, &body, word);
    let containers = containers(text, &body);
    let context =
        Context { text, tokens: &tokens, images: named("image"), containers, secrets: named("secret"), services: named("service") };
    let mut top = Section::open(&context, &schema::FILE, 0..0, &body, sink);
    if body.items.iter().all(|item| matches!(item, tree::Item::Comment(_))) && sink.is_empty() {
        let end = text.trim_end().len();
        sink.push(
            Draft::new("empty-file", end..end, "the file holds no image and no service").label("expected `service \"name\" { ... }`"),
        );
        return None;
    }

    let mut file = ServiceFile::default();
    let mut images = BTreeMap::new();
    for (name, block) in top.named("image", sink) {
        if let Some(image) = image::decode(&context, name, block, sink) {
            images.insert(ImageName::clone(&image.spec.name), image);
        }
    }
    file.images = base::resolve(&images, sink);
    for (name, block) in top.named("secret", sink) {
        if let Some(secret) = secret::decode(&context, name, block, sink) {
            file.secrets.insert(secret.name.clone(), secret);
        }
    }
    let mut services = Vec::new();
    for (name, block) in top.named("service", sink) {
        services.push(service::decode(&context, name, block, sink));
    }
    let tiers = top.block("rollout").map(|block| rollout::tiers(&context, block, sink));
    file.tiers = order(&services, tiers, sink);
    one_address_one_route(&services, sink);
    offered_inside(&services, sink);
    file.moved = moved::decode(&context, &top.all("moved"), sink);
    for service in services {
        if let Some(spec) = service.spec {
            file.services.insert(spec.name.clone(), spec);
        }
    }
    Some(file)
}

/// The blocks of one word by their names, with the places of these. A misspelt word is reported once, not for every use of its blocks.
fn named(text: &str, body: &tree::Body, word: &'static str) -> BTreeMap<String, Range<usize>> {
    let labels = body.items.iter().filter_map(|item| match item {
        tree::Item::Block(block) if model::near::nearest(&text[block.word.clone()], [word]).is_some() => block.labels.first(),
        _ => None,
    });
    labels.map(|label| (text[label.clone()].to_string(), label.clone())).collect()
}

/// Images that are container images, also where something else in their block is wrong.
fn containers(text: &str, body: &tree::Body) -> BTreeSet<String> {
    let of = |item: &tree::Item| match item {
        tree::Item::Block(block) if text[block.word.clone()] == *"image" && block.body.has_key(text, "oci") => {
            block.labels.first().map(|label| text[label.clone()].to_string())
        }
        _ => None,
    };
    body.items.iter().filter_map(of).collect()
}

/// The tiers of the file's own list, or in the order in which services first name them.
fn order(services: &[service::Decoded], listed: Option<Option<Vec<TierName>>>, sink: &mut Sink) -> Vec<TierName> {
    let used = services.iter().filter_map(|s| s.tier.as_ref());
    let Some(listed) = listed else {
        let mut tiers: Vec<TierName> = Vec::new();
        for (tier, _) in used {
            if !tiers.contains(tier) {
                tiers.push(tier.clone());
            }
        }
        return tiers;
    };
    // A list that could not be read was reported; services are not blamed for it.
    let Some(listed) = listed else { return Vec::new() };
    for (tier, span) in used {
        if !listed.contains(tier) {
            let near = model::near::nearest(tier.as_str(), listed.iter().map(TierName::as_str));
            let names: Vec<&str> = listed.iter().map(TierName::as_str).collect();
            sink.push(
                Draft::new("unknown-tier", span.clone(), format!("the tier `{tier}` is not in the file's list"))
                    .label(format!("expected one of {}", names.join(", ")))
                    .hint(match near {
                        Some(near) => format!("did you mean \"{near}\"?"),
                        None => "add it to `tiers` of the file's `rollout` block, at its place in the order".to_string(),
                    }),
            );
        }
    }
    listed
}

/// Two listeners cannot have one address; `0.0.0.0` and `[::]` are every address of the machine.
fn one_address_one_route(services: &[service::Decoded], sink: &mut Sink) {
    let routes: Vec<_> = services.iter().filter_map(|s| s.listen.clone()).collect();
    for (i, (address, span)) in routes.iter().enumerate() {
        let clash = routes[..i].iter().find(|(other, _)| other.clashes(*address));
        if let Some((other, first)) = clash {
            sink.push(
                Draft::new("address-taken", span.clone(), format!("two routes cannot listen on {address}"))
                    .label("the second route")
                    .related(first.clone(), format!("the first listens on {other}"))
                    .hint("give one of them another port"),
            );
        }
    }
}

/// A service of this file that another names offers something inside. One of another file may do so.
fn offered_inside(services: &[service::Decoded], sink: &mut Sink) {
    let specs: Vec<_> = services.iter().filter_map(|s| s.spec.as_ref().zip(s.allow.clone())).collect();
    let all: Vec<&ServiceSpec> = services.iter().filter_map(|s| s.spec.as_ref()).collect();
    for (spec, place) in specs {
        for name in spec.network.services() {
            let named = all.iter().find(|other| other.name == *name);
            let Some(route) = named.map(|other| other.route.as_ref()) else { continue };
            if !route.is_some_and(|route| matches!(route.listen, RouteAddress::Internal(_))) {
                sink.push(
                    Draft::new(
                        "not-internal",
                        place.clone(),
                        format!("`{}` allows service.{name}, which has no internal route", spec.name),
                    )
                    .label("nothing would be opened")
                    .hint(match route {
                        None => format!("write route {{ internal = true }} in service \"{name}\""),
                        Some(route) => {
                            format!("service \"{name}\" listens at {}: allow = [\"host:{}\"]", route.listen, route.listen.port())
                        }
                    }),
                );
            }
        }
    }
}
