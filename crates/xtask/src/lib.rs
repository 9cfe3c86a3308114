//! Tidy: what a reader of the house may rely on, measured from the sources. It changes nothing.

pub mod architecture;
pub mod circles;
pub mod fuzz_lock;
pub mod language;
pub mod mutants;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which of our crates each of our crates may depend on. `ARCHITECTURE.md` draws the same.
///
/// A crate that is not here may not exist: decide its arrows first.
pub const ALLOWED: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("disk", &["model"]),
    ("guard", &["model"]),
    ("aws_client", &["model"]),
    ("aws_scan", &["aws_client", "guard", "model"]),
    ("scan", &["disk", "guard", "model"]),
    ("contain", &["aws_client", "aws_scan", "disk", "guard", "model"]),
    ("balance", &[]),
    ("capacity", &[]),
    ("rotation", &["model"]),
    ("control", &["model", "rotation"]),
    ("config", &["model"]),
    ("api", &["model"]),
    ("probe", &["model"]),
    ("json_http", &["api", "disk", "model"]),
    ("sim", &["control", "model", "rotation"]),
    ("journal", &["control", "model", "rotation"]),
    ("lifecycle", &["model"]),
    ("store", &["disk", "lifecycle", "model", "rotation"]),
    ("attest", &["disk", "lifecycle", "model", "store"]),
    ("bake", &["attest", "disk", "guard", "lifecycle", "model", "oci", "scan", "store"]),
    ("emit", &["attest", "bake", "disk", "lifecycle", "model", "oci", "store"]),
    ("oci", &["disk", "model", "store"]),
    ("secret", &["disk", "model"]),
    ("host", &["api", "disk", "json_http", "model", "probe", "rotation", "secret"]),
    ("proxy", &["api", "balance", "disk", "json_http", "model", "probe", "rotation"]),
    (
        "server",
        &[
            "api",
            "attest",
            "bake",
            "config",
            "control",
            "disk",
            "guard",
            "journal",
            "json_http",
            "lifecycle",
            "model",
            "rotation",
            "secret",
            "store",
        ],
    ),
    // Neither `journal` nor `rotation`: what the CLI knows it has from the API.
    (
        "afresh",
        &[
            "api",
            "attest",
            "aws_client",
            "aws_scan",
            "bake",
            "capacity",
            "config",
            "contain",
            "disk",
            "emit",
            "guard",
            "host",
            "lifecycle",
            "model",
            "proxy",
            "scan",
            "secret",
            "server",
            "sim",
            "store",
        ],
    ),
    ("xtask", &[]),
];

/// The crates that hold no clock, do no I/O and are not async.
pub const PURE: &[&str] = &["balance", "capacity", "control", "guard", "lifecycle", "model", "rotation"];

/// What a pure crate may take from outside. `model` computes a release's digest from its JSON and finds near names; `capacity` needs
/// elementary functions that are the same on every machine; networks and what they contain are ipnet's; `guard` searches text and reads rules; dates are jiff's, whose clock and
/// time zones `clippy-pure.toml` bans.
pub const PURE_LIBRARIES: &[&str] =
    &["aho-corasick", "ipnet", "jiff", "libm", "regex", "serde", "serde_json", "sha2", "strsim", "thiserror", "toml"];

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Every arrow that is not allowed, as `from -> to`. `metadata` is what `cargo metadata --no-deps` prints.
/// Dependencies of tests alone do not count: a test may look at anything below it.
pub fn forbidden_arrows(metadata: &Value) -> Vec<String> {
    let allowed: BTreeMap<&str, BTreeSet<&str>> = ALLOWED.iter().map(|(from, to)| (*from, to.iter().copied().collect())).collect();
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let mut found = Vec::new();
    for package in packages {
        let from = package["name"].as_str().unwrap_or_default();
        let Some(may) = allowed.get(from) else {
            found.push(format!("{from}: a crate with no arrows decided"));
            continue;
        };
        for dependency in package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default() {
            let to = dependency["name"].as_str().unwrap_or_default();
            let kind = dependency["kind"].as_str();
            if kind == Some("dev") {
                continue;
            }
            let bad = if ours.contains(to) { !may.contains(to) } else { PURE.contains(&from) && !PURE_LIBRARIES.contains(&to) };
            if bad {
                found.push(format!("{from} -> {to}"));
            }
        }
    }
    found
}

/// Every arrow that is allowed and that no crate uses, as `from -> to`: a list of what may be is read as what is.
pub fn unused_arrows(metadata: &Value) -> Vec<String> {
    let used = arrows(metadata);
    let all = ALLOWED.iter().flat_map(|(from, to)| to.iter().map(move |to| format!("{from} -> {to}")));
    all.filter(|arrow| !used.contains(arrow)).collect()
}

/// Every arrow between our crates, tests apart.
pub fn arrows(metadata: &Value) -> BTreeSet<String> {
    let packages = metadata["packages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours: BTreeSet<&str> = packages.iter().filter_map(|p| p["name"].as_str()).collect();
    let of = |package: &Value| -> Vec<String> {
        let from = package["name"].as_str().unwrap_or_default();
        let all = package["dependencies"].as_array().map(Vec::as_slice).unwrap_or_default();
        let to = all.iter().filter(|d| d["kind"].as_str() != Some("dev")).filter_map(|d| d["name"].as_str());
        to.filter(|to| ours.contains(to)).map(|to| format!("{from} -> {to}")).collect()
    };
    packages.iter().flat_map(of).collect()
}

/// Every source file under `crates/` with its number of lines.
pub fn sources(root: &Path) -> std::io::Result<Vec<(PathBuf, String)>> {
    let mut found = Vec::new();
    let mut todo = vec![root.join("crates")];
    while let Some(folder) = todo.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path)?;
                found.push((path.strip_prefix(root).unwrap_or(&path).to_path_buf(), text));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Every circle of files, as `crate: a b c`.
pub fn circles_of_files(root: &Path) -> std::io::Result<Vec<String>> {
    let mut crates: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for (path, text) in sources(root)? {
        let parts: Vec<_> = path.iter().map(|p| p.to_string_lossy().into_owned()).collect();
        if let [_, name, folder, file @ ..] = &parts[..]
            && folder == "src"
        {
            let module = circles::module_of(&file.iter().collect::<PathBuf>());
            crates.entry(name.clone()).or_default().push((module, text));
        }
    }
    let named = |name: &str| if name.is_empty() { "lib".to_string() } else { name.to_string() };
    let line = |of: &str, circle: Vec<String>| format!("{of}: {}", circle.iter().map(|n| named(n)).collect::<Vec<_>>().join(" "));
    Ok(crates.iter().flat_map(|(of, files)| circles::circles(files).into_iter().map(move |circle| line(of, circle))).collect())
}

/// Lines that hold code: not blank, not a comment.
pub fn code_lines(text: &str) -> usize {
    text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with("//")).count()
}
