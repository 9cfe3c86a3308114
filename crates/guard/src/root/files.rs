//! One file by its path, mode and content.

use super::credentials::{credential, has_fields_of_shadow, is_for_credentials, is_history, keystore, shadow, typed_password};
use super::exposure::Exposure;
use super::survey::Survey;
use super::{File, Purpose, Tree, login, postgres, redis, shares, stores, web};
use crate::finding::Severity;
use crate::secrets::Leak;
use crate::ternary::Fact;
use std::cell::LazyCell;

/// A larger file than this is searched for tokens, not read as configuration.
const CONFIGURATION_MAX: usize = 1 << 20;

/// More secrets than these in one file are not shown.
const SECRETS_MAX: usize = 20;

/// What one file or directory exposes: for each of the walk. `leaks` searches the whole file, and is asked only where a secret would be
/// exposed.
pub fn judge(survey: &Survey, file: &File, leaks: impl FnOnce() -> Fact<Vec<Leak>>, tree: &dyn Tree) -> Vec<Exposure> {
    let mut found = by_mode(survey, file);
    if let Some(root) = web::root_of(&survey.web_roots, file.path) {
        found.extend(web::misplaced(file, root));
    }
    if file.is_directory {
        return found;
    }
    let Some(content) = file.content.known() else {
        let is_important = service_of(file.path).is_some() || is_for_credentials(file);
        if is_important {
            found.push(Exposure::unknown("unread", file.path, file.path));
        }
        return found;
    };
    if content.len() <= CONFIGURATION_MAX
        && let Some(judge) = service_of(file.path)
    {
        found.extend(judge(file.path, &String::from_utf8_lossy(content), tree));
    }
    found.extend(secrets(survey, file, content, leaks));
    // The dump under a web root has been said already.
    let is_said = found.iter().any(|e| e.rule == "web-dump");
    if !is_said && file.is_read_by_others() && web::is_dump(&file.name().to_ascii_lowercase(), &file.content) && is_of_data(file.path) {
        let why = "every account of the host can read this copy of a database";
        found.push(Exposure::new("readable-dump", file.path, 0, Severity::High, why, format!("delete it, or chmod 0600 {}", file.path)));
    }
    found
}

/// Dumps that packages bring as their samples are no data.
fn is_of_data(path: &str) -> bool {
    !path.starts_with("/usr/")
        && !path.starts_with("/var/lib/dpkg")
        && !path.starts_with("/var/cache/")
        && !path.starts_with("/var/lib/rpm")
}

type Judge = fn(&str, &str, &dyn Tree) -> Vec<Exposure>;

/// Whose configuration it is, by its path.
fn service_of(path: &str) -> Option<Judge> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let ends = |suffix: &str| path.ends_with(suffix);
    Some(match name {
        "redis.conf" | "valkey.conf" => redis::judge,
        _ if name.ends_with(".conf") && (path.contains("/redis/") || path.contains("/valkey/")) && !name.contains("sentinel") => {
            redis::judge
        }
        "pg_hba.conf" => postgres::judge,
        "mongod.conf" | "mongodb.conf" => |path, text, _| stores::mongo(path, text),
        "elasticsearch.yml" | "opensearch.yml" => |path, text, _| stores::elastic(path, text),
        "etcd.conf" | "etcd.conf.yml" | "etcd.conf.yaml" => |path, text, _| stores::etcd(path, text),
        "etcd" if ends("/default/etcd") => |path, text, _| stores::etcd(path, text),
        "memcached.conf" => |path, text, _| stores::memcached(path, text),
        "memcached" if ends("/sysconfig/memcached") => |path, text, _| stores::memcached(path, text),
        "minio" if ends("/default/minio") || ends("/sysconfig/minio") => |path, text, _| stores::minio(path, text),
        "daemon.json" if ends("/docker/daemon.json") => |path, text, _| stores::docker(path, text),
        _ if name.ends_with(".cnf") => |path, text, _| stores::mysql(path, text),
        "exports" if ends("/etc/exports") => |path, text, _| shares::nfs(path, text),
        _ if path.contains("/etc/exports.d/") && name.ends_with(".exports") => |path, text, _| shares::nfs(path, text),
        "rsyncd.conf" => shares::rsync,
        "smb.conf" => shares::samba,
        "sshd_config" => login::sshd,
        "sudoers" if ends("/etc/sudoers") => login::sudo,
        _ if name.ends_with(".service") && path.contains("/systemd/system/") => |path, text, _| unit(path, text),
        _ if web::is_configuration(path) => |path, text, _| web::judge(path, text),
        _ => return None,
    })
}

