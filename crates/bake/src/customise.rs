//! What a recipe adds to its packages: users, files, a script, in this order, when every package is configured.
//! All of it is done from inside the tree, where a link cannot lead outside.

use crate::sandbox::Sandbox;
use disk::files;
use disk::lock::Work;
use model::{Fault, ImageCustom};
use std::fmt::Write;
use store::program;

/// None: everything must be signed.
pub fn unsigned(custom: &ImageCustom) -> Option<String> {
    let all = custom.allow_unsigned.join(", ");
    (!all.is_empty()).then(|| format!("indexes without a signature are believed, as the recipe says: {all}"))
}

pub fn notes(custom: &ImageCustom) -> Vec<String> {
    let mut notes = Vec::new();
    if !custom.suites.is_empty() {
        notes.push(format!("further suites: {}", custom.suites.join(", ")));
    }
    if !custom.args.is_empty() {
        let args: Vec<String> = custom.args.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
        notes.push(format!("build arguments: {}", args.join(", ")));
    }
    if !custom.components.is_empty() {
        notes.push(format!("components of the archive: {}", custom.components.join(", ")));
    }
    notes.extend(unsigned(custom));
    if let Some(script) = &custom.script {
        notes.push(format!("a script of the recipe ran in the tree: {}", files::digest_of(script.as_bytes())));
    }
    notes
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
        std::fs::write(&staged, &file.content).map_err(files::at("cannot write", &staged))?;
        let _ = writeln!(
            text,
            "echo {}; install -DT -o 0 -g 0 -m {:04o} /tmp/packages/file-{n} {}",
            quoted(&format!("afresh: file {path}")),
            file.mode,
            quoted(path)
        );
    }
    if let Some(script) = &custom.script {
        let staged = dir.join("script");
        std::fs::write(&staged, script).map_err(files::at("cannot write", &staged))?;
        text.push_str("echo 'afresh: the script'\n");
        for (name, value) in &custom.args {
            let _ = writeln!(text, "export {name}={}", quoted(value));
        }
        text.push_str("exec sh /tmp/packages/script\n");
    }
    // Handed over as a file: one word of a command line has at most 128 KiB.
    let staged = dir.join("all");
    std::fs::write(&staged, &text).map_err(files::at("cannot write", &staged))?;
    let mut at = String::new();
    let said = sandbox.run("exec sh /tmp/packages/all", &[], |line| {
        if let Some(what) = line.strip_prefix("afresh: ") {
            at = what.to_string();
        }
    })?;
    if said.status.success() { Ok(()) } else { Err(failed(&at, &said)) }
}

fn failed(at: &str, said: &program::Done) -> Fault {
    let fault = program::ended_badly(&format!("the recipe's own part ({at})"), said.status, &said.stderr);
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

    #[test]
    fn a_word_stays_one_word() {
        for text in ["it's", "", "a b\nc", "$x `y` \\ \"z\" 'é'"] {
            let said = std::process::Command::new("sh").args(["-c", &format!("printf %s {}", quoted(text))]).output().unwrap();
            assert_eq!(String::from_utf8(said.stdout).unwrap(), text);
        }
    }

    #[test]
    fn arguments_are_part_of_the_recipe() {
        let custom = |args: serde_json::Value| serde_json::from_value(serde_json::json!({ "script": "true", "args": args })).unwrap();
        let [none, a, b]: [ImageCustom; 3] =
            [custom(serde_json::json!({})), custom(serde_json::json!({ "A": "1" })), custom(serde_json::json!({ "A": "2" }))];
        assert!(key(&none) != key(&a) && key(&a) != key(&b));
        assert_eq!(key(&none).to_string(), "{\"script\":\"true\"}", "recipes without arguments keep their digest");
        assert_eq!(notes(&a)[0], "build arguments: A=\"1\"");
    }
}
