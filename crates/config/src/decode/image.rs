//! `image "name" { ... }`

use super::context::Context;
use super::custom;
use super::labels::{image_reference, label_name};
use super::read::{self, at};
use super::section::Section;
use crate::schema;
use crate::sink::{Draft, Sink};
use crate::syntax::tree::Block;
use crate::syntax::value::Value;
use crate::units;
use model::{ContainerSource, ImageCheck, ImageCustom, ImageName, ImageProbe, ImageSpec, validation};
use std::ops::Range;

/// An image's own part, before what it stands on is known.
pub(crate) struct Decoded {
    /// With a base: without a suite.
    pub spec: ImageSpec,
    /// And where it is named.
    pub base: Option<(ImageName, Range<usize>)>,
}

pub(crate) fn decode(context: &Context, label: Range<usize>, block: &Block, sink: &mut Sink) -> Option<Decoded> {
    let mut section = Section::of(context, &schema::IMAGE, block, sink);
    let name = label_name(context, label, block, sink, ImageName::new);
    if section.has("oci") {
        return container(context, name, section, sink);
    }
    if let Some(block) = section.block("registry") {
        let draft = Draft::new("needs-oci", block.word.clone(), "`registry` needs `oci`: nothing else comes from one");
        sink.push(draft.label("the image has no `oci`").hint("write oci = \"registry.example.org/shop/app:1.4\" beside it"));
    }
    let base = section.or("base", None, sink, |v| Ok(Some((image_reference(context, v)?, v.span.clone()))));
    let suite = |v: &Value| at(v, units::suite(&read::text(v, "the name of a suite in quotes")?));
    let debian = if section.has("base") { section.or("debian", String::new(), sink, suite) } else { section.need("debian", sink, suite) };
    not_with_base(&section, sink);
    let packages = section.need("packages", sink, |v| {
        let names = read::list(v, "a list of package names", validation::PACKAGES_MAX, |item| {
            Ok((item.span.clone(), at(item, units::package(&read::text(item, "a package's name")?))?))
        })?;
        let mut names = read::no_doubles(names)?;
        names.sort();
        Ok(names)
    });
    let upkeep = upkeep(&section, sink);
    let custom = custom::decode(context, &mut section, sink);
    let checks = checks(context, &mut section, sink);
    let own = ImageSpec { debian: debian?, packages: packages?, custom: custom?, ..bare(name?, upkeep?, checks?) };
    Some(Decoded { spec: own, base: base? })
}

/// When an image is looked at, and how old it may be.
struct Upkeep {
    rebuild: Option<String>,
    max_age_ms: Option<u64>,
    window: Option<String>,
    jitter_ms: u64,
}

fn upkeep(section: &Section, sink: &mut Sink) -> Option<Upkeep> {
    let rebuild = section.or("rebuild", None, sink, |v| Ok(Some(at(v, units::rebuild(&read::text(v, "a schedule in quotes")?))?)));
    let max_age_ms = section.or("max_age", None, sink, |v| Ok(Some(read::duration(v, "1h", "3650d")?)));
    let window = section.or("window", None, sink, |v| {
        Ok(Some(at(v, units::hours(&read::text(v, "hours of the day in quotes, such as \"02:00-05:00\"")?))?))
    });
    let jitter_ms = section.or("jitter", 0, sink, |v| read::duration(v, "0s", "7d"));
    Some(Upkeep { rebuild: rebuild?, max_age_ms: max_age_ms?, window: window?, jitter_ms: jitter_ms? })
}

/// With nothing in it yet.
fn bare(name: ImageName, upkeep: Upkeep, checks: Vec<ImageCheck>) -> ImageSpec {
    let Upkeep { rebuild, max_age_ms, window, jitter_ms } = upkeep;
    ImageSpec {
        name,
        base: None,
        debian: String::new(),
        packages: Vec::new(),
        oci: None,
        rebuild,
        max_age_ms,
        window,
        jitter_ms,
        checks,
        custom: ImageCustom::default(),
    }
}

/// What an image that is pulled as it is has no use for.
const NOT_WITH_OCI: [&str; 7] = ["debian", "base", "suites", "components", "allow_unsigned", "packages", "script"];
const BLOCKS_NOT_WITH_OCI: [&str; 2] = ["user", "file"];

