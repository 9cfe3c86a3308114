//! Files that are right: what they decode to, said by hand, and that formatting changes no value.

use model::{ImageName, ImageUser, LeftToImage, Limits, Migrate, Overlap, Probe, ServiceName, TierName, Wave};
use std::collections::BTreeMap;

const DESIGN: &str = include_str!("../good/design.hcl");
const EVERY_KEY: &str = include_str!("../good/every-key.hcl");
const CUSTOM: &str = include_str!("../good/custom.hcl");
const BASES: &str = include_str!("../good/bases.hcl");
const CONTAINER: &str = include_str!("../good/container.hcl");
const LEAST: &str = include_str!("../good/least.hcl");
const SHOP: &str = include_str!("../../../../examples/shop/afresh.hcl");
const APPLIANCE: &str = include_str!("../../../../examples/appliance/afresh.hcl");

fn read(text: &str) -> model::ServiceFile {
    config::parse(text, "afresh.hcl").unwrap_or_else(|all| panic!("{}", config::render(&all, text, "afresh.hcl", false)))
}

fn service<'f>(file: &'f model::ServiceFile, name: &str) -> &'f model::ServiceSpec {
    &file.services[&ServiceName::new(name).unwrap()]
}

fn tiers(file: &model::ServiceFile) -> Vec<&str> {
    file.tiers.iter().map(TierName::as_str).collect()
}

#[test]
fn the_design_s_example() {
    let file = read(DESIGN);
    assert_eq!(tiers(&file), ["background", "web"]);
    let image = file.images.values().next().unwrap();
    assert_eq!((image.name.as_str(), image.debian.as_str()), ("base", "bookworm"));
    assert_eq!(image.packages, ["ca-certificates", "python3-minimal"]);
    assert_eq!((image.rebuild.as_deref(), image.max_age_ms), (Some("daily"), Some(7 * 24 * 3_600_000)));
    let worker = service(&file, "worker");
    let check = ["python3", "worker.py", "--check"].map(String::from).to_vec();
    assert_eq!(worker.health.probe, Probe::Exec { command: check });
    assert_eq!((worker.health.healthy_for_ms, worker.health.every_ms), (3_000, 1_000));
    assert_eq!((worker.drain.signal.as_str(), worker.drain.within_ms), ("TERM", 60_000));
    assert_eq!((worker.count, worker.port, worker.route.is_none()), (2, None, true));
    assert_eq!((worker.user.as_str(), worker.limits.clone()), ("65534:65534", Limits::default()));
    let web = service(&file, "web");
    assert_eq!(web.network.egress, model::Egress::Any, "where nothing is said");
    assert_eq!(web.health.probe, Probe::Http { path: "/healthz".to_string() });
    assert_eq!((web.health.every_ms, web.health.timeout_ms), (500, 1_000));
    assert_eq!(web.route.as_ref().unwrap().listen, "0.0.0.0:8080".parse().unwrap());
    assert_eq!(web.rollout.waves, [Wave::Count(1), Wave::Percent(50), Wave::Percent(100)]);
    assert_eq!((web.rollout.soak_ms, web.rollout.errors_ppm, web.rollout.within_ms), (10_000, 10_000, 300_000));
}

#[test]
fn container_images_and_what_is_left_to_them() {
    let file = read(CONTAINER);
    let app = &file.images[&ImageName::new("app").unwrap()];
    let source = app.oci.clone().unwrap();
    assert_eq!(
        (source.reference.as_str(), source.auth.as_deref()),
        ("registry.example.org/shop/app:1.4", Some("/etc/afresh/registry.json"))
    );
    assert_eq!((source.ca.as_deref(), source.plain_http), (Some("/etc/afresh/registry-ca.pem"), true));
    assert_eq!((app.debian.as_str(), app.packages.len(), app.rebuild.as_deref(), app.checks.len()), ("", 0, Some("hourly"), 1));
    let local = file.images[&ImageName::new("local").unwrap()].oci.clone().unwrap();
    assert_eq!((local.reference.as_str(), local.auth, local.ca, local.plain_http), ("oci-archive:/srv/app.tar", None, None, false));
    let bare = service(&file, "bare");
    assert_eq!(bare.from_image, LeftToImage::ALL.into());
    assert!(bare.run.is_empty() && bare.port.is_none() && bare.route.is_some());
    assert!(service(&file, "own").from_image.is_empty());
    assert_eq!(config::checked(&file).unwrap(), file, "as values too");
}

