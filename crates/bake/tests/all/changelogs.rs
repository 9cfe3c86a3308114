//! The CVEs that are reported for a newer package, against dpkg's own reader of changelogs over the same files: real packages, as the mirror
//! has them in two versions, the release's and the newest. It fetches some megabytes.

use bake::changes_of_locks;
use model::{ImageName, ImageSpec, Layout};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use store::{Lock, Locked, Store};

/// Plain ones, epochs (bind9, redis, nss), rebuilds as the version before (brotli, gpgme1.0, libssh2), a new upstream version (ruby3.1,
/// rsync), one of Debian's own (apt, ca-certificates), documentation that is a link (apache2, perl, php8.2), and ones that fix no CVE.
const SOURCES: [&str; 34] = [
    "apache2",
    "apt",
    "bind9",
    "brotli",
    "ca-certificates",
    "expat",
    "ghostscript",
    "gpgme1.0",
    "imagemagick",
    "jq",
    "libevent",
    "libpng1.6",
    "libssh2",
    "libxfont",
    "linux",
    "mariadb",
    "nginx",
    "nss",
    "openjdk-17",
    "openssl",
    "parted",
    "pcre2",
    "perl",
    "php8.2",
    "poppler",
    "postgresql-15",
    "postgresql-common",
    "python3.11",
    "redis",
    "rsync",
    "tzdata",
    "unzip",
    "xz-utils",
    "zip",
];
/// Of each source, beginning with the smallest. Openjdk's and linux' are tens of megabytes otherwise.
const PACKAGES_EACH: usize = 2;
const LARGE: u64 = 3_000_000;
const MAIN: &str = "http://deb.debian.org/debian";
const SECURITY: &str = "http://deb.debian.org/debian-security";

fn package(dir: &Path, p: &Locked) -> PathBuf {
    dir.join(format!("store/packages/{}.deb", p.sha256))
}

fn sh(script: &str, args: &[&Path]) -> String {
    let done = Command::new("bash").args(["-c", script, "sh"]).args(args).stderr(Stdio::null()).output().unwrap();
    String::from_utf8(done.stdout).unwrap()
}

fn less(a: &str, b: &str) -> bool {
    Command::new("dpkg").args(["--compare-versions", a, "lt", b]).status().unwrap().success()
}

type Paragraph = BTreeMap<String, String>;

fn read(list: &Path) -> Vec<Paragraph> {
    let text = std::fs::read_to_string(list).unwrap();
    let pair = |l: &str| l.split_once(": ").filter(|_| !l.starts_with(' ')).map(|(k, v)| (k.to_string(), v.to_string()));
    text.split("\n\n").map(|p| p.lines().filter_map(pair).collect()).collect()
}

fn source(p: &Paragraph) -> (String, String) {
    let named = p.get("Source").unwrap_or(&p["Package"]);
    let (name, version) = named.split_once(" (").map_or((named.as_str(), p["Version"].as_str()), |(n, v)| (n, v.trim_end_matches(')')));
    (name.to_string(), version.to_string())
}

fn locked(p: &Paragraph, mirror: &str, suite: &str) -> Locked {
    Locked {
        name: p["Package"].clone(),
        version: p["Version"].clone(),
        arch: p["Architecture"].clone(),
        suite: suite.to_string(),
        bytes: p["Size"].parse().unwrap(),
        sha256: p["SHA256"].clone(),
        url: format!("{mirror}/{}", p["Filename"]),
        source: p.get("Source").cloned(),
        required: false,
        level: 0,
    }
}

/// What dpkg reads out of the newest package's changelog, from behind the version before.
fn oracle(store: &Path, packages: &[&Locked], since: &str) -> Option<BTreeSet<String>> {
    let script = r#"
        work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
        dpkg-deb --extract "$1" "$work"
        for f in "$work"/usr/share/doc/*/changelog.Debian.gz "$work"/usr/share/doc/*/changelog.gz; do
          [ -f "$f" ] || continue
          zcat "$f" > "$work/log"
          dpkg-parsechangelog -l "$work/log" -S Version >/dev/null 2>&1 || continue
          echo found
          dpkg-parsechangelog -l "$work/log" --since "$(cat "$2")" -S Changes | grep -oiE 'CVE-[0-9]{4}-[0-9]{4,}' | tr a-z A-Z | sort -u
          exit 0
        done"#;
    let version = store.join("since");
    std::fs::write(&version, since).unwrap();
    packages.iter().find_map(|p| {
        let said = sh(script, &[&package(store, p), &version]);
        said.strip_prefix("found\n").map(|rest| rest.lines().map(str::to_string).collect())
    })
}

