//! dpkg's own configuring, in the sandbox: one script for a stage, and what its end means.

#![deny(clippy::disallowed_methods, reason = "paths of a tree are resolved in within.rs and nowhere else")]

use crate::deb::Deb;
use crate::dpkg;
use crate::identity;
use crate::order::Set;
use crate::progress::Steps;
use crate::sandbox::Sandbox;
use crate::tree::Tree;
use disk::files;
use disk::within::Root;
use model::Fault;
use std::fmt::Write;
use std::path::Path;
use store::Store;
use store::program;

/// What starts services asks this first: nothing is started in a sandbox. One that the image itself has is put aside meanwhile.
struct NoServices {
    root: Root,
    ours: (u64, u64),
    has_own: bool,
}

const POLICY: &str = "usr/sbin/policy-rc.d";
const POLICY_ASIDE: &str = "usr/sbin/policy-rc.d.afresh-aside";

impl NoServices {
    fn begin(root: Root) -> Result<Self, Fault> {
        let policy = Path::new(POLICY);
        root.make_dir(policy.parent().unwrap_or(Path::new("")))?;
        let has_own = root.kind(policy).is_some();
        if has_own {
            root.rename(policy, Path::new(POLICY_ASIDE))?;
        }
        root.write(policy, b"#!/bin/sh\nexit 101\n", 0o755)?;
        let ours = Self::which(&root).ok_or_else(|| Fault::ours("policy-lost", "policy-rc.d is not where it was just written"))?;
        Ok(Self { root, ours, has_own })
    }

    fn which(root: &Root) -> Option<(u64, u64)> {
        root.stat(Path::new(POLICY)).map(|s| (s.st_dev, s.st_ino))
    }

    /// A package that was configured meanwhile may have put its own there: that one stays.
    fn end(self) -> Result<(), Fault> {
        let (policy, aside) = (Path::new(POLICY), Path::new(POLICY_ASIDE));
        let is_ours = Self::which(&self.root) == Some(self.ours);
        match (is_ours, self.has_own) {
            (true, true) => self.root.rename(aside, policy),
            (true, false) => self.root.remove_file(policy),
            (false, true) => self.root.remove_file(aside),
            (false, false) => Ok(()),
        }
    }
}

pub fn configure(store: &Store, tree: &Tree, set: &Set, steps: &mut Steps) -> Result<(), Fault> {
    let root = tree.root()?;
    let before = identity::clusters(&root);
    let no_services = NoServices::begin(tree.root()?)?;
    let script = script(set)?;
    let sandbox = Sandbox { tree, packages: &store.dir("packages"), epoch: set.epoch };
    let total = set.debs.len() as u64;
    let mut done = 0;
    let said = sandbox.run(&script, &[], |line| {
        if let Some(what) = line.strip_prefix("Setting up ") {
            done += 1;
            steps.at(done, total, what.trim_end_matches(" ..."));
        }
    })?;
    if !said.status.success() {
        return Err(script_fault(&said, set));
    }
    no_services.end()?;
    identity::settle(&root, &before)
}

