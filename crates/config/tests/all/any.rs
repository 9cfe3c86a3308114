//! Files nobody thought of: made, shaken, mutated and absurdly large. Nothing panics, nothing takes long, no value changes by formatting.

use model::destination::Destination;
use model::{
    Check, ContainerSource, Drain, Egress, FewRequests, Health, ImageCheck, ImageCustom, ImageFile, ImageName, ImageProbe, ImageSpec,
    ImageUser, Job, LeftToImage, Limits, Migrate, Moved, Network, Overlap, Probe, Rollout, Route, RouteAddress, SecretName, SecretSource,
    SecretSpec, SecretUse, ServiceFile, ServiceName, ServiceSpec, TierName, Volume, VolumeName, Wave,
};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

fn name() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9-]{0,9}"
}

/// Anything that can stand in an argument or a variable, with what is special in HCL more often than by chance.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ -~]{0,12}",
        "[\"\\\\$%{}#/* \n\r\t]{0,8}",
        any::<String>().prop_map(|s| s.chars().filter(|c| model::text::forbidden(&c.to_string()).is_none()).take(20).collect())
    ]
}

fn command() -> impl Strategy<Value = Vec<String>> {
    ("[a-z./]{1,8}", prop::collection::vec(text(), 0..3)).prop_map(|(first, mut rest)| {
        rest.insert(0, first);
        rest
    })
}

/// Users, files and a script, with all that a path and a text may have in them.
fn custom() -> impl Strategy<Value = ImageCustom> {
    let part = "[a-zA-Z0-9 ._'#$%:äé-]{1,6}".prop_filter("no dots alone", |p| p != "." && p != "..");
    let path = prop::collection::vec(part, 1..4).prop_map(|parts| parts.iter().map(|p| format!("/{p}")).collect::<String>());
    let path = path.prop_filter("kept", |p| !model::path_validation::NOT_KEPT.iter().any(|place| p.starts_with(place)));
    let group = || "[a-z][a-z0-9_-]{0,31}";
    let plain = || prop::option::of("(/[a-z][a-z. ${]{0,4}[a-z]){1,3}");
    let user = (100u32..60_000, plain(), plain(), prop::collection::btree_set(group(), 0..3));
    let users = prop::collection::btree_map(group(), user, 0..3).prop_map(|all| {
        let numbered = all.into_iter().enumerate().map(|(n, (name, (uid, home, shell, groups)))| {
            // A number once; groups in another order than that of their names.
            let uid = uid / 10 * 10 + 100 + u32::try_from(n).unwrap();
            (name, ImageUser { uid, home, shell, groups: groups.into_iter().rev().collect() })
        });
        numbered.collect()
    });
    let file = (text(), 0u32..=0o7777).prop_map(|(content, mode)| ImageFile { content, mode });
    let files = prop::collection::btree_map(path, file, 0..3);
    let suites = prop::sample::subsequence(vec!["trixie-backports", "trixie-proposed-updates", "bookworm-backports-sloppy"], 0..=3);
    let args = prop::collection::btree_map("[a-z_][A-Za-z0-9_]{0,9}", text(), 0..3);
    let components = prop::sample::subsequence(vec!["main", "contrib", "non-free-firmware"], 0..=3);
    (suites, components, users, files, args, prop::option::of(text())).prop_map(|(suites, components, users, files, args, script)| {
        ImageCustom {
            suites: suites.into_iter().rev().map(str::to_string).collect(),
            allow_unsigned: components.iter().map(|c| format!("http://{c}.example/debian")).collect(),
            components: components.into_iter().map(str::to_string).collect(),
            users,
            files,
            // Without a script nobody would read them.
            args: if script.is_some() { args } else { BTreeMap::new() },
            script,
        }
    })
}

