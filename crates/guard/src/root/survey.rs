//! What must be known of the whole tree before a file is judged: whose it is, who runs it, where the web servers' roots are.

use super::exposure::Exposure;
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
    "/usr/lib/systemd",
    "/lib/systemd",
    "/var/spool/cron",
];
const UNIT_DIRECTORIES: &[&str] = &["/etc/systemd/system", "/lib/systemd/system", "/usr/lib/systemd/system"];
const CRON_DIRECTORIES: &[&str] = &["/etc/cron.d", "/var/spool/cron/crontabs", "/var/spool/cron"];
/// Lists of packages that are not read here: of RPM, pacman, portage, Nix, and of dpkg without its lists of files.
const OTHER_PACKAGES: &[&str] = &["/var/lib/rpm", "/usr/lib/sysimage/rpm", "/var/lib/pacman", "/var/db/pkg", "/nix/store", "/var/lib/dpkg"];
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

#[derive(Debug)]
pub struct Survey {
    pub(super) purpose: Purpose,
    pub(super) web_roots: Vec<String>,
    /// Files of packages. `None`: the list could not be read, or this is no system of packages.
    packaged: Option<BTreeSet<String>>,
    /// Programs that cron or units start as root.
    started: BTreeSet<String>,
    /// What could not be read of all this.
    pub unread: BTreeSet<String>,
}

impl Survey {
    pub fn of(tree: &dyn Tree, purpose: Purpose) -> Survey {
        let mut survey = Survey { purpose, web_roots: Vec::new(), packaged: None, started: BTreeSet::new(), unread: BTreeSet::new() };
        survey.packaged = survey.read_packages(tree);
        for directory in UNIT_DIRECTORIES {
            for (_, text) in survey.texts(tree, directory, &[".service"]) {
                survey.started.extend(started_by_unit(&text));
            }
        }
        for directory in CRON_DIRECTORIES {
            for (path, text) in survey.texts(tree, directory, &[""]) {
                let is_users = directory.starts_with("/var/spool");
                let is_of_root = !is_users || path.ends_with("/root");
                if is_of_root {
                    survey.started.extend(started_by_cron(&text, !is_users));
                }
            }
        }
        match read(tree, "/etc/crontab") {
            Ok(text) => survey.started.extend(started_by_cron(&text.unwrap_or_default(), true)),
            Err(missing) => drop(survey.unread.insert(missing)),
        }
        for directory in WEB_DIRECTORIES {
            for (path, text) in survey.texts(tree, directory, &[".conf", ""]) {
                survey.web_roots.extend(web::roots(&path, &text));
            }
        }
        survey.web_roots.sort();
        survey.web_roots.dedup();
        survey
    }

    /// Facts of the survey that could not be read: what rests on them was not judged.
    pub fn unknown(&self) -> Vec<Exposure> {
        self.unread.iter().map(|path| Exposure::unknown("unread", path, path)).collect()
    }

    /// `None`: not known.
    pub(super) fn is_packaged(&self, path: &str) -> Option<bool> {
        // Since /bin is a link to /usr/bin, packages may name either.
        let packaged = self.packaged.as_ref()?;
        let other = path.strip_prefix("/usr").unwrap_or(path);
        Some(packaged.contains(path) || packaged.contains(other) || packaged.contains(&format!("/usr{path}")))
    }

    pub(super) fn runs_as_root(&self, path: &str, is_directory: bool) -> bool {
        let under =
            |directories: &[&str]| directories.iter().any(|d| path == *d || path.strip_prefix(d).is_some_and(|rest| rest.starts_with('/')));
        if is_directory {
            let holds_started = self.started.iter().any(|p| p.rsplit_once('/').is_some_and(|(directory, _)| directory == path));
            return holds_started || PROGRAM_DIRECTORIES.contains(&path) || under(&["/etc"]);
        }
        self.started.contains(path) || under(ROOT_DIRECTORIES)
    }

    fn texts(&mut self, tree: &dyn Tree, directory: &str, endings: &[&str]) -> Vec<(String, String)> {
        let names = match tree.list(directory) {
            Fact::Known(names) => names.unwrap_or_default(),
            Fact::Unknown(_) => {
                self.unread.insert(directory.to_string());
                return Vec::new();
            }
        };
        let mut found = Vec::new();
        for name in names.iter().filter(|name| endings.iter().any(|end| name.ends_with(end))) {
            let path = format!("{directory}/{name}");
            match read(tree, &path) {
                Ok(text) => found.extend(text.map(|text| (path, text))),
                Err(missing) => drop(self.unread.insert(missing)),
            }
        }
        found
    }

    /// dpkg's lists and apk's database. RPM's is no text: what it owns is not known here.
    fn read_packages(&mut self, tree: &dyn Tree) -> Option<BTreeSet<String>> {
        let mut all = BTreeSet::new();
        let lists = self.texts(tree, "/var/lib/dpkg/info", &[".list"]);
        for (_, text) in &lists {
            all.extend(text.lines().filter(|line| line.starts_with('/')).map(str::to_string));
        }
        match read(tree, "/lib/apk/db/installed") {
            Ok(Some(text)) => {
                let mut directory = "";
                for line in text.lines() {
                    match line.split_once(':') {
                        Some(("F", name)) => directory = name,
                        Some(("R", name)) => drop(all.insert(format!("/{directory}/{name}"))),
                        _ => {}
                    }
                }
            }
            Ok(None) => {}
            Err(missing) => drop(self.unread.insert(missing)),
        }
        // Where nothing keeps packages, no package owns anything.
        let is_empty_known = || OTHER_PACKAGES.iter().all(|path| matches!(tree.list(path), Fact::Known(None)));
        let is_whole = self.unread.is_empty() && (!all.is_empty() || is_empty_known());
        is_whole.then_some(all)
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
