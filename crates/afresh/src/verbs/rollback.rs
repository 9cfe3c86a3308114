//! `rollback`: to a release that stood before, settings included.

use super::follow::follow;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{Opened, RollbackRequest};
use clap::Args;
use model::ServiceName;

/// Go back to the release that stood before, settings included
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  afresh rollback web\n  afresh rollback web --to r3")]
pub struct Rollback {
    pub service: ServiceName,
    /// To this release instead of the one before
    #[arg(long, value_name = "rN", value_parser = super::deploy::release_number)]
    pub to: Option<u64>,
    /// Open the rotation and return at once
    #[arg(long)]
    pub no_follow: bool,
}

impl Rollback {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.wait(async {
            let request = RollbackRequest { service: self.service, to: self.to };
            let opened: Opened = context.api().post("/v1/rollback", &request).await?;
            if !context.json {
                opened.notes.iter().for_each(|note| show::note(format!("warning: {}: {}", note.service, note.text)));
            }
            if self.no_follow || opened.rotations.is_empty() {
                super::deploy::tell_opened(context, &opened);
                return Ok(Exit::Succeeded);
            }
            follow(context, &opened).await
        })
    }
}