fn image() -> impl Strategy<Value = ImageSpec> {
    let rebuild = prop_oneof![Just(None), Just(Some("daily".to_string())), Just(Some("5 4 * * 1-5".to_string()))];
    let window = prop_oneof![Just(None), Just(Some("02:00-05:00".to_string())), Just(Some("22:30-24:00".to_string()))];
    let path = "(/[a-z][a-z.]{0,5}){1,3}".prop_filter("no dots alone", |p| !p.split('/').any(|part| part == "." || part == ".."));
    let what = prop_oneof![
        command().prop_map(|command| ImageProbe::Run { command }),
        (command(), 1u16..).prop_map(|(command, port)| ImageProbe::Port { command, port }),
        path.clone().prop_map(|path| ImageProbe::File { path }),
        path.prop_map(|path| ImageProbe::Absent { path }),
    ];
    let checks = prop::collection::btree_map(name(), (what, 1_000u64..3_600_000), 0..3)
        .prop_map(|all| all.into_iter().map(|(name, (what, within_ms))| ImageCheck { name, what, within_ms }).collect::<Vec<_>>());
    let life = (rebuild, prop::option::of(3_600_000u64..1 << 38), window, 0u64..1 << 28, checks, custom());
    (name(), prop::collection::btree_set("[a-z0-9][a-z0-9+.-]{1,8}", 0..4), life).prop_map(
        |(name, packages, (rebuild, max_age_ms, window, jitter_ms, checks, custom))| ImageSpec {
            name: ImageName::new(name).unwrap(),
            base: None,
            debian: "trixie".to_string(),
            packages: packages.into_iter().collect(),
            rebuild,
            max_age_ms,
            window,
            jitter_ms,
            checks,
            custom,
            oci: None,
        },
    )
}

fn probe() -> impl Strategy<Value = Probe> {
    prop_oneof![
        "/[a-z0-9/?=%.-]{0,10}".prop_map(|path| Probe::Http { path }),
        command().prop_map(|command| Probe::Exec { command }),
        Just(Probe::Tcp),
        Just(Probe::Running)
    ]
}

fn waves(count: u32) -> impl Strategy<Value = Vec<Wave>> {
    let steps = prop::collection::btree_set(1..count.max(2), 0..3);
    let shares = prop::collection::btree_set(1u32..100, 0..3);
    (steps, shares, any::<bool>()).prop_map(move |(steps, shares, by_count)| {
        if by_count {
            steps.into_iter().filter(|n| *n < count).map(Wave::Count).chain([Wave::Count(count.max(1))]).collect()
        } else {
            shares.into_iter().map(Wave::Percent).chain([Wave::Percent(100)]).collect()
        }
    })
}

fn service(images: Vec<ImageName>, port_of_route: u16) -> impl Strategy<Value = ServiceSpec> {
    (0u32..40).prop_flat_map(move |count| service_of(images.clone(), port_of_route, count))
}

/// Of the secrets that every file here has.
fn secrets() -> impl Strategy<Value = SecretUse> {
    let name = || prop::sample::select(vec!["db", "key-2"]).prop_map(|name| SecretName::new(name).unwrap());
    let env = prop::collection::btree_map("S[A-Z]{1,2}", name(), 0..3);
    (env, prop::collection::btree_set(name(), 0..3)).prop_map(|(env, files)| SecretUse { env, files })
}

fn sources() -> impl Strategy<Value = BTreeMap<SecretName, SecretSpec>> {
    let path = || "[a-z./ é]{0,9}[a-z]";
    let source = || {
        prop_oneof![
            path().prop_map(|path| SecretSource::File { path }),
            path().prop_map(|path| SecretSource::Age { path }),
            command().prop_map(|command| SecretSource::Command { command }),
        ]
    };
    (source(), source()).prop_map(|(a, b)| {
        let named = |(name, source)| (SecretName::new(name).unwrap(), source);
        let all = [("db", a), ("key-2", b)].map(named);
        all.into_iter().map(|(name, source)| (name.clone(), SecretSpec { name, source })).collect()
    })
}

