//! One file by its path, mode and content.

use super::credentials::{credential, has_fields_of_shadow, is_for_credentials, is_history, keystore, shadow, typed_password};
use super::exposure::Exposure;
use super::survey::Survey;
use super::{File, Judge, Purpose, Tree, daemons, login, postgres, redis, settings, shares, stores, web};
use crate::finding::Severity;
use crate::secrets::Leak;
use crate::ternary::Fact;
use std::cell::LazyCell;
use std::ops::Deref;

/// A larger file than this is searched for tokens, not read as configuration.
const CONFIGURATION_MAX: usize = 1 << 20;

/// So many lines has no configuration that somebody wrote.
const LINES_MAX: usize = 20_000;

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
    if let Some(judge) = service_of(file.path) {
        // What is longer, or has more lines than any service's configuration, was made to keep a scan busy or to hide something.
        let is_read = content.len() <= CONFIGURATION_MAX && content.iter().filter(|byte| **byte == b'\n').count() <= LINES_MAX;
        match is_read {
            true => found.extend(judge(file.path, &String::from_utf8_lossy(content), tree)),
            false => found.push(Exposure::unread(file.path, "it is too long for a configuration", "shorten it, or scan it by hand")),
        }
    }
    found.extend(secrets(survey, file, content, leaks, tree));
    // The dump under a web root has been said already.
    let is_said = found.iter().any(|e| e.rule == "web-dump");
    if !is_said
        && file.is_read_by_others()
        && web::is_dump(&file.name().to_ascii_lowercase(), &file.content)
        && is_of_data(survey, file.path)
    {
        let why = "every account of the host can read this copy of a database";
        found.push(Exposure::new("readable-dump", file.path, 0, Severity::High, why, format!("delete it, or chmod 0600 {}", file.path)));
    }
    found
}

/// Directories of tests, by the names that languages and people give them.
fn is_of_tests(path: &str) -> bool {
    ["/test/", "/tests/", "/testdata/", "/fixtures/"].iter().any(|part| path.contains(part))
}

/// What libraries publish with their code: tests, samples, descriptions; keys that are compiled into programs of the distribution, as test
/// vectors are; and the key that `ssl-cert` makes for whoever has none yet.
fn is_sample(survey: &Survey, file: &File) -> bool {
    let name = file.name();
    let is_of_library = ["/site-packages/", "/dist-packages/", "/node_modules/", "/gems/", "/usr/local/go/src/", "/go/pkg/mod/"]
        .iter()
        .any(|part| file.path.contains(part));
    let is_described = ["METADATA", "PKG-INFO"].contains(&name) || [".md", ".rst", ".txt"].iter().any(|end| name.ends_with(end));
    let of_samples = ["/spec/", "/specs/", "/examples/", "/example/", "/docs/", "/doc/", "/__tests__/"];
    let is_shown = is_described || is_of_tests(file.path) || of_samples.iter().any(|part| file.path.contains(part));
    // Of RPM's packages nobody can tell here what they brought.
    let is_compiled = survey.packages.has_rpm
        && file.path.starts_with("/usr/")
        && !file.path.starts_with("/usr/local/")
        && file.content.known().is_some_and(|content| content.starts_with(b"\x7fELF"));
    (is_of_library && is_shown) || is_compiled || file.path == "/etc/ssl/private/ssl-cert-snakeoil.key"
}

/// Dumps that packages bring as their samples, and those of tests of code, are no data.
fn is_of_data(survey: &Survey, path: &str) -> bool {
    let is_sample = survey.purpose == Purpose::Host && is_of_tests(path);
    let of_packages = ["/usr/", "/var/lib/dpkg", "/var/cache/", "/var/lib/rpm"];
    !is_sample && !of_packages.iter().any(|start| path.starts_with(start))
}

/// Whose configuration it is, by its path.
fn service_of(path: &str) -> Option<Judge> {
    // Samples, and what systemd makes directories and accounts by, have names of services too.
    if ["/usr/share/doc/", "/usr/lib/tmpfiles.d/", "/usr/lib/sysusers.d/"].iter().any(|directory| path.starts_with(directory)) {
        return None;
    }
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
        // Included by a file that is not there yet: what it says is to hold when that is.
        _ if path.starts_with("/etc/ssh/sshd_config.d/") && ends(".conf") => {
            |path, text, tree| alone("/etc/ssh/sshd_config", path, text, tree, login::sshd)
        }
        _ if path.starts_with("/etc/sudoers.d/") => |path, text, tree| alone("/etc/sudoers", path, text, tree, login::sudo),
        _ if name.ends_with(".service") && path.contains("/systemd/system/") => |path, text, _| unit(path, text),
        _ if web::is_configuration(path) => |path, text, _| web::judge(path, text),
        _ => return daemons::of(path),
    })
}