fn script(set: &Set) -> Result<String, Fault> {
    let mut text = String::from("set -u\nexport DPKG_ADMINDIR=/var/lib/dpkg DPKG_ROOT= DPKG_MAINTSCRIPT_DEBUG=0\n");
    // base-passwd makes the users that the others name.
    let mut first: Vec<&Deb> = set.core.iter().map(|n| &set.debs[*n]).filter(|d| d.script("preinst").is_some()).collect();
    first.sort_by_key(|d| (d.field("Package") != Some("base-passwd"), d.field("Package")));
    for deb in first {
        let (name, arch, info) = (word(deb, "Package")?, word(deb, "Architecture")?, dpkg::info_name(deb));
        let _ = writeln!(
            text,
            "DPKG_MAINTSCRIPT_PACKAGE={name} DPKG_MAINTSCRIPT_ARCH={arch} DPKG_MAINTSCRIPT_NAME=preinst DPKG_MAINTSCRIPT_PACKAGE_REFCOUNT=1 \
             /var/lib/dpkg/info/{info}.preinst install || {{ echo \"dpkg: error processing package {name} (preinst):\"; exit 1; }}"
        );
    }
    text.push_str("unset DPKG_ADMINDIR DPKG_ROOT DPKG_MAINTSCRIPT_DEBUG\n");
    let dpkg = "dpkg --force-unsafe-io --force-confold";
    for (first, then) in set.turns() {
        let names: Vec<String> = first.iter().map(|n| dpkg::info_name(&set.debs[*n])).collect();
        let files: Vec<String> =
            then.iter().filter_map(|n| set.debs[*n].path().file_name()).map(|f| format!("/tmp/packages/{}", f.to_string_lossy())).collect();
        if !names.is_empty() {
            let _ = writeln!(text, "{dpkg} --configure {} || exit 1", names.join(" "));
        }
        let _ = writeln!(text, "{dpkg} --unpack {} || exit 1", files.join(" "));
    }
    let _ = writeln!(text, "exec {dpkg} --configure -a");
    Ok(text)
}

/// A name that can stand in a shell line as it is.
fn word<'a>(deb: &'a Deb, key: &str) -> Result<&'a str, Fault> {
    let text = deb.field(key).unwrap_or("");
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    plain
        .then_some(text)
        .ok_or_else(|| Fault::world("bad-package-file", format!("{}: its {key} is {text:?}", deb.path().display())).again(false))
}

/// Lines of a script's own words that an error shows.
const WORDS: usize = 30;

fn script_fault(said: &program::Done, set: &Set) -> Fault {
    if said.stderr.contains("No space left on device") {
        return files::disk_full(format!("a maintainer script ran out of disk space:\n{}", said.last_words()));
    }
    let lines: Vec<&str> = said.stderr.lines().collect();
    let Some(at) = lines.iter().position(|l| l.starts_with("dpkg: error processing")) else {
        return program::ended_badly("dpkg in the sandbox", said.status, &said.stderr);
    };
    let named = lines[at].split_whitespace().nth(4).unwrap_or("?").trim_end_matches(':');
    // An archive is named by its file: that is called by its sum.
    let who = set.debs.iter().find(|d| d.path().file_name().is_some_and(|f| named.ends_with(&*f.to_string_lossy())));
    let who = who.or_else(|| set.debs.iter().find(|d| d.field("Package") == named.split(':').next()));
    let who = who.map_or(named.to_string(), Deb::name);
    // What it said itself stands between dpkg's word that it begins and its word that it failed.
    let begins = |l: &&str| ["Setting up ", "Preparing to unpack ", "Processing triggers for "].iter().any(|w| l.starts_with(w));
    let from = lines[..at].iter().rposition(begins);
    let which = match (lines.get(at + 1), from.map(|n| lines[n])) {
        (_, Some(begun)) if begun.starts_with("Processing triggers for ") => "trigger (its postinst, called with `triggered`)",
        (Some(why), _) if why.contains("pre-installation script") => "preinst",
        (Some(why), _) if why.contains("post-installation script") => "postinst",
        _ if lines[at].ends_with("(preinst):") => "preinst",
        // No script of its own: dpkg says what it is.
        _ => "installation",
    };
    let own = &lines[from.map_or(0, |n| n + 1).max(at.saturating_sub(WORDS))..at];
    let why = lines.get(at + 1).filter(|l| l.starts_with(' ')).map_or("", |l| l.trim());
    let shown: Vec<&str> = own.iter().copied().chain(std::iter::once(why)).filter(|l| !l.is_empty()).collect();
    if which == "installation" {
        return Fault::world("bad-package-file", format!("dpkg refuses the package {who}:\n{}", shown.join("\n")))
            .hint("its mirror signed it so: tell whoever made it, and take it out of the image's packages")
            .again(false);
    }
    Fault::world("maintainer-script-failed", format!("the {which} of the package {who} failed:\n{}", shown.join("\n")))
        .hint("it runs as root in a new tree, without network, devices and services; take the package out of the image, or wait for one that is mended")
        .again(false)
}
