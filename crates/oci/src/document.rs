//! Manifests, indexes and configs: what is read of them, and what an image must be so that we run it. Pure.

use crate::limits::Limits;
use crate::trouble::{bad, shown, too_large};
use model::{ContainerDefaults, ContainerHealthcheck, Digest, Fault};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const CONFIGS: [&str; 2] = ["application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json"];
const LAYERS: [&str; 6] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
];
/// The name that an image has in a layout.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, deserialize_with = "or_default", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// What a name leads to.
#[derive(Clone, Debug)]
pub enum Top {
    Image(Image),
    Index(Vec<Descriptor>),
}

#[derive(Clone, Debug)]
pub struct Image {
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Either {
    schema_version: Option<u32>,
    #[serde(default)]
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
}

/// Go writes `null` where it has nothing.
fn or_default<'de, D: serde::Deserializer<'de>, T: Default + Deserialize<'de>>(d: D) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(d)?.unwrap_or_default())
}

fn no_json(what: &str, e: &serde_json::Error) -> Fault {
    bad("bad-image", format!("the {what} of the image cannot be read: {}", shown(&e.to_string()))).hint("build and push the image again")
}

/// A manifest or an index, and never both at once: two readers would take it for two things.
enum Shape {
    Manifest(Descriptor, Vec<Descriptor>),
    Index(Vec<Descriptor>),
}

fn shape(bytes: &[u8]) -> Result<Shape, Fault> {
    let either: Either = serde_json::from_slice(bytes).map_err(|e| no_json("manifest", &e))?;
    if either.schema_version != Some(2) {
        return Err(bad("old-image", "the image has a manifest of Docker's first form, which has no digests of its layers")
            .hint("push it again with a Docker, buildah or skopeo of today"));
    }
    let kind = either.media_type.unwrap_or_default();
    let is_known = kind.is_empty() || MANIFESTS.contains(&kind.as_str());
    match (either.config, either.layers, either.manifests) {
        (Some(config), Some(layers), None) if is_known => Ok(Shape::Manifest(config, layers)),
        (None, None, Some(manifests)) if is_known => Ok(Shape::Index(manifests)),
        _ => Err(bad("bad-image", format!("what the name leads to is no manifest of an image ({})", shown(&kind)))),
    }
}

pub fn top(bytes: &[u8], limits: &Limits) -> Result<Top, Fault> {
    match shape(bytes)? {
        Shape::Manifest(config, layers) => image(config, layers, limits).map(Top::Image),
        Shape::Index(manifests) if manifests.len() > limits.layers => {
            Err(too_large(format!("its index lists {} manifests, more than {}", manifests.len(), limits.layers)))
        }
        Shape::Index(manifests) => Ok(Top::Index(manifests)),
    }
}

fn image(config: Descriptor, layers: Vec<Descriptor>, limits: &Limits) -> Result<Image, Fault> {
    if !CONFIGS.contains(&config.media_type.as_str()) {
        let text = format!("it is no container image: its config is of the type {}", shown(&config.media_type));
        return Err(
            Fault::yours("no-container-image", text).hint("the name leads to another kind of artifact, such as a chart or a signature")
        );
    }
    if layers.is_empty() {
        return Err(bad("bad-image", "the image has no layers"));
    }
    if layers.len() > limits.layers {
        return Err(too_large(format!("it has {} layers, more than {}", layers.len(), limits.layers)));
    }
    if let Some(other) = layers.iter().find(|l| !LAYERS.contains(&l.media_type.as_str())) {
        let text = format!("layer {} is of the type {}", other.digest.short(), shown(&other.media_type));
        return Err(bad("bad-image", text).hint("layers are tar archives, plain or with gzip or zstd, that lie in the registry itself"));
    }
    if let Some(large) = layers.iter().find(|l| l.size > limits.layer_bytes) {
        let text = format!("layer {} has {} bytes, more than {}", large.digest.short(), large.size, limits.layer_bytes);
        return Err(too_large(text));
    }
    let packed = layers.iter().map(|l| l.size).fold(config.size, u64::saturating_add);
    if packed > limits.packed_bytes {
        return Err(too_large(format!("its layers have {packed} bytes, more than {}", limits.packed_bytes)));
    }
    document_size(&config, limits)?;
    Ok(Image { config, layers })
}

