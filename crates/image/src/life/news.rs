//! What the mirrors have that an image has not, and what the changelogs of newer packages say. Asks the mirrors and reads the store;
//! changes nothing but the store's own lists.

use super::changes::{Change, changes, cves, of_packages};
use crate::bake::lock;
use crate::deb::Deb;
use crate::fetch;
use crate::io;
use crate::manifest::Package;
use crate::store::Store;
use model::{Digest, Fault, ImageSpec};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;

/// The newest packages of a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Of everything that would go into an image of them.
    pub inputs: Digest,
    /// Name and version.
    pub packages: Vec<(String, String)>,
}

/// Asks the mirrors; nothing is fetched but their lists.
pub fn news(store: &Store, spec: &ImageSpec) -> Result<News, Fault> {
    let lock = lock(store, spec, &mut |_| {})?;
    let packages = lock.packages.iter().map(|p| (p.name.clone(), p.version.clone())).collect();
    Ok(News { inputs: lock.digest(), packages })
}

/// What of an image is not the newest; None: there is no image, so everything would come in.
pub fn news_since(store: &Store, image: Option<&Digest>, news: &News) -> Result<Vec<Change>, Fault> {
    let there = match image {
        Some(digest) => store.manifest(digest)?.packages,
        None => Vec::new(),
    };
    let old = there.iter().map(|p| (p.name.as_str(), p.version.as_str()));
    Ok(changes(old, news.packages.iter().map(|(n, v)| (n.as_str(), v.as_str()))))
}

/// A changelog larger than this is read to here: the newest entries stand first.
const CHANGELOG_LIMIT: u64 = 4 << 20;

/// CVEs named in the changelogs of what is newer in `to`, from the packages in the store. A package whose changelog cannot be
/// read gives none.
pub fn fixes(store: &Store, from: &Digest, to: &Digest) -> Result<Vec<String>, Fault> {
    let (old, new) = (store.manifest(from)?, store.manifest(to)?);
    let lock = store.lock_of(to)?;
    let before: BTreeMap<&str, &Package> = old.packages.iter().map(|p| (p.name.as_str(), p)).collect();
    let (mut found, mut told) = (BTreeSet::new(), BTreeSet::new());
    for change in of_packages(&old.packages, &new.packages) {
        let Some(was) = before.get(change.name.as_str()) else { continue };
        let Some(locked) = lock.packages.iter().find(|p| p.name == change.name) else { continue };
        if told.contains(locked.source_name()) {
            continue;
        }
        let text = Deb::open(&fetch::path(store, locked)).and_then(|deb| changelog(&deb, &change.name));
        if let Ok(Some(text)) = text {
            found.extend(cves(&text, Some(source_version(was))));
            told.insert(locked.source_name());
        }
    }
    Ok(found.into_iter().collect())
}

/// `openssl (3.0.15-1)`: the source's version where it is another than the package's.
fn source_version(package: &Package) -> &str {
    let inside = package.source.as_deref().and_then(|s| s.split_once('(')).and_then(|(_, rest)| rest.split(')').next());
    inside.unwrap_or(&package.version)
}

fn changelog(deb: &Deb, name: &str) -> Result<Option<String>, Fault> {
    let paths = [format!("usr/share/doc/{name}/changelog.Debian.gz"), format!("usr/share/doc/{name}/changelog.gz")];
    let mut text: Option<String> = None;
    deb.entries(|mut entry| {
        let path = entry.path().map(|p| p.to_string_lossy().trim_start_matches("./").to_string()).unwrap_or_default();
        // Where both are there, the second is what the authors wrote, and the first what Debian did.
        if text.is_none() && entry.header().entry_type().is_file() && paths.contains(&path) {
            let mut bytes = Vec::new();
            let read = flate2::read::MultiGzDecoder::new(&mut entry).take(CHANGELOG_LIMIT).read_to_end(&mut bytes);
            read.map_err(io::at("cannot read the changelog in", deb.path()))?;
            text = Some(String::from_utf8_lossy(&bytes).into_owned());
        }
        Ok(())
    })?;
    Ok(text)
}
