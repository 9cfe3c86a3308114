//! Whether the lock file of the fuzz targets still fits the crates. Cargo could say so, but only where it can reach the registry.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Each crate of ours whose dependencies in the lock are others than its manifest has. `metadata` is what `cargo metadata --no-deps`
/// prints; `lock` is the text of the lock.
pub fn stale(metadata: &Value, lock: &str) -> Vec<String> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours: BTreeMap<&str, BTreeSet<&str>> = packages.iter().filter_map(|p| Some((p["name"].as_str()?, needs(p)))).collect();
    let mut found = Vec::new();
    for package in lock.split("[[package]]").skip(1) {
        let Some(name) = value(package, "name").filter(|_| value(package, "source").is_none()) else { continue };
        if name == "fuzz" {
            continue;
        }
        let locked = locked(package);
        match ours.get(name) {
            None => found.push(format!("{name}: no crate of ours")),
            Some(needs) if *needs != locked => {
                let list = |set: &BTreeSet<&str>| set.iter().copied().collect::<Vec<_>>().join(" ");
                found.push(format!("{name}: the lock has {}, the crate {}", list(&locked), list(needs)));
            }
            Some(_) => {}
        }
    }
    found
}

/// What it is built with; what its tests need is in no lock of another workspace.
fn needs(package: &Value) -> BTreeSet<&str> {
    let all = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().filter(|d| d["kind"].as_str() != Some("dev")).filter_map(|d| d["name"].as_str()).collect()
}

fn value<'a>(package: &'a str, key: &str) -> Option<&'a str> {
    package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \"")?.strip_suffix('"'))
}

/// ` "serde 1.0.0",` is serde.
fn locked(package: &str) -> BTreeSet<&str> {
    let list = package.split_once("dependencies = [").map_or("", |(_, rest)| rest.split(']').next().unwrap_or_default());
    list.lines().filter_map(|line| line.trim().trim_matches([',', '"']).split(' ').next()).filter(|name| !name.is_empty()).collect()
}
