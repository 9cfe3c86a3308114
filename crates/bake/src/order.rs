//! The packages of a stage, opened, and in which order they are unpacked and configured. Pure but for reading the packages.

#![deny(clippy::disallowed_methods, reason = "paths of a tree are resolved in within.rs and nowhere else")]

use crate::deb::Deb;
use crate::dpkg;
use crate::fetch;
use crate::unpack;
use crate::unpack::in_parallel;
use model::Fault;
use std::collections::{BTreeMap, BTreeSet};
use store::Store;
use store::lockfile::Locked;

/// Packages of a lock, opened, and how each is to be unpacked.
pub struct Set {
    pub debs: Vec<Deb>,
    /// Places of what must be there before any script runs, and all it depends on.
    pub core: BTreeSet<usize>,
    /// Places of what dpkg itself unpacks.
    pub late: BTreeSet<usize>,
    /// No package is newer, so no file of one is.
    pub epoch: u64,
}

impl Set {
    /// `alone`: there is nothing yet. If not, dpkg is there, and unpacks them all.
    pub fn open(store: &Store, packages: &[&Locked], epoch: u64, alone: bool) -> Result<Set, Fault> {
        let debs = open_packages(store, packages)?;
        let required = packages.iter().enumerate().filter(|(_, p)| p.required).map(|(n, _)| n).collect();
        let core = if alone { dpkg::closure(&debs, required) } else { BTreeSet::new() };
        let late = (0..debs.len()).filter(|n| !alone || !core.contains(n) && debs[*n].script("preinst").is_some()).collect();
        Ok(Set { debs, core, late, epoch })
    }

    /// The late packages in turns: what is configured first, then what is unpacked. A package that wants another late one configured
    /// before it (python3 its python3-minimal) comes in a later turn than that.
    pub fn turns(&self) -> Vec<(BTreeSet<usize>, BTreeSet<usize>)> {
        let wants: BTreeMap<usize, BTreeSet<usize>> = self.late.iter().map(|n| (*n, self.wanted_before(*n))).collect();
        let (mut left, mut configured, mut turns) = (self.late.clone(), BTreeSet::<usize>::new(), Vec::new());
        while !left.is_empty() {
            let mut ready: BTreeSet<usize> = left.iter().copied().filter(|n| wants[n].is_disjoint(&left)).collect();
            if ready.is_empty() {
                // A circle: dpkg says best what is wrong with it.
                ready.clone_from(&left);
            }
            let wanted = self.core.iter().chain(ready.iter().flat_map(|n| &wants[n])).copied();
            let first: BTreeSet<usize> = wanted.filter(|n| !left.contains(n) && !configured.contains(n)).collect();
            left.retain(|n| !ready.contains(n));
            configured.extend(&first);
            turns.push((first, ready));
        }
        turns
    }

    /// What a package wants configured before it is unpacked, and all that needs.
    fn wanted_before(&self, n: usize) -> BTreeSet<usize> {
        let names: BTreeSet<&str> = unpack::relations(self.debs[n].field("Pre-Depends")).collect();
        let named = (0..self.debs.len()).filter(|m| *m != n && self.debs[*m].field("Package").is_some_and(|p| names.contains(p)));
        let mut all = dpkg::closure(&self.debs, named.collect());
        all.remove(&n);
        all
    }
}

/// Packages of a lock from the package store; each must be what the lock says it is.
pub fn open_packages(store: &Store, packages: &[&Locked]) -> Result<Vec<Deb>, Fault> {
    in_parallel(packages.len(), |n| {
        let locked = packages[n];
        let deb = Deb::open(&fetch::path(store, locked))?;
        let found = [deb.field("Package"), deb.field("Version"), deb.field("Architecture")].map(|f| f.unwrap_or("?"));
        if found != [&locked.name, &locked.version, &locked.arch] {
            let text = format!(
                "{} holds {}, and the lock says {} {} {}",
                deb.path().display(),
                found.join(" "),
                locked.name,
                locked.version,
                locked.arch
            );
            return Err(Fault::world("bad-package-file", text)
                .hint("the mirror's index tells of another package than it gives: tell whoever runs it, and use another mirror")
                .again(false));
        }
        Ok(deb)
    })
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "a test's own tree")]
mod tests {
    use super::*;
    use disk::files;
    use std::path::Path;

    /// dpkg-deb makes an empty package of these fields.
    fn deb(dir: &Path, name: &str, wants: &str, has_preinst: bool) -> Deb {
        let root = dir.join(name).join("DEBIAN");
        files::make_dir(&root).unwrap();
        let control = format!("Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\n{wants}Description: d\n");
        std::fs::write(root.join("control"), control).unwrap();
        if has_preinst {
            std::fs::write(root.join("preinst"), "#!/bin/sh\n").unwrap();
            files::set_mode(&root.join("preinst"), 0o755).unwrap();
        }
        files::set_mode(&root, 0o755).unwrap();
        let path = dir.join(format!("{name}.deb"));
        let done =
            std::process::Command::new("dpkg-deb").args(["-b", "--root-owner-group"]).arg(dir.join(name)).arg(&path).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Deb::open(&path).unwrap()
    }

    /// The turns, by name.
    fn turns(packages: &[(&str, &str, bool)], core: &[&str]) -> Vec<[Vec<String>; 2]> {
        let dir = tempfile::tempdir().unwrap();
        let debs: Vec<Deb> = packages.iter().map(|(name, wants, preinst)| deb(dir.path(), name, wants, *preinst)).collect();
        let is_core = |n: &usize| core.contains(&packages[*n].0);
        let late = (0..debs.len()).filter(|n| !is_core(n) && debs[*n].script("preinst").is_some()).collect();
        let set = Set { core: (0..debs.len()).filter(is_core).collect(), late, debs, epoch: 0 };
        let names = |places: BTreeSet<usize>| places.into_iter().map(|n| packages[n].0.to_string()).collect();
        set.turns().into_iter().map(|(first, then)| [names(first), names(then)]).collect()
    }

    fn turn(first: &[&str], then: &[&str]) -> [Vec<String>; 2] {
        [first, then].map(|names| names.iter().map(ToString::to_string).collect())
    }

    /// As Debian has it: python3 must have python3-minimal configured before it is unpacked, and both have a preinst.
    #[test]
    fn python3_comes_a_turn_after_python3_minimal() {
        let packages = [
            ("dpkg", "", true),
            ("libpython3", "", false),
            ("python3", "Pre-Depends: python3-minimal (= 1)\nDepends: libpython3\n", true),
            ("python3-minimal", "Pre-Depends: python3.11-minimal\nDepends: dpkg\n", true),
            ("python3.11-minimal", "Depends: libpython3\n", true),
            ("zlib", "", true),
        ];
        let expected = [
            turn(&["dpkg"], &["python3.11-minimal", "zlib"]),
            turn(&["libpython3", "python3.11-minimal"], &["python3-minimal"]),
            turn(&["python3-minimal"], &["python3"]),
        ];
        assert_eq!(turns(&packages, &["dpkg"]), expected);
    }

    #[test]
    fn without_late_packages_there_is_no_turn() {
        assert_eq!(turns(&[("a", "", false), ("dpkg", "", true)], &["dpkg"]), Vec::<[Vec<String>; 2]>::new());
    }

    #[test]
    fn a_circle_is_handed_to_dpkg_whole() {
        let packages = [("a", "Pre-Depends: b\n", true), ("b", "Pre-Depends: a\n", true)];
        assert_eq!(turns(&packages, &[]), [turn(&[], &["a", "b"])]);
    }
}
