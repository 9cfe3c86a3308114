//! An apt of our own: its sources, lists and cache lie in the store, and of the machine's settings only what is named here gets in
//! (proxies, credentials, certificates, validity). It resolves packages; it never installs one.

use crate::apt_user::{self, Place};
use crate::index_files::{Release, files_ending};
use crate::recipe::parse_date;
use crate::rollback_protection;
use crate::sources;
use crate::sources::Source;
use disk::files;
use disk::lock::Lock;
use model::{Fault, ImageCustom};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use store::Store;
use store::program;
use store::program::{command, run};

/// Settings of the machine's apt that are passed on: how to reach a mirror, not what to take from it. Age and signature of an
/// index are always checked, whatever the machine's apt is configured to do; a mirror that no longer changes needs a stanza that says so.
const PASSED: [&str; 6] =
    ["Acquire::http", "Acquire::https", "Acquire::ftp", "Acquire::Retries", "Acquire::ForceIPv4", "Acquire::ForceIPv6"];

/// Lists and caches of a release take half of this.
const ROOM: u64 = 250_000_000;
/// A mirror that has not given its lists after this time counts as down.
const PATIENCE_S: u32 = 300;

/// Held by one process at a time.
pub struct Apt {
    dir: PathBuf,
    place: Place,
    pub sources: Vec<Source>,
    pub arch: String,
    /// `Acquire::...` lines that came from the machine, as apt writes them.
    pub passed: Vec<String>,
    _lock: Lock,
}

/// What an update fetched, as apt tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Files that were asked for and had not changed.
    pub same: u32,
    /// Files that came.
    pub fetched: u32,
    pub bytes: u64,
}

/// One line of `--print-uris`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    pub url: String,
    pub file: String,
    pub bytes: u64,
    pub sha256: String,
}

impl Apt {
    pub fn open(store: &Store, sources: Vec<Source>) -> Result<Apt, Fault> {
        program::need(&["apt-get", "apt-cache", "apt-config", "dpkg", "setpriv"])?;
        let arch = program::run_well(command("dpkg").arg("--print-architecture"), "dpkg")?.text().trim().to_string();
        let passed = passed(&program::run_well(command("apt-config").arg("dump"), "apt-config")?.text());
        let text = sources::render(&sources);
        let key = files::digest_of(format!("{arch}\n{text}").as_bytes());
        let dir = store.dir("apt").join(key.short());
        let place = Place::of(&dir);
        for part in ["", "etc", "keys", "state", "state/lists", "cache", "cache/archives"] {
            place.make_dir(part)?;
        }
        for part in ["state/lists/partial", "cache/archives/partial", "again"] {
            place.make_dir_for_downloads(part)?;
        }
        let lock = Lock::exclusive(&dir.join("lock"))?;
        let apt = Apt { dir, place, sources, arch, passed, _lock: lock };
        files::write_atomic(&apt.dir.join("afresh.sources"), text.as_bytes())?;
        files::write_atomic(&apt.dir.join("apt.sources"), sources::render(&apt.with_readable_keys()?).as_bytes())?;
        files::write_atomic(&apt.dir.join("status"), b"")?;
        files::write_atomic(&apt.dir.join("apt.conf"), apt.conf().as_bytes())?;
        Ok(apt)
    }

