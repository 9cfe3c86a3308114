//! sshd and sudo: who gets in without proof, and who becomes root without one.

use super::Tree;
use super::exposure::Exposure;
use super::reach::{Reach, host_of};
use super::text::{included, joined_lines, lines, read, words};
use crate::finding::Severity;
use std::collections::{BTreeMap, BTreeSet};

const DEPTH_MAX: usize = 8;

/// The settings outside of `Match` blocks, the first of each; those inside, each by itself.
#[derive(Default)]
struct Sshd {
    global: BTreeMap<String, (String, usize, String)>,
    listens: Vec<String>,
    matched: Vec<(String, usize, String, String)>,
    unread: Vec<String>,
}

/// <https://man.openbsd.org/sshd_config>
pub(super) fn sshd(path: &str, text: &str, tree: &dyn Tree) -> Vec<Exposure> {
    let mut all = Sshd::default();
    all.add(path, text, tree, 0, false);
    let listens = all.listens.iter().map(|address| host_of(address));
    let reach = if all.listens.is_empty() { Reach::Anyone } else { Reach::of(listens) };
    let mut found = Vec::new();
    let value = |key: &str| all.global.get(key).map(|(_, _, value)| value.as_str());
    let place = |key: &str| all.global.get(key).map_or((path, 0), |(file, line, _)| (file.as_str(), *line));
    // Keyboard-interactive asks PAM for the password, and is on by default.
    let interactive = value("kbdinteractiveauthentication").or_else(|| value("challengeresponseauthentication")) != Some("no");
    let by_password = value("passwordauthentication") != Some("no") || (interactive && value("usepam") == Some("yes"));
    let mut add = |rule: &'static str, (file, line): (&str, usize), severity, why: &str, fix: &str| {
        let exposure = Exposure::new(rule, file, line, severity, why, fix);
        found.extend(exposure.given(reach.is_wide(), "the address that sshd listens on"));
    };
    if value("permitrootlogin") == Some("yes") && by_password {
        let fix = "set `PermitRootLogin prohibit-password` or `PasswordAuthentication no`";
        add("sshd-root-password", place("permitrootlogin"), Severity::High, "everybody who reaches sshd can try passwords of root", fix);
    }
    let empty = "accounts without a password let everybody in over ssh";
    if value("permitemptypasswords") == Some("yes") && by_password {
        add("sshd-empty-passwords", place("permitemptypasswords"), Severity::Critical, empty, "set `PermitEmptyPasswords no`");
    }
    for (file, line, key, value) in &all.matched {
        match (key.as_str(), value.as_str()) {
            ("permitrootlogin", "yes") => {
                let why = "clients that a Match block names can try passwords of root, if it allows passwords";
                add("sshd-root-password", (file, *line), Severity::Medium, why, "set `PermitRootLogin prohibit-password`");
            }
            ("permitemptypasswords", "yes") => {
                add("sshd-empty-passwords", (file, *line), Severity::Critical, empty, "set `PermitEmptyPasswords no`");
            }
            _ => {}
        }
    }
    found.extend(all.unread.iter().map(|missing| Exposure::unknown("sshd-root-password", path, missing)));
    found
}

impl Sshd {
    fn add(&mut self, path: &str, text: &str, tree: &dyn Tree, depth: usize, mut in_match: bool) {
        for (number, line) in lines(text) {
            let words = words(&line.replacen('=', " ", 1));
            let Some((key, rest)) = words.split_first() else { continue };
            let (key, value) = (key.to_ascii_lowercase(), rest.first().cloned().unwrap_or_default());
            let lower = value.to_ascii_lowercase();
            match key.as_str() {
                "match" => in_match = !lower.eq("all"),
                "include" => {
                    for pattern in rest {
                        let files = if depth < DEPTH_MAX { included(tree, pattern, "/etc/ssh") } else { Err(pattern.clone()) };
                        match files {
                            Ok(files) => files.iter().for_each(|file| match read(tree, file) {
                                Ok(Some(text)) => self.add(file, &text, tree, depth + 1, in_match),
                                Ok(None) => {}
                                Err(missing) => self.unread.push(missing),
                            }),
                            Err(missing) => self.unread.push(missing),
                        }
                    }
                }
                _ if in_match => self.matched.push((path.into(), number, key, lower)),
                "listenaddress" => self.listens.push(value),
                _ => {
                    self.global.entry(key).or_insert((path.into(), number, lower));
                }
            }
        }
    }
}

