//! Facts of a service file for the gate: of each service, and of each recipe. What is not known is left out, and a rule that needs it
//! cannot tell.

use crate::cidr::AddressSet;
use crate::rules::Facts;
use crate::secrets::{Detector, is_credential};
use model::destination::DestinationHost;
use model::{ArtifactSource, Egress, ImageSpec, LeftToImage, Release, Route, ServiceSpec};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Of an image without a limit.
const NO_LIMIT_S: u64 = 1 << 53;

/// What is known of a service's image beside what its file says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ImageAge {
    pub age_s: Option<u64>,
    /// `Some(None)`: its recipe has no limit. `None`: the recipe is not known.
    pub max_age_s: Option<Option<u64>>,
}

/// As the file has it. `release`: what it is, or would be, deployed as; it knows what the container image says.
pub fn of_service(spec: &ServiceSpec, release: Option<&Release>, image: ImageAge, detector: &Detector) -> Facts {
    let mut facts = match release {
        Some(release) => of_release(release, image, detector),
        None => {
            // The image says who it runs as, and only the host that pulls it knows the image.
            let user = (!spec.from_image.contains(&LeftToImage::User)).then_some(spec.user.as_str());
            let mut attributes = attributes(&spec.env, user, &spec.network.egress, spec.route.as_ref(), image, detector);
            attributes.insert("command_secrets".into(), json!(command_secrets(commands_of(spec), detector)));
            Facts { kind: "service".into(), id: spec.name.to_string(), attributes }
        }
    };
    facts.attributes.insert("tier".into(), json!(spec.tier));
    if release.is_some() {
        // A release has no jobs: they follow the service.
        facts.attributes.insert("command_secrets".into(), json!(command_secrets(commands_of(spec), detector)));
    }
    let has_code = release.is_none_or(|release| release.artifact.is_some());
    let signature = match spec.artifact.as_deref().filter(|_| has_code) {
        None if release.is_some() && has_code => "packed",
        label => signature(label),
    };
    facts.attributes.insert("signature".into(), json!(signature));
    facts
}

/// Of a release that was deployed once. Where its code came from is not in it, nor are the service's jobs.
pub fn of_release(release: &Release, image: ImageAge, detector: &Detector) -> Facts {
    // A server has both; the service's own is the one that counts.
    let of_image = release.container.as_ref().map(|from| from.env.clone()).unwrap_or_default();
    let env = of_image.into_iter().chain(release.env.clone()).collect();
    let mut attributes = attributes(&env, Some(&release.user), &release.network.egress, release.route.as_ref(), image, detector);
    let of_checks = release.checks.iter().map(|check| (format!("check {}", check.name), &check.run));
    let of_migration = release.migrate.iter().map(|migrate| ("migrate".to_string(), &migrate.run));
    let commands = std::iter::once(("run".to_string(), &release.run)).chain(of_checks).chain(of_migration);
    attributes.insert("command_secrets".into(), json!(command_secrets(commands, detector)));
    if release.artifact.is_none() {
        attributes.insert("signature".into(), json!(signature(None)));
    }
    Facts { kind: "service".into(), id: release.service.to_string(), attributes }
}

fn attributes(
    env: &BTreeMap<String, String>,
    user: Option<&str>,
    egress: &Egress,
    route: Option<&Route>,
    image: ImageAge,
    detector: &Detector,
) -> BTreeMap<String, Value> {
    let listen = route.and_then(|route| route.listen.edge()).map(|address| address.ip().to_string());
    let mut all: BTreeMap<String, Value> = BTreeMap::from([
        ("egress".into(), json!(named_destinations(egress))),
        ("env_secrets".into(), json!(env_secrets(env, detector))),
        ("listen".into(), json!(listen.as_slice())),
        ("has_image".into(), json!(true)),
    ]);
    if let Some(user) = user {
        let user = user.split(':').next().unwrap_or_default();
        all.insert("user".into(), user.parse::<u64>().map_or_else(|_| json!(user), |uid| json!(uid)));
    }
    all.extend(image.max_age_s.map(|limit| ("image_max_age_s".into(), json!(limit.unwrap_or(NO_LIMIT_S)))));
    all.extend(image.age_s.map(|age_s| ("image_age_s".into(), json!(age_s))));
    all
}

