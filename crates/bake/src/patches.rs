//! Whether the packages of a container image are the newest of its distribution. Nothing is baked of it: an image that is behind must be built
//! and pushed again by whoever builds it. What cannot be compared is never taken for the newest.

use crate::apt::{self, Apt};
use crate::packages;
use crate::version;
use lifecycle::Change;
use model::{Distribution, Fault, ImageCustom, validation};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use store::{Manifest, Package, Store};

/// Packages that are not the newest, or why that is not known.
pub type Patches = Result<Vec<Change>, String>;

/// Asks the mirrors of the image's distribution. A mirror that does not answer is no reason to miss that a tag moved.
pub fn of(store: &Store, manifest: &Manifest) -> Patches {
    let distribution = manifest.container.as_ref().and_then(|container| container.distribution.as_ref());
    let Some(distribution) = distribution.filter(|_| !manifest.packages.is_empty()) else {
        return Err("it has no list of packages that could be compared with those of its distribution".to_string());
    };
    let Some(release) = release(distribution) else {
        let version = distribution.version.as_deref().unwrap_or_default();
        return Err(format!("its packages are of {} {version}, whose archive is not asked here", distribution.id));
    };
    ask(store, release, &manifest.packages).map_err(|fault| format!("its packages cannot be compared: {} ({})", fault.message, fault.code))
}

/// A release that apt knows.
fn release(distribution: &Distribution) -> Option<&str> {
    let release = distribution.version.as_deref().filter(|_| matches!(distribution.id.as_str(), "debian" | "ubuntu"))?;
    validation::suite(release).is_ok().then_some(release)
}

fn ask(store: &Store, release: &str, there: &[Package]) -> Result<Vec<Change>, Fault> {
    let apt = Apt::open(store, apt::sources_of(store, release, &ImageCustom::default())?)?;
    apt.update(store)?;
    Ok(behind(there, &packages::read_lists(&apt.lists())?))
}

fn behind(there: &[Package], lists: &BTreeMap<String, Vec<u8>>) -> Vec<Change> {
    let mut newest: BTreeMap<&str, &str> = BTreeMap::new();
    let names: BTreeMap<&str, &Package> = there.iter().map(|p| (p.name.as_str(), p)).collect();
    for p in lists.values().flat_map(|text| packages::paragraphs(text)) {
        let (Some(name), Some(found)) = (p.name(), p.get("Version")) else { continue };
        let of =
            names.get(name).filter(|of| p.get("Architecture").is_some_and(|arch| arch == of.arch || arch == "all" || of.arch == "all"));
        if of.is_some() && newest.get(name).is_none_or(|best| version::compare(found, best) == Ordering::Greater) {
            newest.insert(name, found);
        }
    }
    let change = |p: &Package| {
        let to = newest.get(p.name.as_str()).filter(|to| version::compare(to, &p.version) == Ordering::Greater)?;
        Some(Change { name: p.name.clone(), from: Some(p.version.clone()), to: Some((*to).to_string()) })
    };
    there.iter().filter_map(change).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_newest_of_all_lists_is_behind() {
        let package =
            |name: &str, version: &str, arch: &str| Package { name: name.into(), version: version.into(), arch: arch.into(), source: None };
        let there = [
            package("curl", "7.88.1-10+deb12u5", "amd64"),
            package("gone", "1", "amd64"),
            package("newer", "2:1", "amd64"),
            package("tzdata", "2024a-0", "all"),
            package("zlib1g", "1:1.2.13", "amd64"),
        ];
        let list = |text: &str| text.as_bytes().to_vec();
        let lists = BTreeMap::from([
            (
                "main".to_string(),
                list(
                    "Package: curl\nVersion: 7.88.1-10+deb12u5\nArchitecture: amd64\n\nPackage: newer\nVersion: 9\nArchitecture: amd64\n\nPackage: tzdata\nVersion: 2024b-0\nArchitecture: all\n\nPackage: zlib1g\nVersion: 1:1.2.14\nArchitecture: i386\n",
                ),
            ),
            ("security".to_string(), list("Package: curl\nVersion: 7.88.1-10+deb12u12\nArchitecture: amd64\n")),
        ]);
        let told: Vec<String> = behind(&there, &lists).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["curl 7.88.1-10+deb12u5 -> 7.88.1-10+deb12u12", "tzdata 2024a-0 -> 2024b-0"]);
    }

    #[test]
    fn only_a_release_of_an_archive_that_is_asked_is_compared() {
        let of = |id: &str, version: Option<&str>| Distribution { id: id.into(), version: version.map(str::to_string) };
        assert_eq!(release(&of("debian", Some("bookworm"))), Some("bookworm"));
        for other in [of("debian", None), of("debian", Some("12")), of("alpine", Some("3.20")), of("debian", Some("../x"))] {
            assert_eq!(release(&other), None, "{other:?}");
        }
    }
}
