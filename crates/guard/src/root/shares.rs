//! NFS, rsync and Samba: which directories are given to whom.

use super::Tree;
use super::exposure::Exposure;
use super::reach::Reach;
use super::text::{Section, included, is_yes, joined_lines, read, sections};
use crate::cidr::AddressSet;
use crate::finding::Severity;
use crate::ternary::Tri;

/// `/etc/exports`. <https://man7.org/linux/man-pages/man5/exports.5.html>
pub(super) fn nfs(path: &str, text: &str) -> Vec<Exposure> {
    let mut found = Vec::new();
    for (number, line) in joined_lines(text) {
        let line = line.split(" #").next().unwrap_or(&line).trim();
        let Some((directory, rest)) = directory(line) else { continue };
        let mut defaults = "";
        let mut clients: Vec<(&str, &str)> = Vec::new();
        for word in rest.split_whitespace() {
            if let Some(options) = word.strip_prefix('-') {
                defaults = options;
            } else {
                let (client, options) =
                    word.split_once('(').map_or((word, ""), |(client, options)| (client, options.trim_end_matches(')')));
                clients.push((client, options));
            }
        }
        // No client at all is every client, as is one that a blank parted from its options.
        if clients.is_empty() {
            clients.push(("", ""));
        }
        for (client, options) in clients {
            let all = format!("{defaults},{options}");
            let has = |option: &str| all.split(',').any(|o| o.trim() == option);
            let kerberos =
                all.split(',').rfind(|o| o.trim().starts_with("sec=")).is_some_and(|o| !o.contains("sys") && !o.contains("none"));
            if kerberos || !is_everyone(client) {
                continue;
            }
            let writes = if has("rw") { "read and write" } else { "read" };
            let root = if has("no_root_squash") { " as root" } else { "" };
            let severity = if has("rw") { Severity::Critical } else { Severity::High };
            let why = format!("everybody who reaches the host can {writes} {directory} over NFS{root}: {line}");
            let fix = format!("name the clients in {path}, line {number}, with no blank before the bracket: {directory} 10.0.0.0/24(ro)");
            found.push(Exposure::new("nfs-to-everyone", path, number, severity, why, fix));
        }
    }
    found
}

/// The exported directory, which may be quoted, and the rest of the line.
fn directory(line: &str) -> Option<(&str, &str)> {
    if let Some(rest) = line.strip_prefix('"') {
        return rest.split_once('"');
    }
    line.starts_with('/').then(|| line.split_once(char::is_whitespace).unwrap_or((line, "")))
}

fn is_everyone(client: &str) -> bool {
    matches!(client, "" | "*" | "<world>") || AddressSet::from_cidrs([with_bits(client).as_str()]).is_some_and(|set| set.admits_anyone())
}

/// `0.0.0.0/0.0.0.0`
fn with_bits(client: &str) -> String {
    match client.split_once('/').and_then(|(a, mask)| Some((a, mask.parse::<std::net::Ipv4Addr>().ok()?))) {
        Some((address, mask)) => format!("{address}/{}", mask.to_bits().count_ones()),
        None => client.to_string(),
    }
}

/// Clients of `hosts allow`: whether they leave strangers out. Names and patterns of addresses do.
fn limits(list: &str) -> bool {
    let clients: Vec<&str> = list.split([',', ' ', '\t']).filter(|c| !c.is_empty()).collect();
    !clients.is_empty() && !clients.iter().any(|c| c.eq_ignore_ascii_case("all") || is_everyone(c))
}

