//! `guard scan root`: a directory that is taken for the root of a system.

use super::report::Report;
use super::scan_tree::{so_far, tree};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::processes::interrupt;
use clap::Args;
use guard::root::Purpose;
use model::Fault;
use std::path::{Path, PathBuf};

/// Find secrets, private keys and services without authentication in a directory
#[derive(Args, Debug)]
#[command(after_help = "\
The directory is taken for the root of a system: /etc/passwd in it is PATH/etc/passwd. Links out of it are not followed, and nothing is changed.
In an image any secret is exposed, as everybody who has the image has it. On a host only what other accounts can read is; / is taken for a host.

Example:
  afresh guard scan root ./build
  sudo afresh guard scan root / --json")]
pub struct Root {
    /// The root directory: of an image, of a host, or of code
    path: PathBuf,
    /// Judge it as a host, or as an image (the default for any directory but /)
    #[arg(long = "as", value_enum, value_name = "KIND")]
    purpose: Option<Kind>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Kind {
    Image,
    Host,
}

impl Root {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        let _interruptible = interrupt::interruptible("the scan");
        let purpose = match self.purpose {
            Some(Kind::Image) => Purpose::Image,
            Some(Kind::Host) => Purpose::Host,
            None if is_own_root(&self.path)? => Purpose::Host,
            None => Purpose::Image,
        };
        let mut report = Report::new(context);
        let totals = tree(&mut report, &self.path, purpose)?;
        Ok(report.end(serde_json::json!({}), &so_far(&totals)))
    }
}

/// Whether it is the root directory of this process, whatever its name.
fn is_own_root(path: &Path) -> Result<bool, Fault> {
    use std::os::unix::fs::MetadataExt;
    let look = |path: &Path| std::fs::metadata(path).map_err(|e| crate::failure::io("cannot scan", path, &e));
    let (named, own) = (look(path)?, look(Path::new("/"))?);
    if !named.is_dir() {
        let fault = Fault::yours("no-directory", format!("{} is no directory", path.display()));
        return Err(fault.hint("name the directory that holds it: afresh guard scan root DIR"));
    }
    Ok((named.dev(), named.ino()) == (own.dev(), own.ino()))
}