    fn conf(&self) -> String {
        let d = self.place.seen().display();
        // Ubuntu hands some updates out to a share of machines at first, by their machine-id: two machines would then lock two images.
        let mut text = format!(
            "Dir \"{d}/\";\nDir::State \"{d}/state\";\nDir::State::status \"{d}/status\";\nDir::Cache \"{d}/cache\";\nDir::Log \"{d}/log\";\n\
             Dir::Etc \"{d}/etc\";\nDir::Etc::sourcelist \"{d}/apt.sources\";\nDir::Etc::sourceparts \"/dev/null\";\n\
             Dir::Etc::parts \"/dev/null\";\nDir::Etc::main \"/dev/null\";\nDir::Etc::preferences \"/dev/null\";\nDir::Etc::preferencesparts \"/dev/null\";\n\
             Dir::Etc::trusted \"/etc/apt/trusted.gpg\";\nDir::Etc::trustedparts \"/etc/apt/trusted.gpg.d\";\n\
             Dir::Etc::netrc \"/etc/apt/auth.conf\";\nDir::Etc::netrcparts \"/etc/apt/auth.conf.d\";\n\
             Dir::Bin::methods \"/usr/lib/apt/methods\";\nAPT::Architecture \"{a}\";\nAPT::Architectures {{ \"{a}\"; }};\n\
             APT::Get::AllowUnauthenticated \"false\";\nAcquire::AllowInsecureRepositories \"false\";\nAcquire::AllowWeakRepositories \"false\";\n\
             Acquire::Languages \"none\";\nAcquire::GzipIndexes \"false\";\nAcquire::ForceHash \"SHA256\";\nAPT::Install-Recommends \"false\";\nAPT::Install-Suggests \"false\";\n\
             APT::Update::Error-Mode \"any\";\nAPT::Get::Assume-Yes \"true\";\nAPT::Get::Always-Include-Phased-Updates \"true\";\n",
            a = self.arch
        );
        for line in &self.passed {
            let _ = writeln!(text, "{line}");
        }
        text + &self.place.setting()
    }

    /// The sources, with a copy of each key of theirs that apt's own user can read; on the machine it may be root's alone. One that is
    /// not there is reported by apt.
    fn with_readable_keys(&self) -> Result<Vec<Source>, Fault> {
        let copied = |path: &str| -> Result<String, Fault> {
            let Ok(bytes) = fs::read(path) else { return Ok(path.to_string()) };
            // apt knows by the ending which form a key has.
            let ending = Path::new(path).extension().and_then(|e| e.to_str()).unwrap_or("gpg");
            let name = format!("keys/{}.{ending}", files::digest_of(&bytes).short());
            files::write_atomic(&self.dir.join(&name), &bytes)?;
            files::set_mode(&self.dir.join(&name), 0o444)?;
            Ok(self.place.seen().join(name).display().to_string())
        };
        let of = |source: &Source| -> Result<Source, Fault> {
            let signed_by = match &source.signed_by {
                Some(paths) if paths.starts_with('/') => {
                    let all = paths.split_whitespace().map(copied).collect::<Result<Vec<_>, _>>()?;
                    Some(all.join(" "))
                }
                other => other.clone(),
            };
            Ok(Source { signed_by, ..source.clone() })
        };
        self.sources.iter().map(of).collect()
    }

    fn command(&self, program: &str) -> Command {
        let mut c = self.place.command(PATIENCE_S, program);
        c.env("APT_CONFIG", self.dir.join("apt.conf"));
        c
    }

    /// Asks the mirrors for what is new and checks who signed it and how old it is. Where a signed index is the one that is held,
    /// nothing else is asked for; else the lists that differ in it are fetched.
    pub fn update(&self, store: &Store) -> Result<(Vec<Release>, Traffic, Vec<String>), Fault> {
        files::want_space(&self.dir, ROOM, "apt's package lists")?;
        let before = self.releases().unwrap_or_default();
        // Without building a cache of what was fetched: only who resolves needs that, and that is two thirds of the time.
        let done = run(self.command("apt-get").args(["update", "-q", "-o", "pkgCacheFile::Generate=false"]), "apt-get")?;
        if program::ran_out_of_time(done.status) {
            let text = format!("the mirrors did not give their lists within {PATIENCE_S} seconds:\n{}", done.last_words());
            return Err(Fault::world("mirror-unreachable", text).hint("check the network, and proxies in /etc/apt/apt.conf.d"));
        }
        if !done.status.success() {
            return Err(update_fault(&done.stderr, &self.sources));
        }
        // Only a warning for apt; for an image it would mean packages that are quietly older, or not there.
        if let Some(line) = done.stderr.lines().find(|l| l.contains("doesn't have the component")) {
            return Err(Fault::yours("no-component", line.trim_start_matches("W: ").to_string())
                .hint("Debian has main, contrib, non-free-firmware and non-free; Ubuntu has main, restricted, universe and multiverse"));
        }
        let releases = self.releases()?;
        if releases != before {
            // apt knows its cache to be old by the lists' times and sizes, and two lists of one second may be as large.
            for cache in ["pkgcache.bin", "srcpkgcache.bin"] {
                files::remove_file(&self.dir.join("cache").join(cache))?;
            }
        }
        rollback_protection::check(store, &releases, &self.sources)?;
        let notes = self.older_ones(store, &done.text(), &before, &releases)?;
        Ok((releases, traffic(&done.text()), notes))
    }