#[test]
fn every_key() {
    let file = read(EVERY_KEY);
    let moved: Vec<String> = file.moved.iter().map(|m| format!("{} -> {}", m.from, m.to)).collect();
    assert_eq!(moved, ["old-web -> web-2", "web -> old-web"]);
    assert_eq!(tiers(&file), ["web", "back"], "in the order of first appearance");
    let big = &file.images[&model::ImageName::new("big").unwrap()];
    assert_eq!(big.packages, ["ca-certificates", "g++", "libstdc++6"]);
    assert_eq!((big.rebuild.as_deref(), big.max_age_ms), (Some("30 4 * * 1-5"), Some(60 * 3_600_000)));
    let web = service(&file, "web-2");
    assert_eq!(web.run, ["sh", "-c", "echo \"${HOME}\"\n  exec ./web\n"], "a heredoc loses its common indentation only");
    let env: Vec<(&str, &str)> = web.env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(env, [("DEBUG", "false"), ("DOLLAR", "${x} %{y} \"q\" \\ ä"), ("LOG", "info"), ("N", "3")]);
    assert_eq!((web.user.as_str(), web.port, web.artifact.as_deref()), ("1000:1000", Some(9000), Some("./dist")));
    assert_eq!((web.health.timeout_ms, web.health.unhealthy_after, web.health.healthy_for_ms), (1_500, 5, 0));
    assert_eq!((web.drain.signal.as_str(), web.drain.within_ms), ("INT", 90_000));
    assert_eq!(web.limits, Limits { memory_bytes: 1 << 30, cpu_milli: 500, pids: 64, scratch_bytes: Some(64 << 20) });
    let egress: Vec<String> = web.network.egress.list().iter().map(ToString::to_string).collect();
    assert_eq!(egress, ["10.0.0.0/8:5432", "db.example.org:443", "[2001:db8::/32]:8000-8010/udp"]);
    assert_eq!(web.network.allow.iter().map(ToString::to_string).collect::<Vec<_>>(), ["host:6379", "service.job", "host:514/udp"]);
    let route = web.route.as_ref().unwrap();
    assert_eq!((route.listen.to_string().as_str(), route.connect_timeout_ms, route.answer_timeout_ms), ("[::1]:80", 250, 120_000));
    assert_eq!(web.checks.iter().map(|c| (c.name.as_str(), c.within_ms)).collect::<Vec<_>>(), [("schema", 60_000), ("smoke", 30_000)]);
    let run = ["./migrate", "--all"].map(String::from).to_vec();
    let names: Vec<&str> = web.jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["nightly", "weekly"]);
    let [nightly, weekly] = &web.jobs[..] else { panic!() };
    assert_eq!((nightly.calendar().as_str(), weekly.calendar().as_str()), ("0 3 * * 1-5 Europe/Berlin", "weekly UTC"));
    assert_eq!((nightly.overlap, nightly.deadline_ms, nightly.within_ms, nightly.retries), (Overlap::Replace, 1_800_000, 600_000, 3));
    assert_eq!((weekly.overlap, weekly.deadline_ms, weekly.within_ms, weekly.retries), (Overlap::Forbid, 3_600_000, 3_600_000, 0));
    assert_eq!(web.migrate, Some(Migrate { run, within_ms: 7_200_000 }));
    assert_eq!(web.rollout.waves, [Wave::Count(1), Wave::Count(2), Wave::Percent(50), Wave::Count(10)]);
    assert_eq!(web.rollout.errors_ppm, 500);
    let volumes: Vec<_> = web.volumes.iter().map(|v| (v.name.as_str(), v.source.as_str(), v.at.as_str(), v.read_only)).collect();
    assert_eq!(volumes, [("uploads", "/srv/uploads", "/uploads", false), ("fonts", "/srv/fonts", "/usr/share/fonts", true)]);
    let job = service(&file, "job");
    assert!(job.exclusive && !web.exclusive);
    assert_eq!(job.env.values().collect::<Vec<_>>(), ["1", "2", "3"]);
    assert_eq!(job.limits.cpu_milli, 250);
    assert_eq!(job.health, model::Health::default());
    assert_eq!(job.network, model::Network::closed());
    assert_eq!(job.route.as_ref().unwrap().listen, model::RouteAddress::Internal(7001));
}

