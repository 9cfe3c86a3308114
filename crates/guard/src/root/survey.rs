//! What must be known of the whole tree before a file is judged: whose it is, who runs it, where the web servers' roots are.

use super::exposure::Exposure;
use super::packages::Packages;
use super::text::{joined_lines, lines, read, words};
use super::web;
use super::{Purpose, Tree};
use crate::ternary::Fact;
use std::collections::BTreeSet;

/// Directories whose programs root runs by their names alone.
const PROGRAM_DIRECTORIES: &[&str] =
    &["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/lib", "/usr/lib", "/usr/local/lib"];
/// Directories whose files root reads or runs, each of them.
const ROOT_DIRECTORIES: &[&str] = &[
    "/etc",
    "/root",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/usr/bin",
    "/usr/sbin",
    "/bin",
    "/sbin",
    "/usr/lib",
    "/lib",
    "/usr/local/lib",
    "/usr/libexec",
    "/boot",
    "/var/spool/cron",
];
const UNIT_DIRECTORIES: &[&str] = &["/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system"];
const CRON_DIRECTORIES: &[&str] = &["/etc/cron.d", "/var/spool/cron/crontabs", "/var/spool/cron"];
const WEB_DIRECTORIES: &[&str] = &[
    "/etc/nginx",
    "/etc/nginx/conf.d",
    "/etc/nginx/sites-enabled",
    "/etc/apache2/sites-enabled",
    "/etc/apache2/conf-enabled",
    "/etc/httpd/conf",
    "/etc/httpd/conf.d",
    "/etc/lighttpd",
];
/// A larger unit, crontab or site is no configuration, and is not read.
const TEXT_MAX: usize = 1 << 20;
/// Programs that root starts and roots of web servers: those of a hostile tree have no end.
const PATHS_MAX: usize = 20_000;
const PATH_MAX: usize = 4096;
const UNREAD_MAX: usize = 100;

#[derive(Debug)]
pub struct Survey {
    pub(super) purpose: Purpose,
    pub(super) web_roots: Vec<String>,
    pub(super) packages: Packages,
    /// Programs that cron or units start as root.
    started: BTreeSet<String>,
    /// What could not be read of all this.
    pub unread: BTreeSet<String>,
}

impl Survey {
    pub fn of(tree: &dyn Tree, purpose: Purpose) -> Survey {
        let mut survey =
            Survey { purpose, web_roots: Vec::new(), packages: Packages::default(), started: BTreeSet::new(), unread: BTreeSet::new() };
        survey.packages = Packages::of(tree, &mut |path| survey.missed(path));
        for directory in UNIT_DIRECTORIES {
            survey.texts(tree, directory, ".service", &mut |survey, path, text| survey.start(path, started_by_unit(text)));
        }
        for directory in CRON_DIRECTORIES {
            let is_users = directory.starts_with("/var/spool");
            survey.texts(tree, directory, "", &mut |survey, path, text| {
                if !is_users || path.ends_with("/root") {
                    survey.start(path, started_by_cron(text, !is_users));
                }
            });
        }
        survey.text(tree, "/etc/crontab", &mut |survey, path, text| survey.start(path, started_by_cron(text, true)));
        for directory in WEB_DIRECTORIES {
            survey.texts(tree, directory, "", &mut |survey, path, text| {
                let roots = web::roots(path, text).into_iter().filter(|root| root.len() <= PATH_MAX);
                survey.web_roots.extend(roots.take(PATHS_MAX));
                survey.web_roots.sort();
                survey.web_roots.dedup();
                if survey.web_roots.len() > PATHS_MAX {
                    survey.web_roots.truncate(PATHS_MAX);
                    survey.missed(path);
                }
            });
        }
        survey
    }

    fn start(&mut self, path: &str, programs: Vec<String>) {
        for program in programs {
            if self.started.len() == PATHS_MAX {
                return self.missed(path);
            }
            self.started.insert(program);
        }
    }