    /// apt keeps what it has, without a word, when a mirror gives an older index. So where something came and nothing changed, that
    /// is looked at once more. Most mirrors say "not modified" instead, and cost nothing here.
    fn older_ones(&self, store: &Store, said: &str, before: &[Release], now: &[Release]) -> Result<Vec<String>, Fault> {
        let mut notes = Vec::new();
        for line in said.lines().filter(|l| l.starts_with("Get:")) {
            let mut words = line.split_whitespace().skip(1);
            let (Some(uri), Some(suite), Some("InRelease")) = (words.next(), words.next(), words.next()) else { continue };
            let url = format!("{}/dists/{suite}/InRelease", uri.trim_end_matches('/'));
            let file = lists_name(&url);
            let of = |all: &[Release]| all.iter().find(|r| r.file == file).cloned();
            let (Some(was), Some(is)) = (of(before), of(now)) else { continue };
            if was.digest != is.digest {
                continue;
            }
            let to = self.dir.join("again/InRelease");
            let mut c = self.place.command(PATIENCE_S, "/usr/lib/apt/apt-helper");
            c.env("APT_CONFIG", passed_conf(store)?).arg("download-file").arg(&url).arg(self.place.seen().join("again/InRelease"));
            files::remove_file(&to)?;
            if !run(&mut c, "apt-helper")?.status.success() || !apt_user::take(&to)? {
                continue;
            }
            let gave = head_fields(&String::from_utf8_lossy(&files::read_limited(&to, 64 << 20)?));
            let date = |fields: &BTreeMap<String, String>| fields.get("Date").and_then(|d| parse_date(d));
            if let (Some(gave), Some(is)) = (date(&gave), date(&is.fields))
                && gave < is
            {
                notes.push(format!(
                    "the mirror {uri} has gone back in time: it gives an index of {suite} of {}, and gave one of {} before, which stays in force",
                    rollback_protection::at(gave),
                    rollback_protection::at(is)
                ));
            }
        }
        Ok(notes)
    }

    pub fn lists(&self) -> PathBuf {
        self.dir.join("state/lists")
    }

    pub fn releases(&self) -> Result<Vec<Release>, Fault> {
        let dir = self.lists();
        let mut all = Vec::new();
        for path in files_ending(&dir, &["_InRelease", "_Release"])? {
            let bytes = files::read_limited(&path, 64 << 20)?;
            let file = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            all.push(Release { file, digest: files::digest_of(&bytes), fields: head_fields(&String::from_utf8_lossy(&bytes)) });
        }
        if all.is_empty() {
            return Err(Fault::world("mirror-unreachable", "the mirrors gave no release file").hint("see /etc/apt/sources.list.d"));
        }
        Ok(all)
    }

    /// What apt would download to install these and all they need, into a machine that has nothing.
    pub fn resolve(&self, packages: &[String]) -> Result<Vec<Wanted>, Fault> {
        self.resolve_beside(packages, "")
    }