fn alone(main: &str, path: &str, text: &str, tree: &dyn Tree, judge: Judge) -> Vec<Exposure> {
    if matches!(tree.read(main), Fact::Known(None)) { judge(path, text, tree) } else { Vec::new() }
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
        match survey.packages.own(file.path) {
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

fn secrets(survey: &Survey, file: &File, content: &[u8], leaks: impl FnOnce() -> Fact<Vec<Leak>>, tree: &dyn Tree) -> Vec<Exposure> {
    let mut found = Vec::new();
    let text = LazyCell::new(|| String::from_utf8_lossy(&content[..content.len().min(CONFIGURATION_MAX)]));
    if has_fields_of_shadow(content) {
        found.extend(shadow(file, &text));
    }
    let is_image = survey.purpose == Purpose::Image && !file.is_mounted;
    if !is_image && !file.is_read_by_others() {
        return found;
    }
    let who = if is_image { "everybody who has the image" } else { "every account of the host" };
    let is_shipped = LazyCell::new(|| survey.packages.ship(file.path, content, tree));
    let secrets = tokens(survey, file, who, leaks(), &is_shipped);
    if found.is_empty()
        && secrets.is_empty()
        && let Some(credential) = credentials(survey, file, content, who, &text)
        && !*is_shipped
    {
        found.push(credential);
    }
    found.extend(secrets);
    found
}

/// Secrets by the formats of their issuers. Who can get a package has the private keys of its tests. A token in a package opens something:
/// it is shown, as only its owner knows whether others can get the package. A host has checkouts of code, whose tests have keys of their own.
fn tokens(survey: &Survey, file: &File, who: &str, leaks: Fact<Vec<Leak>>, is_shipped: &dyn Deref<Target = bool>) -> Vec<Exposure> {
    let Fact::Known(leaks) = leaks else { return vec![Exposure::unknown("unread", file.path, file.path)] };
    let is_image = survey.purpose == Purpose::Image;
    let mut found: Vec<Exposure> = Vec::new();
    for leak in leaks {
        let mut why = format!("{who} can read a secret in it: {}: {}", leak.title, leak.shown);
        let (mut rule, mut severity) = ("secret", Severity::Critical);
        if survey.purpose == Purpose::Host && leak.has_no_issuer() && is_of_tests(file.path) {
            continue;
        }
        if is_image && leak.has_no_issuer() && is_sample(survey, file) {
            (rule, severity) = ("secret-of-sample", Severity::Low);
            why.push_str("; it is a sample or a test's of a library, which everybody has who can get that");
        } else if **is_shipped {
            if leak.has_no_issuer() || is_of_tests(file.path) {
                continue;
            }
            (rule, severity) = ("secret-of-package", Severity::Medium);
            why.push_str("; its package brings it, so that everybody has it who can get the package");
        }
        let mut exposure = Exposure::new(rule, file.path, leak.line, severity, why, leak.fix);
        exposure.evidence = leak.fingerprint;
        // One file with many secrets is one row for each rule.
        if !found.iter().any(|e| e.evidence == exposure.evidence) {
            found.push(exposure);
        }
        if found.len() == SECRETS_MAX {
            break;
        }
    }
    found
}

/// A credential by what the file is for.
fn credentials(survey: &Survey, file: &File, content: &[u8], who: &str, text: &str) -> Option<Exposure> {
    let fix = |what: &str| format!("remove {} ({what}), and replace the credential", file.path);
    let new = |rule: &'static str, line, severity, why, fix| Some(Exposure::new(rule, file.path, line, severity, why, fix));
    if let Some((line, what)) = credential(file, || text) {
        let why = format!("{who} can read a credential that opens {what}");
        return new("credentials", line, Severity::Critical, why, fix("credentials"));
    }
    if let Some(what) = keystore(file, content) {
        return new("keystore", 0, Severity::High, format!("{who} can read it: {what}"), fix("keystore"));
    }
    if (service_of(file.path).is_none() || file.path.ends_with(".service"))
        && let Some((line, what)) = settings::credential(survey, file, content.len(), text)
    {
        let why = format!("{who} can read a credential that opens {what}");
        return new("credentials", line, Severity::Critical, why, fix("credentials"));
    }
    if !is_history(file) {
        return None;
    }
    if let Some(line) = typed_password(text) {
        let why = format!("{who} can read a password that was typed into a shell");
        return new("history", line, Severity::High, why, fix("history"));
    }
    let is_image = survey.purpose == Purpose::Image && !file.is_mounted;
    (is_image && !text.trim().is_empty()).then(|| {
        let (why, fix) = (format!("{who} can read what was typed into a shell"), format!("remove {} at the end of the recipe", file.path));
        Exposure::new("history", file.path, 1, Severity::Low, why, fix)
    })
}