/// Of an artifact that is an archive: its only layer, of whatever type.
pub fn only_layer(bytes: &[u8], limits: &Limits) -> Result<Descriptor, Fault> {
    let layers = match shape(bytes)? {
        Shape::Manifest(_, layers) => layers,
        Shape::Index(_) => Vec::new(),
    };
    match layers.as_slice() {
        [one] if one.size <= limits.layer_bytes => Ok(one.clone()),
        [one] => Err(too_large(format!("the archive has {} bytes, more than {}", one.size, limits.layer_bytes))),
        all => {
            let text = format!("the name leads to no archive: it has {} files, and code is one", all.len());
            Err(Fault::yours("no-archive", text)
                .hint("`oras push REGISTRY/NAME:TAG code.tar.gz` makes one; an image goes into `oci` of an `image` block"))
        }
    }
}

/// Of any artifact.
pub fn files(bytes: &[u8], limits: &Limits) -> Result<Vec<Descriptor>, Fault> {
    let Shape::Manifest(_, mut all) = shape(bytes)? else { return Ok(Vec::new()) };
    all.truncate(limits.layers);
    Ok(all)
}

pub fn document_size(of: &Descriptor, limits: &Limits) -> Result<(), Fault> {
    if of.size > limits.document_bytes {
        return Err(too_large(format!("{} has {} bytes, more than {}", of.digest.short(), of.size, limits.document_bytes)));
    }
    Ok(())
}

/// As container images name it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The one manifest of an index for this machine.
pub fn choose<'a>(manifests: &'a [Descriptor], arch: &str) -> Result<&'a Descriptor, Fault> {
    let fits = |d: &&Descriptor| d.platform.as_ref().is_some_and(|p| p.os == "linux" && p.architecture == arch);
    // Of several variants the plainest: later ones ask for instructions that this machine may not have.
    let found = manifests.iter().filter(fits).min_by_key(|d| {
        let variant = d.platform.as_ref().and_then(|p| p.variant.as_deref()).unwrap_or("");
        (!matches!((arch, variant), (_, "") | ("arm64", "v8") | ("amd64", "v1")), variant.to_string())
    });
    if let Some(found) = found {
        return Ok(found);
    }
    if let [only] = manifests
        && only.platform.is_none()
    {
        return Ok(only);
    }
    let of = |d: &Descriptor| d.platform.as_ref().map(|p| format!("{}/{}", shown(&p.os), shown(&p.architecture)));
    let there: Vec<String> = manifests.iter().filter_map(of).filter(|p| !p.contains("unknown")).take(20).collect();
    let text =
        format!("the image is not there for linux/{arch}, only for {}", if there.is_empty() { "nothing".into() } else { there.join(", ") });
    Err(Fault::yours("other-architecture", text).hint(format!("build and push it for {arch} too")))
}

#[derive(Deserialize)]
struct ImageConfig {
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    os: String,
    #[serde(default, deserialize_with = "or_default")]
    config: Run,
    rootfs: RootFs,
    created: Option<String>,
}

/// What is read of an image's config.
#[derive(Debug)]
pub struct Config {
    /// Digests of the layers, unpacked.
    pub diff_ids: Vec<Digest>,
    /// How a server is started.
    pub defaults: ContainerDefaults,
    /// When the image was made, as it says.
    pub created: Option<String>,
}

/// More than any time has.
const TIME_BYTES_MAX: usize = 64;

#[derive(Deserialize)]
struct RootFs {
    #[serde(default, deserialize_with = "or_default")]
    diff_ids: Vec<Digest>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Run {
    #[serde(deserialize_with = "or_default")]
    entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    cmd: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    user: String,
    #[serde(deserialize_with = "or_default")]
    working_dir: String,
    #[serde(deserialize_with = "or_default")]
    exposed_ports: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "or_default")]
    volumes: BTreeMap<String, serde_json::Value>,
    #[serde(deserialize_with = "or_default")]
    stop_signal: String,
    healthcheck: Option<Check>,
}

/// Times are nanoseconds; 0 means that nothing is said.
#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Check {
    #[serde(deserialize_with = "or_default")]
    test: Vec<String>,
    interval: u64,
    timeout: u64,
    start_period: u64,
    retries: u32,
}