    fn missed(&mut self, path: &str) {
        if self.unread.len() < UNREAD_MAX {
            self.unread.insert(path.to_string());
        }
    }

    /// Facts of the survey that could not be read: what rests on them was not judged.
    pub fn unknown(&self) -> Vec<Exposure> {
        self.unread.iter().map(|path| Exposure::unknown("unread", path, path)).collect()
    }

    pub(super) fn runs_as_root(&self, path: &str, is_directory: bool) -> bool {
        let under =
            |directories: &[&str]| directories.iter().any(|d| path == *d || path.strip_prefix(d).is_some_and(|rest| rest.starts_with('/')));
        if is_directory {
            let holds_started = self.started.iter().any(|p| p.rsplit_once('/').is_some_and(|(directory, _)| directory == path));
            let is_keys = path.ends_with("/.ssh");
            return holds_started
                || is_keys
                || PROGRAM_DIRECTORIES.contains(&path)
                || under(&["/etc", "/root", "/var/spool/cron", "/usr/lib/systemd"]);
        }
        // Whoever writes it logs in as that account.
        self.started.contains(path) || under(ROOT_DIRECTORIES) || path.ends_with("/.ssh/authorized_keys")
    }

    /// Files of a directory whose names end so, one after the other: they are not held.
    fn texts(&mut self, tree: &dyn Tree, directory: &str, ending: &str, take: &mut dyn FnMut(&mut Survey, &str, &str)) {
        for path in self.names(tree, directory, ending) {
            self.text(tree, &path, take);
        }
    }

    fn text(&mut self, tree: &dyn Tree, path: &str, take: &mut dyn FnMut(&mut Survey, &str, &str)) {
        match read(tree, path) {
            Ok(Some(text)) if text.len() <= TEXT_MAX => take(self, path, &text),
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => self.missed(path),
        }
    }

    fn names(&mut self, tree: &dyn Tree, directory: &str, ending: &str) -> Vec<String> {
        match tree.list(directory) {
            Fact::Known(names) => {
                let names = names.unwrap_or_default();
                names.iter().filter(|name| name.ends_with(ending)).map(|name| format!("{directory}/{name}")).collect()
            }
            Fact::Unknown(_) => {
                self.missed(directory);
                Vec::new()
            }
        }
    }
}

/// Programs of a unit that runs as root.
fn started_by_unit(text: &str) -> Vec<String> {
    let all = joined_lines(text);
    let is_other_user =
        all.iter().any(|(_, line)| line.trim().strip_prefix("User=").is_some_and(|user| !matches!(user.trim(), "" | "root" | "0")));
    let mut found = Vec::new();
    for (_, line) in &all {
        let Some((key, value)) = line.trim().split_once('=') else { continue };
        if !matches!(key, "ExecStart" | "ExecStartPre" | "ExecStartPost" | "ExecReload" | "ExecStop" | "ExecStopPost" | "ExecCondition") {
            continue;
        }
        // A plus or two exclamation marks start it as root whatever the user.
        let as_root = value.trim_start_matches(['-', '@', ':']).starts_with(['+', '!']);
        if !is_other_user || as_root {
            found.extend(programs(value.trim_start_matches(['-', '@', ':', '+', '!'])));
        }
    }
    found
}

fn started_by_cron(text: &str, has_user: bool) -> Vec<String> {
    let mut found = Vec::new();
    for (_, line) in lines(text) {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let times = if line.starts_with('@') { 1 } else { 5 };
        if fields.len() <= times + usize::from(has_user) || (!line.starts_with('@') && fields[0].contains('=')) {
            continue;
        }
        if has_user && fields[times] != "root" {
            continue;
        }
        found.extend(programs(&fields[times + usize::from(has_user)..].join(" ")));
    }
    found
}

/// Absolute paths of a command: the program, and scripts that it is given.
fn programs(command: &str) -> Vec<String> {
    words(command)
        .into_iter()
        .map(|word| word.trim_matches([';', '&', '|', '(', ')']).to_string())
        .filter(|word| word.starts_with('/'))
        .collect()
}
