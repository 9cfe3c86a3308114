//! What the upkeep needs of whoever makes images; `Store` is one.

use crate::gate::image_waivers;
use bake::Options;
use lifecycle::Change;
use model::{Digest, Fault, ImageName, ImageSpec, Time};
use store::Store;

/// What the mirrors have now, against an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fresh {
    /// Of everything that would go in.
    pub inputs: Digest,
    /// Packages of the image that are not the newest.
    pub behind: Vec<Change>,
    /// Why it is not known whether every package is the newest.
    pub unknown: Option<String>,
}

/// An image that was baked, or exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    pub digest: Digest,
    pub inputs: Digest,
    pub made: Time,
    /// Why it was baked, or why nothing was done.
    pub why: String,
}

/// Its calls block, a bake for minutes.
pub trait Factory: Send + Sync {
    /// Checks the mirrors. `against`: the image to compare with.
    fn fresh(&self, spec: &ImageSpec, against: Option<&Digest>) -> Result<Fresh, Fault>;
    /// The recipe's current image stays what it is.
    fn bake(&self, spec: &ImageSpec) -> Result<Made, Fault>;
    fn known(&self, digest: &Digest) -> Result<Made, Fault>;
    /// Whether the image was made of what this recipe says.
    fn is_of(&self, digest: &Digest, spec: &ImageSpec) -> bool;
    /// What the image was made of. None: that is not known, or it is a container image.
    fn recipe(&self, digest: &Digest) -> Option<ImageSpec>;
    fn current(&self, name: &ImageName) -> Result<Option<Digest>, Fault>;
    /// Refuses an image that is missing or incomplete.
    fn make_current(&self, name: &ImageName, digest: &Digest) -> Result<(), Fault>;
    /// Packages that differ.
    fn changes(&self, from: &Digest, to: &Digest) -> Result<Vec<Change>, Fault>;
    /// CVEs that the changelogs of the newer packages name.
    fn fixes(&self, from: &Digest, to: &Digest) -> Result<Vec<String>, Fault>;
}

impl Factory for Store {
    fn fresh(&self, spec: &ImageSpec, against: Option<&Digest>) -> Result<Fresh, Fault> {
        let (news, behind) = bake::news_against(self, spec, against)?;
        // Where nothing can be compared, the list is empty; the inputs still say that it differs.
        let behind = behind.unwrap_or_default();
        Ok(Fresh { inputs: news.inputs, behind, unknown: news.unknown })
    }

    fn bake(&self, spec: &ImageSpec) -> Result<Made, Fault> {
        let options = Options { candidate: true, waivers: image_waivers(self.layout())?, ..Options::default() };
        let baked = bake::bake_with(self, spec, &options, &mut |_| {})?;
        Ok(Made { why: baked.why, ..self.known(&baked.digest)? })
    }

    fn known(&self, digest: &Digest) -> Result<Made, Fault> {
        let manifest = self.manifest(digest)?;
        Ok(Made { digest: manifest.digest, inputs: manifest.inputs, made: manifest.made, why: "it was there".to_string() })
    }

    fn is_of(&self, digest: &Digest, spec: &ImageSpec) -> bool {
        bake::is_of(self, digest, spec)
    }

    fn recipe(&self, digest: &Digest) -> Option<ImageSpec> {
        self.lock_of(digest).ok().map(|lock| lock.head.spec)
    }

    fn current(&self, name: &ImageName) -> Result<Option<Digest>, Fault> {
        Store::current(self, name)
    }

    fn make_current(&self, name: &ImageName, digest: &Digest) -> Result<(), Fault> {
        self.set_current(name, digest)
    }

    fn changes(&self, from: &Digest, to: &Digest) -> Result<Vec<Change>, Fault> {
        bake::changes_of_images(self, from, to)
    }

    fn fixes(&self, from: &Digest, to: &Digest) -> Result<Vec<String>, Fault> {
        bake::fixes(self, from, to)
    }
}