pub fn config(bytes: &[u8], image: &Image, arch: &str) -> Result<Config, Fault> {
    let read: ImageConfig = serde_json::from_slice(bytes).map_err(|e| no_json("config", &e))?;
    if read.architecture != arch || read.os != "linux" {
        let text = format!("the image is for {}/{}, and this machine is linux/{arch}", shown(&read.os), shown(&read.architecture));
        return Err(Fault::yours("other-architecture", text).hint(format!("build and push it for {arch} too")));
    }
    let diff_ids = read.rootfs.diff_ids;
    if diff_ids.len() != image.layers.len() {
        let text = format!("the manifest has {} layers, and the config has digests of {}", image.layers.len(), diff_ids.len());
        return Err(bad("bad-image", text));
    }
    let created = read.created.filter(|text| text.len() <= TIME_BYTES_MAX);
    Ok(Config { diff_ids, defaults: defaults(read.config)?, created })
}

/// Each is more than any image has. What is said here stands in the release, in each command line and in what is shown.
const COMMAND_BYTES_MAX: usize = 64 << 10;
const ENV_BYTES_MAX: usize = 256 << 10;
const VARIABLES_MAX: usize = 1000;
const VOLUMES_MAX: usize = 100;
/// Of `30000/udp`: a range in EXPOSE is thousands of them.
const PORTS_BYTES_MAX: usize = 256 << 10;
const TEXT_BYTES_MAX: usize = 4 << 10;

fn bounded(run: &Run) -> Result<(), Fault> {
    // One more for each, as a list of empty texts is long too.
    let bytes = |texts: &mut dyn Iterator<Item = &String>| texts.map(|t| t.len() + 1).sum::<usize>();
    let check = run.healthcheck.as_ref().map_or(&[][..], |check| &check.test);
    let longest = [&run.user, &run.working_dir, &run.stop_signal].into_iter().chain(run.volumes.keys()).map(String::len).max();
    for (what, found, most) in [
        ("bytes of command", bytes(&mut run.entrypoint.iter().chain(&run.cmd)), COMMAND_BYTES_MAX),
        ("bytes of health check", bytes(&mut check.iter()), COMMAND_BYTES_MAX),
        ("bytes of variables", bytes(&mut run.env.iter()), ENV_BYTES_MAX),
        ("variables", run.env.len(), VARIABLES_MAX),
        ("volumes", run.volumes.len(), VOLUMES_MAX),
        ("bytes of ports", bytes(&mut run.exposed_ports.keys()), PORTS_BYTES_MAX),
        ("bytes in a user, directory, signal or volume", longest.unwrap_or(0), TEXT_BYTES_MAX),
    ] {
        if found > most {
            return Err(bad("bad-image", format!("the config of the image has {found} {what}, more than {most}"))
                .hint("is it the right image? what is large belongs into a file of it"));
        }
    }
    Ok(())
}

fn defaults(run: Run) -> Result<ContainerDefaults, Fault> {
    bounded(&run)?;
    let test = run.healthcheck.iter().flat_map(|check| &check.test);
    let texts = run.entrypoint.iter().chain(&run.cmd).chain(&run.env).chain(test).chain(run.volumes.keys()).chain(run.exposed_ports.keys());
    let texts = texts.chain([&run.user, &run.working_dir, &run.stop_signal]);
    if let Some(text) = texts.into_iter().find(|t| t.contains('\0')) {
        return Err(bad("bad-image", format!("the config of the image has a zero byte in {:?}", shown(text))));
    }
    let mut env = BTreeMap::new();
    for line in &run.env {
        match line.split_once('=') {
            Some((name, value)) if !name.is_empty() => drop(env.insert(name.to_string(), value.to_string())),
            _ => return Err(bad("bad-image", format!("the config of the image has the variable {:?}", shown(line)))),
        }
    }
    let text = |t: String| (!t.is_empty()).then_some(t);
    Ok(ContainerDefaults {
        entrypoint: run.entrypoint,
        cmd: run.cmd,
        env,
        user: text(run.user),
        ids: None,
        workdir: text(run.working_dir),
        ports: run.exposed_ports.into_keys().collect(),
        volumes: run.volumes.into_keys().collect(),
        stop_signal: text(run.stop_signal),
        healthcheck: run.healthcheck.and_then(check),
    })
}