fn network() -> BoxedStrategy<Network> {
    let ports = || {
        (1u16.., 0u16..9, any::<bool>())
            .prop_map(|(from, more, udp)| format!("{from}-{}{}", from.saturating_add(more), if udp { "/udp" } else { "" }))
    };
    let v4 = (any::<u32>(), 1u8..=32).prop_map(|(bits, len)| format!("{}/{len}", Ipv4Addr::from(bits & (u32::MAX << (32 - len)))));
    let v6 = (any::<u128>(), 1u8..=128).prop_map(|(bits, len)| format!("[{}/{len}]", Ipv6Addr::from(bits & (u128::MAX << (128 - len)))));
    let host = prop_oneof![v4, v6, "[a-z_]{1,5}\\.[a-z0-9-]{0,5}[a-z]"]
        .prop_filter("no loopback", |host| format!("{host}:1").parse::<Destination>().is_ok());
    let to = (host, ports()).prop_map(|(host, ports)| format!("{host}:{ports}").parse::<Destination>().unwrap());
    let list = prop::collection::btree_set(to, 1..5).prop_map(|all| Egress::Only(all.into_iter().collect()));
    let ports = prop::collection::btree_set(ports().prop_map(|ports| format!("host:{ports}")), 0..3);
    let allow = (ports, any::<bool>()).prop_map(|(mut all, one)| {
        all.extend(one.then(|| "service.elsewhere".to_string()));
        all
    });
    (prop_oneof![Just(Egress::Any), Just(Egress::None), list], allow)
        .prop_map(|(egress, allow)| Network { egress, allow: allow.into_iter().map(|text| text.parse().unwrap()).collect() })
        .boxed()
}

fn service_of(images: Vec<ImageName>, port_of_route: u16, count: u32) -> impl Strategy<Value = ServiceSpec> {
    let health =
        (probe(), 10u64..100_000, 10u64..100_000, 0u64..100_000, 1u32..100).prop_map(|(probe, every, timeout, healthy_for, after)| {
            Health { probe, every_ms: every, timeout_ms: timeout, healthy_for_ms: healthy_for, unhealthy_after: after }
        });
    let drain = (prop_oneof![Just("TERM"), Just("INT"), Just("USR1")], 0u64..3_600_000)
        .prop_map(|(signal, within_ms)| Drain { signal: signal.to_string(), within_ms });
    let limits = (4u64 << 20..1 << 40, 10u64..64_000, 1u64..100_000, prop::option::of(1u64 << 20..4 << 20))
        .prop_map(|(memory_bytes, cpu_milli, pids, scratch_bytes)| Limits { memory_bytes, cpu_milli, pids, scratch_bytes });
    let volumes = prop::collection::btree_map(name(), prop::bool::ANY, 0..4).prop_map(|all| {
        let one = |(name, read_only): (String, bool)| Volume {
            source: format!("/srv/{name}"),
            at: format!("/data/{name}"),
            name: VolumeName::new(name).unwrap(),
            read_only,
        };
        all.into_iter().map(one).collect::<Vec<_>>()
    });
    // The whole of a service in one strategy is more than a test thread's stack takes.
    let limits = (limits, volumes).boxed();
    let route = prop::option::of((prop_oneof![Just("127.0.0.1"), Just("[::1]"), Just("inside")], 1u64..60_000, 10u64..3_600_000)).prop_map(
        move |r| {
            r.map(|(ip, connect_timeout_ms, answer_timeout_ms)| Route {
                listen: if ip == "inside" {
                    RouteAddress::Internal(port_of_route)
                } else {
                    format!("{ip}:{port_of_route}").parse().unwrap()
                },
                connect_timeout_ms,
                answer_timeout_ms,
            })
        },
    );
    let checks = prop::collection::btree_map(name(), (command(), 1_000u64..3_600_000), 0..3)
        .prop_map(|all| all.into_iter().map(|(name, (run, within_ms))| Check { name, run, within_ms }).collect::<Vec<_>>());
    let freeze = prop::sample::subsequence(vec!["Fri 18:00-Mon 06:00", "08:00-18:00"], 0..3)
        .prop_map(|all| all.into_iter().map(str::to_string).collect::<Vec<_>>());
    let rollout = (waves(count), 0u64..600_000, 0u32..=1_000_000, 1_000u64..600_000, freeze).prop_map(
        |(waves, soak_ms, errors_ppm, within_ms, freeze)| Rollout {
            waves,
            soak_ms,
            errors_ppm,
            within_ms,
            min_requests: soak_ms % 1_000,
            few_requests: if soak_ms % 2 == 0 { FewRequests::GoOn } else { FewRequests::Wait },
            freeze,
        },
    );
    let env = prop::collection::btree_map("[A-RT-Za-z_][A-Za-z0-9_]{0,6}", text(), 0..4);
    let user = prop_oneof![(0u32..70_000).prop_map(|u| u.to_string()), (0u32..70_000, 0u32..9).prop_map(|(u, g)| format!("{u}:{g}"))];
    let artifact = prop::option::of("[a-z./]{1,9}".prop_filter("no place of the system", |p| model::path_validation::artifact(p).is_ok()));
    // Boxed: unboxed, their types and values need more stack than a test has.
    let who = (prop::sample::select(images), name(), artifact, command(), env, secrets(), user).boxed();
    let migrate = prop::option::of((command(), 1_000u64..86_400_000).prop_map(|(run, within_ms)| Migrate { run, within_ms }));
    let how = (
        health.boxed(),
        drain,
        (limits, network()).boxed(),
        route.boxed(),
        checks.boxed(),
        (migrate.boxed(), jobs().boxed(), rollout.boxed()),
        1u16..,
    )
        .boxed();
    (who, how).prop_map(
        move |(
            (image, tier, artifact, run, env, secrets, user),
            (health, drain, ((limits, volumes), network), route, checks, (migrate, jobs, rollout), port),
        )| {
            ServiceSpec {
                name: ServiceName::new("x").unwrap(),
                tier: TierName::new(tier).unwrap(),
                image,
                recipe: None,
                artifact,
                run,
                env,
                secrets,
                user,
                port: Some(port),
                count,
                health,
                drain,
                limits,
                volumes,
                exclusive: count < 2,
                network,
                route,
                checks,
                migrate,
                jobs,
                rollout,
                from_image: Default::default(),
            }
        },
    )
}

