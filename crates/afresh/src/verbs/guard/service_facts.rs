//! Facts of a service file for the gate: of each service, and of each recipe. What is not known is left out, and a rule that needs it
//! denies.

use crate::context::Context;
use crate::show;
use guard::rules::Facts;
use guard::secrets::{Detector, Leak, is_credential};
use model::destination::DestinationHost;
use model::{ArtifactSource, Egress, ImageName, ImageSpec, LeftToImage, ServiceFile, ServiceSpec};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Of an image without a limit.
const NO_LIMIT_S: u64 = 1 << 53;

/// `text`: of the file, which has the lines that messages name.
pub fn facts(context: &Context, file: &ServiceFile, text: &str, detector: &Detector) -> Vec<Facts> {
    let lines = detector.scan(text.as_bytes());
    let ages = ages(context, file);
    let services = file.services.values().map(|service| of_service(file, service, &ages, detector));
    let name = context.file.display().to_string();
    services.chain(file.images.values().map(|image| of_image(image, &name, &lines, detector))).collect()
}

fn of_service(file: &ServiceFile, service: &ServiceSpec, ages: &BTreeMap<ImageName, u64>, detector: &Detector) -> Facts {
    let mut attributes: BTreeMap<String, Value> = BTreeMap::from([
        ("egress".into(), json!(egress(&service.network.egress))),
        ("env_secrets".into(), json!(env_secrets(service, detector))),
        ("listen".into(), json!(service.route.as_ref().and_then(|r| r.listen.edge()).map(|a| a.ip().to_string()).as_slice())),
        ("has_image".into(), json!(true)),
        ("tier".into(), json!(service.tier)),
    ]);
    // The image says who it runs as, and only the host that pulls it knows the image.
    if !service.from_image.contains(&LeftToImage::User) {
        let user = service.user.split(':').next().unwrap_or_default();
        attributes.insert("user".into(), user.parse::<u64>().map_or_else(|_| json!(user), |uid| json!(uid)));
    }
    if let Some(image) = file.images.get(&service.image) {
        attributes.insert("image_max_age_s".into(), json!(image.max_age_ms.map_or(NO_LIMIT_S, |ms| ms / 1000)));
    }
    if let Some(age_s) = ages.get(&service.image) {
        attributes.insert("image_age_s".into(), json!(age_s));
    }
    let source = service.artifact.as_deref().map(ArtifactSource::of);
    let signature = match source {
        None => "no_artifact",
        // A tag can be moved to other code by whoever writes to the registry.
        Some(Ok(Some(ArtifactSource::Registry(reference)))) if reference.digest.is_none() => "none",
        // Packed and signed where it is deployed from, or pinned by its digest.
        Some(Ok(_)) => "trusted",
        Some(Err(_)) => "untrusted",
    };
    attributes.insert("signature".into(), json!(signature));
    Facts { kind: "service".into(), id: service.name.to_string(), attributes }
}

fn egress(egress: &Egress) -> Vec<String> {
    match egress {
        Egress::Any => vec!["any".into()],
        Egress::None => Vec::new(),
        Egress::Only(list) => {
            let shown = list.iter().map(|to| match &to.host {
                DestinationHost::Net(net) if net.prefix_len() == 0 => net.to_string(),
                _ => to.to_string(),
            });
            shown.collect()
        }
    }
}

/// Names of variables whose values are secrets.
fn env_secrets(service: &ServiceSpec, detector: &Detector) -> Vec<String> {
    let is_secret =
        |(name, value): &(&String, &String)| is_credential(name, value) || !detector.scan(format!("{name}={value}").as_bytes()).is_empty();
    service.env.iter().filter(is_secret).map(|(name, _)| name.clone()).collect()
}

fn of_image(image: &ImageSpec, file: &str, lines: &[Leak], detector: &Detector) -> Facts {
    let custom = &image.custom;
    let texts = custom.files.values().map(|f| f.content.clone()).chain(custom.script.clone());
    let args = custom.args.iter().map(|(name, value)| format!("{name}={value}"));
    let mut found: Vec<String> = Vec::new();
    for leak in texts.chain(args).flat_map(|text| detector.scan(text.as_bytes())) {
        let place = lines.iter().find(|l| l.fingerprint == leak.fingerprint).map_or(file.to_string(), |l| format!("{file}:{}", l.line));
        found.push(format!("{place} ({})", leak.title));
    }
    let is_variable = |(name, value): &(&String, &String)| is_credential(name, value);
    found.extend(custom.args.iter().filter(is_variable).map(|(name, _)| format!("{file} (args {name})")));
    found.dedup();
    Facts { kind: "image".into(), id: image.name.to_string(), attributes: BTreeMap::from([("secrets".into(), json!(found))]) }
}

/// Of the images that are current in the store of this machine. An image that it does not have is baked by the deploy, and is new then.
fn ages(context: &Context, file: &ServiceFile) -> BTreeMap<ImageName, u64> {
    let mut ages = BTreeMap::new();
    if context.is_remote() {
        return ages;
    }
    let store = context.layout.store();
    if std::fs::metadata(&store).is_err_and(|e| e.kind() == std::io::ErrorKind::NotFound) {
        return file.images.keys().map(|name| (name.clone(), 0)).collect();
    }
    let Ok(apart) = tempfile::tempdir() else { return ages };
    let Ok(store) = store::Store::open_to_read(&context.layout, apart.path()) else { return ages };
    let now = show::now();
    for name in file.images.keys() {
        let age_s = match store.current(name) {
            Ok(None) => 0,
            Ok(Some(digest)) => match store.manifest(&digest) {
                Ok(manifest) => now.since(manifest.made) / 1000,
                Err(_) => continue,
            },
            Err(_) => continue,
        };
        ages.insert(name.clone(), age_s);
    }
    ages
}