fn check(check: Check) -> Option<ContainerHealthcheck> {
    let test = match check.test.split_first()? {
        (first, rest) if first == "CMD" && !rest.is_empty() => rest.to_vec(),
        (first, [line]) if first == "CMD-SHELL" => vec!["/bin/sh".to_string(), "-c".to_string(), line.clone()],
        // `NONE` takes back what a base image said.
        _ => return None,
    };
    let ms = |nanoseconds: u64| (nanoseconds > 0).then_some(nanoseconds / 1_000_000);
    Some(ContainerHealthcheck {
        test,
        interval_ms: ms(check.interval),
        timeout_ms: ms(check.timeout),
        start_period_ms: ms(check.start_period),
        retries: (check.retries > 0).then_some(check.retries),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(platform: Option<(&str, &str, Option<&str>)>, n: u8) -> Descriptor {
        Descriptor {
            media_type: MANIFESTS[0].into(),
            digest: Digest::of(&[n]),
            size: 1,
            platform: platform.map(|(os, arch, v)| Platform { os: os.into(), architecture: arch.into(), variant: v.map(str::to_string) }),
            annotations: BTreeMap::new(),
        }
    }

    #[test]
    fn this_machines_manifest_is_chosen() {
        let all = [
            descriptor(Some(("unknown", "unknown", None)), 0),
            descriptor(Some(("linux", "amd64", Some("v3"))), 1),
            descriptor(Some(("linux", "amd64", None)), 2),
            descriptor(Some(("windows", "arm64", None)), 3),
            descriptor(Some(("linux", "arm64", Some("v8"))), 4),
        ];
        assert_eq!((choose(&all, "amd64").unwrap(), choose(&all, "arm64").unwrap()), (&all[2], &all[4]));
        let fault = choose(&all, "riscv64").unwrap_err();
        assert_eq!(
            fault.message,
            "the image is not there for linux/riscv64, only for linux/amd64, linux/amd64, windows/arm64, linux/arm64"
        );
        assert!(choose(&[descriptor(None, 1)], "arm64").is_ok() && choose(&[descriptor(None, 1), descriptor(None, 2)], "arm64").is_err());
    }

    #[test]
    fn a_config_as_docker_writes_it() {
        let layer = Descriptor { media_type: LAYERS[1].into(), ..descriptor(None, 9) };
        let image = Image { config: descriptor(None, 1), layers: vec![layer] };
        let text = format!(
            r#"{{"architecture":"amd64","os":"linux","created":"2026-01-01T00:00:00Z","rootfs":{{"type":"layers","diff_ids":["{}"]}},"config":{{"Entrypoint":null,"Cmd":["app","-v"],
            "Env":["PATH=/bin","A=b=c"],"User":"10:20","WorkingDir":"/srv","ExposedPorts":{{"80/tcp":{{}},"53/udp":{{}}}},"StopSignal":"SIGQUIT",
            "Volumes":null,"Healthcheck":{{"Test":["CMD-SHELL","curl x"],"Interval":30000000000,"Retries":3}},"OnBuild":null}}}}"#,
            Digest::of(b"x")
        );
        let Config { diff_ids, defaults: run, created } = config(text.as_bytes(), &image, "amd64").unwrap();
        assert_eq!((diff_ids, created.as_deref()), (vec![Digest::of(b"x")], Some("2026-01-01T00:00:00Z")));
        assert_eq!(run.run(), vec!["app".to_string(), "-v".to_string()]);
        assert_eq!(
            (run.env["A"].as_str(), run.user.as_deref(), run.ports),
            ("b=c", Some("10:20"), vec!["53/udp".to_string(), "80/tcp".into()])
        );
        let check = run.healthcheck.unwrap();
        assert_eq!(
            (check.test.join(" ").as_str(), check.interval_ms, check.timeout_ms, check.retries),
            ("/bin/sh -c curl x", Some(30_000), None, Some(3))
        );
        assert_eq!(config(text.as_bytes(), &image, "arm64").unwrap_err().code, "other-architecture");
        assert_eq!(config(text.replace("A=b=c", "=x").as_bytes(), &image, "amd64").unwrap_err().code, "bad-image");
    }

    #[test]
    fn an_artifact_is_a_manifest_and_nothing_else() {
        let one = descriptor(None, 9);
        let limits = Limits::default();
        let read = |change: fn(&mut serde_json::Value)| {
            let mut value = serde_json::json!({ "schemaVersion": 2, "config": one, "layers": [one] });
            change(&mut value);
            let bytes = value.to_string().into_bytes();
            (only_layer(&bytes, &limits).map_err(|f| f.code), files(&bytes, &limits).map_err(|f| f.code))
        };
        assert_eq!(read(|_| {}), (Ok(one.clone()), Ok(vec![one.clone()])));
        for change in [
            (|v| v["manifests"] = v["layers"].clone()) as fn(&mut serde_json::Value),
            |v| v["mediaType"] = "text/html".into(),
            |v| drop(v.as_object_mut().unwrap().remove("config")),
        ] {
            assert_eq!(read(change), (Err("bad-image".to_string()), Err("bad-image".to_string())));
        }
    }

    #[test]
    fn no_text_of_a_config_has_a_zero_byte() {
        let image = Image { config: descriptor(None, 1), layers: Vec::new() };
        for run in [
            serde_json::json!({ "Cmd": ["a\0"] }),
            serde_json::json!({ "Healthcheck": { "Test": ["CMD", "/a\0b"] } }),
            serde_json::json!({ "Volumes": { "/a\0": {} } }),
            serde_json::json!({ "ExposedPorts": { "80\0/tcp": {} } }),
            serde_json::json!({ "StopSignal": "SIGTERM\0" }),
            serde_json::json!({ "User": "a\0" }),
        ] {
            let text = serde_json::json!({ "architecture": "amd64", "os": "linux", "rootfs": {}, "config": run }).to_string();
            let fault = config(text.as_bytes(), &image, "amd64").map(drop).unwrap_err();
            assert!(fault.code == "bad-image" && fault.message.contains("zero byte"), "{run}: {fault:?}");
        }
    }

    #[test]
    fn what_a_config_says_has_bounds() {
        let image = Image { config: descriptor(None, 1), layers: Vec::new() };
        let code = |run: serde_json::Value| {
            let text = serde_json::json!({ "architecture": "amd64", "os": "linux", "rootfs": {}, "config": run }).to_string();
            config(text.as_bytes(), &image, "amd64").map(drop).map_err(|f| f.code)
        };
        let texts = |count: usize, bytes: usize| serde_json::json!(vec!["x".repeat(bytes); count]);
        let env =
            |count: usize, bytes: usize| serde_json::json!((0..count).map(|n| format!("V{n}={}", "x".repeat(bytes))).collect::<Vec<_>>());
        let keys = |count: usize, bytes: usize| {
            serde_json::json!((0..count).map(|n| (format!("{n}/{}", "x".repeat(bytes)), serde_json::json!({}))).collect::<BTreeMap<_, _>>())
        };
        let text = |bytes: usize| serde_json::json!("x".repeat(bytes));
        for (key, good, bad) in [
            ("Cmd", texts(1, 60_000), texts(1, 70_000)),
            ("Entrypoint", texts(1000, 1), texts(70_000, 0)),
            ("Env", env(1000, 200), env(1001, 1)),
            ("Env", env(2, 120_000), env(2, 140_000)),
            ("Healthcheck", serde_json::json!({ "Test": texts(9, 9) }), serde_json::json!({ "Test": texts(2, 40_000) })),
            ("ExposedPorts", keys(20_000, 3), keys(100_000, 6)),
            ("Volumes", keys(100, 9), keys(101, 1)),
            ("Volumes", keys(1, 4000), keys(1, 5000)),
            ("User", text(4096), text(4097)),
            ("WorkingDir", text(4096), text(4097)),
            ("StopSignal", text(9), text(4097)),
        ] {
            assert_eq!(code(serde_json::json!({ key: good })), Ok(()), "{key}");
            assert_eq!(code(serde_json::json!({ key: bad })), Err("bad-image".to_string()), "{key}");
        }
    }
}
