//! Every command that a hint, a message, a help text or a document names exists: its verbs by their names, its flags by theirs.

use clap::{Command, CommandFactory};
use std::path::{Path, PathBuf};

/// Of `crates/guard`, whose hints name what this program cannot do yet.
const NOT_YET: &[&str] = &["guard contain", "guard close"];
/// Not a command: what a disk's identifier is computed from.
const NO_COMMAND: &str = "disk id: ";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn texts() -> Vec<(String, String)> {
    let listed = std::process::Command::new("git").args(["ls-files", "-z"]).current_dir(root()).output().unwrap();
    assert!(listed.status.success(), "git lists the files: {}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).unwrap();
    let is_text = |name: &&str| [".rs", ".md", ".txt", ".hcl", ".sh", "Makefile", ".ci/run"].iter().any(|end| name.ends_with(end));
    let is_checked = |name: &&str| is_text(name) && !name.ends_with("tests/all/mentions.rs");
    names.split('\0').filter(is_checked).map(|name| (name.to_string(), std::fs::read_to_string(root().join(name)).unwrap())).collect()
}

/// What follows the program's name, up to where a command ends in a text, a string or a shell.
fn commands(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    for program in ["afresh ", "\"$afresh\" ", "$(AFRESH) "] {
        for (at, _) in line.match_indices(program) {
            let before = line[..at].strip_suffix("sudo ").unwrap_or(&line[..at]);
            let starts = before.trim_start().is_empty() || ["`", "\"", ": ", "  ", "|| ", "\\n"].iter().any(|b| before.ends_with(b));
            let is_prose =
                before.ends_with(": ") && !before.contains('"') || before.trim_start().starts_with("//") && !before.ends_with('`');
            if !starts && program == "afresh " || is_prose {
                continue;
            }
            let rest = &line[at + program.len()..];
            if rest.starts_with(NO_COMMAND) || NOT_YET.iter().any(|command| rest.starts_with(command)) {
                continue;
            }
            let end = rest.find(['`', '"', '\\', '#', '|', ';', '>', '&', '(', ')', '$', ',']).unwrap_or(rest.len());
            found.push(rest[..end].trim());
        }
    }
    found
}

/// What is wrong with it.
fn wrong(cli: &Command, words: &str) -> Option<String> {
    let mut command = cli;
    let mut is_first = true;
    for word in words.split_whitespace() {
        let word = word.trim_end_matches(['.', ':', '\'']);
        // What follows is another program's.
        if word == "--" {
            break;
        }
        if word.contains(['{', '}', '<', '[']) {
            if is_first {
                return None;
            }
            continue;
        }
        if let Some(flag) = word.strip_prefix("--") {
            let flag = flag.split('=').next().unwrap_or_default();
            let known = |of: &Command| of.get_arguments().any(|arg| arg.get_long() == Some(flag));
            if !known(command) && !known(cli) && !["help", "version"].contains(&flag) {
                return Some(format!("{} has no --{flag}", command.get_name()));
            }
        } else if let Some(sub) = command.find_subcommand(word).filter(|sub| sub.get_name() == word) {
            command = sub;
        } else if is_first || command.get_positionals().next().is_none() && command.has_subcommands() {
            let is_name = word.starts_with(|c: char| c.is_ascii_lowercase()) && word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
            if is_name && word != "help" {
                return Some(format!("{} has no verb {word}", command.get_name()));
            }
        }
        is_first = false;
    }
    None
}

fn cli() -> Command {
    let mut cli = afresh::cli::Cli::command();
    cli.build();
    cli
}

#[test]
fn every_command_that_is_named_exists() {
    let cli = cli();
    let (mut checked, mut found) = (0, Vec::new());
    for (name, text) in texts() {
        for (n, line) in text.lines().enumerate() {
            for words in commands(line) {
                checked += 1;
                found.extend(wrong(&cli, words).map(|why| format!("{name}:{}: afresh {words}: {why}", n + 1)));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
    assert!(checked > 300, "only {checked} commands were found");
}

#[test]
fn a_planted_command_is_seen() {
    let cli = cli();
    let verdict = |line: &str| -> Vec<Option<String>> { commands(line).into_iter().map(|words| wrong(&cli, words)).collect() };
    for (line, why) in [
        (".hint(\"see `afresh rotation list`, or `afresh rotation return {id}`\")", "rotation has no verb return"),
        ("    afresh image unpack ./build   # what was once", "image has no verb unpack"),
        ("say(\"follow it with: afresh follow {id}\")", "afresh has no verb follow"),
        ("\"$afresh\" deploy --now web", "deploy has no --now"),
    ] {
        assert!(verdict(line).contains(&Some(why.to_string())), "{line}: {:?}", verdict(line));
    }
    for line in ["run afresh again", "`afresh plan web --artifact ./build --json`", "`afresh rotation stop {id}`", "afresh help"] {
        assert!(verdict(line).iter().all(Option::is_none), "{line}: {:?}", verdict(line));
    }
}