fn jobs() -> impl Strategy<Value = Vec<Job>> {
    let schedule = prop::sample::select(vec!["daily", "hourly", "0 3 * * *", "*/5 1-4 * * 1,2"]);
    let timezone = prop::option::of(prop::sample::select(vec!["Europe/Berlin", "UTC", "America/New_York"]));
    let how = (schedule, timezone, command(), any::<bool>(), 60_000u64..1 << 29, 1_000u64..86_400_000, 0u32..=10);
    prop::collection::btree_map(name(), how, 0..3).prop_map(|all| {
        all.into_iter()
            .map(|(name, (schedule, timezone, run, replaces, deadline_ms, within_ms, retries))| Job {
                name: name.parse().unwrap(),
                schedule: schedule.to_string(),
                timezone: timezone.map(str::to_string),
                run,
                overlap: if replaces { Overlap::Replace } else { Overlap::Forbid },
                deadline_ms,
                within_ms,
                retries,
            })
            .collect()
    })
}

fn container() -> impl Strategy<Value = ContainerSource> {
    let reference = prop_oneof![
        "[a-z]{1,5}\\.example(:[1-9][0-9]{1,3})?(/[a-z0-9]{1,5}){1,3}(:[a-z0-9_][a-z0-9._]{0,4})?",
        "oci:(/[a-z]{1,4}){1,3}(:[a-z0-9]{1,3})?",
        "oci-archive:(/[a-z]{1,4}){1,3}\\.tar",
    ];
    let path = || prop::option::of("(/[a-z]{1,4}){1,3}");
    (reference, path(), path(), any::<bool>()).prop_map(|(reference, auth, ca, plain_http)| ContainerSource {
        reference,
        auth,
        ca,
        plain_http,
    })
}

/// What a file does not say has the value that counts where nobody says anything.
fn leave(service: &mut ServiceSpec, left: &BTreeSet<LeftToImage>) {
    for one in left {
        match one {
            LeftToImage::Run => service.run = Vec::new(),
            LeftToImage::User => service.user = ServiceSpec::default_user(),
            LeftToImage::Port => service.port = None,
            LeftToImage::Signal => service.drain.signal = "TERM".to_string(),
            LeftToImage::Health => service.health = Health::default(),
        }
    }
    service.from_image.clone_from(left);
}

