//! Whether the packages of a container image are the newest of its distribution. Nothing is baked of it: an image that is behind must be built
//! and pushed again by whoever builds it. What cannot be compared is never taken for the newest.

use crate::apt::{self, Apt};
use crate::packages;
use crate::version;
use lifecycle::Change;
use model::text::shown;
use model::{Distribution, Fault, ImageCustom};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use store::{Manifest, Package, Store};

/// Releases with an archive, and those whose names are known already.
const DEBIAN: &[&str] = &["buster", "bullseye", "bookworm", "trixie", "forky", "duke", "sid"];
const UBUNTU: &[&str] = &["trusty", "xenial", "bionic", "focal", "jammy", "noble", "oracular", "plucky", "questing", "resolute"];
/// Of what an image says of itself, in a message.
const SHOWN_BYTES: usize = 40;

/// Packages that are not the newest, or why that is not known.
pub type Patches = Result<Vec<Change>, String>;

/// Asks the mirrors of the image's distribution. A mirror that does not answer is no reason to miss that a tag moved.
pub fn of(store: &Store, manifest: &Manifest) -> Patches {
    let distribution = manifest.container.as_ref().and_then(|container| container.distribution.as_ref());
    let Some(distribution) = distribution.filter(|_| !manifest.packages.is_empty()) else {
        return Err("it has no list of packages that could be compared with those of its distribution".to_string());
    };
    let Some(release) = release(distribution) else {
        let said =
            [Some(distribution.id.as_str()), distribution.version.as_deref()].map(|said| shown(said.unwrap_or_default(), SHOWN_BYTES));
        return Err(format!("its packages are of {}, whose archive is not asked here", said.join(" ").trim_end()));
    };
    ask(store, release, &manifest.packages).map_err(|fault| format!("its packages cannot be compared: {} ({})", fault.message, fault.code))
}

/// A release that apt knows. An image says what it likes: of another name, each would be asked of the mirrors, and leave its lists here.
fn release(distribution: &Distribution) -> Option<&str> {
    let known = match distribution.id.as_str() {
        "debian" => DEBIAN,
        "ubuntu" => UBUNTU,
        _ => return None,
    };
    distribution.version.as_deref().filter(|release| known.contains(release))
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
        assert_eq!(release(&of("ubuntu", Some("noble"))), Some("noble"));
        for other in [
            of("debian", None),
            of("debian", Some("12")),
            of("alpine", Some("3.20")),
            of("debian", Some("../x")),
            of("debian", Some("noble")),
            of("ubuntu", Some("bookworm")),
            of("debian", Some("a-release-of-my-own")),
            of("debian", Some("bookworm-backports")),
        ] {
            assert_eq!(release(&other), None, "{other:?}");
        }
    }

    fn manifest_of(distribution: Distribution) -> Manifest {
        let digest = model::Digest::of(b"x");
        Manifest {
            kind: store::Kind::Image,
            name: "app".into(),
            digest: digest.clone(),
            bytes: 1,
            packages: Vec::new(),
            recipe: None,
            inputs: digest.clone(),
            made: model::Time(0),
            tools: BTreeMap::new(),
            seconds: Vec::new(),
            notes: Vec::new(),
            source: None,
            container: Some(model::Container {
                reference: "r.example/app:1".into(),
                manifest: digest.clone(),
                top: digest,
                layers: Vec::new(),
                defaults: Default::default(),
                distribution: Some(distribution),
                created: None,
            }),
        }
    }

    /// Its words go into reports of every user of the image.
    #[test]
    fn what_an_image_says_of_itself_is_shown_in_part() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&model::Layout::new(dir.path())).unwrap();
        let said = |id: &str, version: &str| {
            let mut manifest = manifest_of(Distribution { id: id.into(), version: Some(version.into()) });
            manifest.packages.push(Package { name: "x".into(), version: "1".into(), arch: "all".into(), source: None });
            of(&store, &manifest).unwrap_err()
        };
        assert_eq!(said("alpine", "3.20"), "its packages are of alpine 3.20, whose archive is not asked here");
        let long = said(&"i\u{1b}".repeat(500), &"v".repeat(500));
        assert!(long.len() < 200 && !long.contains('\u{1b}'), "{long}");
    }
}
