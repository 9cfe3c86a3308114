//! The host policy, `/etc/afresh/policy.hcl`: read as a service file is, with the place of every error. What the rules mean is said in
//! `model::access`; who may write the file is checked by whoever opens it.

use crate::decode::context::Context;
use crate::decode::labels;
use crate::decode::network;
use crate::decode::read::{self, Read, at};
use crate::decode::section::Section;
use crate::diagnostic::Diagnostic;
use crate::schema::{Key, Kind, Shape};
use crate::sink::{Draft, Sink};
use crate::syntax::value::Value;
use crate::syntax::{lex, tree};
use crate::units::{self, ValidationError};
use model::access::{Grant, HostPolicy, Listen, Most, Peer, RegistryRule, Role};
use model::network::NetworkPolicy;
use model::{NameError, Reference, ServiceName, TierName, VolumeRule, volume};
use std::collections::{BTreeMap, BTreeSet};

const fn value(name: &'static str, example: &'static str) -> Key {
    Key { name, kind: Kind::Value, example }
}

pub(crate) const POLICY: Shape = Shape {
    block: "the host policy",
    keys: &[
        value("listen", "listen = [\"*:1024-65535\"]"),
        value("users", "users = [\"1000-65534\"]"),
        value("recipes", "recipes = [\"token:ci\"]"),
        value("scripts", "scripts = [\"token:ci\"]"),
        value("health_exec", "health_exec = true"),
        value("checks", "checks = true"),
        value("run", "run = [\"peer:ci\"]"),
        value("exec", "exec = false"),
        value("egress", "egress = [\"10.0.0.0/8:5432\"]"),
        value("host_ports", "host_ports = [\"6379\"]"),
        value("socket", "socket = \"/run/afresh/api.sock\""),
        Key { name: "most", kind: Kind::Block, example: "most { memory = \"2GiB\"  count = 10 }" },
        Key {
            name: "registry",
            kind: Kind::Named,
            example: "registry \"registry.example.org/shop\" { auth = \"/etc/afresh/registry.json\" }",
        },
        Key { name: "volume", kind: Kind::Named, example: "volume \"/srv/uploads\" { services = [\"web\"] }" },
        Key { name: "peer", kind: Kind::Named, example: "peer \"ci\" { uid = 1001  role = \"deploy\"  services = [\"web\"] }" },
    ],
};

pub(crate) const MOST: Shape = Shape {
    block: "most of the host policy",
    keys: &[value("memory", "memory = \"2GiB\""), value("cpu", "cpu = 2"), value("pids", "pids = 512"), value("count", "count = 10")],
};

pub(crate) const REGISTRY: Shape = Shape {
    block: "registry of the host policy",
    keys: &[
        value("auth", "auth = \"/etc/afresh/registry.json\""),
        value("ca", "ca = \"/etc/afresh/registry-ca.pem\""),
        value("plain_http", "plain_http = true"),
    ],
};

pub(crate) const VOLUME: Shape = Shape {
    block: "volume of the host policy",
    keys: &[value("services", "services = [\"web\"]"), value("read_only", "read_only = true"), value("mounted", "mounted = true")],
};

pub(crate) const PEER: Shape = Shape {
    block: "peer of the host policy",
    keys: &[
        value("uid", "uid = 1001"),
        value("role", "role = \"deploy\""),
        value("services", "services = [\"web\"]"),
        value("tiers", "tiers = [\"web\"]"),
    ],
};

/// Of the host policy; those of service files are [`crate::SHAPES`].
pub const POLICY_SHAPES: &[Shape] = &[POLICY, MOST, REGISTRY, VOLUME, PEER];

const ITEMS_MAX: usize = 256;

/// Decodes a host policy. A key that is left out has its default; an empty file is the default policy.
pub fn parse_policy(text: &str, name: &str) -> Result<HostPolicy, Vec<Diagnostic>> {
    let mut sink = Sink::new(text, name);
    let policy = match crate::places::unreadable(text) {
        Some((code, span, message, hint)) => {
            sink.push(Draft::new(code, span, message).hint(hint));
            None
        }
        None => decode(text, &mut sink),
    };
    sink.finish(policy)
}