fn file() -> impl Strategy<Value = ServiceFile> {
    prop::collection::vec(image(), 1..3)
        .prop_flat_map(|images| {
            let names: Vec<ImageName> = images.iter().map(|i| i.name.clone()).collect();
            let services = (service(names.clone(), 80), service(names, 81));
            let containers =
                prop::option::weighted(0.3, (container(), prop::collection::btree_set(prop::sample::select(&LeftToImage::ALL[..]), 0..5)));
            (Just(images), services, prop::collection::btree_set(name(), 1..3), any::<bool>(), sources(), containers)
        })
        .prop_map(|(images, (mut a, mut b), names, based, secrets, container)| {
            let mut images: BTreeMap<ImageName, ImageSpec> = images.into_iter().map(|i| (i.name.clone(), i)).collect();
            if let Some((source, left)) = container {
                let image = images.values_mut().next().unwrap();
                (image.oci, image.debian, image.packages, image.custom) = (Some(source), String::new(), Vec::new(), ImageCustom::default());
                [&mut a, &mut b].into_iter().filter(|s| s.image == image.name).for_each(|service| leave(service, &left));
            } else if based && images.len() > 1 {
                let (_, base) = images.pop_first().unwrap();
                for image in images.values_mut() {
                    image.base = Some(Box::new(base.clone()));
                    image.custom.suites.clone_from(&base.custom.suites);
                    image.custom.components.clone_from(&base.custom.components);
                    image.custom.allow_unsigned.clone_from(&base.custom.allow_unsigned);
                }
                images.insert(base.name.clone(), base);
            }
            let mut services = BTreeMap::new();
            for (name, mut service) in names.into_iter().zip([a, b]) {
                service.name = ServiceName::new(name).unwrap();
                services.insert(service.name.clone(), service);
            }
            let ends: Vec<ServiceName> = services.keys().cloned().collect();
            let moved = |(i, to): (usize, &ServiceName)| Moved { from: ServiceName::new(format!("was-{i}")).unwrap(), to: to.clone() };
            // One of them over two steps.
            let mut moved: Vec<Moved> = ends.iter().enumerate().map(moved).collect();
            moved.push(Moved { from: ServiceName::new("was-before").unwrap(), to: moved[0].from.clone() });
            moved.retain(|one| !services.contains_key(&one.from));
            moved.sort();
            let tiers: BTreeSet<TierName> = services.values().map(|s: &ServiceSpec| s.tier.clone()).collect();
            ServiceFile { images, services, secrets, tiers: tiers.into_iter().rev().collect(), moved }
        })
}

/// The same file in another hand: lines joined, comments and blanks anywhere they may stand.
fn shake(text: &str, dice: &[u8]) -> (String, usize) {
    let mut out = String::new();
    let mut comments = 0;
    for (line, roll) in text.lines().zip(dice.iter().cycle()) {
        // The items of an object need a line each; keys and blocks do not.
        let roll = if line.trim().starts_with('"') && matches!(roll % 8, 2 | 5 | 6) { &0 } else { roll };
        match roll % 8 {
            0 => out.push_str(&format!("{line}  # a {{ comments }}\n")),
            1 => out.push_str(&format!("\n\n\t{line}\r\n\r\n")),
            2 => out.push_str(&format!("/* b\n   c */ {line} ")),
            3 => out.push_str(&format!("// \"d\n   {}\n", line.trim().replacen(" = ", "=", 1))),
            4 => out.push_str(&format!("{} /* e {{ comments }} */\n", line.trim())),
            5 | 6 => out.push_str(&format!("{}  ", line.trim())),
            _ => out.push_str(&format!("{line}\n")),
        }
        comments += usize::from(matches!(roll % 8, 0 | 2 | 3 | 4));
    }
    (out, comments)
}

/// Values nobody means, of every kind.
const ODD: &[&str] = &[
    "0",
    "1",
    "-1",
    "18446744073709551615",
    "4294967295",
    "65536",
    "0.5",
    "null",
    "true",
    r#""""#,
    r#""root""#,
    r#""0:0""#,
    r#""007""#,
    r#""BOOM""#,
    r#""0.0.0.0:0""#,
    r#""127.0.0.1:22""#,
    r#""a\nb""#,
    r#""\u202ea""#,
    r#""\u0000""#,
    r#""\u001b[2J""#,
    r#""/etc""#,
    r#""..""#,
    "[]",
    r#"[""]"#,
    r#"["x"]"#,
    "{}",
    r#""}""#,
    r#""\"""#,
    r#""${x}""#,
    r#"{"count":0}"#,
    r#"{"percent":101}"#,
    r#""running""#,
    r#""tcp""#,
];