#[test]
#[ignore = "needs root and Debian's mirror"]
fn cves_of_real_changelogs_are_the_ones_dpkg_finds() {
    let dir = tempfile::tempdir().unwrap();
    let layout = Layout::new(dir.path());
    let store = Store::open(&layout).unwrap();
    let spec: ImageSpec = serde_json::from_value(serde_json::json!({ "name": "x", "debian": "bookworm", "packages": [] })).unwrap();
    assert_eq!(spec.name, ImageName::new("x").unwrap());
    let head = bake::lock(&store, &spec, &mut |_| {}).unwrap().head;
    let (mut old, mut new): (BTreeMap<String, Paragraph>, BTreeMap<String, (Paragraph, bool)>) = Default::default();
    for list in sh("ls \"$1\"/store/apt/*/state/lists/*_Packages", &[dir.path()]).lines().map(Path::new) {
        let (security, base) = (list.to_string_lossy().contains("security"), list.to_string_lossy().contains("_dists_bookworm_main"));
        for p in read(list).into_iter().filter(|p| p.contains_key("SHA256") && SOURCES.contains(&source(p).0.as_str())) {
            let name = p["Package"].clone();
            if base {
                old.insert(name.clone(), p.clone());
            }
            if new.get(&name).is_none_or(|(held, _)| less(&held["Version"], &p["Version"])) {
                new.insert(name, (p, security));
            }
        }
    }
    let mut chosen: BTreeMap<String, Vec<(&Paragraph, &Paragraph, bool)>> = BTreeMap::new();
    for (name, (p, security)) in &new {
        let Some(before) = old.get(name).filter(|o| less(&o["Version"], &p["Version"])) else { continue };
        chosen.entry(source(p).0).or_default().push((before, p, *security));
    }
    let (mut a, mut b) = (Lock { head: head.clone(), packages: Vec::new() }, Lock { head, packages: Vec::new() });
    for all in chosen.values_mut() {
        all.sort_by_key(|(_, p, _)| p["Size"].parse::<u64>().unwrap());
        let few = all.iter().take(PACKAGES_EACH).filter(|(_, p, _)| p["Size"].parse::<u64>().unwrap() < LARGE);
        for (before, now, security) in few {
            let mirror = if *security { SECURITY } else { MAIN };
            a.packages.push(locked(before, mirror, "bookworm"));
            b.packages.push(locked(now, mirror, "newest"));
        }
    }
    a.packages.sort_by(|x, y| x.name.cmp(&y.name));
    b.packages.sort_by(|x, y| x.name.cmp(&y.name));
    bake::fetch(&store, &b, &mut |_| {}).unwrap();
    // Where a package's documentation is a link to another's, that one is in every image that has the first.
    let script = "dpkg-deb -c \"$1\" | sed -n 's,.* ./usr/share/doc/[^ /]* -> \\(.*/\\)\\?\\([^/]*\\)$,\\2,p'";
    let links: BTreeSet<String> =
        b.packages.iter().flat_map(|p| sh(script, &[&package(dir.path(), p)]).lines().map(str::to_string).collect::<Vec<_>>()).collect();
    for name in &links {
        if b.packages.iter().any(|p| p.name == *name) {
            continue;
        }
        let (Some(before), Some((now, security))) = (old.get(name), new.get(name)) else { continue };
        if now["Size"].parse::<u64>().unwrap() > 2 * LARGE {
            continue;
        }
        let mirror = if *security { SECURITY } else { MAIN };
        a.packages.push(locked(before, mirror, "bookworm"));
        b.packages.push(locked(now, mirror, "newest"));
    }
    a.packages.sort_by(|x, y| x.name.cmp(&y.name));
    b.packages.sort_by(|x, y| x.name.cmp(&y.name));
    bake::fetch(&store, &b, &mut |_| {}).unwrap();
    println!("documentation that is a link into another package: {links:?}");
    let changes = changes_of_locks(&store, &a, &b).unwrap();
    let (mut compared, mut named, mut differ) = (0, 0, Vec::new());
    for (source_name, all) in &chosen {
        let mine: Vec<&Locked> = b.packages.iter().filter(|p| p.source_name() == source_name).collect();
        if mine.is_empty() {
            continue;
        }
        let since = source(all[0].0).1;
        let told = changes.fixes.get(source_name).cloned().unwrap_or_default();
        let Some(want) = oracle(dir.path(), &mine, &since) else {
            assert!(changes.unread.contains(source_name), "{source_name}: no changelog, and that is not told");
            println!("{source_name}: no changelog in {}", mine.iter().map(|p| p.name.as_str()).collect::<Vec<_>>().join(", "));
            continue;
        };
        println!("{source_name} {since} -> {}: {} CVEs", mine[0].version, told.len());
        (compared, named) = (compared + 1, named + told.len());
        if told != want {
            differ.push(format!(
                "{source_name}: only ours {:?}, only dpkg's {:?}",
                told.difference(&want).collect::<Vec<_>>(),
                want.difference(&told).collect::<Vec<_>>()
            ));
        }
    }
    println!("{compared} sources compared, {named} CVEs named; cut off: {:?}; unread: {:?}", changes.cut, changes.unread);
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(compared * 2 > chosen.len(), "{compared} of {}", chosen.len());
}
