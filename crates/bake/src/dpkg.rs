//! Writes dpkg's own records for packages that we unpacked, so that dpkg can go on from there as if it had.
//! The forms are those of dpkg 1.21; dpkg reads them and writes them again itself.

#![deny(clippy::disallowed_methods, reason = "paths of a tree are resolved in within.rs and nowhere else")]

use crate::deb::Deb;
use crate::unpack::{Item, relations};
use disk::within::Root;
use model::Fault;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const DIR: &str = "var/lib/dpkg";

/// As dpkg names the files of a package: with the architecture where several may be there together.
pub fn info_name(deb: &Deb) -> String {
    let name = deb.field("Package").unwrap_or("");
    match (deb.field("Multi-Arch"), deb.field("Architecture")) {
        (Some("same"), Some(arch)) => format!("{name}:{arch}"),
        _ => name.to_string(),
    }
}

/// The empty records of a machine that has no package yet.
pub fn begin(root: &Root, arch: &str) -> Result<(), Fault> {
    for dir in ["", "info", "updates", "triggers", "alternatives", "parts"] {
        let path = Path::new(DIR).join(dir);
        root.make_dir(&path)?;
        root.set_mode(&path, 0o755)?;
    }
    for (name, text) in [
        ("info/format", "1\n".to_string()),
        ("arch", format!("{arch}\n")),
        ("triggers/Unincorp", String::new()),
        ("diversions", String::new()),
    ] {
        write(root, name, text.as_bytes(), 0o644)?;
    }
    Ok(())
}

fn write(root: &Root, name: &str, bytes: &[u8], mode: u32) -> Result<(), Fault> {
    root.write(&Path::new(DIR).join(name), bytes, mode)
}

/// The records of `debs` as unpacked and not yet configured.
pub fn record(root: &Root, debs: &[&Deb], items: &[Vec<Item>]) -> Result<(), Fault> {
    let mut status = String::new();
    let mut triggers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (deb, items) in debs.iter().zip(items) {
        let name = info_name(deb);
        for script in &deb.scripts {
            let mode = if script.mode & 0o111 != 0 { 0o755 } else { 0o644 };
            write(root, &format!("info/{name}.{}", script.name), &script.bytes, mode)?;
        }
        write(root, &format!("info/{name}.list"), &listing(items), 0o644)?;
        status.push_str(&paragraph(deb));
        for (trigger, who) in interests(deb) {
            triggers.entry(trigger).or_default().insert(who);
        }
    }
    write(root, "status", status.as_bytes(), 0o644)?;
    let mut files = String::new();
    for (trigger, who) in &triggers {
        if trigger.starts_with('/') {
            files.extend(who.iter().map(|w| format!("{trigger} {w}\n")));
        } else {
            write(root, &format!("triggers/{trigger}"), who.iter().map(|w| format!("{w}\n")).collect::<String>().as_bytes(), 0o644)?;
        }
    }
    write(root, "triggers/File", files.as_bytes(), 0o644)
}

fn listing(items: &[Item]) -> Vec<u8> {
    let mut text = Vec::new();
    for item in items {
        text.push(b'/');
        text.extend(if item.path.as_os_str().is_empty() { b"." } else { item.path.as_os_str().as_bytes() });
        text.push(b'\n');
    }
    text
}

fn paragraph(deb: &Deb) -> String {
    let mut text = String::new();
    for (n, line) in deb.control.lines().enumerate() {
        text.push_str(line);
        text.push('\n');
        if n == 0 {
            text.push_str("Status: install ok unpacked\n");
        }
    }
    let conffiles = deb.script("conffiles").map(|s| String::from_utf8_lossy(&s.bytes).into_owned()).unwrap_or_default();
    let mut files = conffiles.lines().map(str::trim).filter(|l| l.starts_with('/')).peekable();
    if files.peek().is_some() {
        text.push_str("Conffiles:\n");
        text.extend(files.map(|f| format!(" {f} newconffile\n")));
    }
    text.push('\n');
    text
}

/// What a package waits for: a path or a name, and the package as dpkg writes it.
fn interests(deb: &Deb) -> Vec<(String, String)> {
    let text = deb.script("triggers").map(|s| String::from_utf8_lossy(&s.bytes).into_owned()).unwrap_or_default();
    let name = info_name(deb);
    let mut all = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (Some(kind), Some(trigger)) = (words.next(), words.next()) else { continue };
        let plain = trigger.starts_with('/') || trigger.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
        match kind {
            "interest" | "interest-await" if plain => all.push((trigger.to_string(), name.clone())),
            "interest-noawait" if plain => all.push((trigger.to_string(), format!("{name}/noawait"))),
            _ => {}
        }
    }
    all
}

/// `seeds` and all they depend on among `debs`, by place.
pub fn closure(debs: &[Deb], seeds: BTreeSet<usize>) -> BTreeSet<usize> {
    let mut by_name: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (n, deb) in debs.iter().enumerate() {
        for name in deb.field("Package").into_iter().chain(relations(deb.field("Provides"))) {
            by_name.entry(name).or_default().push(n);
        }
    }
    let mut all = seeds;
    let mut todo: Vec<usize> = all.iter().copied().collect();
    while let Some(n) = todo.pop() {
        for name in relations(debs[n].field("Depends")).chain(relations(debs[n].field("Pre-Depends"))) {
            for found in by_name.get(name).into_iter().flatten() {
                if all.insert(*found) {
                    todo.push(*found);
                }
            }
        }
    }
    all
}