#[test]
fn what_an_image_has_besides_its_packages() {
    let file = read(CUSTOM);
    let custom = &file.images[&ImageName::new("shop").unwrap()].custom;
    assert_eq!(custom.suites, ["bookworm-proposed-updates", "bookworm-backports"], "in the order of the file");
    assert_eq!(custom.components, ["main", "contrib"]);
    let shop = ImageUser {
        uid: 1000,
        home: Some("/srv/shop".to_string()),
        shell: Some("/bin/sh".to_string()),
        groups: vec!["www-data".to_string(), "adm".to_string()],
    };
    let odd = ImageUser { uid: 65_533, home: None, shell: None, groups: Vec::new() };
    assert_eq!(custom.users, BTreeMap::from([("odd".to_string(), odd), ("shop".to_string(), shop)]));
    let files: Vec<_> = custom.files.iter().map(|(path, f)| (path.as_str(), f.content.as_str(), f.mode)).collect();
    let unit = "[Service]\nExecStart=/app/shop\nEnvironment=HOME=${HOME}\n";
    let expected = [
        ("/etc/it's here", "", 0o644),
        ("/etc/motd", "hello\n", 0o600),
        ("/etc/systemd/system/shop.service", unit, 0o644),
        ("/usr/local/bin/x", "#!/bin/sh\n", 0o4755),
    ];
    assert_eq!(files, expected);
    let args: Vec<(&str, &str)> = custom.args.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    assert_eq!(args, [("CHANNEL", "it's ${x}"), ("LEVEL", "3"), ("dry_run", "false")]);
    assert_eq!(custom.script.as_deref(), Some("set -eu\nif true; then\n  ln -s /srv/shop /shop\nfi\n"));
    let plain = &file.images[&ImageName::new("plain").unwrap()].custom;
    assert!(plain.is_empty());
    // What is empty is left out of our JSON, and may stand in another's.
    let json = r#"{ "images": { "a": { "name": "a", "debian": "sid", "packages": [], "custom": { "users": {}, "suites": [] } } }, "services": {}, "tiers": [] }"#;
    assert!(config::parse(json, "a.json").unwrap().images.values().all(|image| image.custom.is_empty()));
}

#[test]
fn what_an_image_stands_on() {
    let file = read(BASES);
    let image = |name: &str| &file.images[&ImageName::new(name).unwrap()];
    let levels: Vec<&str> = image("shop").levels().iter().map(|l| l.name.as_str()).collect();
    assert_eq!(levels, ["base", "python", "shop"], "wherever they stand in the file");
    assert!(image("shop").levels().iter().all(|l| l.debian == "trixie" && l.custom.suites == ["trixie-backports"]));
    assert_eq!(image("shop").base.as_deref(), Some(image("python")));
    assert_eq!((image("shop").packages.len(), image("python").packages.len(), image("base").packages.len()), (0, 1, 2));
}

#[test]
fn formatting_changes_no_value_and_is_done_once() {
    for (name, text) in [
        ("design", DESIGN),
        ("every-key", EVERY_KEY),
        ("custom", CUSTOM),
        ("bases", BASES),
        ("least", LEAST),
        ("shop", SHOP),
        ("appliance", APPLIANCE),
    ] {
        let formatted = config::format(text).unwrap();
        assert_eq!(read(&formatted), read(text), "{name}");
        assert_eq!(config::format(&formatted).unwrap(), formatted, "{name} is formatted once and for all");
        for mark in ["#", "//", "/*"] {
            assert_eq!(formatted.matches(mark).count(), text.matches(mark).count(), "{name} keeps its comments");
        }
    }
}

#[test]
fn the_examples_are_written_as_they_should_be() {
    assert_eq!(config::format(SHOP).unwrap(), SHOP, "run `afresh fmt` on examples/shop/afresh.hcl");
    assert_eq!(config::format(APPLIANCE).unwrap(), APPLIANCE, "run `afresh fmt` on examples/appliance/afresh.hcl");
}

#[test]
fn formatted() {
    insta::assert_snapshot!("formatted-design", config::format(DESIGN).unwrap());
    insta::assert_snapshot!("formatted-every-key", config::format(EVERY_KEY).unwrap());
    insta::assert_snapshot!("formatted-custom", config::format(CUSTOM).unwrap());
    let crlf = EVERY_KEY.replace('\n', "\r\n");
    assert_eq!(read(&crlf).images, read(EVERY_KEY).images);
    assert_eq!(read(&format!("\u{feff}{DESIGN}")), read(DESIGN));
}

#[test]
fn json_is_the_same_file() {
    for text in [DESIGN, EVERY_KEY, CUSTOM, BASES, LEAST, SHOP, APPLIANCE] {
        let file = read(text);
        let json = serde_json::to_string_pretty(&file).unwrap();
        assert_eq!(config::parse(&json, "afresh.json").unwrap(), file);
        assert_eq!(read(&config::write(&file)), file, "write and parse are inverse to each other");
    }
}

/// Waves stay in the file for the day on which it has servers again.
#[test]
fn a_count_of_zero_parks_a_service_and_its_waves_need_not_be_rewritten() {
    for waves in [r#"["1", "2"]"#, r#"["1", "50%", "100%"]"#, r#"["50%", "100%"]"#] {
        let text = format!(
            "image \"i\" {{ debian = \"sid\" packages = [] }}\nservice \"s\" {{ tier = \"t\" image = image.i run = [\"x\"] count = 0\nrollout {{ waves = {waves} }} }}"
        );
        assert_eq!(service(&read(&text), "s").count, 0);
        let shrink = text.replace(waves, r#"["2", "1"]"#);
        assert_eq!(config::parse(&shrink, "x").unwrap_err()[0].code, "waves-shrink");
    }
}