fn decode(text: &str, sink: &mut Sink) -> Option<HostPolicy> {
    let tokens = lex::lex(text, sink)?;
    let body = tree::parse(text, &tokens, sink);
    if body.unclosed {
        return None;
    }
    let context = Context {
        text,
        tokens: &tokens,
        images: BTreeMap::new(),
        containers: BTreeSet::new(),
        secrets: BTreeMap::new(),
        services: BTreeMap::new(),
    };
    let mut top = Section::open(&context, &POLICY, 0..0, &body, sink);
    let default = HostPolicy::default();
    let list_of = |what: &'static str, item: fn(&Value) -> Read<String>| move |v: &Value| read::list(v, what, ITEMS_MAX, item);
    let listen = top.or("listen", default.listen, sink, |v| {
        read::list(v, "a list of addresses and ports, such as \"*:1024-65535\"", ITEMS_MAX, |v| {
            at(v, listen(&read::text(v, "an address in quotes")?))
        })
    });
    let users = top.or("users", default.users, sink, |v| {
        read::list(v, "a list of ranges, such as \"1000-65534\"", ITEMS_MAX, |v| at(v, users(&read::text(v, "a range in quotes")?)))
    });
    let recipes = top.or("recipes", Vec::new(), sink, list_of("a list of identities, such as \"token:ci\"", identity));
    let scripts = top.or("scripts", Vec::new(), sink, list_of("a list of identities, such as \"token:ci\"", identity));
    let path = |v: &Value| at(v, units::whole_path(&read::text(v, "a path in quotes")?));
    let health_exec = top.or("health_exec", default.health_exec, sink, read::truth);
    let checks = top.or("checks", default.checks, sink, read::truth);
    let run = top.or("run", Vec::new(), sink, list_of("a list of identities, such as \"token:ci\"", identity));
    let exec = top.or("exec", default.exec, sink, read::truth);
    let egress = top.or("egress", default.network.egress, sink, network::egress);
    let host_ports = top.or("host_ports", default.network.host_ports, sink, network::host_ports);
    let socket = top.or("socket", None, sink, |v| Ok(Some(path(v)?)));
    let most = most(&context, &top, default.most, sink);
    let registries = registries(&context, &mut top, sink);
    let volumes = volumes(&context, &mut top, sink);
    let peers = peers(&context, &mut top, sink);
    if let (Some(None), Some(peers)) = (&socket, &peers)
        && !peers.is_empty()
    {
        let span = top.block("peer").map_or(0..0, |block| block.word.clone());
        let draft = Draft::new("needs-socket", span, "the policy names peers, and no socket for them");
        sink.push(draft.label("expected `socket` beside it").hint("write socket = \"/run/afresh/api.sock\""));
    }
    Some(HostPolicy {
        listen: listen?,
        users: users?,
        recipes: recipes?.into_iter().collect(),
        scripts: scripts?.into_iter().collect(),
        registries: registries?,
        volumes: volumes?,
        health_exec: health_exec?,
        checks: checks?,
        run: run?.into_iter().collect(),
        exec: exec?,
        most: most?,
        network: NetworkPolicy { egress: egress?, host_ports: host_ports? },
        socket: socket?,
        peers: peers?,
    })
}

fn most(context: &Context, top: &Section, default: Most, sink: &mut Sink) -> Option<Most> {
    let Some(block) = top.block("most") else { return Some(default) };
    let section = Section::of(context, &MOST, block, sink);
    let memory_bytes = section.or("memory", default.memory_bytes, sink, |v| read::size(v, "4MiB", "16TiB"));
    let cpu_milli = section.or("cpu", default.cpu_milli, sink, read::cpu);
    let pids = section.or("pids", default.pids, sink, |v| read::number(v, 1, 1_000_000));
    let count = section.or("count", u64::from(default.count), sink, |v| read::number(v, 0, u64::from(model::ServiceSpec::COUNT_MAX)));
    Some(Most { memory_bytes: memory_bytes?, cpu_milli: cpu_milli?, pids: pids?, count: u32::try_from(count?).ok()? })
}

fn registries(context: &Context, top: &mut Section, sink: &mut Sink) -> Option<BTreeMap<String, RegistryRule>> {
    let mut all = Vec::new();
    for (label, block) in top.named("registry", sink) {
        let section = Section::of(context, &REGISTRY, block, sink);
        // With a name behind it, it must be an image.
        let path = labels::label_with(context, label, block, sink, |text| {
            let expected = "expected a registry and a path in it, such as \"registry.example.org/shop\"";
            let wrong = |_| ValidationError::new("bad-reference", format!("`{text}` is no part of a registry"), expected);
            format!("{text}/x").parse::<Reference>().map(|_| text.to_string()).map_err(wrong)
        });
        let file = |v: &Value| Ok(Some(at(v, units::whole_path(&read::text(v, "a path in quotes")?))?));
        let auth = section.or("auth", None, sink, file);
        let ca = section.or("ca", None, sink, file);
        let plain_http = section.or("plain_http", false, sink, read::truth);
        all.push((|| Some((path?, RegistryRule { auth: auth?, ca: ca?, plain_http: plain_http? })))());
    }
    all.into_iter().collect()
}

