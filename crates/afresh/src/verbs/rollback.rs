//! `rollback`: to a release that was active before, settings included.

use super::deploy::{print_opened, print_plan};
use super::follow::follow;
use super::units::release_number;
use crate::confirm::confirmed;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::show;
use api::control::{Opened, PlanAnswer, RollbackRequest};
use clap::Args;
use model::ServiceName;

/// Roll back to the release that was active before, settings included
#[derive(Args, Debug)]
#[command(
    after_help = "The plan is printed first and must be confirmed: at a terminal, or with --yes. Without a terminal and --yes it exits with 2.\n\n\
                  Example:\n  afresh rollback web\n  afresh rollback web --to r3 --yes"
)]
pub struct Rollback {
    /// The service
    pub service: ServiceName,
    /// Roll back to this release instead of the previous one
    #[arg(long, value_name = "rN", value_parser = release_number)]
    pub to: Option<u64>,
    /// Return as soon as the rollback has begun
    #[arg(long)]
    pub no_follow: bool,
    /// Do not ask for confirmation
    #[arg(short, long)]
    pub yes: bool,
}

impl Rollback {
    pub fn run(self, context: &Context) -> Result<Exit, Failure> {
        context.wait(async {
            let request = RollbackRequest { service: self.service, to: self.to };
            let answer: PlanAnswer = context.api().post("/v1/rollback/plan", &request).await?;
            if context.json {
                show::json(&answer);
            } else {
                print_plan(&answer);
            }
            if !answer.rotations.is_empty() && !confirmed(self.yes, "roll back")? {
                show::note("nothing was changed");
                return Ok(Exit::Refused);
            }
            let opened: Opened = context.api().post("/v1/rollback", &request).await?;
            if self.no_follow || opened.rotations.is_empty() {
                print_opened(context, &opened, &[]);
                return Ok(Exit::Succeeded);
            }
            follow(context, &opened).await
        })
    }
}