    /// As [`Apt::resolve`], on a machine where what `status` tells of (in the form of dpkg's own list) is installed already.
    pub fn resolve_beside(&self, packages: &[String], status: &str) -> Result<Vec<Wanted>, Fault> {
        let mut c = self.command("apt-get");
        if !status.is_empty() {
            let path = self.dir.join("status-beside");
            files::write_atomic(&path, status.as_bytes())?;
            c.arg("-o").arg(format!("Dir::State::status={}", path.display()));
        }
        c.args(["install", "--print-uris", "-qq", "--"]).args(packages);
        let done = run(&mut c, "apt-get")?;
        if !done.status.success() {
            return Err(self.resolve_fault(&done.stderr));
        }
        let mut all: Vec<Wanted> = done.text().lines().filter_map(parse_uri).collect();
        all.sort();
        if all.is_empty() {
            return Err(Fault::ours("apt-silent", format!("apt resolved {} packages to nothing:\n{}", packages.len(), done.last_words())));
        }
        Ok(all)
    }

    fn resolve_fault(&self, said: &str) -> Fault {
        let unknown = said.lines().find_map(|l| {
            let l = l.strip_prefix("E: ")?;
            let name =
                l.strip_prefix("Unable to locate package ").or_else(|| l.strip_prefix("Package '").and_then(|r| r.split('\'').next()));
            name.map(|n| n.trim().to_string())
        });
        let Some(name) = unknown else {
            return Fault::yours(
                "packages-conflict",
                format!("apt cannot install these packages together:\n{}", program::last_lines(said)),
            )
            .hint("take one of the packages out of the image's list");
        };
        let suites: Vec<&str> = self.sources.iter().flat_map(|s| s.suites.iter().map(String::as_str)).collect();
        let fault = Fault::yours("unknown-package", format!("there is no package {name} in {}", suites.join(", ")));
        let names = run(self.command("apt-cache").arg("pkgnames"), "apt-cache").map(|d| d.text()).unwrap_or_default();
        // apt lists them in the order of a hash.
        let mut names: Vec<&str> = names.lines().collect();
        names.sort_unstable();
        match model::near::nearest(&name, names) {
            Some(near) => fault.hint(format!("did you mean {near}?")),
            None => fault.hint("`apt-cache search WORD` finds packages by what they are for"),
        }
    }
}

/// `Hit:1 http://...`, `Get:2 http://... [34.8 kB]`, `Fetched 34.8 kB in 0s (...)`
fn traffic(said: &str) -> Traffic {
    let count = |word: &str| u32::try_from(said.lines().filter(|l| l.starts_with(word)).count()).unwrap_or(u32::MAX);
    let fetched = said.lines().find_map(|l| l.strip_prefix("Fetched ")).and_then(|rest| {
        let (number, unit) = rest.split_once(" in ")?.0.split_once(' ')?;
        let scale = ["B", "kB", "MB", "GB"].iter().position(|u| *u == unit)?;
        let number: f64 = number.replace(',', "").parse().ok()?;
        Some((number * 1000f64.powi(i32::try_from(scale).ok()?)) as u64)
    });
    Traffic { same: count("Hit:"), fetched: count("Get:"), bytes: fetched.unwrap_or(0) }
}

/// Lines of `apt-config dump` that tell how a mirror is reached.
fn passed(dump: &str) -> Vec<String> {
    let wanted = |line: &&str| {
        let key = line.split(' ').next().unwrap_or("");
        let whole = |p: &str| key == p || key.strip_prefix(p).is_some_and(|rest| rest.starts_with("::"));
        PASSED.iter().any(|p| whole(p)) && !line.ends_with(" \"\";")
    };
    dump.lines().filter(wanted).map(str::to_string).collect()
}

