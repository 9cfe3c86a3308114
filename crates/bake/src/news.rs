//! What the mirrors have that an image has not, and what the changelogs of newer packages say. Asks the mirrors and reads the store;
//! changes nothing but the store's own lists.

use crate::apt::Traffic;
use crate::container;
use crate::pipeline::{Looked, look};
use lifecycle::{Change, changes};
use model::{Digest, Fault, ImageSpec};
use store::Package;
use store::Store;

/// The newest packages of a recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct News {
    /// Of everything that would go into an image of them.
    pub inputs: Digest,
    /// Name and version.
    pub packages: Vec<(String, String)>,
    /// The mirrors signed what they had signed once before: nothing was read for it.
    pub same_indexes: bool,
    pub traffic: Traffic,
    /// Why it is not known whether every package is the newest.
    pub unknown: Option<String>,
}

/// What is new, and what of an image is not the newest, where the image can be read. None: there is no image, so everything would come in.
pub fn news_against(store: &Store, spec: &ImageSpec, image: Option<&Digest>) -> Result<(News, Result<Vec<Change>, Fault>), Fault> {
    if let Some(source) = &spec.oci {
        let container::Now { inputs, is_same_tag, behind, unknown } = container::news(store, spec, source, image)?;
        return Ok((News { inputs, packages: Vec::new(), same_indexes: is_same_tag, traffic: Traffic::default(), unknown }, behind));
    }
    let news = news(store, spec)?;
    let behind = news_since(store, image, &news);
    Ok((news, behind))
}

/// Asks the mirrors; nothing is fetched but their lists.
pub fn news(store: &Store, spec: &ImageSpec) -> Result<News, Fault> {
    let Looked { lock, same_indexes, traffic } = look(store, spec, &mut |_| {})?;
    let packages = lock.packages.iter().map(|p| (p.name.clone(), p.version.clone())).collect();
    Ok(News { inputs: lock.digest(), packages, same_indexes, traffic, unknown: None })
}

/// What of an image is not the newest.
fn news_since(store: &Store, image: Option<&Digest>, news: &News) -> Result<Vec<Change>, Fault> {
    let there = match image {
        Some(digest) => store.manifest(digest)?.packages,
        None => Vec::new(),
    };
    let old = there.iter().map(|p| (p.name.as_str(), p.version.as_str()));
    Ok(changes(old, news.packages.iter().map(|(n, v)| (n.as_str(), v.as_str()))))
}

/// CVEs named in the changelogs of what is newer in `to`, from the packages in the store.
pub fn fixes(store: &Store, from: &Digest, to: &Digest) -> Result<Vec<String>, Fault> {
    Ok(crate::changes::changes(store, from, to)?.cves())
}

/// What differs between the packages of two manifests.
pub fn of_packages(a: &[Package], b: &[Package]) -> Vec<Change> {
    let plain = |p: &'_ [Package]| p.iter().map(|p| (p.name.clone(), p.version.clone())).collect::<Vec<_>>();
    let (a, b) = (plain(a), plain(b));
    changes(a.iter().map(|(n, v)| (n.as_str(), v.as_str())), b.iter().map(|(n, v)| (n.as_str(), v.as_str())))
}

/// What differs between two images: the tag first, then packages that their own databases name.
pub fn changes_of_images(store: &Store, from: &Digest, to: &Digest) -> Result<Vec<Change>, Fault> {
    let (from, to) = (store.manifest(from)?, store.manifest(to)?);
    let tag = from.container.as_ref().zip(to.container.as_ref()).and_then(|(a, b)| container::moved(a, &b.reference, &b.manifest));
    Ok(tag.into_iter().chain(of_packages(&from.packages, &to.packages)).collect())
}