fn container(context: &Context, name: Option<ImageName>, mut section: Section, sink: &mut Sink) -> Option<Decoded> {
    let oci = section.key_span("oci").unwrap_or(section.head.clone());
    let args = section.block("args").map(|block| block.word.clone()).or(section.key_span("args")).map(|span| ("args", span));
    let keys = NOT_WITH_OCI.into_iter().filter_map(|name| Some((name, section.key_span(name)?)));
    let blocks = BLOCKS_NOT_WITH_OCI.into_iter().filter_map(|name| Some((name, section.block(name)?.word.clone())));
    let all: Vec<_> = keys.chain(blocks).chain(args).collect();
    for (name, span) in &all {
        let draft = Draft::new("not-with-oci", span.clone(), format!("`{name}` beside `oci`: a container image comes as it is"));
        sink.push(draft.label("leave this out").related(oci.clone(), "the container image"));
    }
    let reference = section.need("oci", sink, |v| {
        let text = read::text(v, "a container image in quotes, such as \"registry.example.org/shop/app:1.4\"")?;
        at(v, validation::container_source(&text).map(|()| text))
    });
    let registry = registry(context, &section, sink);
    let upkeep = upkeep(&section, sink);
    let checks = checks(context, &mut section, sink);
    let (auth, ca, plain_http) = registry?;
    let source = ContainerSource { reference: reference?, auth, ca, plain_http };
    let spec = ImageSpec { oci: Some(source), ..bare(name?, upkeep?, checks?) };
    all.is_empty().then_some(Decoded { spec, base: None })
}

type Registry = (Option<String>, Option<String>, bool);

fn registry(context: &Context, image: &Section, sink: &mut Sink) -> Option<Registry> {
    let Some(block) = image.block("registry") else { return Some((None, None, false)) };
    let section = Section::of(context, &schema::REGISTRY, block, sink);
    let path = |v: &Value| Ok(Some(at(v, units::whole_path(&read::text(v, "a path in quotes")?))?));
    let auth = section.or("auth", None, sink, path);
    let ca = section.or("ca", None, sink, path);
    let plain_http = section.or("plain_http", false, sink, read::truth);
    Some((auth?, ca?, plain_http?))
}

/// Packages of two releases do not go together, so there is nothing to choose.
fn not_with_base(section: &Section, sink: &mut Sink) {
    let Some(base) = section.key_span("base") else { return };
    for name in ["debian", "suites", "components", "allow_unsigned"] {
        if let Some(span) = section.key_span(name) {
            let draft = Draft::new("not-with-base", span, format!("`{name}` beside `base`: the suites are those of the base"));
            sink.push(draft.label("leave this out").related(base.clone(), "the base"));
        }
    }
}

/// A check without `within` has a minute: an instance of an image alone is there within seconds.
const CHECK_WITHIN_MS: u64 = 60_000;

fn checks(context: &Context, image: &mut Section, sink: &mut Sink) -> Option<Vec<ImageCheck>> {
    let mut all = Vec::new();
    for (label, block) in image.named("check", sink) {
        let section = Section::of(context, &schema::IMAGE_CHECK, block, sink);
        let name = label_name(context, label, block, sink, ImageName::new);
        let what = what(&section, sink);
        let within_ms = section.or("within", CHECK_WITHIN_MS, sink, |v| read::duration(v, "1s", "1h"));
        all.push((|| Some(ImageCheck { name: name?.to_string(), what: what?, within_ms: within_ms? }))());
    }
    all.into_iter().collect()
}

/// One of `run` (with or without `port`), `file` and `absent`.
fn what(section: &Section, sink: &mut Sink) -> Option<ImageProbe> {
    let path = |v: &Value| at(v, units::whole_path(&read::text(v, "a path in quotes, such as \"/usr/bin/python3\"")?));
    let command = section.get("run", sink, read::command);
    let port = section.get("port", sink, |v| Ok(u16::try_from(read::number(v, 1, 65_535)?).unwrap_or(u16::MAX)));
    let file = section.get("file", sink, path);
    let absent = section.get("absent", sink, path);
    let given: Vec<_> = ["run", "file", "absent"].into_iter().filter_map(|name| section.key_span(name).map(|span| (name, span))).collect();
    if let [(_, first), (second, span), ..] = &given[..] {
        let draft = Draft::new("check-twice", span.clone(), format!("`{second}` beside another: a check looks at one thing"));
        sink.push(draft.label("expected one of run, file, absent").related(first.clone(), "the other"));
        return None;
    }
    if given.is_empty() {
        if section.may_have("port") && !section.has("port") {
            return None;
        }
        let draft =
            Draft::new("missing-key", section.head.clone(), "`run` is missing").label("expected one of run, file, absent in this block");
        sink.push(draft.hint("write `run = [\"python3\", \"--version\"]`"));
        return None;
    }
    if let (Some(span), false) = (section.key_span("port"), section.has("run")) {
        let draft = Draft::new("needs-run", span, "`port` needs `run`: something must open it");
        sink.push(draft.label("the check has no `run`").hint("write `run = [\"/usr/sbin/sshd\", \"-D\"]` beside it"));
        return None;
    }
    match (command, section.has("port"), port) {
        (Some(command), true, port) => Some(ImageProbe::Port { command, port: port? }),
        (Some(command), false, _) => Some(ImageProbe::Run { command }),
        (None, ..) => file.map(|path| ImageProbe::File { path }).or(absent.map(|path| ImageProbe::Absent { path })),
    }
}
