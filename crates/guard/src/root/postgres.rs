//! PostgreSQL: `pg_hba.conf` says who needs no password, `postgresql.conf` beside it says who reaches it.
//!
//! <https://www.postgresql.org/docs/current/auth-pg-hba-conf.html>

use super::Tree;
use super::exposure::Exposure;
use super::reach::Reach;
use super::text::{included, lines, read, unquoted, words};
use crate::cidr::AddressSet;
use crate::finding::Severity;
use crate::ternary::Tri;

const RULE: &str = "postgres-without-password";
const DEPTH_MAX: usize = 8;

pub(super) fn judge(path: &str, text: &str, tree: &dyn Tree) -> Vec<Exposure> {
    let (wide, missing) = listens(path, tree);
    // Earlier records of every database and user decide for their addresses.
    let mut decided = AddressSet::default();
    let mut found = Vec::new();
    for (number, line) in lines(text) {
        let fields = words(line.split(" #").next().unwrap_or(line));
        let kind = fields[0].as_str();
        if kind.starts_with("include") || kind.starts_with('@') {
            found.push(Exposure::unknown(RULE, path, &format!("what line {number} includes")));
            continue;
        }
        if !matches!(kind, "host" | "hostssl" | "hostnossl" | "hostgssenc" | "hostnogssenc") || fields.len() < 5 {
            continue;
        }
        let (address, method) = if fields.len() > 5 && fields[4].parse::<std::net::IpAddr>().is_ok() {
            (with_mask(&fields[3], &fields[4]), fields[5].as_str())
        } else {
            (fields[3].clone(), fields[4].as_str())
        };
        let set = match address.as_str() {
            "all" => Some(AddressSet::everything()),
            "samehost" => AddressSet::from_cidrs(["127.0.0.1/32", "::1/128"]),
            "samenet" => AddressSet::from_cidrs(["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fd00::/8"]),
            other => AddressSet::from_cidrs([other]),
        };
        // A host name is one host.
        let Some(set) = set else { continue };
        let left = set.intersection(&decided.complement());
        let loopback = AddressSet::from_cidrs(["127.0.0.0/8", "::1/128"]).unwrap_or_default();
        let outside = left.intersection(&loopback.complement());
        if matches!(method, "trust" | "ident") && !outside.is_empty() {
            let who = if outside.admits_anyone() { "everybody who reaches it".to_string() } else { format!("every client in {address}") };
            let how = if method == "trust" { "without a password" } else { "by what the client says of itself (ident)" };
            let severity = if outside.admits_anyone() { Severity::Critical } else { Severity::High };
            let why = format!("{who} can connect to PostgreSQL as {} {how}: `{line}`", fields[2]);
            let fix = format!("write scram-sha-256 instead of {method} in {path}, line {number}");
            let exposure = Exposure::new(RULE, path, number, severity, why, fix);
            found.extend(exposure.given(wide, &missing));
        }
        if fields[1] == "all" && fields[2] == "all" && kind == "host" {
            decided = decided.union(&set);
        }
    }
    found
}

fn with_mask(address: &str, mask: &str) -> String {
    let bits = match mask.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V4(m)) => m.to_bits().count_ones(),
        Ok(std::net::IpAddr::V6(m)) => m.to_bits().count_ones(),
        Err(_) => return address.to_string(),
    };
    format!("{address}/{bits}")
}

/// Whether it listens beyond this host, and what would tell.
fn listens(hba: &str, tree: &dyn Tree) -> (Tri, String) {
    let directory = hba.rsplit_once('/').map_or("", |(directory, _)| directory);
    let path = format!("{directory}/postgresql.conf");
    let (mut value, mut unread) = (None, None);
    setting(&path, directory, tree, 0, &mut value, &mut unread);
    let wide = match (&value, &unread) {
        (Some(addresses), _) => Reach::of(addresses.split(',')).is_wide(),
        // The default is localhost.
        (None, None) => Tri::No,
        (None, Some(_)) => Tri::Unknown,
    };
    (if unread.is_some() { wide.or(Tri::Unknown) } else { wide }, unread.unwrap_or_else(|| format!("listen_addresses in {path}")))
}

fn setting(path: &str, directory: &str, tree: &dyn Tree, depth: usize, value: &mut Option<String>, unread: &mut Option<String>) {
    match read(tree, path) {
        Ok(Some(text)) if depth < DEPTH_MAX => {
            for (_, line) in lines(&text) {
                let (key, rest) = line.split_once([' ', '=', '\t']).unwrap_or((line, ""));
                let rest = rest.trim_start_matches([' ', '=', '\t']);
                let rest = rest.split(" #").next().unwrap_or(rest);
                let rest = unquoted(rest.split('\t').next().unwrap_or(rest));
                let files = match key.to_ascii_lowercase().as_str() {
                    "listen_addresses" => {
                        // Empty: no TCP at all.
                        *value = Some(if rest.trim().is_empty() { "localhost".into() } else { rest.to_string() });
                        continue;
                    }
                    "include" | "include_if_exists" => included(tree, rest, directory),
                    "include_dir" => included(tree, &format!("{}/*.conf", rest.trim_end_matches('/')), directory),
                    _ => continue,
                };
                match files {
                    Ok(files) => files.iter().for_each(|file| setting(file, directory, tree, depth + 1, value, unread)),
                    Err(missing) => *unread = Some(missing),
                }
            }
        }
        Ok(None) if depth > 0 => {}
        Ok(_) => *unread = Some(path.to_string()),
        Err(missing) => *unread = Some(missing),
    }
}