/// `/etc/sudoers` and what it includes. <https://www.sudo.ws/docs/man/sudoers.man/>
pub(super) fn sudo(path: &str, text: &str, tree: &dyn Tree) -> Vec<Exposure> {
    let mut all: Vec<(String, usize, String)> = Vec::new();
    let mut found = Vec::new();
    collect(path, text, tree, 0, &mut all, &mut found);
    let aliases = aliases(&all);
    for (file, number, line) in &all {
        let rule = "sudo-without-password";
        let fix = format!("remove NOPASSWD, or name the commands, in {file}, line {number}");
        if line.starts_with("Defaults") {
            if line.split([',', ' ', '\t']).any(|word| word == "!authenticate") {
                let why = format!("sudo asks nobody for a password: `{line}`");
                found.push(Exposure::new(rule, file, *number, Severity::High, why, fix));
            }
            continue;
        }
        let Some((left, right)) = line.split_once('=') else { continue };
        let Some((users, _hosts)) = left.trim().rsplit_once(char::is_whitespace) else { continue };
        if line.contains("_Alias") {
            continue;
        }
        let users: Vec<&str> = users.split(',').map(str::trim).filter(|u| !u.is_empty()).collect();
        if users.iter().all(|user| *user == "root") {
            continue;
        }
        let everyone = users.iter().any(|user| *user == "ALL" || aliases.contains(&(*user).to_string()));
        let Some(command) = free_command(right, &aliases) else {
            // `ALL ALL=(ALL) ALL` asks for the caller's own password only.
            if everyone && grants_all(right, &aliases) && !asks_for_targets_password(&all) {
                let why = format!("every account can become root with its own password: `{line}`");
                found.push(Exposure::new(rule, file, *number, Severity::High, why, format!("name the users in {file}, line {number}")));
            }
            continue;
        };
        let who = if everyone { "every account".to_string() } else { users.join(", ") };
        let severity = if everyone { Severity::Critical } else { Severity::High };
        let why = format!("{who} can become root without a password through {command}: `{line}`");
        found.push(Exposure::new(rule, file, *number, severity, why, fix));
    }
    found
}

fn collect(path: &str, text: &str, tree: &dyn Tree, depth: usize, all: &mut Vec<(String, usize, String)>, found: &mut Vec<Exposure>) {
    for (number, line) in joined_with_includes(text) {
        let words = words(&line);
        let directive = words.first().map(|w| w.trim_start_matches(['#', '@']).to_string()).unwrap_or_default();
        if !matches!(directive.as_str(), "include" | "includedir") {
            all.push((path.to_string(), number, line.trim().to_string()));
            continue;
        }
        let target = words.get(1).cloned().unwrap_or_default();
        let pattern = if directive == "includedir" { format!("{}/*", target.trim_end_matches('/')) } else { target };
        let base = path.rsplit_once('/').map_or("", |(directory, _)| directory);
        match if depth < DEPTH_MAX { included(tree, &pattern, base) } else { Err(pattern) } {
            Ok(files) => {
                // sudo skips names with a dot or a tilde at the end.
                let is_read = |file: &&String| directive == "include" || !file.rsplit('/').next().unwrap_or("").contains(['.', '~']);
                for file in files.iter().filter(is_read) {
                    match read(tree, file) {
                        Ok(Some(text)) => collect(file, &text, tree, depth + 1, all, found),
                        Ok(None) => {}
                        Err(missing) => found.push(Exposure::unknown("sudo-without-password", path, &missing)),
                    }
                }
            }
            Err(missing) => found.push(Exposure::unknown("sudo-without-password", path, &missing)),
        }
    }
}