/// `/etc/rsyncd.conf`. <https://download.samba.org/pub/rsync/rsyncd.conf.5>
pub(super) fn rsync(path: &str, text: &str, tree: &dyn Tree) -> Vec<Exposure> {
    let rule = "rsync-without-password";
    let (text, unread) = whole(text, path, tree, &["&include ", "&merge "]);
    let sections = sections(&text);
    let is_global = |s: &&Section| s.name.is_empty() || s.name == "global";
    let global = |name: &[&str]| sections.iter().filter(is_global).find_map(|s| s.get(name));
    let reach = global(&["address"]).map_or(Reach::Anyone, |address| Reach::of([address]));
    let mut found: Vec<Exposure> = unread.iter().map(|missing| Exposure::unknown(rule, path, missing)).collect();
    for module in sections.iter().filter(|s| !is_global(s)) {
        let value = |name: &str| module.get(&[name]).or_else(|| global(&[name]));
        let asks = value("authusers").is_some_and(|users| !users.trim().is_empty());
        let limited = value("hostsallow").is_some_and(limits);
        if asks || limited {
            continue;
        }
        let writes = value("readonly").is_some_and(|v| !is_yes(v));
        let what = if writes { "read and write" } else { "read" };
        let why =
            format!("{} can {what} the rsync module {} ({}) without a password", reach.phrase(), module.name, value("path").unwrap_or("?"));
        let severity = reach.soften(if writes { Severity::Critical } else { Severity::High });
        let fix = format!("set `auth users` and `secrets file`, or `hosts allow`, for [{}] in {path}", module.name);
        let exposure = Exposure::new(rule, path, module.line, severity, why, fix);
        found.extend(exposure.given(reach.is_wide(), "the address that it listens on"));
    }
    found
}

/// `/etc/samba/smb.conf`. <https://www.samba.org/samba/docs/current/man-html/smb.conf.5.html>
pub(super) fn samba(path: &str, text: &str, tree: &dyn Tree) -> Vec<Exposure> {
    let rule = "samba-guest";
    let (text, unread) = whole(text, path, tree, &["include ", "include="]);
    let sections = sections(&text);
    let global = |names: &[&str]| sections.iter().find(|s| s.name == "global").and_then(|s| s.get(names));
    let bound = global(&["bindinterfacesonly"]).is_some_and(is_yes);
    let interfaces: Vec<&str> = global(&["interfaces"]).unwrap_or_default().split_whitespace().collect();
    let loopback = bound && !interfaces.is_empty() && interfaces.iter().all(|i| *i == "lo" || i.starts_with("127.") || *i == "::1");
    let mut found: Vec<Exposure> = unread.iter().map(|missing| Exposure::unknown(rule, path, missing)).collect();
    for share in sections.iter().filter(|s| !matches!(s.name.as_str(), "" | "global")) {
        let names = ["guestok", "public", "guestonly", "onlyguest"];
        let value = |names: &[&str]| share.get(names).or_else(|| global(names)).map(str::to_string);
        let guest = names.iter().any(|name| value(&[name]).is_some_and(|v| is_yes(&v)));
        let limited = value(&["hostsallow", "allowhosts"]).is_some_and(|list| limits(&list));
        let available = share.get(&["available"]).is_none_or(is_yes);
        // Printers have no files in them.
        let prints = share.get(&["printable", "printok"]).is_some_and(is_yes);
        if !guest || limited || loopback || !available || prints {
            continue;
        }
        let writes =
            value(&["writeable", "writable", "writeok"]).is_some_and(|v| is_yes(&v)) || value(&["readonly"]).is_some_and(|v| !is_yes(&v));
        let what = if writes { "read and write" } else { "read" };
        let directory = share.get(&["path"]).unwrap_or("?");
        let why = format!("everybody who reaches the host can {what} the share {} ({directory}) as a guest", share.name);
        let severity = if writes { Severity::Critical } else { Severity::High };
        let fix = format!("set `guest ok = no`, or `hosts allow`, for [{}] in {path}", share.name);
        found.extend(Exposure::new(rule, path, share.line_of(&names), severity, why, fix).given(Tri::Yes, ""));
    }
    found
}

/// The text with what it includes at its end, and what of that could not be read.
fn whole(text: &str, path: &str, tree: &dyn Tree, words: &[&str]) -> (String, Vec<String>) {
    let base = path.rsplit_once('/').map_or("", |(directory, _)| directory);
    let (mut all, mut unread) = (text.to_string(), Vec::new());
    for (_, line) in joined_lines(text) {
        let Some(name) = words.iter().find_map(|word| line.trim().strip_prefix(word)) else { continue };
        let name = name.trim_start_matches([' ', '=']).trim();
        // Samba's variables stand for clients and users.
        let files = if name.contains('%') { Err(name.to_string()) } else { included(tree, name, base) };
        match files {
            Ok(files) => {
                for file in files {
                    match read(tree, &file) {
                        Ok(Some(more)) => {
                            all.push('\n');
                            all.push_str(&more);
                        }
                        Ok(None) => {}
                        Err(missing) => unread.push(missing),
                    }
                }
            }
            Err(missing) => unread.push(missing),
        }
    }
    (all, unread)
}
