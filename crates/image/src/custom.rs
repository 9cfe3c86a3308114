//! What a recipe adds to its packages: users, files, a script, in this order, when every package is configured.
//! All of it is done from inside the tree, where a link leads nowhere else.

use crate::exec;
use crate::io;
use crate::locks::Work;
use crate::sandbox::Sandbox;
use model::{Fault, ImageCustom};
use std::fmt::Write;

/// Files with a recipe are settings; what is larger is an artifact.
const FILE_LIMIT: usize = 1 << 20;

pub fn notes(custom: &ImageCustom) -> Vec<String> {
    let mut notes = Vec::new();
    if !custom.suites.is_empty() {
        notes.push(format!("further suites: {}", custom.suites.join(", ")));
    }
    if let Some(script) = &custom.script {
        notes.push(format!("a script of the recipe ran in the tree: {}", io::digest_of(script.as_bytes())));
    }
    notes
}

fn wrong(text: String, hint: &str) -> Fault {
    Fault::yours("bad-recipe", text).hint(hint)
}

/// Says what cannot be, before any work.
pub fn check(custom: &ImageCustom) -> Result<(), Fault> {
    let name = |s: &str, more: &[u8]| {
        s.len() < 33
            && s.as_bytes().first().is_some_and(u8::is_ascii_lowercase)
            && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || more.contains(&b))
    };
    let place = |s: &str| {
        s.starts_with('/')
            && s.len() > 1
            && s.split('/').skip(1).all(|p| !matches!(p, "" | "." | ".."))
            && !s.bytes().any(|b| b.is_ascii_control())
    };
    for suite in &custom.suites {
        if !name(suite, b"-.") {
            return Err(wrong(format!("{suite:?} is no name of a suite"), "write suites = [\"bookworm-backports\"]"));
        }
    }
    for (user, u) in &custom.users {
        if !name(user, b"-_") || u.groups.iter().any(|g| !name(g, b"-_")) {
            return Err(wrong(format!("{user:?} or one of its groups is no name of a user"), "lower-case letters, digits, - and _"));
        }
        if !(100..65_534).contains(&u.uid) {
            return Err(wrong(format!("user {user} has the number {}", u.uid), "numbers from 100 to 65533 are for services and people"));
        }
        if let Some(bad) = u.home.iter().chain(&u.shell).find(|p| !place(p) || p.contains(':')) {
            return Err(wrong(format!("user {user}: {bad:?} is no absolute path"), "write /srv/name"));
        }
    }
    for (path, file) in &custom.files {
        if !place(path) {
            return Err(wrong(format!("{path:?} is no absolute path of a file"), "write /etc/name, without .. in it"));
        }
        if file.content.len() > FILE_LIMIT || file.mode > 0o7777 {
            return Err(wrong(
                format!("{path} is larger than a megabyte, or its mode is none"),
                "put large files into the service's artifact",
            ));
        }
    }
    Ok(())
}

/// Text that sh takes as one word, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

pub fn apply(custom: &ImageCustom, work: &Work, sandbox: &Sandbox) -> Result<(), Fault> {
    let dir = work.path();
    let mut text = String::from("set -eu\numask 022\ncd /\n");
    for (name, user) in &custom.users {
        let (home, shell) = (user.home.as_deref().unwrap_or("/nonexistent"), user.shell.as_deref().unwrap_or("/usr/sbin/nologin"));
        let _ = writeln!(text, "echo 'afresh: user {name}'; groupadd -g {} {name}", user.uid);
        let make = if user.home.is_some() { "-m" } else { "-M" };
        let groups = if user.groups.is_empty() { String::new() } else { format!("-G {}", user.groups.join(",")) };
        let _ = writeln!(text, "useradd -u {} -g {name} {groups} -d {} -s {} {make} {name}", user.uid, quoted(home), quoted(shell));
    }
    for (n, (path, file)) in custom.files.iter().enumerate() {
        let staged = dir.join(format!("file-{n}"));
        std::fs::write(&staged, &file.content).map_err(io::at("cannot write", &staged))?;
        let _ = writeln!(
            text,
            "echo {}; install -D -o 0 -g 0 -m {:04o} /tmp/packages/file-{n} {}",
            quoted(&format!("afresh: file {path}")),
            file.mode,
            quoted(path)
        );
    }
    if let Some(script) = &custom.script {
        let staged = dir.join("script");
        std::fs::write(&staged, script).map_err(io::at("cannot write", &staged))?;
        text.push_str("echo 'afresh: the script'; exec sh /tmp/packages/script\n");
    }
    let mut at = String::new();
    let said = sandbox.run(&text, &[], |line| {
        if let Some(what) = line.strip_prefix("afresh: ") {
            at = what.to_string();
        }
    })?;
    if said.status.success() { Ok(()) } else { Err(failed(&at, &said)) }
}

fn failed(at: &str, said: &exec::Done) -> Fault {
    let fault = exec::ended_badly(&format!("the recipe's own part ({at})"), said.status, &said.stderr);
    if fault.code == "disk-full" {
        return fault;
    }
    Fault::yours("recipe-failed", fault.message)
        .hint("it runs as root in the finished tree, without network and with a fixed environment; see its words above")
}

/// What goes into the recipe's digest.
pub fn key(custom: &ImageCustom) -> serde_json::Value {
    if custom.is_empty() { serde_json::Value::Null } else { serde_json::to_value(custom).expect("our types hold nothing that JSON cannot") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn custom(text: serde_json::Value) -> ImageCustom {
        serde_json::from_value(text).unwrap()
    }

    #[test]
    fn what_cannot_be_is_told_before_any_work() {
        for bad in [
            serde_json::json!({ "files": { "etc/x": { "content": "" } } }),
            serde_json::json!({ "files": { "/etc/../x": { "content": "" } } }),
            serde_json::json!({ "files": { "/etc//x": { "content": "" } } }),
            serde_json::json!({ "files": { "/etc/x\n": { "content": "" } } }),
            serde_json::json!({ "files": { "/": { "content": "" } } }),
            serde_json::json!({ "users": { "root;rm": { "uid": 1000 } } }),
            serde_json::json!({ "users": { "eve": { "uid": 0 } } }),
            serde_json::json!({ "users": { "eve": { "uid": 1000, "home": "x" } } }),
            serde_json::json!({ "users": { "eve": { "uid": 1000, "groups": ["a b"] } } }),
            serde_json::json!({ "suites": ["--x"] }),
        ] {
            assert_eq!(check(&custom(bad.clone())).unwrap_err().code, "bad-recipe", "{bad}");
        }
        let good = serde_json::json!({ "users": { "eve": { "uid": 1000, "home": "/srv/eve" } }, "files": { "/etc/it's": { "content": "x", "mode": 384 } }, "script": "true" });
        check(&custom(good)).unwrap();
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }
}