/// A configuration with nothing but the machine's passed settings, for downloads.
pub fn passed_conf(store: &Store) -> Result<PathBuf, Fault> {
    let dump = program::run_well(command("apt-config").arg("dump"), "apt-config")?.text();
    let path = store.dir("apt").join("download.conf");
    let mut text = String::from(
        "Dir::Etc::parts \"/dev/null\";\nDir::Etc::main \"/dev/null\";\nDir::Etc::netrc \"/etc/apt/auth.conf\";\nDir::Etc::netrcparts \"/etc/apt/auth.conf.d\";\n",
    );
    for line in passed(&dump) {
        let _ = writeln!(text, "{line}");
    }
    text.push_str(&Place::of(&path).setting());
    files::write_atomic(&path, text.as_bytes())?;
    Ok(path)
}

/// The file that apt keeps for an address.
fn lists_name(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.replace('_', "%5f").replace('/', "_")
}

fn update_fault(said: &str, sources: &[Source]) -> Fault {
    let shown = program::last_lines(&said.lines().filter(|l| l.starts_with("E:") || l.starts_with("W:")).collect::<Vec<_>>().join("\n"));
    let has = |words: &[&str]| words.iter().any(|w| said.contains(w));
    if has(&["No space left on device"]) {
        return files::disk_full(format!("apt ran out of disk space:\n{shown}"));
    }
    if has(&["is expired", "not valid yet", "is not valid until", "invalid for"]) {
        return Fault::world("index-expired", format!("a mirror's index is too old, or this machine's clock is wrong:\n{shown}"))
            .hint("check `date`, or use a mirror that is kept up to date; for one that stands still on purpose write Check-Valid-Until: no in its stanza in /etc/apt/sources.list.d");
    }
    if has(&["NO_PUBKEY", "BADSIG", "EXPKEYSIG", "not trusted", "GPG error", "NOSPLIT", "NODATA"]) {
        return Fault::world("index-unsigned", format!("a mirror's index is damaged, or not signed by a key this machine trusts:\n{shown}"))
            .hint("check Signed-By in /etc/apt/sources.list.d, and apt-get install debian-archive-keyring; a network that asks for a login gives such answers too")
            .again(false);
    }
    if has(&["Hash Sum mismatch", "File has unexpected size"]) {
        return Fault::world("mirror-lies", format!("a mirror gave other bytes than it signed:\n{shown}"))
            .hint("it may be in the middle of an update: try again in some minutes, or use another mirror");
    }
    if let Some(fault) = answered_badly(&shown) {
        return fault;
    }
    let uris: Vec<&str> = sources.iter().flat_map(|s| s.uris.iter().map(String::as_str)).collect();
    if has(&["does not have a Release file", "no longer has a Release file"])
        && !has(&["Could not", "Connection", "Unable to connect", "timed out", "Temporary failure"])
    {
        let suites: Vec<&str> = sources.iter().flat_map(|s| s.suites.iter().map(String::as_str)).collect();
        return Fault::yours("no-sources", format!("{} have not every one of {}:\n{shown}", uris.join(", "), suites.join(", "))).hint(
            "is the release's name right? Where it is on another mirror, write that into sources.d/NAME.sources of the data directory",
        );
    }
    if has(&["is not signed", "is no longer signed"]) {
        return Fault::world("index-unsigned", format!("a mirror's index is not signed:\n{shown}"))
            .hint("use a mirror that signs its indexes")
            .again(false);
    }
    Fault::world("mirror-unreachable", format!("cannot reach {}:\n{shown}", uris.join(", ")))
        .hint("check the network, and proxies in /etc/apt/apt.conf.d")
}

