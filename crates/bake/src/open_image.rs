//! An image of the store as a tree that is read: mounted read-only in a namespace of its own, which is gone when we are.

use crate::tree::Holder;
use disk::lock::Work;
use model::{Digest, Fault};
use std::path::PathBuf;
use store::Store;
use store::program;

pub struct OpenImage {
    holder: Holder,
    work: Work,
}

impl OpenImage {
    pub fn open(store: &Store, digest: &Digest) -> Result<OpenImage, Fault> {
        program::need_root("mounting an image")?;
        let work = store.work("open")?;
        let holder = Holder::begin(
            "mount -t erofs -o loop,ro,nodev,nosuid,noexec \"$2\" \"$1\"",
            &[work.path(), &store.path(digest)?],
            "mounting an image",
        )?;
        Ok(OpenImage { holder, work })
    }

    /// Where its root is seen.
    pub fn root(&self) -> PathBuf {
        self.holder.see(self.work.path())
    }
}