/// JSON pointers of everything in a value.
fn paths(value: &serde_json::Value, here: String, all: &mut Vec<String>) {
    let step = |key: &str| format!("{here}/{}", key.replace('~', "~0").replace('/', "~1"));
    match value {
        serde_json::Value::Object(fields) => fields.iter().for_each(|(key, inner)| paths(inner, step(key), all)),
        serde_json::Value::Array(items) => items.iter().enumerate().for_each(|(i, inner)| paths(inner, step(&i.to_string()), all)),
        _ => {}
    }
    all.push(here);
}

fn parse(text: &str) -> Result<ServiceFile, TestCaseError> {
    config::parse(text, "a.hcl").map_err(|all| TestCaseError::fail(config::render(&all, text, "a.hcl", false)))
}

/// Whatever the text: no panic, places that are in it, and formatting that neither changes its meaning nor needs a second go.
fn anything(text: &str) -> Result<(), TestCaseError> {
    let parsed = config::parse(text, "a.hcl");
    if let Err(all) = &parsed {
        prop_assert!(!all.is_empty() && all.len() <= config::ERRORS_MAX);
        for error in all {
            prop_assert!(error.line >= 1 && error.column >= 1 && text.get(error.span.clone()).is_some(), "{error:?}");
        }
        config::render(all, text, "a.hcl", true);
    }
    config::parse(text, "a.json").map_or_else(|all| drop(config::render(&all, text, "a.json", false)), drop);
    match config::format(text) {
        Err(all) => prop_assert!(!all.is_empty() && parsed.is_err()),
        Ok(formatted) => {
            let again = config::parse(&formatted, "a.hcl");
            let codes = |r: &Result<ServiceFile, Vec<config::Diagnostic>>| {
                r.as_ref().err().map(|all| all.iter().map(|e| (e.code.clone(), e.message.clone())).collect::<Vec<_>>())
            };
            prop_assert_eq!(codes(&parsed), codes(&again), "formatted: {}", formatted);
            prop_assert_eq!(parsed.ok(), again.ok());
            prop_assert_eq!(config::format(&formatted).ok(), Some(formatted));
        }
    }
    Ok(())
}