/// A mirror that was reached and did not give what it has: it answered with an error, or broke off in the middle.
pub fn answered_badly(shown: &str) -> Option<Fault> {
    let status = |line: &str| {
        let mut words = line.split_whitespace();
        let at = words.position(|w| w.starts_with("http://") || w.starts_with("https://"));
        at.and_then(|_| words.next())
            .is_some_and(|w| w.len() == 3 && matches!(w.as_bytes(), [b'4' | b'5', b, c] if b.is_ascii_digit() && c.is_ascii_digit()))
    };
    if shown.lines().any(status) {
        return Some(
            Fault::world("mirror-broken", format!("a mirror answers with an error:\n{shown}"))
                .hint("it may be in the middle of an update, or ask for a login: try again in some minutes, or use another mirror"),
        );
    }
    let cut = ["Undetermined Error", "Connection failed", "Remote end closed connection", "Data left in", "Unexpected end of file"];
    cut.iter().any(|w| shown.contains(w)).then(|| {
        Fault::world("mirror-cut-off", format!("a mirror broke off in the middle of its answer:\n{shown}"))
            .hint("try again: what came whole is kept; if it stays, look at proxies on the way, or use another mirror")
    })
}

/// `'http://mirror/pool/x_1_amd64.deb' x_1_amd64.deb 1234 SHA256:ab..`
fn parse_uri(line: &str) -> Option<Wanted> {
    let (url, rest) = line.strip_prefix('\'')?.split_once("' ")?;
    let mut words = rest.split_whitespace();
    let (file, bytes, hash) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    let sha256 = hash.strip_prefix("SHA256:")?.to_string();
    let plain = !file.contains('/') && sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| Wanted { url: url.to_string(), file: file.to_string(), bytes, sha256 })
}

/// `Origin`, `Codename`, `Date`, `Valid-Until` and the like: the fields before the lists of hashes.
fn head_fields(text: &str) -> BTreeMap<String, String> {
    let body = text.split_once("\n\n").filter(|(head, _)| head.starts_with("-----BEGIN")).map_or(text, |(_, rest)| rest);
    let lines = body.lines().take_while(|l| !l.starts_with("MD5Sum") && !l.starts_with("SHA"));
    lines.filter_map(|l| l.split_once(": ")).map(|(k, v)| (k.to_string(), v.trim().to_string())).collect()
}

/// Where packages of a release come from: the machine's own sources, or where its owner wrote down others for images alone.
pub fn sources_of(store: &Store, release: &str, custom: &ImageCustom) -> Result<Vec<Source>, Fault> {
    let for_images = store.layout().root().join("sources.d");
    let (all, own) = machine_sources(&for_images)?;
    let chosen = sources::of_release(&all, release, own.as_deref(), &custom.components);
    if chosen.is_empty() {
        let hint = format!("use a release of this machine's mirrors, or write where it is into {}/NAME.sources", for_images.display());
        return Err(Fault::yours("no-sources", format!("this machine's apt sources have none for {release}")).hint(hint));
    }
    if let Some(address) = sources::unsigned(&chosen, &custom.allow_unsigned) {
        let text = format!("this machine's apt sources say of {address} that it is believed without a signature (Trusted: yes)");
        return Err(Fault::yours("unsigned-source", text).hint(format!(
            "take Trusted out and name the archive's key with Signed-By; or write allow_unsigned = [\"{address}\"] into the image"
        )));
    }
    Ok(sources::with_suites(chosen, release, &custom.suites))
}

