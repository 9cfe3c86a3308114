//! `rotation::ImageStore` on the store's directory.

use crate::objects::{Sound, Store};
use model::{Digest, Fault};

impl rotation::ImageStore for Store {
    fn has(&self, object: &Digest) -> Result<bool, Fault> {
        Ok(matches!(self.sound(object)?, Sound::Whole))
    }
}
