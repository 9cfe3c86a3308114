//! A host policy as HCL text, every key written out.

use crate::write::{list, quoted};
use model::Egress;
use model::access::{HostPolicy, Listen, Most};

/// `parse_policy(write_policy(policy))` gives `policy` again.
pub fn write_policy(policy: &HostPolicy) -> String {
    let mut lines = vec![
        format!("listen = {}", list(&policy.listen.iter().map(listen).collect::<Vec<_>>())),
        format!("users = {}", list(&policy.users.iter().map(|(from, to)| range(*from, *to)).collect::<Vec<_>>())),
        format!("recipes = {}", set(&policy.recipes)),
        format!("scripts = {}", set(&policy.scripts)),
        format!("health_exec = {}", policy.health_exec),
        format!("checks = {}", policy.checks),
        format!("run = {}", set(&policy.run)),
        format!("exec = {}", policy.exec),
        format!("egress = {}", egress(&policy.network.egress)),
        format!("host_ports = {}", list(&policy.network.host_ports.iter().map(ToString::to_string).collect::<Vec<_>>())),
    ];
    lines.extend(policy.socket.iter().map(|socket| format!("socket = {}", quoted(socket))));
    block(&mut lines, "most", most(&policy.most));
    for (path, rule) in &policy.registries {
        let mut keys: Vec<String> = rule.auth.iter().map(|auth| format!("auth = {}", quoted(auth))).collect();
        keys.extend(rule.ca.iter().map(|ca| format!("ca = {}", quoted(ca))));
        keys.push(format!("plain_http = {}", rule.plain_http));
        block(&mut lines, &format!("registry {}", quoted(path)), keys);
    }
    for (path, rule) in &policy.volumes {
        let keys = vec![
            format!("services = {}", names(&rule.services)),
            format!("read_only = {}", rule.read_only),
            format!("mounted = {}", rule.mounted),
        ];
        block(&mut lines, &format!("volume {}", quoted(path)), keys);
    }
    for (name, peer) in &policy.peers {
        let mut keys = vec![format!("uid = {}", peer.uid), format!("role = {}", quoted(peer.grant.role.name()))];
        keys.extend((!peer.grant.services.is_empty()).then(|| format!("services = {}", names(&peer.grant.services))));
        keys.extend((!peer.grant.tiers.is_empty()).then(|| format!("tiers = {}", names(&peer.grant.tiers))));
        block(&mut lines, &format!("peer {}", quoted(name)), keys);
    }
    let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    // Lengths of names decide where values stand.
    crate::format(&text).unwrap_or(text)
}

fn block(lines: &mut Vec<String>, head: &str, keys: Vec<String>) {
    lines.push(String::new());
    lines.push(format!("{head} {{"));
    lines.extend(keys.into_iter().map(|key| format!("  {key}")));
    lines.push("}".to_string());
}

fn most(most: &Most) -> Vec<String> {
    vec![
        format!("memory = {}", quoted(&size(most.memory_bytes))),
        if most.cpu_milli.is_multiple_of(1_000) {
            format!("cpu = {}", most.cpu_milli / 1_000)
        } else {
            format!("cpu = \"{}m\"", most.cpu_milli)
        },
        format!("pids = {}", most.pids),
        format!("count = {}", most.count),
    ]
}

/// The largest unit that leaves nothing over.
fn size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = units.into_iter().find(|(_, bits)| bytes > 0 && bytes.is_multiple_of(1 << bits));
    whole.map_or_else(|| format!("{bytes}B"), |(unit, bits)| format!("{}{unit}", bytes >> bits))
}

fn listen(one: &Listen) -> String {
    let ip = match one.ip {
        None => "*".to_string(),
        Some(ip) if ip.is_ipv6() => format!("[{ip}]"),
        Some(ip) => ip.to_string(),
    };
    format!("{ip}:{}", range(one.from, one.to))
}

fn range<T: std::fmt::Display + PartialEq>(from: T, to: T) -> String {
    if from == to { from.to_string() } else { format!("{from}-{to}") }
}

fn egress(egress: &Egress) -> String {
    match egress {
        Egress::Any => quoted("any"),
        Egress::None => quoted("none"),
        Egress::Only(all) => list(&all.iter().map(ToString::to_string).collect::<Vec<_>>()),
    }
}

fn set(all: &std::collections::BTreeSet<String>) -> String {
    list(&all.iter().cloned().collect::<Vec<_>>())
}

fn names<T: std::fmt::Display>(all: &std::collections::BTreeSet<T>) -> String {
    list(&all.iter().map(ToString::to_string).collect::<Vec<_>>())
}