/// Daemons whose options are in the unit that starts them.
fn unit(path: &str, text: &str) -> Vec<Exposure> {
    let commands = super::text::joined_lines(text).into_iter().filter_map(|(number, line)| {
        let command = line.trim().strip_prefix("ExecStart=")?.trim_start_matches(['-', '@', ':', '+', '!']).to_string();
        Some((number, super::text::words(&command)))
    });
    commands.flat_map(|(number, words)| stores::command(path, number, &words)).collect()
}

fn by_mode(survey: &Survey, file: &File) -> Vec<Exposure> {
    let mut found = Vec::new();
    if file.is_written_by_others() {
        let is_sticky = file.is_directory && file.mode & 0o1000 != 0;
        let runs = survey.runs_as_root(file.path, file.is_directory);
        if runs && !is_sticky {
            let what = if file.is_directory {
                "put programs into this directory, from which root runs them"
            } else {
                "change this file, which root runs or reads"
            };
            let why = format!("every account of the host can {what} (mode {:04o})", file.mode & 0o7777);
            let fix = format!("chmod o-w {}", file.path);
            found.push(Exposure::new("world-writable", file.path, 0, Severity::Critical, why, fix));
        }
    }
    if !file.is_directory && file.mode & 0o4000 != 0 && file.mode & 0o111 != 0 {
        match survey.is_packaged(file.path) {
            Some(true) => {}
            Some(false) => {
                let is_root = file.owner == 0;
                let user = if is_root { "root".to_string() } else { format!("the user {}", file.owner) };
                let why = format!("it runs as {user} for everybody (setuid, mode {:04o}), and no package owns it", file.mode & 0o7777);
                let severity = if is_root { Severity::High } else { Severity::Medium };
                found.push(Exposure::new("setuid-without-package", file.path, 0, severity, why, format!("chmod u-s {}", file.path)));
            }
            None => found.push(Exposure::unknown("setuid-without-package", file.path, "the list of packages' files")),
        }
    }
    found
}

fn secrets(survey: &Survey, file: &File, content: &[u8], leaks: impl FnOnce() -> Fact<Vec<Leak>>) -> Vec<Exposure> {
    let mut found = Vec::new();
    let text = LazyCell::new(|| String::from_utf8_lossy(&content[..content.len().min(CONFIGURATION_MAX)]));
    if has_fields_of_shadow(content) {
        found.extend(shadow(file, &text));
    }
    let is_exposed = survey.purpose == Purpose::Image || file.is_read_by_others();
    // What a package brings in its documentation and tests is published with it.
    if !is_exposed || is_published(survey, file.path) {
        return found;
    }
    let who = if survey.purpose == Purpose::Image { "everybody who has the image" } else { "every account of the host" };
    let leaks = match leaks() {
        Fact::Known(leaks) => leaks,
        Fact::Unknown(_) => {
            found.push(Exposure::unknown("unread", file.path, file.path));
            Vec::new()
        }
    };
    for leak in leaks {
        let why = format!("{who} can read a secret in it: {}: {}", leak.title, leak.shown);
        let mut exposure = Exposure::new("secret", file.path, leak.line, Severity::Critical, why, leak.fix);
        exposure.evidence = leak.fingerprint;
        // One file with many secrets is one row for each rule.
        if !found.iter().any(|e| e.evidence == exposure.evidence) {
            found.push(exposure);
        }
        if found.len() == SECRETS_MAX {
            break;
        }
    }
    if !found.is_empty() {
        return found;
    }
    let fix = |what: &str| format!("remove {} ({what}), and replace the credential", file.path);
    if let Some((line, what)) = credential(file, || &text) {
        let why = format!("{who} can read a credential that opens {what}");
        found.push(Exposure::new("credentials", file.path, line, Severity::Critical, why, fix("credentials")));
    } else if let Some(what) = keystore(file, content) {
        found.push(Exposure::new("keystore", file.path, 0, Severity::High, format!("{who} can read it: {what}"), fix("keystore")));
    } else if is_history(file) {
        if let Some(line) = typed_password(&text) {
            let why = format!("{who} can read a password that was typed into a shell");
            found.push(Exposure::new("history", file.path, line, Severity::High, why, fix("history")));
        } else if survey.purpose == Purpose::Image && !text.trim().is_empty() {
            let why = format!("{who} can read what was typed into a shell");
            found.push(Exposure::new(
                "history",
                file.path,
                1,
                Severity::Low,
                why,
                format!("remove {} at the end of the recipe", file.path),
            ));
        }
    }
    found
}

fn is_published(survey: &Survey, path: &str) -> bool {
    let is_sample =
        ["/doc/", "/docs/", "/test/", "/tests/", "/testdata/", "/examples/", "/man/", "/locale/"].iter().any(|part| path.contains(part));
    path.starts_with("/usr/") && is_sample && survey.is_packaged(path) == Some(true)
}