/// The machine's own sources, those in `for_images` (which its own apt does not see), and the name of its release.
fn machine_sources(for_images: &Path) -> Result<(Vec<Source>, Option<String>), Fault> {
    let mut all = Vec::new();
    let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
    for parts in [Path::new("/etc/apt/sources.list.d"), for_images].into_iter().filter(|p| p.is_dir()) {
        paths.extend(files_ending(parts, &[".list", ".sources"])?);
    }
    for path in paths.iter().filter(|p| p.is_file()) {
        let bytes = files::read_limited(path, 1 << 20)?;
        all.extend(sources::parse(&path.to_string_lossy(), &String::from_utf8_lossy(&bytes)));
    }
    let os = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let own = os.lines().find_map(|l| l.strip_prefix("VERSION_CODENAME=")).map(|v| v.trim_matches('"').to_string());
    Ok((all, own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read_and_bad_ones_are_not() {
        let sha = "a".repeat(64);
        let good = format!("'http://m/pool/x_1%3a2_all.deb' x_1%3a2_all.deb 12 SHA256:{sha}");
        assert_eq!(parse_uri(&good).unwrap().bytes, 12);
        for bad in ["", "'http://m/x", "'u' ../x 1 SHA256:zz", "'u' x 1 MD5Sum:aa", &format!("'u' a/b 1 SHA256:{sha}")] {
            assert_eq!(parse_uri(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_came_is_counted() {
        let said = "Hit:1 http://m/debian bookworm InRelease\nGet:2 http://m/s b-s InRelease [34.8 kB]\nGet:3 http://m/s b-s/main amd64 Packages [310 kB]\nFetched 1,345 kB in 1s (400 kB/s)\nReading package lists...\n";
        assert_eq!(traffic(said), Traffic { same: 1, fetched: 2, bytes: 1_345_000 });
        assert_eq!(traffic("Hit:1 x\nReading package lists...\n"), Traffic { same: 1, fetched: 0, bytes: 0 });
        assert_eq!(traffic("Fetched many in"), Traffic::default());
    }

    #[test]
    fn only_named_settings_pass() {
        let dump = "Acquire::http::Proxy \"http://p:1\";\nAcquire::Check-Valid-Until \"false\";\nDPkg::Post-Invoke \"x\";\nAcquire::http \"\";\nAcquire::httpx::Y \"1\";\n";
        assert_eq!(passed(dump), ["Acquire::http::Proxy \"http://p:1\";"]);
    }

    #[test]
    fn what_apt_says_is_told_apart() {
        let s = [];
        assert_eq!(update_fault("E: Release file for x is expired (invalid since 2d).", &s).code, "index-expired");
        assert_eq!(update_fault("W: GPG error: x NO_PUBKEY 12", &s).code, "index-unsigned");
        assert_eq!(update_fault("E: Failed to fetch x  Hash Sum mismatch", &s).code, "mirror-lies");
        assert_eq!(update_fault("E: Failed to fetch http://x Could not connect", &s).code, "mirror-unreachable");
        assert_eq!(update_fault("E: The repository 'http://x mantic Release' does not have a Release file.", &s).code, "no-sources");
        assert_eq!(
            update_fault("W: Could not connect\nE: The repository 'x' does not have a Release file.", &s).code,
            "mirror-unreachable"
        );
        assert_eq!(update_fault("E: Failed to fetch http://x/Packages  500  Broken [IP: 1]", &s).code, "mirror-broken");
        assert_eq!(
            update_fault("E: Failed to fetch http://x/InRelease  503  Busy\nE: The repository is no longer signed.", &s).code,
            "mirror-broken"
        );
        assert_eq!(update_fault("E: Failed to fetch http://x/Packages  Undetermined Error [IP: 1]", &s).code, "mirror-cut-off");
        assert_eq!(update_fault("E: The repository 'http://x y Release' no longer has a Release file.", &s).code, "no-sources");
        assert_eq!(
            update_fault("E: Failed to fetch http://x/InRelease  Clearsigned file isn't valid, got 'NOSPLIT'", &s).code,
            "index-unsigned"
        );
        assert_eq!(update_fault("E: Write error - write (28: No space left on device)", &s).code, "disk-full");
    }

    #[test]
    fn the_head_of_a_signed_file() {
        let text = "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nDate: Sat, 21 Nov 2026 00:53:02 UTC\nSHA256:\n ab 0 main: x\n";
        let fields = head_fields(text);
        assert_eq!(fields["Origin"], "Debian");
        assert_eq!(fields["Date"], "Sat, 21 Nov 2026 00:53:02 UTC");
        assert_eq!(fields.len(), 2);
    }
}