fn signature(artifact: Option<&str>) -> &'static str {
    match artifact.map(ArtifactSource::of) {
        None => "no_artifact",
        // A tag can be moved to other code by whoever writes to the registry.
        Some(Ok(Some(ArtifactSource::Registry(reference)))) if reference.digest.is_none() => "none",
        // Packed and signed where it is deployed from, or pinned by its digest.
        Some(Ok(_)) => "trusted",
        Some(Err(_)) => "untrusted",
    }
}

fn named_destinations(egress: &Egress) -> Vec<String> {
    match egress {
        Egress::Any => vec!["any".into()],
        Egress::None => Vec::new(),
        Egress::Only(list) => {
            let nets = list.iter().filter_map(|to| match &to.host {
                DestinationHost::Net(net) => Some(net.to_string()),
                DestinationHost::Name(_) => None,
            });
            let nets: Vec<String> = nets.collect();
            // Two halves of all addresses are all of them.
            let is_any = AddressSet::from_cidrs(nets.iter().map(String::as_str)).is_none_or(|set| set.admits_anyone());
            list.iter().map(ToString::to_string).chain(is_any.then(|| "any".to_string())).collect()
        }
    }
}

/// The commands of a service, by their places in its file.
fn commands_of(spec: &ServiceSpec) -> impl Iterator<Item = (String, &Vec<String>)> {
    let checks = spec.checks.iter().map(|check| (format!("check {}", check.name), &check.run));
    let migrate = spec.migrate.iter().map(|migrate| ("migrate".to_string(), &migrate.run));
    let jobs = spec.jobs.iter().map(|job| (format!("job {}", job.name), &job.run));
    std::iter::once(("run".to_string(), &spec.run)).chain(checks).chain(migrate).chain(jobs)
}

/// Places of commands that hold a secret by an issuer's format.
fn command_secrets<'a>(commands: impl Iterator<Item = (String, &'a Vec<String>)>, detector: &Detector) -> Vec<String> {
    let is_secret = |(_, words): &(String, &Vec<String>)| words.iter().any(|word| !detector.scan(word.as_bytes()).is_empty());
    commands.filter(is_secret).map(|(place, _)| place).collect()
}

/// Names of variables whose values are secrets.
fn env_secrets(env: &BTreeMap<String, String>, detector: &Detector) -> Vec<String> {
    let is_secret =
        |(name, value): &(&String, &String)| is_credential(name, value) || !detector.scan(format!("{name}={value}").as_bytes()).is_empty();
    env.iter().filter(is_secret).map(|(name, _)| name.clone()).collect()
}

/// Of a recipe and its bases: the places of secrets in it, without their values and without lines, which move.
pub fn of_recipe(image: &ImageSpec, detector: &Detector) -> Facts {
    let mut found: Vec<String> = Vec::new();
    for custom in image.levels().into_iter().map(|level| &level.custom) {
        let files = custom.files.iter().map(|(path, file)| (format!("file {path}"), &file.content));
        let script = custom.script.iter().map(|text| ("script".to_string(), text));
        for (place, text) in files.chain(script) {
            found.extend(detector.scan(text.as_bytes()).into_iter().map(|leak| format!("{place} ({})", leak.title)));
        }
        for (name, value) in &custom.args {
            let leaks = detector.scan(format!("{name}={value}").as_bytes());
            found.extend(leaks.into_iter().map(|leak| format!("arg {name} ({})", leak.title)));
            found.extend(is_credential(name, value).then(|| format!("arg {name}")));
        }
    }
    found.sort();
    found.dedup();
    Facts { kind: "image".into(), id: image.name.to_string(), attributes: BTreeMap::from([("secrets".into(), json!(found))]) }
}