/// `#include` and `#includedir` are no comments.
fn joined_with_includes(text: &str) -> Vec<(usize, String)> {
    let kept = text.lines().map(|line| match line.trim_start().strip_prefix('#') {
        Some(rest) if rest.starts_with("include") => format!("@{rest}"),
        _ => line.to_string(),
    });
    joined_lines(&kept.collect::<Vec<_>>().join("\n"))
}

/// Names of aliases that hold `ALL`, by themselves or through others.
fn aliases(all: &[(String, usize, String)]) -> Vec<String> {
    let definitions: Vec<(String, Vec<String>)> = all
        .iter()
        .filter_map(|(_, _, line)| ["User_Alias", "Cmnd_Alias", "Cmd_Alias"].iter().find_map(|word| line.strip_prefix(word)))
        .flat_map(|rest| rest.split(" : "))
        .filter_map(|definition| definition.split_once('='))
        .map(|(name, values)| (name.trim().to_string(), values.split(',').map(|v| v.trim().to_string()).collect()))
        .collect();
    let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, values) in &definitions {
        values.iter().for_each(|value| users.entry(value).or_default().push(name));
    }
    let (mut open, mut next): (BTreeSet<String>, Vec<&str>) = (BTreeSet::new(), vec!["ALL"]);
    while let Some(value) = next.pop() {
        for name in users.get(value).into_iter().flatten() {
            if open.insert((*name).to_string()) {
                next.push(name);
            }
        }
    }
    open.into_iter().collect()
}

/// Programs that run whatever they are given.
const SHELLS: &[&str] = &[
    "sh",
    "bash",
    "dash",
    "zsh",
    "su",
    "sudo",
    "env",
    "python",
    "python3",
    "perl",
    "ruby",
    "node",
    "vi",
    "vim",
    "nano",
    "less",
    "more",
    "man",
    "find",
    "awk",
    "gawk",
    "tar",
    "docker",
    "podman",
    "chmod",
    "chown",
    "cp",
    "mv",
    "tee",
    "dd",
    "rsync",
    "systemctl",
    "mount",
    "apt",
    "apt-get",
    "pip",
    "npm",
    "git",
    "ssh",
    "nsenter",
    "chroot",
    "strace",
    "gdb",
];

/// The first command without a password that is `ALL`, or a program that starts any other. Arguments limit it.
fn free_command(specification: &str, aliases: &[String]) -> Option<String> {
    let mut free = false;
    for command in specification.split(',') {
        let mut rest = command.trim();
        if let Some((_, after)) = rest.strip_prefix('(').and_then(|r| r.split_once(')')) {
            rest = after.trim();
        }
        while let Some((tag, after)) =
            rest.split_once(':').filter(|(tag, _)| !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_uppercase() || b == b'_'))
        {
            match tag {
                "NOPASSWD" => free = true,
                "PASSWD" => free = false,
                _ => {}
            }
            rest = after.trim();
        }
        let is_shell = rest.starts_with('/') && SHELLS.contains(&rest.rsplit('/').next().unwrap_or(rest));
        if free && (rest == "ALL" || aliases.contains(&rest.to_string()) || is_shell) {
            return Some(rest.to_string());
        }
    }
    None
}

fn grants_all(specification: &str, aliases: &[String]) -> bool {
    specification
        .split(',')
        .map(|c| c.rsplit([')', ':']).next().unwrap_or(c).trim())
        .any(|c| c == "ALL" || aliases.contains(&c.to_string()))
}

fn asks_for_targets_password(all: &[(String, usize, String)]) -> bool {
    let flags = ["targetpw", "rootpw", "runaspw"];
    all.iter().any(|(_, _, line)| line.starts_with("Defaults") && line.split([',', ' ', '\t']).any(|word| flags.contains(&word)))
}
