//! `guard scan image`: an image of this machine's store.

use super::report::Report;
use super::scan_tree::{so_far, tree};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::processes::interrupt;
use crate::verbs::lookup::named;
use clap::Args;
use guard::root::Purpose;
use serde_json::json;

/// Find secrets and services without authentication in an image of the store
#[derive(Args, Debug)]
#[command(after_help = "\
The image is checked against its digest and mounted read-only. A bake scans what it makes in the same way and refuses an image with a secret in it; \
this shows the rest too, and images that were made before.

Example:
  sudo afresh guard scan image shop
  sudo afresh guard scan image 3fa9c1d20b7e --json")]
pub struct Image {
    /// A name for its current image, or a digest's first digits
    #[arg(value_name = "IMAGE")]
    image: String,
}

impl Image {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let _interruptible = interrupt::interruptible("the scan");
        let store = context.images()?;
        let manifest = named(&store, &self.image)?;
        store.verify(&manifest.digest)?;
        let open = bake::OpenImage::open(&store, &manifest.digest)?;
        let mut report = Report::new(context);
        let totals = tree(&mut report, &open.root(), Purpose::Image)?;
        Ok(report.end(json!({ "image": manifest.name, "digest": manifest.digest }), &so_far(&totals)))
    }
}
