//! `guard scan`: what is exposed. Each kind of place has its verb; findings of all of them are shown by one `Report`.

use super::scan_aws::Aws;
use super::scan_host::Host;
use super::scan_image::Image;
use super::scan_instance::Instance;
use super::scan_root::Root;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use clap::{Args, Subcommand};

/// Find what is exposed, reading only
#[derive(Args, Debug)]
#[command(after_help = "\
With --json each exposure is one object on one line: type, id, verdict (public, unknown; of AWS also not_public), via, documented, effective, cross_account, severity, why, fix, fingerprint. \
The last line has calls, seconds and unknown.

Example:
  sudo afresh guard scan host
  sudo afresh guard scan image shop
  afresh guard scan aws --region eu-central-1")]
pub struct ScanVerb {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Root(Root),
    Image(Image),
    Instance(Instance),
    Host(Host),
    Aws(Aws),
}

impl ScanVerb {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        match self.verb {
            Verb::Root(verb) => verb.run(context),
            Verb::Image(verb) => verb.run(context),
            Verb::Instance(verb) => verb.run(context),
            Verb::Host(verb) => verb.run(context),
            Verb::Aws(verb) => verb.run(context),
        }
    }
}