const GOOD: &[&str] = &[
    include_str!("../good/design.hcl"),
    include_str!("../good/every-key.hcl"),
    include_str!("../good/custom.hcl"),
    include_str!("../good/least.hcl"),
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_again(file in file()) {
        let text = config::write(&file);
        prop_assert_eq!(&parse(&text)?, &file);
        // HCL's own parser takes it too, and sees as many blocks and keys.
        let body = hcl_edit::parser::parse_body(&text).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(body.blocks().count(), file.images.len() + file.secrets.len() + file.services.len() + file.moved.len() + usize::from(!file.tiers.is_empty()));
        let formatted = config::format(&text).unwrap();
        prop_assert_eq!(&parse(&formatted)?, &file);
        hcl_edit::parser::parse_body(&formatted).map_err(|e| TestCaseError::fail(e.to_string()))?;
        let json = serde_json::to_string(&file).unwrap();
        prop_assert_eq!(&config::parse(&json, "x.json").unwrap(), &file);
    }

    /// What a caller of the API may send, shaken: it is taken exactly if the reader takes it as text, and then it reads back as what was taken.
    #[test]
    fn values_are_taken_exactly_if_their_text_is(file in file(), dice in prop::collection::vec((any::<prop::sample::Index>(), 0usize..ODD.len()), 0..3)) {
        let mut value = serde_json::to_value(&file).unwrap();
        for (place, odd) in dice {
            let mut leaves = Vec::new();
            paths(&value, String::new(), &mut leaves);
            let odd: serde_json::Value = serde_json::from_str(ODD[odd]).unwrap();
            *value.pointer_mut(&leaves[place.index(leaves.len())]).unwrap() = odd;
        }
        let json = value.to_string();
        let by_text = config::parse(&json, "x.json");
        let Ok(sent) = serde_json::from_value::<ServiceFile>(value) else { prop_assert!(by_text.is_err()); return Ok(()) };
        match config::checked(&sent) {
            Ok(taken) => {
                // Unknown fields are an error of a file, and are tolerated on the wire.
                let by_text = by_text.or_else(|all| if all.iter().all(|e| e.code == "unknown-key") { Ok(taken.clone()) } else { Err(all) });
                prop_assert_eq!(&by_text.map_err(|all| TestCaseError::fail(config::render(&all, &json, "x.json", false)))?, &taken);
                prop_assert_eq!(&parse(&config::write(&taken))?, &taken);
                prop_assert_eq!(&parse(&config::write(&sent))?, &taken);
            }
            Err(wrong) => {
                prop_assert!(by_text.is_err(), "{:?}", wrong);
                prop_assert!(!wrong.message.is_empty() && !wrong.expected.is_empty());
            }
        }
    }

    #[test]
    fn another_hand_writes_the_same_file(file in file(), dice in prop::collection::vec(any::<u8>(), 1..60)) {
        let (text, comments) = shake(&config::write(&file), &dice);
        prop_assert_eq!(&parse(&text)?, &file);
        let formatted = config::format(&text).unwrap();
        prop_assert_eq!(&parse(&formatted)?, &file);
        prop_assert_eq!(config::format(&formatted).unwrap(), formatted.clone());
        let count = |text: &str| ["# a ", "/* b", "// \"d", "/* e "].iter().map(|mark| text.matches(mark).count()).sum::<usize>();
        prop_assert_eq!(count(&formatted), count(&text));
        prop_assert!(count(&text) >= comments);
    }

    #[test]
    fn mutations_of_good_files(which in 0..GOOD.len(), edits in prop::collection::vec((any::<prop::sample::Index>(), 0u8..5, "[ -~\n]{0,4}"), 1..6)) {
        let mut text = GOOD[which].to_string();
        for (place, kind, new) in edits {
            let bytes: Vec<usize> = text.char_indices().map(|(i, _)| i).collect();
            if bytes.is_empty() { break }
            let at = bytes[place.index(bytes.len())];
            let end = (at + 1 + new.len() * 4).min(text.len());
            let end = (end..=text.len()).find(|e| text.is_char_boundary(*e)).unwrap();
            match kind {
                0 => text.insert_str(at, &new),
                1 => text.replace_range(at..end, ""),
                2 => text.replace_range(at..end, &new),
                3 => { let part = text[at..end].to_string(); text.insert_str(at, &part); }
                _ => text.truncate(at),
            }
        }
        anything(&text)?;
    }

    #[test]
    fn any_text(text in any::<String>()) {
        anything(&text)?;
    }

    #[test]
    fn any_tokens(tokens in prop::collection::vec(prop::sample::select(vec![
        "service", "image", "\"web\"", "{", "}", "[", "]", "(", ")", "=", ",", ".", ":", "\n", "\r\n", "\r", " ", "# c\n", "// c\n", "/* c */", "/*", "\"a", "\"${x}\"",
        "1", "-", "0.5", "256MiB", "<<END\n", "<<-END\n", "END\n", "END", "image.base", "for", "==", "?", "health", "path", "rollout", "waves", "env", "'", "\\", "\u{feff}", "ü", "\t",
    ]), 0..60)) {
        anything(&tokens.concat())?;
        anything(&tokens.join(" "))?;
    }
}

/// Nonsense is refused at once, however much of it. Bounds are wide: the machine may be busy, and this is a debug build.
#[test]
fn nonsense_is_quick() {
    nonsense(1 << 17);
}

#[test]
#[ignore = "a minute in a debug build"]
fn a_mebibyte_of_nonsense_is_quick() {
    nonsense(config::FILE_BYTES_MAX as usize);
}