fn volumes(context: &Context, top: &mut Section, sink: &mut Sink) -> Option<BTreeMap<String, VolumeRule>> {
    let mut all = Vec::new();
    for (label, block) in top.named("volume", sink) {
        let section = Section::of(context, &VOLUME, block, sink);
        let path = labels::label_with(context, label, block, sink, |text| volume::pattern(text).map(|()| text.to_string()));
        let services = section.need("services", sink, |v| {
            read::list(v, "a list of names", ITEMS_MAX, |v| at(v, read::name(&read::text(v, "a name in quotes")?, ServiceName::new)))
        });
        let read_only = section.or("read_only", false, sink, read::truth);
        let mounted = section.or("mounted", false, sink, read::truth);
        all.push((|| Some((path?, VolumeRule { services: services?.into_iter().collect(), read_only: read_only?, mounted: mounted? })))());
    }
    all.into_iter().collect()
}

fn peers(context: &Context, top: &mut Section, sink: &mut Sink) -> Option<BTreeMap<String, Peer>> {
    let mut all = Vec::new();
    for (label, block) in top.named("peer", sink) {
        let section = Section::of(context, &PEER, block, sink);
        let name = labels::label_with(context, label.clone(), block, sink, |text| units::account(text, "peer"));
        let uid = section.need("uid", sink, |v| read::number(v, 1, u64::from(u32::MAX) - 1)).and_then(|uid| u32::try_from(uid).ok());
        let role = section.need("role", sink, |v| {
            let text = read::text(v, "a role in quotes, such as \"deploy\"")?;
            let wrong = || ValidationError::new("bad-role", format!("`{text}` is no role"), "expected read, deploy or admin");
            at(v, Role::of(&text).ok_or_else(wrong))
        });
        let services = names(&section, "services", sink, ServiceName::new);
        let tiers = names(&section, "tiers", sink, TierName::new);
        all.push((|| {
            let grant = Grant { role: role?, services: services?, tiers: tiers? };
            if let Err(fault) = grant.check() {
                sink.push(
                    Draft::new("bad-grant", label, fault.message).label("expected `services` or `tiers` for deploy, neither for admin"),
                );
                return None;
            }
            Some((name?, Peer { uid: uid?, grant }))
        })());
    }
    all.into_iter().collect()
}

fn names<T: Ord>(section: &Section, key: &'static str, sink: &mut Sink, make: fn(String) -> Result<T, NameError>) -> Option<BTreeSet<T>> {
    let all = section.or(key, Vec::new(), sink, |v| {
        read::list(v, "a list of names", ITEMS_MAX, |item| at(item, read::name(&read::text(item, "a name in quotes")?, make)))
    });
    all.map(|all| all.into_iter().collect())
}

/// `token:ci`, `uid:1001`, or a peer's name: as the audit has it.
fn identity(value: &Value) -> Read<String> {
    let text = read::text(value, "an identity in quotes, such as \"token:ci\"")?;
    let named = text.split_once(':').filter(|(kind, _)| matches!(*kind, "token" | "peer"));
    let good = named.is_some_and(|(_, name)| units::account(name, "identity").is_ok());
    let wrong = ValidationError::new("bad-identity", format!("`{text}` is no identity"), "expected \"token:NAME\" or \"peer:NAME\"");
    at(value, if good { Ok(text) } else { Err(wrong) })
}

/// `*:1024-65535`, `127.0.0.1:8080`, `[::1]:80-90`.
fn listen(text: &str) -> Result<Listen, ValidationError> {
    let wrong = || {
        ValidationError::new(
            "bad-address",
            format!("`{text}` is no address with ports"),
            "expected an IP address or * and a port or a range of ports, such as \"*:1024-65535\" or \"127.0.0.1:8080\"",
        )
    };
    let (ip, ports) = text.rsplit_once(':').ok_or_else(wrong)?;
    let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip);
    let ip = if ip == "*" { None } else { Some(bare.parse().map_err(|_| wrong())?) };
    let (from, to) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0 && text.bytes().all(|b| b.is_ascii_digit()));
    match port(from).zip(port(to)) {
        Some((from, to)) if from <= to => Ok(Listen { ip, from, to }),
        _ => Err(wrong()),
    }
}

/// `1000-65534`, `33`.
fn users(text: &str) -> Result<(u32, u32), ValidationError> {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let id = |text: &str| text.parse::<u32>().ok().filter(|id| *id != u32::MAX && text.bytes().all(|b| b.is_ascii_digit()));
    let wrong =
        ValidationError::new("bad-user", format!("`{text}` is no range of users"), "expected numbers, such as \"1000-65534\" or \"33\"");
    id(from).zip(id(to)).filter(|(from, to)| from <= to).ok_or(wrong)
}
