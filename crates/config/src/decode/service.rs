//! `service "name" { ... }`

use super::context::Context;
use super::job;
use super::labels::{image_reference, label_name};
use super::network;
use super::read::{self, Read, at};
use super::rollout;
use super::section::Section;
use super::{parts, secret, volume};
use crate::schema;
use crate::sink::Sink;
use crate::syntax::tree::Block;
use crate::syntax::value::{Value, What};
use crate::units;
use model::{LeftToImage, NameError, ServiceName, ServiceSpec, TierName, path_validation};
use std::collections::BTreeSet;
use std::ops::Range;

/// A group's name (`web-r42-7`) and an instance's (`web-r42-7-3`) must fit a DNS label of 63 bytes.
const SERVICE_NAME_BYTES_MAX: usize = 32;
pub(crate) const COUNT_MAX: u64 = ServiceSpec::COUNT_MAX as u64;

/// The service if all of it was right, and what the whole file is checked for either way.
pub(crate) struct Decoded {
    pub spec: Option<ServiceSpec>,
    pub tier: Option<(TierName, Range<usize>)>,
    pub listen: parts::Listen,
    /// Where its `network` names services.
    pub allow: Option<Range<usize>>,
}

pub(crate) fn decode(context: &Context, label: Range<usize>, block: &Block, sink: &mut Sink) -> Decoded {
    let mut section = Section::of(context, &schema::SERVICE, block, sink);
    let name = label_name(context, label, block, sink, service_name);
    let tier = section.need("tier", sink, |v| at(v, read::name(&read::text(v, "a tier's name in quotes")?, TierName::new)));
    let image = section.need("image", sink, |v| image_reference(context, v));
    let artifact = section.or("artifact", None, sink, |v| Ok(Some(artifact_path(v)?)));
    let is_container = image.as_ref().is_some_and(|name| context.containers.contains(name.as_str()));
    let run = if is_container { section.or("run", Vec::new(), sink, read::command) } else { section.need("run", sink, read::command) };
    let user = section.or("user", ServiceSpec::default_user(), sink, user);
    let port = section.or("port", None, sink, |v| Ok(u16::try_from(read::number(v, 1, 65_535)?).ok()));
    let own_port = match port {
        Some(Some(port)) => secret::OwnPort::Is(port),
        Some(None) if is_container => secret::OwnPort::OfImage,
        // A wrong one is reported at its own place.
        Some(None) | None => secret::OwnPort::No,
    };
    let (env, secrets) = secret::used(context, &section, own_port, sink);
    let count = section.need("count", sink, |v| read::number(v, 0, COUNT_MAX)).and_then(|n| u32::try_from(n).ok());
    let has_port = is_container || section.may_have("port");
    let health = parts::health(context, &section, has_port, sink);
    let drain = parts::drain(context, &section, sink);
    let limits = parts::limits(context, &section, sink);
    let volumes = volume::volumes(context, &mut section, sink);
    let exclusive = volume::exclusive(&section, count, sink);
    let network = network::network(context, &section, sink);
    let (route, listen) = parts::route(context, &section, port, has_port, sink);
    let checks = parts::checks(context, &mut section, sink);
    let migrate = parts::migrate(context, &section, sink);
    let jobs = job::jobs(context, &mut section, sink);
    let rollout = rollout::rollout(context, &section, count, sink);
    let from_image = if is_container { left_to_image(context, &section) } else { BTreeSet::new() };
    let tier_place = tier.clone().map(|tier| (tier, section.place("tier")));
    let spec = (|| {
        Some(ServiceSpec {
            name: name?,
            tier: tier?,
            image: image?,
            recipe: None,
            artifact: artifact?,
            run: run?,
            env: env?,
            secrets: secrets?,
            user: user?,
            port: port?,
            count: count?,
            health: health?,
            drain: drain?,
            limits: limits?,
            volumes: volumes?,
            exclusive: exclusive?,
            network: network?,
            route: route?,
            checks: checks?,
            migrate: migrate?,
            jobs: jobs?,
            rollout: rollout?,
            from_image,
        })
    })();
    let allow = section.block("network").map(|block| block.word.clone());
    Decoded { spec, tier: tier_place, listen, allow }
}

/// What the file does not say of a service on a container image.
fn left_to_image(context: &Context, section: &Section) -> BTreeSet<LeftToImage> {
    let is_said = |one: &LeftToImage| match one {
        LeftToImage::Run | LeftToImage::User | LeftToImage::Port => section.has(one.key()),
        LeftToImage::Signal => section.block("drain").is_some_and(|drain| drain.body.has_key(context.text, "signal")),
        LeftToImage::Health => section.block("health").is_some(),
    };
    LeftToImage::ALL.into_iter().filter(|one| !is_said(one)).collect()
}

fn service_name(text: String) -> Result<ServiceName, NameError> {
    if text.len() > SERVICE_NAME_BYTES_MAX {
        return Err(NameError { what: "service name", text, why: "it is longer than 32 bytes" });
    }
    if text.starts_with(model::IMAGE_CHECKS) {
        return Err(NameError { what: "service name", text, why: "names that begin with image- belong to the checks of images" });
    }
    ServiceName::new(text)
}

fn artifact_path(value: &Value) -> Read<String> {
    let path = read::text(value, "the path of a directory or tarball")?;
    at(value, path_validation::artifact(&path).map(|()| path))
}

fn user(value: &Value) -> Read<String> {
    match &value.what {
        What::Number(n) => at(value, units::user(&n.to_string())),
        _ => at(value, units::user(&read::text(value, "uid or uid:gid, such as \"1000:1000\"")?)),
    }
}