#[test]
fn a_mebibyte_of_braces_is_quick() {
    for text in ["{".repeat(1 << 20), format!("env = {}", "[".repeat((1 << 20) - 6)), "a{".repeat(1 << 19)] {
        let begin = Instant::now();
        let all = config::parse(&text, "a.hcl").unwrap_err();
        assert!(all.iter().any(|e| e.code == "too-deep"));
        config::render(&all, &text, "a.hcl", false);
        assert!(config::format(&text).is_err() && begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    }
}

fn nonsense(bytes: usize) {
    let units = [
        "{",
        "}",
        "[",
        "]",
        "(",
        "\"",
        "'",
        "#",
        "/*",
        "*/",
        "<<",
        "<<A\n",
        "-",
        "!",
        "${",
        "\"${",
        "a",
        "a ",
        "a=",
        "a=1 ",
        "a=1\n",
        "a{",
        "a{}\n",
        "a=[",
        "a={",
        "a=-",
        "a=!",
        "\n",
        "\r",
        "\r\n",
        " ",
        "\t",
        ".",
        "a.",
        "=",
        ",",
        "1",
        "1.",
        "\"a\"",
        "\"a\" ",
        "a \"b\" {}\n",
        "image \"a\" {}\n",
        "service \"a\" { tier = \"b\" }\n",
        "\u{feff}",
        "ü",
        "“",
        "a = [1, 2]\n",
        "a = {b=1}\n",
        "a = \"x\" # c\n",
        "/* */",
        "\"\\",
        "x = <<A\ny\nA\n",
        "null ",
        "\u{1}",
    ];
    let mut slowest = (Duration::ZERO, "");
    for unit in units {
        for (before, after) in [("", ""), ("service \"a\" {\n  run = [", "]\n}\n"), ("env = {", "}")] {
            let room = bytes - before.len() - after.len();
            let text = format!("{before}{}{after}", unit.repeat(room / unit.len()));
            let begin = Instant::now();
            let parsed = config::parse(&text, "a.hcl");
            if let Err(all) = &parsed {
                assert!(config::render(all, &text, "a.hcl", true).len() < 1 << 20);
            }
            drop(config::parse(&text, "a.json"));
            drop(config::format(&text));
            if begin.elapsed() > Duration::from_secs(1) {
                println!("{before:?} {unit:?}: {:?}", begin.elapsed());
            }
            slowest = slowest.max((begin.elapsed(), unit));
            assert!(begin.elapsed() < Duration::from_secs(30), "{unit:?} took {:?}", begin.elapsed());
        }
    }
    println!("slowest: {slowest:?}");
}

#[test]
fn load_says_what_is_wrong_with_the_file_itself() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let code = |path: &std::path::Path| {
        let error = config::load(path).unwrap_err();
        assert!(error.render(false).contains(&path.display().to_string()), "{error}");
        let fault = error.fault();
        assert!(fault.hint.is_some() && fault.blame == model::Blame::Yours && !fault.again);
        match error {
            config::LoadError::File { code, .. } => code.to_string(),
            config::LoadError::Invalid { diagnostics, .. } => {
                format!("{}@{}:{}", diagnostics[0].code, diagnostics[0].line, diagnostics[0].column)
            }
        }
    };
    assert_eq!(code(&path("none.hcl")), "no-file");
    assert_eq!(code(dir.path()), "not-a-file");
    std::fs::write(path("plain"), "x").unwrap();
    assert_eq!(code(&path("plain/afresh.hcl")), "no-file");
    std::fs::write(path("large.hcl"), "#".repeat((1 << 20) + 1)).unwrap();
    assert_eq!(code(&path("large.hcl")), "too-large");
    assert_eq!(config::parse(&"x".repeat((1 << 20) + 1), "a.hcl").unwrap_err()[0].code, "too-large");
    std::fs::write(path("latin1.hcl"), b"# ok\nx = \"\xe4\"\n").unwrap();
    assert_eq!(code(&path("latin1.hcl")), "not-utf8@2:6");
    std::fs::write(path("utf16.hcl"), b"\xff\xfea\0").unwrap();
    assert_eq!(code(&path("utf16.hcl")), "not-utf8@1:1");
    std::fs::write(path("nul.hcl"), b"a\0").unwrap();
    assert_eq!(code(&path("nul.hcl")), "nul-byte@1:2");
    std::fs::write(path("empty.hcl"), b"").unwrap();
    assert_eq!(code(&path("empty.hcl")), "empty-file@1:1");
    assert_eq!(code(std::path::Path::new("/dev/null")), "not-a-file");
    assert_eq!(code(std::path::Path::new("/proc/self/mem")), "unreadable");
    std::fs::write(path("good.hcl"), GOOD[0]).unwrap();
    assert_eq!(config::load(path("good.hcl")).unwrap(), config::parse(GOOD[0], "x").unwrap());
    std::fs::write(path("good.json"), serde_json::to_vec(&config::parse(GOOD[0], "x").unwrap()).unwrap()).unwrap();
    assert_eq!(config::load(path("good.json")).unwrap(), config::parse(GOOD[0], "x").unwrap());
}
